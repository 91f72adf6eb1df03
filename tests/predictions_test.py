"""Predictions as they are kept, and reliability by hand."""

import made_up_run
import numpy as np
import pytest

from mezzanine_jax import evaluation, metrics, predictions
from mezzanine_jax.base import Example


def test_what_is_kept_is_what_was_believed(tmp_path):
  rng = np.random.default_rng(1)
  lm, student = made_up_run.beliefs(rng, num=4), made_up_run.beliefs(rng, num=4)
  weights = np.array(lm.log_weights)
  weights[0] = [0, -np.inf, -np.inf]
  log_probs = np.array(lm.log_probs)
  log_probs[0, 1:] = np.nan  # padding
  lm = lm._replace(log_probs=log_probs, log_weights=weights,
                   orbit_size=np.array([1, 6, 6, 6], np.float32))
  examples = [Example(f"e{n}", {}, None if n == 2 else n % 3, "c") for n in range(4)]
  path = tmp_path / "p.json"
  predictions.write(path, examples, {"baseline": lm, "student": student})
  kept = predictions.read(path)
  assert kept["label"].tolist() == [0, 1, -1, 0] and kept["id"] == ["e0", "e1", "e2", "e3"]
  assert kept["movable"].tolist() == [False, True, True, True]
  for name, expected in (("baseline", lm.canonical), ("student", student.canonical),
                         ("teacher", np.asarray(evaluation.teacher(lm)))):
    np.testing.assert_allclose(kept["probabilities"][name], np.exp(expected), atol=1e-6)
  views = np.exp(np.concatenate([lm.canonical[1:, None], lm.log_probs[1:]], 1))
  np.testing.assert_allclose(kept["lowest"][1:], views.min(1), atol=1e-6)
  np.testing.assert_allclose(kept["highest"][1:], views.max(1), atol=1e-6)
  two = np.exp([lm.canonical[0], lm.log_probs[0, 0]])
  np.testing.assert_allclose(kept["highest"][0], two.max(0), atol=1e-6)
  assert predictions.read(tmp_path / "none.json") is None


def test_reliability_adds_up_to_the_calibration_error():
  rng = np.random.default_rng(0)
  probs, labels = rng.dirichlet(np.ones(3), 400), rng.integers(0, 3, 400)
  labels[:50] = -1
  rows = predictions.reliability(probs, labels, [f"c{n}" for n in range(400)])
  assert sum(row["examples"] for row in rows) == 350
  found = sum(row["examples"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / 350
  known = labels >= 0
  sure, right = probs[known].max(1), probs[known].argmax(1) == labels[known]
  edges = np.linspace(0, 1, metrics.NUM_BINS + 1)
  expected = sum(
      abs((sure - right)[(sure > low) & (sure <= high)].sum())
      for low, high in zip(edges[:-1], edges[1:], strict=True)) / 350
  assert found == pytest.approx(expected)
  assert all(row["accuracy_stderr"] > 0 for row in rows if row["examples"] > 20)
