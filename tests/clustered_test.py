"""Clustered standard errors: hand-computed values, SciPy, a brute-force bootstrap."""

import math

import numpy as np
import pytest
import scipy.stats

from mezzanine_jax import clustered
from mezzanine_jax.errors import InputError


def clustered_data(num_clusters=60, seed=0):
  rng = np.random.default_rng(seed)
  sizes = rng.integers(1, 6, num_clusters)
  names = np.repeat([f"passage {g}" for g in range(num_clusters)], sizes)
  shared = np.repeat(rng.normal(size=num_clusters), sizes)
  a = 1.0 + shared + 0.5 * rng.normal(size=len(names))
  b = 3.0 + 0.5 * shared + 0.3 * rng.normal(size=len(names))
  order = rng.permutation(len(names))
  return a[order], b[order], names[order]


def bootstrap_stderr(statistic, clusters, num_samples=2000, seed=1):
  """Standard deviation of a statistic of indices when whole clusters are drawn again."""
  rng = np.random.default_rng(seed)
  members = [np.flatnonzero(clusters == name) for name in np.unique(clusters)]
  draws = rng.integers(0, len(members), (num_samples, len(members)))
  return np.std([statistic(np.concatenate([members[g] for g in draw])) for draw in draws])


def test_hand_computed_value():
  # Mean 3; cluster sums of residuals: -2 - 1 = -3, 0 + 3 = 3; 2/1 * 18 / 16.
  mean, stderr = clustered.mean_and_stderr([1, 2, 3, 6], [7, 7, 9, 9])
  assert mean == 3
  assert stderr == pytest.approx(1.5, abs=1e-12)
  # Ratio 5/4; residuals 1 - 1.25 = -0.25 and 4 - 3.75 = 0.25; 2 * 0.125 / 16.
  ratio, stderr = clustered.ratio_and_stderr([1, 4], [1, 3], ["a", "b"])
  assert ratio == 1.25
  assert stderr == pytest.approx(0.125, abs=1e-12)


def test_one_example_a_cluster_is_the_ordinary_standard_error():
  values = np.random.default_rng(0).normal(size=17)
  mean, stderr = clustered.mean_and_stderr(values, np.arange(17))
  assert mean == pytest.approx(values.mean())
  assert stderr == pytest.approx(scipy.stats.sem(values))


def test_pairs_of_copies_count_once():
  values = np.random.default_rng(0).normal(size=17)
  _, stderr = clustered.mean_and_stderr(np.repeat(values, 2), np.repeat(np.arange(17), 2))
  assert stderr == pytest.approx(scipy.stats.sem(values))


def test_close_to_a_clustered_bootstrap():
  a, b, clusters = clustered_data()
  figures = [
      (clustered.mean_and_stderr(a, clusters), lambda n: a[n].mean()),
      (clustered.paired_difference(a, b, clusters), lambda n: (a[n] - b[n]).mean()),
      (clustered.ratio_and_stderr(a, b, clusters), lambda n: a[n].sum() / b[n].sum()),
      (clustered.fidelity(a, b, clusters), lambda n: math.sqrt(a[n].sum() / b[n].sum())),
  ]
  for (value, stderr), statistic in figures:
    assert value == pytest.approx(statistic(np.arange(len(a))))
    assert stderr == pytest.approx(bootstrap_stderr(statistic, clusters), rel=0.1)
  independent = scipy.stats.sem(a)
  assert figures[0][0].stderr > 1.3 * independent


def test_intervals_cover():
  inside = 0
  for seed in range(300):
    a, b, clusters = clustered_data(40, seed)
    mean, stderr = clustered.paired_difference(a, b, clusters)
    inside += abs(mean + 2.0) < 1.96 * stderr
  assert 0.90 < inside / 300 < 0.98


def test_what_cannot_be_told_is_nan():
  mean, stderr = clustered.mean_and_stderr([1.0, 3.0], ["a", "a"])
  assert mean == 2 and math.isnan(stderr)
  assert all(map(math.isnan, clustered.mean_and_stderr([], [])))
  assert all(map(math.isnan, clustered.fidelity([1.0, 1.0], [0.5, -0.5], ["a", "b"])))
  assert all(map(math.isnan, clustered.fidelity([1.0, math.nan], [1.0, 1.0], ["a", "b"])))
  value, stderr = clustered.fidelity([-1.0, 0.5], [1.0, 1.0], ["a", "b"])
  assert value == 0 and math.isnan(stderr)
  with pytest.raises(InputError, match="one entry an example, got lengths 2, 2 and 3"):
    clustered.mean_and_stderr([1.0, 2.0], ["a", "b", "c"])


def test_chosen_examples_only():
  a, b, clusters = clustered_data()
  chosen = np.arange(len(a)) % 3 == 0
  assert clustered.fidelity(a, b, clusters, chosen) == clustered.fidelity(
      a[chosen], b[chosen], clusters[chosen]
  )
  noise = np.full(len(a), 0.3)
  ratio = clustered.tv_ratio(a, b, noise, list(clusters), chosen)
  expected = clustered.ratio_and_stderr(a[chosen], b[chosen], clusters[chosen])
  assert ratio[:2] == expected
  assert ratio.noise_floor == pytest.approx(0.3 / b[chosen].mean())


def test_summarise_counts_the_immovable_in_all_only():
  gaps = {"pairwise_tv": np.array([0.0, 0.2, 0.4, 0.6]), "flip_rate": np.array([0, 1.0, 0, 0])}
  parts = clustered.summarise(gaps, [False, True, True, True], ["a", "b", "c", "c"])
  assert list(parts) == ["all", "movable"]
  assert parts["all"]["pairwise_tv"] == pytest.approx(0.3)
  assert parts["movable"]["pairwise_tv"] == pytest.approx(0.4)
  assert parts["all"]["flip_rate"] == pytest.approx(0.25)
  # Movable: clusters b and c leave residuals -0.2 and 0.2: 2/1 * 0.08 / 9.
  assert parts["movable"]["pairwise_tv_stderr"] == pytest.approx(0.4 / 3)
  none = clustered.summarise(gaps, np.zeros(4, bool), ["a", "b", "c", "c"])["movable"]
  assert all(np.isnan(v).all() for v in none.values())


@pytest.mark.parametrize("num", [5, 40, 1000])
def test_the_interval_of_a_rate_is_wilsons(num):
  """Independent examples: SciPy's, for the n whose standard error is the one given."""
  for right in range(num + 1):
    values = np.arange(num) < right
    found = clustered.mean_and_stderr(values, range(num))
    ends = clustered.rate_interval(found, num)
    # n - 1 in the variance: 0 < right < n has so many effective examples less.
    effective = num - 1 if 0 < right < num else num
    rate, z = right / num, clustered.Z95
    low, high = (((rate + z**2 / (2 * effective)) + sign * z * np.sqrt(
        rate * (1 - rate) / effective + z**2 / (4 * effective**2))) / (1 + z**2 / effective)
        for sign in (-1, 1))
    np.testing.assert_allclose(ends, [low, high], atol=1e-9)
    assert 0 <= ends[0] <= rate <= ends[1] <= 1
  whole = scipy.stats.binomtest(num, num).proportion_ci(0.95, "wilson")
  np.testing.assert_allclose(ends, [whole.low, whole.high], atol=1e-4)


def test_the_interval_of_a_rate_covers_what_is_true():
  """Clusters of 5 equal answers, a rate of 2%: the normal interval fails as often as not."""
  rng, covered, normal = np.random.default_rng(0), 0, 0
  for _ in range(400):
    values = np.repeat(rng.random(60) < 0.02, 5)
    found = clustered.mean_and_stderr(values, np.arange(300) // 5)
    low, high = clustered.rate_interval(found, 60)
    covered += low <= 0.02 <= high
    normal += abs(found.value - 0.02) <= clustered.Z95 * found.stderr
  assert covered / 400 > 0.92 and normal / 400 < 0.8


def test_the_interval_of_many_examples_is_the_normal_one():
  low, high = clustered.rate_interval(clustered.Estimate(0.4, 0.002), 60000)
  np.testing.assert_allclose([low, high], [0.4 - 1.96 * 0.002, 0.4 + 1.96 * 0.002], atol=1e-5)


def test_what_is_not_known_of_a_rate():
  assert np.isnan(clustered.rate_interval(clustered.Estimate(0.5, math.nan), 1)).all()
  assert clustered.rate_interval(clustered.Estimate(1.0, 0.0)) == [1.0, 1.0]
  assert clustered.rate_interval(clustered.Estimate(1.0, 0.1), 9) == [pytest.approx(0.804), 1.0]


def test_rates_alone_have_intervals_in_a_block():
  found = clustered.block({"any_flip": [0, 0, 0], "pairwise_tv": [0.1, 0.2, 0.3]}, list("aab"))
  assert found["any_flip_interval"] == [0, pytest.approx(1.96**2 / (2 + 1.96**2))]
  assert "pairwise_tv_interval" not in found and found["pairwise_tv_stderr"] > 0
