"""The benchmarks' own arithmetic, their processes, and that peers get equal weights and texts."""

import io
import json
import os
import pathlib
import sys

import jax
import numpy as np
import pytest

BENCHMARKS = str(pathlib.Path(__file__).parents[1] / "benchmarks")
sys.path.insert(0, BENCHMARKS)

import contenders  # noqa: E402
import processes  # noqa: E402
import scaling  # noqa: E402
import score_views  # noqa: E402
import set_orders  # noqa: E402
import workload  # noqa: E402

from mezzanine_jax.models.load import load_lm  # noqa: E402


@pytest.fixture(scope="module")
def tiny():
  return scaling.tiny_lm("float32")


@pytest.fixture(scope="module")
def made(tiny):
  return workload.engine(tiny, scaling.passages(scaling.Point(3, 4, 3)), 4, 0, 1024)


def test_flops_of_smollm2():
  class SmolLM2:
    width, num_layers, num_heads, num_kv_heads, head_dim = 576, 30, 9, 3, 64
    mlp_width, gated_mlp = 1536, True

  # q and out 576 x 576, k and v 576 x 192, gate, up and down 576 x 1536.
  matrices = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536
  assert workload.flops_per_token(SmolLM2) == 2 * 30 * matrices == 212_336_640


def test_every_example_has_k_views_and_short_orbits_begin_again():
  drawn = np.array([[4, 0, 5], [1, -1, -1], [2, 3, -1]])
  rows = workload.rows_of_views(np.array([0, 1, 2]), drawn, 4)
  assert rows.tolist() == [[0, 4, 5, 0], [1, 1, 1, 1], [2, 3, 2, 3]]


def test_texts_are_what_the_rows_hold(tiny, made):
  asked = workload.texts_of(made)
  assert len(asked.contexts) == 12 and asked.example.tolist() == [0] * 4 + [1] * 4 + [2] * 4
  for n, example in enumerate(scaling.passages(scaling.Point(3, 4, 3))):
    own = asked.contexts[4 * n : 4 * n + 4]
    assert own[0] == workload.TEMPLATE.format(**example.x)  # the canonical view comes first
    assert len(set(own)) >= 3  # three draws without repeats, the canonical view maybe among them
    assert {"".join(sorted(text)) for text in own} == {"".join(sorted(own[0]))}
  for context, row in zip(asked.contexts, asked.row, strict=True):
    assert tiny.tokenizer.encode(context).ids == asked.tokens[row]
  assert [tiny.tokenizer.id_to_token(c) for c in asked.choices] == ["Ġno", "Ġyes"]


def test_a_subset_keeps_the_views_of_its_examples(made):
  asked = workload.texts_of(made)
  part = workload.subset(asked, 2)
  assert part.contexts == asked.contexts[:4] + asked.contexts[8:]
  assert [part.tokens[r] for r in part.row] == [
      asked.tokens[r] for r in [*asked.row[:4], *asked.row[8:]]]


def test_exported_weights_load_as_they_were(tiny, tmp_path):
  workload.export(tiny, tmp_path)
  again = load_lm(str(tmp_path))
  jax.tree.map(np.testing.assert_array_equal, again.params, tiny.params)
  np.testing.assert_allclose(
      again.config.rope_frequencies, tiny.config.rope_frequencies, rtol=1e-6)
  text = "Passage: one.\nAnswer: no"
  assert again.tokenizer.encode(text).ids == tiny.tokenizer.encode(text).ids


@pytest.mark.parametrize("change", [
    {"qk_norm": True}, {"sliding_window": 4},
    {"rope_frequencies": tuple(0.5 * 0.1**i for i in range(8))}])
def test_what_is_no_plain_llama_is_refused(tiny, change):
  import dataclasses

  with pytest.raises(ValueError, match="Hugging Face Llama"):
    workload.llama_config(dataclasses.replace(tiny.config, **change))


def _turn(seconds, log_probs, **facts):
  return contenders.Turn(seconds, log_probs, 100.0 + seconds, facts)


def _turns(log_probs):
  """Two turns' worth of everybody: 4 views, 2 distinct texts of 3 + 5 tokens, 10 FLOP a token."""
  off = log_probs + [[0.0, 0.5]] * len(log_probs)
  facts = {"compile_seconds": 1.0, "ready_seconds": 2.0, "environment": {}}
  turns = {}
  for dtype, factor in (("float32", 1.0), ("bfloat16", 0.5)):
    turns |= {
        ("this engine", dtype): [_turn(factor * s, log_probs, **facts) for s in (9, 1, 2, 4)],
        ("lm-eval", dtype): [_turn(s, off, batch_size=8) for s in (9, 8, 6, 5)],
        ("PyTorch loop", dtype): [_turn(s, log_probs, batch_size=4) for s in (9, 3, 3, 3)],
        ("XLA products", dtype): [_turn(1, None, gflops=g * 1e-9) for g in (50, 80, 60, 70)],
        ("torch products", dtype): [_turn(1, None, gflops=g * 1e-9) for g in (50, 20, 30, 40)],
    }
  return turns


WORK = workload.Workload(
    ["a"] * 4, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), [[1] * 3, [1] * 5], [1, 2],
    ((2, (2,)),), 10)


def test_figures_are_medians_of_the_turns_after_the_first():
  log_probs = np.log(np.array([[0.2, 0.2]] * 4))
  results = score_views.summarise(WORK, _turns(log_probs), log_probs)
  ours = results["contenders"][0]
  assert ours["views_per_second"] == {"median": 2.0, "min": 1.0, "max": 4.0}
  assert ours["tokens_per_second"]["median"] == 4.0
  assert ours["max_abs_error_p_yes"] == 0.0
  assert results["roofline_gflops"]["float32"] == pytest.approx(80e-9)  # the best of all
  # 8 distinct tokens x 10 FLOP in 2 s, of 80 a second.
  assert results["ratios"] == pytest.approx({
      "float32_vs_lm_eval": 3.0, "bfloat16_vs_lm_eval": 6.0,
      "float32_roofline": 0.5, "bfloat16_roofline": 1.0})
  theirs = results["contenders"][1]
  assert theirs["max_abs_error_p_yes"] == pytest.approx(1 / (1 + np.exp(-0.5)) - 0.5)
  assert results["disagreeing"] == ["lm-eval"]
  assert results["workload"]["view_tokens"] == 16 and results["workload"]["distinct_tokens"] == 8


def test_one_dtype_alone_has_no_ratio_of_the_other():
  log_probs = np.log(np.array([[0.2, 0.2]] * 4))
  turns = {k: v for k, v in _turns(log_probs).items() if k[1] == "float32"}
  ratios = score_views.summarise(WORK, turns, log_probs)["ratios"]
  assert ratios["bfloat16_roofline"] is None and ratios["float32_roofline"] == pytest.approx(0.5)


def test_tables_are_80_columns_wide_and_whole():
  log_probs = np.log(np.array([[0.2, 0.2]] * 4))
  file = io.StringIO()
  score_views.show(score_views.summarise(WORK, _turns(log_probs), log_probs), file)
  text = file.getvalue()
  assert max(map(len, text.splitlines())) <= 80 and "…" not in text
  assert text.count("WARNING: lm-eval") == 1


def test_the_exponent_of_a_power():
  assert scaling.exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2.0)
  points = [
      {"rows": r, "tokens": 10 * r, "seconds": 0.1 * r, "peak_mib": 50 + 0.002 * r}
      for r in (100, 200, 400)
  ]
  fit = scaling.fits("views", points)
  assert fit == pytest.approx({"seconds_exponent": 1.0, "mib_per_1000_rows": 2.0})


def test_arguments_that_cannot_be_used_are_named(capsys):
  for given in (["--views", "1"], ["--repetitions", "0"], ["--batch-sizes", "0,2"]):
    with pytest.raises(SystemExit):
      score_views.parse(given)
    assert f"{given[0]} must be >= " in capsys.readouterr().err


def _counter(start):
  """A contender that counts its turns; it fails at 12."""
  state = [start]

  def turn():
    state[0] += 1
    if state[0] == 12:
      raise ValueError("twelve is too much")
    return os.getpid(), state[0]

  return turn


def test_contenders_keep_their_process_and_take_turns(monkeypatch):
  monkeypatch.setattr(processes, "_SETTLE", 0.0)
  children = [processes.start(_counter, n) for n in (0, 10)]
  seen = []
  try:
    answers = processes.interleaved(
        children[:1] + children[:1], 2, lambda repetition, number, _: seen.append(number))
    assert seen == [0, 1, 0, 1]
    assert [[n for _, n in a] for a in answers] == [[1, 3], [2, 4]]
    assert {pid for a in answers for pid, _ in a} == {children[0].process.pid}
    assert processes.turn(children[1]) == (children[1].process.pid, 11)
    with pytest.raises(processes.ChildError, match="twelve is too much"):
      processes.turn(children[1])
  finally:
    for child in children:
      processes.stop(child)
  assert not any(child.process.is_alive() for child in children)


def test_sets_are_timed_beside_the_same_texts_as_they_stand(tiny_lm, tmp_path, capsys):
  path = tmp_path / "orders.json"
  results = set_orders.main(["--model", tiny_lm, "--examples", "9", "--orders", "3", "--json",
                             str(path), "--repetitions", "2", "--batch_tokens", "4096"])
  assert json.loads(path.read_text()) == results
  one, three = results["orders"]
  assert (one["orders"], three["orders"]) == (1, 3) and one["times_an_ordinary_row"] == [1, 1]
  assert three["times_an_ordinary_row"] == [
      a / b for a, b in zip(three["seconds"], one["seconds"], strict=True)]
  assert results["rows"] == 9 and results["tokens_a_row"] > 40
  lines = capsys.readouterr().out.splitlines()[-4:]
  assert max(map(len, lines)) <= 80 and lines[2].split()[2:] == ["1.00", "(1.00,", "1.00)"]
  for wrong in (["--orders", "1,2"], ["--repetitions", "0"]):
    with pytest.raises(SystemExit):
      set_orders.parse(wrong)
  with pytest.raises(SystemExit, match="nowhere"):
    set_orders.main(["--model", "nowhere"])
