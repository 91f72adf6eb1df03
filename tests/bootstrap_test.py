"""The bootstrap against SciPy's, against exact enumeration, and its pairing."""

import itertools

import jax
import numpy as np
import pytest
import scipy.stats

from mezzanine_jax import bootstrap


def _mean(values, weights):
  return (weights @ values) / weights.sum()


def _product(a, b, weights):
  """A figure that is no mean."""
  return _mean(a, weights) * _mean(b, weights)


KEY = jax.random.key(0)


def test_against_scipy_where_every_example_is_a_cluster():
  rng = np.random.default_rng(0)
  a, b = rng.normal(1, 1, 50).astype(np.float32), rng.exponential(1, 50).astype(np.float32)
  found = bootstrap.clustered_bootstrap(_product, [a, b], np.ones(50), np.arange(50), KEY, 4000)
  theirs = scipy.stats.bootstrap(
      (a, b), lambda a, b, axis: a.mean(axis) * b.mean(axis), paired=True, n_resamples=4000,
      method="percentile", rng=1)
  assert bootstrap.stderr(found.resamples, 50) == pytest.approx(theirs.standard_error, rel=0.06)
  low, high = np.quantile(found.resamples, [0.025, 0.975])
  np.testing.assert_allclose(
      [low, high], [theirs.confidence_interval.low, theirs.confidence_interval.high], atol=0.06)
  assert found.value == pytest.approx(a.mean() * b.mean(), rel=1e-5)


def test_clusters_are_drawn_whole_with_multinomial_counts():
  """The mean over three clusters takes each of its ten values as often as it should."""
  values = np.array([0, 0, 1, 5, 5, 5], np.float32)
  clusters = np.array(["a", "a", "b", "c", "c", "c"])
  found = bootstrap.clustered_bootstrap(_mean, [values], np.ones(6), clusters, KEY, 20_000)
  expected = {}
  for drawn in itertools.product("abc", repeat=3):
    mean = np.concatenate([values[clusters == name] for name in drawn]).mean()
    key = round(float(mean), 4)
    expected[key] = expected.get(key, 0) + 1 / 27
  seen, counts = np.unique(found.resamples.round(4), return_counts=True)
  assert len(seen) == len(expected)
  for value, count in zip(seen, counts, strict=True):
    share = expected[round(float(value), 4)]
    assert abs(count / 20_000 - share) < 4 * np.sqrt(share / 20_000)


def test_equal_keys_give_equal_resamples():
  """So that the difference of two models is paired: what they share cancels."""
  values = np.random.default_rng(2).normal(size=30).astype(np.float32)
  names = np.arange(30) // 2
  one, other = (bootstrap.clustered_bootstrap(_mean, [v], np.ones(30), names, KEY, 100).resamples
                for v in (values, values + 1))
  np.testing.assert_allclose(other - one, 1, atol=1e-5)
  assert one.std() > 0.05
  again = bootstrap.clustered_bootstrap(
      _mean, [values], np.ones(30), names, jax.random.key(1), 100).resamples
  assert not np.allclose(again, one)


def test_many_examples_go_in_parts(monkeypatch):
  values = np.random.default_rng(3).normal(size=30).astype(np.float32)
  whole = bootstrap.clustered_bootstrap(_mean, [values], np.ones(30), np.arange(30), KEY, 101)
  monkeypatch.setattr(bootstrap, "_ENTRIES", 256 * 7)
  bootstrap._run.clear_cache()
  parts = bootstrap.clustered_bootstrap(_mean, [values], np.ones(30), np.arange(30), KEY, 101)
  assert len(parts.resamples) == 101
  np.testing.assert_allclose(parts.resamples, whole.resamples, rtol=1e-5)
  bootstrap._run.clear_cache()


def test_a_single_cluster_has_no_error():
  assert np.isnan(bootstrap.stderr(np.ones(10), 1))
  assert np.isnan(bootstrap.stderr(np.array([1.0, np.nan, np.nan, np.nan]), 5))
