"""Metrics by hand and against scikit-learn; weights are counts."""

import jax
import numpy as np
import pytest
import scipy.special

from mezzanine_jax import metrics

jitted = jax.jit(metrics.set_figures)


def _random(num, choices, seed=0, sharpness=1.0):
  rng = np.random.default_rng(seed)
  logits = sharpness * rng.normal(size=(num, choices))
  labels = np.where(rng.random(num) < 0.5, logits.argmax(1), rng.integers(0, choices, num))
  return scipy.special.log_softmax(logits, axis=1).astype(np.float32), labels


def _ece(log_probs, labels, num_bins):
  """The definition, a bin at a time."""
  p = np.exp(log_probs.astype(np.float64))
  confidence, right = p.max(1), p.argmax(1) == labels
  total = 0.0
  for b in range(num_bins):
    inside = (confidence > b / num_bins) & (confidence <= (b + 1) / num_bins)
    if inside.any():
      total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
  return total


def _auroc(score, positive):
  """The definition, a pair at a time."""
  wins = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
  return np.mean(wins)


def test_by_hand():
  log_probs = np.log(np.array([[0.9, 0.1], [0.35, 0.65], [0.3, 0.7], [0.65, 0.35]], np.float32))
  labels = np.array([0, 1, 0, 1])
  np.testing.assert_allclose(
      metrics.brier(log_probs, labels), [0.02, 0.245, 0.98, 0.845], rtol=1e-5)
  found = jitted(log_probs, labels, np.ones(4))
  # Bins of 1/15: .65 and .65 (one right) share one, .7 (wrong) and .9 (right) are alone.
  np.testing.assert_allclose(found.ece, (abs(1.3 - 1) + 0.7 + 0.1) / 4, rtol=1e-5)
  # p(1) of the positives .65, .35; of the negatives .1, .7: two of four pairs are right.
  np.testing.assert_allclose(found.auroc, 0.5)
  # The mean belief in 1 is .45: answers 0, 1, 1, 0.
  np.testing.assert_allclose(found.batch_calibrated_accuracy, 0.5)


@pytest.mark.parametrize("choices", [2, 4])
def test_by_definition(choices):
  log_probs, labels = _random(60, choices)
  log_probs = log_probs.round(1)  # ties, and not quite normalised
  log_probs = scipy.special.log_softmax(log_probs, axis=1)
  found = jitted(log_probs, labels, np.ones(60))
  np.testing.assert_allclose(found.ece, _ece(log_probs, labels, 15), rtol=1e-4)
  others = [np.delete(np.exp(log_probs.astype(np.float64)), c, 1).sum(1) for c in range(choices)]
  areas = [_auroc((log_probs[:, c] - np.log(others[c])).round(5), labels == c)
           for c in range(choices)]
  np.testing.assert_allclose(found.auroc, np.mean(areas) if choices > 2 else areas[1], rtol=1e-5)


def test_weights_are_counts():
  log_probs, labels = _random(40, 3)
  counts = np.random.default_rng(1).integers(0, 4, 40)
  weighted = jitted(log_probs, labels, counts.astype(np.float32))
  repeated = jitted(np.repeat(log_probs, counts, 0), np.repeat(labels, counts),
                    np.ones(counts.sum(), np.float32))
  for a, b in zip(weighted, repeated, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_label_that_nobody_has_does_not_count():
  log_probs, labels = _random(40, 3)
  labels = labels.clip(max=1)
  areas = [_auroc(log_probs[:, c], labels == c) for c in (0, 1)]
  found = jitted(log_probs, labels, np.ones(40, np.float32))
  np.testing.assert_allclose(found.auroc, np.mean(areas), rtol=1e-5)
  assert np.isnan(jitted(log_probs, np.zeros(40, int), np.ones(40, np.float32)).auroc)


def test_beliefs_that_are_nearly_sure_are_still_ranked():
  logits = np.array([20.0, 25.0, 30.0, 35.0])
  log_probs = scipy.special.log_softmax(np.stack([0 * logits, logits], 1), 1).astype(np.float32)
  assert len(set(np.exp(log_probs[:, 1]))) == 1
  assert jitted(log_probs, np.array([0, 0, 1, 1]), np.ones(4)).auroc == 1


@pytest.mark.parametrize(("choices", "sharpness"), [(2, 3.0), (4, 0.3)])
def test_against_scikit_learn(choices, sharpness):
  from sklearn import calibration
  from sklearn import metrics as theirs

  log_probs, labels = _random(300, choices, sharpness=sharpness)
  probs = np.exp(log_probs.astype(np.float64))
  probs /= probs.sum(1, keepdims=True)
  found = jitted(log_probs, labels, np.ones(300))
  multi = theirs.brier_score_loss(labels, probs, labels=range(choices), scale_by_half=False)
  assert metrics.brier(log_probs, labels).mean() == pytest.approx(multi, rel=1e-5)
  area = (theirs.roc_auc_score(labels, probs[:, 1]) if choices == 2
          else theirs.roc_auc_score(labels, probs, multi_class="ovr", average="macro"))
  assert float(found.auroc) == pytest.approx(area, rel=1e-5)
  confidence, right = probs.max(1), probs.argmax(1) == labels
  shares, means = calibration.calibration_curve(right, confidence, n_bins=15)
  edges = np.linspace(0, 1, 16)
  counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=15)
  expected = (counts[counts > 0] * abs(shares - means)).sum() / 300
  assert float(found.ece) == pytest.approx(expected, rel=1e-4)
