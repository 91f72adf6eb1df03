"""Shares of variance: by hand, on average over draws, and what passages do to them."""

import itertools

import jax
import numpy as np
import pytest

from mezzanine_jax import comparison, variances
from mezzanine_jax.variances import Spread


def _random_orbits(num, members, width, seed=0):
  """float32[N, M, D]: examples that differ by more than their views do."""
  rng = np.random.default_rng(seed)
  means = rng.normal(size=(num, 1, width))
  return (means + 0.7 * rng.normal(size=(num, members, width))).astype(np.float32)


@jax.jit
def _spreads(values_NxKxD, log_weights, orbit_size):
  return jax.vmap(variances.spread, (0, None, None))(values_NxKxD, log_weights, orbit_size)


def test_spread_by_hand():
  values = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [np.nan, np.nan]], np.float32)
  weights = np.log(np.array([1 / 3, 1 / 3, 1 / 3, 1e-30])).astype(np.float32)
  weights[3] = -np.inf
  for size, within, noise in ((3.0, 8 / 3, 0), (6.0, 4 * 5 / 6, 4 * (1 / 3 - 1 / 6)),
                              (np.inf, 4, 4 / 3)):
    found = jax.jit(variances.spread)(values, weights, size)
    np.testing.assert_allclose(found.mean, [2, 1], rtol=1e-6)
    np.testing.assert_allclose([found.within, found.noise], [within, noise], atol=1e-6)
  one = jax.jit(variances.spread)(values[:1], np.zeros(1, np.float32), 6.0)
  assert np.isnan(one.within) and np.isnan(one.noise)
  still = jax.jit(variances.spread)(values[:1], np.zeros(1, np.float32), 1.0)
  assert still.within == still.noise == 0


@pytest.mark.parametrize("repeats", [False, True])
def test_both_parts_are_unbiased(repeats):
  """Over all draws of two members of orbits of three: their means are the exact parts."""
  values = _random_orbits(4, 3, 2)
  clusters = ["a", "a", "b", "c"]
  whole = np.full(3, -np.log(3), np.float32)
  exact = [a.mean() for a in variances.variance_parts(_spreads(values, whole, 3.0), clusters)]
  pairs = list(itertools.product(range(3), range(3)) if repeats
               else itertools.combinations(range(3), 2))
  size, half = np.inf if repeats else 3.0, np.full(2, -np.log(2), np.float32)
  drawn = [_spreads(values[:, list(pair)], half, size) for pair in pairs]
  drawn = [jax.tree.map(np.asarray, own) for own in drawn]
  found = []
  for picks in itertools.product(range(len(pairs)), repeat=4):  # each example draws for itself
    spread = Spread(*(np.stack([drawn[p][i][n] for n, p in enumerate(picks)]) for i in range(3)))
    found.append([a.mean() for a in variances.variance_parts(spread, clusters)])
  np.testing.assert_allclose(np.mean(found, 0), exact, rtol=1e-5)


def test_between_is_half_the_squared_distance_of_pairs_of_passages():
  mean = np.random.default_rng(1).normal(size=(7, 3))
  clusters = np.array(list("aabcccd"))
  _, between = variances.variance_parts(Spread(mean, np.zeros(7), np.zeros(7)), clusters)
  pairs = [((mean[i] - mean[j]) ** 2).sum() / 2 for i in range(7) for j in range(7)
           if clusters[i] != clusters[j]]
  assert between.mean() == pytest.approx(np.mean(pairs))
  # With one example a passage it is the sample variance.
  _, between = variances.variance_parts(Spread(mean, np.zeros(7), np.zeros(7)), np.arange(7))
  assert between.mean() == pytest.approx(mean.var(0, ddof=1).sum())


def test_the_share_and_its_error():
  """The share of 400 data sets scatters around the population's as its standard error says."""
  num, members = 60, 4
  shares = []
  for seed in range(400):
    values = _random_orbits(num, members, 2, seed)
    whole = np.full(members, -np.log(members), np.float32)
    shares.append(variances.share_between_views(
        _spreads(values, whole, np.float32(members)), np.arange(num)))
  within = 0.49 * (1 - 1 / members)
  value, error = np.array(shares).T
  assert value.mean() == pytest.approx(within / (within + 1 + 0.49 / members), rel=0.02)
  assert value.std() == pytest.approx(error.mean(), rel=0.15)


def test_where_nothing_varies_there_is_no_share():
  still = Spread(np.ones((3, 2)), np.zeros(3), np.zeros(3))
  assert np.isnan(variances.share_between_views(still, ["a", "b", "c"]).value)
  assert np.isnan(variances.share_between_views(still, ["a"] * 3).value)
  # Neither is there one of what float32 leaves of a constant.
  rounded = Spread(np.full((3, 2), 0.5), np.full(3, 1e-15), np.zeros(3))
  assert np.isnan(variances.share_between_views(rounded, ["a", "b", "c"]).value)


def test_representation_gap_reads_rows():
  values = _random_orbits(5, 2, 3)
  rows = values.reshape(10, 3)
  row = np.arange(10).reshape(5, 2)
  padded = np.concatenate([row, np.full((5, 1), -1)], 1)
  weights = np.tile(np.array([-np.log(2), -np.log(2), -np.inf], np.float32), (5, 1))
  names = list("abcde")
  found = comparison.representation_block(rows, padded, weights, np.full(5, 2, np.float32), names)
  mean = values.mean(1)
  within, between = values.var(1).sum(-1).mean(), mean.var(0, ddof=1).sum()
  assert found["representation_gap"] == pytest.approx(within / (within + between), rel=1e-5)
  assert 0 < found["representation_gap_stderr"] < 1
