"""Blocks of quality: by hand, on one view and over views, errors, differences, unknown labels."""

import itertools
import math

import numpy as np
import pytest

from mezzanine_jax import clustered, quality


def _log(yes):
  yes = np.asarray(yes, np.float64)
  with np.errstate(divide="ignore"):
    return np.log(np.stack([1 - yes, yes], -1)).astype(np.float32)


def _many(num=60, views=3, seed=0):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 2, num)
  yes = 1 / (1 + np.exp(-rng.normal(labels[:, None] * 1.5 - 0.75, 1, (num, views))))
  weights = np.full((num, views), -np.log(views), np.float32)
  return yes, weights, labels, [f"c{n // 2}" for n in range(num)]


def test_means_by_hand():
  views = np.array([[0.2, 0.6, np.nan], [1.0, 1.0, 1.0], [0.3, 0.5, 0.7]])
  weights = np.log(np.array([[0.5, 0.5, 1], [1 / 3] * 3, [0.25, 0.25, 0.5]])).astype(np.float32)
  weights[0, 2] = -np.inf
  found = quality.measure({"m": _log(views)}, weights, np.array([1, 1, -1]), list("abc"), 0)["m"]
  means = found.means
  np.testing.assert_allclose(means["accuracy"], [0.5, 1, np.nan])
  np.testing.assert_allclose(means["nll"], [-math.log(0.2 * 0.6) / 2, 0, np.nan], atol=1e-6)
  np.testing.assert_allclose(means["brier"], [(2 * 0.8**2 + 2 * 0.4**2) / 2, 0, np.nan], atol=1e-6)
  entropy = lambda p: -p * math.log(p) - (1 - p) * math.log(1 - p)
  np.testing.assert_allclose(
      means["entropy"],
      [(entropy(0.2) + entropy(0.6)) / 2, 0, 0.75 * entropy(0.3) + 0.25 * entropy(0.5)], atol=1e-6)
  # Five views have a label; p(yes) .2, .6 of weight ½ and three times 1: .8 - 0, .6 - 1, 0.
  assert found.sets["ece"] == pytest.approx((0.5 * 0.8 + 0.5 * 0.4) / 2, rel=1e-5)


def test_every_figure_has_an_error_like_the_clustered_one():
  """The bootstrap of a mean is the clustered standard error: so the batch-calibrated accuracy of
  beliefs whose mean is always a half is a mean."""
  yes, weights, labels, clusters = _many()
  found = quality.measure({"m": _log(yes)}, weights, labels, clusters, 0)["m"]
  block = quality.block(found)
  assert len(block) == 14 + 2 and all(np.isfinite(v).all() for v in block.values())
  for name in quality.MEANS:
    mean, error = clustered.mean_and_stderr(found.means[name], clusters)
    assert (block[name], block[f"{name}_stderr"]) == (mean, error)
  mirrored = np.concatenate([yes[:, :1], 1 - yes[:, :1]], 1)
  halves = quality.measure({"m": _log(mirrored)}, weights[:, :2] * 0 - np.log(2), labels,
                           clusters, 0)["m"]
  assert halves.sets["batch_calibrated_accuracy"] == pytest.approx(0.5)
  assert quality.block(halves)["batch_calibrated_accuracy_stderr"] < 1e-6


def test_one_view_of_weight_one_is_the_canonical_one():
  yes, _, labels, clusters = _many(views=1)
  one = quality.measure({"m": _log(yes)}, np.zeros((60, 1), np.float32), labels, clusters, 0)["m"]
  assert quality.block(one)["accuracy"] == pytest.approx(((yes[:, 0] > 0.5) == labels).mean())
  # A view more that is the same changes nothing but who is counted how often.
  twice = quality.measure(
      {"m": _log(np.repeat(yes, 2, 1))}, np.full((60, 2), -np.log(2)), labels, clusters, 0)["m"]
  for name, value in quality.block(one).items():
    assert quality.block(twice)[name] == pytest.approx(value, rel=1e-4), name


def test_differences_are_paired():
  yes, weights, labels, clusters = _many()
  nearly = np.clip(yes + np.random.default_rng(5).normal(0, 0.02, yes.shape), 0.01, 0.99)
  found = quality.measure({"a": _log(nearly), "b": _log(yes)}, weights, labels, clusters, 3)
  apart = quality.differences(found["a"], found["b"])
  a, b = quality.block(found["a"]), quality.block(found["b"])
  for name in ("accuracy", "nll", "brier", "entropy", "ece", "auroc", "batch_calibrated_accuracy"):
    assert apart[name] == pytest.approx(a[name] - b[name], abs=1e-7)
    unpaired = math.hypot(a[f"{name}_stderr"], b[f"{name}_stderr"])
    assert 0 < apart[f"{name}_stderr"] < (0.5 if name != "ece" else 1) * unpaired, name
    low, high = apart[f"{name}_interval"]
    assert low < apart[name] < high
  same = quality.differences(found["a"], found["a"])
  assert all(same[name] == 0 for name in found["a"].sets)
  assert same["auroc_interval"] == pytest.approx([-0.1, 0.1])  # rule of three, 30 clusters


@pytest.mark.slow
def test_the_bootstrap_error_covers():
  """The AUROC of 100 data sets scatters as far as the standard errors say."""
  values, errors = [], []
  for seed in range(100):
    yes, weights, labels, clusters = _many(views=1, seed=seed)
    block = quality.block(
        quality.measure({"m": _log(yes)}, weights, labels, clusters, seed)["m"])
    values.append(block["auroc"])
    errors.append(block["auroc_stderr"])
  assert np.std(values) == pytest.approx(np.mean(errors), rel=0.25)


def test_what_is_not_known_is_nan():
  yes, weights, labels, clusters = _many()
  block = quality.block(
      quality.measure({"m": _log(yes)}, weights, np.full(60, -1), clusters, 0)["m"])
  known = {name for name, v in block.items() if np.isfinite(v).all()}
  assert known == {"entropy", "entropy_stderr"}
  one_label = quality.block(
      quality.measure({"m": _log(yes)}, weights, np.ones(60, int), clusters, 0)["m"])
  assert np.isnan(one_label["auroc"]) and np.isnan(one_label["auroc_stderr"])
  assert np.isfinite(one_label["ece_stderr"])
  one_passage = quality.block(
      quality.measure({"m": _log(yes)}, weights, labels, ["a"] * 60, 0)["m"])
  assert np.isfinite(one_passage["auroc"]) and np.isnan(one_passage["auroc_stderr"])


def test_pride_takes_the_labels_prior_out():
  """Beliefs that are right, under labels of which the first is always believed."""
  rng = np.random.default_rng(5)
  labels = rng.integers(0, 3, 50)
  belief = np.full((50, 3), 0.2) + 0.4 * np.eye(3)[labels]
  prior = np.array([0.8, 0.15, 0.05])
  orders = np.array(list(itertools.permutations(range(3))))  # the first is the canonical one
  by_label = prior * belief[:, orders]
  by_label = np.log(by_label / by_label.sum(-1, keepdims=True)).astype(np.float32)
  canonical, clusters = by_label[:, 0], [f"c{n}" for n in range(50)]
  assert (canonical.argmax(1) == 0).all()  # a wrong answer to two questions in three
  weights = np.full((50, 6), -np.log(6), np.float32)
  unknown = np.where(np.arange(50) < 5, -1, labels)
  found = quality.pride_block(by_label, weights, canonical, unknown, clusters, 0)
  assert found["pride_accuracy"] == 1 and found["pride_accuracy_stderr"] == 0
  assert found["pride_accuracy_interval"] == [pytest.approx(45 / (45 + 1.96**2)), 1]
  np.testing.assert_allclose(found["label_prior"], prior, rtol=1e-4)
  assert quality.pride_block(by_label, weights, canonical, np.full(50, -1), clusters, 0) == {}
