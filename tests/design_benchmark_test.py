"""The benchmark of designs: its arithmetic on known answers, and a run on a tiny model."""

import io
import json
import math
import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "benchmarks"))

import designs as benchmark  # noqa: E402

from mezzanine_jax import williams  # noqa: E402


def _probs(orders, passages=3, curved=1.0, seed=0):
  """Answers that depend on places and neighbours: linear in them unless `curved`."""
  rng, count = np.random.default_rng(seed), orders.shape[1]
  place, pair = rng.normal(size=(2, passages, count, count))
  logits = place[:, orders, np.arange(count)].sum(-1)
  logits += pair[:, orders[:, :-1], orders[:, 1:]].sum(-1)
  yes = 0.5 + 0.01 * logits if curved == 0 else 1 / (1 + np.exp(-curved * logits))
  return np.stack([1 - yes, yes], -1)


@pytest.mark.parametrize("sentences, size, whole", [(4, 24, True), (5, 120, True), (7, 98, False)])
def test_a_pool_is_the_orbit_or_whole_blocks(sentences, size, whole):
  orders = benchmark.pool(np.random.default_rng(0), sentences, 120 if whole else 100)
  assert orders.shape == (size, sentences) and len(np.unique(orders, axis=0)) == size
  assert whole == (size == math.factorial(sentences))


def test_figures_on_answers_that_are_known():
  rng = np.random.default_rng(0)
  orders = benchmark.pool(rng, 5, 120)
  probs = _probs(orders)
  rows = benchmark.figures(rng, probs, orders, [2, 8], 4000, 200)
  for row in rows:
    size = row["views"]
    variance = 2 * probs[..., 1].var(1)  # both choices move alike
    np.testing.assert_allclose(row["iid"]["errors"], variance / size)
    assert row["distinct"]["ratio"] == pytest.approx((120 - size) / 119, rel=0.06)
    low, high = row["balanced"]["interval"]
    assert low <= row["balanced"]["ratio"] <= high
  assert high < 0.7  # of 8 views
  # The library's own draws, without a pool.
  drawn = [williams.orders(rng, 5, 8) for _ in range(4000)]
  where = {tuple(o): m for m, o in enumerate(orders.tolist())}
  chosen = np.array([[where[tuple(o)] for o in order.tolist()] for order in drawn])
  centred = probs - probs.mean(1, keepdims=True)
  errors = (centred[:, chosen].mean(2) ** 2).sum(-1).mean(1)
  np.testing.assert_allclose(rows[1]["balanced"]["errors"], errors, rtol=0.15)


def test_a_whole_block_has_no_error_where_answers_are_linear():
  rng = np.random.default_rng(0)
  orders = benchmark.pool(rng, 7, 100)
  (row,) = benchmark.figures(rng, _probs(orders, curved=0), orders, [14], 50, 20)
  assert row["balanced"]["ratio"] == pytest.approx(0, abs=1e-20) and row["iid"]["error"] > 0


@pytest.mark.slow
def test_a_run_on_a_tiny_model(tmp_path, capsys):
  file = tmp_path / "designs.json"
  results = benchmark.main([
      "--sentences", "3", "--passages", "2", "--views", "2,5", "--draws", "50",
      "--bootstrap", "50", "--json", str(file)])
  assert json.loads(file.read_text()) == json.loads(json.dumps(results))
  assert [(r["sentences"], r["pool"], r["views"]) for r in results["figures"]] == [
      (3, 6, 2), (3, 6, 5)]
  assert all(r["iid"]["error"] > 0 and len(r["balanced"]["errors"]) == 2
             for r in results["figures"])
  shown = capsys.readouterr().out
  assert shown.count("whole orbit of 6") == 1 and max(map(len, shown.splitlines())) <= 80


def test_the_table_shows_every_figure():
  design = {"ratio": 0.25, "interval": [0.2, 0.3]}
  row = {"sentences": 7, "passages": 8, "pool": 714, "whole_orbit": False, "views": 4,
         "iid": {"error": 0.00125}, "distinct": design, "balanced": design}
  file = io.StringIO()
  benchmark.show([row], file)
  assert "7 sentences, 8 passages, pool of 714" in file.getvalue()
  assert file.getvalue().count("0.250 [0.200, 0.300]") == 2 and "0.00125" in file.getvalue()


@pytest.mark.parametrize("given, told", [
    (["--views", "2,24"], "--views must be 1 to 23 (the smallest pool has 24)"),
    (["--sentences", "2"], "--sentences must be >= 3, got 2"),
    (["--passages", "0"], "--passages must be >= 1, got 0")])
def test_arguments_that_cannot_be_used_are_named(given, told, capsys):
  with pytest.raises(SystemExit):
    benchmark.parse(given)
  assert told in capsys.readouterr().err
