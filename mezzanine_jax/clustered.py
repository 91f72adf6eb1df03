"""Means, ratios and differences over a data set, with standard errors clustered by passage.

Host side, float64. Examples of one cluster (two questions about one passage) are not
independent: their residuals are summed before they are squared. NaN values make NaN figures.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mezzanine_jax.errors import InputError

# Half the width of a 95% interval, in standard errors.
Z95 = 1.96
# Figures that are shares of something counted; those in a block have an interval of their own.
RATES = ("accuracy", "batch_calibrated_accuracy", "pride_accuracy", "flip_rate", "any_flip")
Clusters = Sequence[str] | Sequence[int] | np.ndarray


class Estimate(NamedTuple):
  """A figure and its standard error (NaN where it cannot be told: a single cluster)."""

  value: float
  stderr: float


class TvRatio(NamedTuple):
  """The plain ratio of distances to the teacher, its standard error and its noise floor."""

  value: float
  stderr: float
  noise_floor: float


def mean_and_stderr(values_N: ArrayLike, clusters_N: Clusters) -> Estimate:
  """Mean with clustered standard error: se² = G/(G-1) Σ_g (Σ_{n in g} (v_n - v̄))² / N².

  With one example a cluster it is the ordinary standard error of the mean.

  Args:
    values_N: float[N].
    clusters_N: [N] names or numbers of the clusters, G of them.

  Returns:
    (mean, stderr); the standard error is NaN for a single cluster, both for no values.

  Example:
    >>> mean, stderr = mean_and_stderr([1.0, 2.0, 3.0, 6.0], ["a", "a", "b", "b"])
    >>> mean, round(stderr, 4)
    (3.0, 1.5)
  """
  values_N = np.asarray(values_N, np.float64)
  return ratio_and_stderr(values_N, np.ones_like(values_N), clusters_N)


def rate_interval(found: Estimate, num_clusters: int | None = None) -> list[float]:
  """95% interval of a rate, inside [0, 1]: Wilson's for the effective number of examples.

  n = p (1 - p) / se² independent examples would have the rate's clustered standard error, and

    (p + z²/2n ± z √(se² + z²/4n²)) / (1 + z²/n),  z = 1.96.

  For large n it is p ± z se. Where all clusters are alike (se = 0; no flips at all) each counts
  as one example: 0 of G gives [0, z² / (G + z²)].

  Args:
    found: the rate and its clustered standard error.
    num_clusters: G; None: not known, and a rate without error is its own interval.

  Returns:
    [low, high]; NaN where the standard error is.

  Example:
    >>> [round(end, 3) for end in rate_interval(Estimate(0.99, 0.01))]
    [0.945, 0.998]
    >>> [round(end, 3) for end in rate_interval(Estimate(0.0, 0.0), 100)]
    [0.0, 0.037]

  Source: E. B. Wilson, JASA 22 (1927); with the effective number, C. Franco et al., Comparative
  Study of Confidence Intervals for Proportions in Complex Sample Surveys, J. Survey Statistics
  and Methodology 7 (2019).
  """
  rate, stderr = found
  if math.isnan(stderr):
    return [math.nan, math.nan]
  if stderr > 0:
    one_over_n = stderr**2 / (rate * (1 - rate)) if 0 < rate < 1 else math.inf
  else:
    one_over_n = 1 / num_clusters if num_clusters else 0.0
  if math.isinf(one_over_n):  # no mean of numbers between 0 and 1
    return [min(max(end, 0.0), 1.0) for end in (rate - Z95 * stderr, rate + Z95 * stderr)]
  wide = Z95**2 * one_over_n
  half = Z95 * math.sqrt(rate * (1 - rate) * one_over_n + wide * one_over_n / 4)
  ends = ((rate + wide / 2 - half) / (1 + wide), (rate + wide / 2 + half) / (1 + wide))
  return [min(max(end, 0.0), 1.0) for end in ends]  # off by rounding at most


def block(values: Mapping[str, ArrayLike], clusters_N: Clusters) -> dict[str, Any]:
  """Means with clustered standard errors, for the results: {NAME, NAME_stderr}.

  Args:
    values: name -> float[N]; a name of `RATES` has its `rate_interval` beside it, NAME_interval.
    clusters_N: [N] names or numbers of the clusters.

  Example:
    >>> found = block({"accuracy": [1.0, 1.0], "nll": [0.5, 1.5]}, ["a", "b"])
    >>> list(found)
    ['accuracy', 'accuracy_stderr', 'accuracy_interval', 'nll', 'nll_stderr']
  """
  number, out = len(np.unique(np.asarray(clusters_N))), {}
  for name, values_N in values.items():
    out |= figure(name, mean_and_stderr(values_N, clusters_N), number)
  return out


def figure(name: str, found: Estimate, num_clusters: int) -> dict[str, Any]:
  """An estimate for the results, see `block`."""
  out = {name: found.value, f"{name}_stderr": found.stderr}
  return out | {f"{name}_interval": rate_interval(found, num_clusters)} if name in RATES else out


def paired_difference(a_N: ArrayLike, b_N: ArrayLike, clusters_N: Clusters) -> Estimate:
  """Mean of a - b with its clustered standard error: what the examples share cancels.

  Args:
    a_N: float[N], one figure an example.
    b_N: float[N], another one for the same examples in the same order.
    clusters_N: [N] names or numbers of the clusters.

  Returns:
    (mean difference, stderr).

  Example:
    >>> paired_difference([3.0, 5.0], [1.0, 3.0], ["a", "b"])
    Estimate(value=2.0, stderr=0.0)
  """
  return mean_and_stderr(np.asarray(a_N, np.float64) - np.asarray(b_N, np.float64), clusters_N)


def ratio_and_stderr(
    numerator_N: ArrayLike, denominator_N: ArrayLike, clusters_N: Clusters
) -> Estimate:
  """Ratio of sums R = Σ a / Σ b, its standard error by linearisation.

  se² = G/(G-1) Σ_g (Σ_{n in g} (a_n - R b_n))² / (Σ b)².

  Args:
    numerator_N: float[N].
    denominator_N: float[N].
    clusters_N: [N] names or numbers of the clusters, G of them.

  Returns:
    (ratio, stderr); both NaN when Σ b is not positive, the standard error for a single cluster.

  Raises:
    InputError: if the three do not have one entry an example.

  Source: W. G. Cochran, Sampling Techniques, 3rd ed. (1977), ch. 6 and 9A.
  """
  a_N, b_N = np.asarray(numerator_N, np.float64), np.asarray(denominator_N, np.float64)
  if not len(a_N) == len(b_N) == len(clusters_N):
    raise InputError(
        "values and clusters must have one entry an example, got lengths "
        f"{len(a_N)}, {len(b_N)} and {len(clusters_N)}"
    )
  total = b_N.sum()
  if not total > 0:
    return Estimate(math.nan, math.nan)
  ratio = a_N.sum() / total
  names, cluster_N = np.unique(np.asarray(clusters_N), return_inverse=True)
  if len(names) < 2:
    return Estimate(float(ratio), math.nan)
  with np.errstate(invalid="ignore"):  # an infinite value has an infinite mean, and no error
    residual_G = np.bincount(cluster_N, a_N - ratio * b_N, len(names))
  variance = len(names) / (len(names) - 1) * (residual_G**2).sum() / total**2
  return Estimate(float(ratio), math.sqrt(variance))


def fidelity(
    student_d2_N: ArrayLike,
    lm_d2_N: ArrayLike,
    clusters_N: Clusters,
    chosen_N: ArrayLike | None = None,
) -> Estimate:
  """Distance of the student to the teacher, in units of the LM's single view: √(Σ s / Σ l).

  0 is the teacher itself, 1 as far as one pass of the LM on the canonical view. Free of the
  teacher's own sampling noise, as both squared distances are. The standard error is the
  ratio's, by the delta method: se(√R) = se(R) / (2 √R).

  Args:
    student_d2_N: float[N], `gap.squared_distance_to_teacher` of the student.
    lm_d2_N: float[N], the same of the LM's canonical view.
    clusters_N: [N] names or numbers of the clusters.
    chosen_N: bool[N], the examples to take; all by default.

  Returns:
    (fidelity, stderr): (NaN, NaN) when Σ l is not positive; (0, NaN) when Σ s is not.

  Example:
    >>> fidelity([1.0, 1.0], [4.0, 4.0], ["a", "b"])
    Estimate(value=0.5, stderr=0.0)
  """
  ratio, stderr = ratio_and_stderr(*_choose(chosen_N, student_d2_N, lm_d2_N, clusters_N))
  if ratio <= 0:
    return Estimate(0.0, math.nan)
  return Estimate(math.sqrt(ratio), stderr / (2 * math.sqrt(ratio)))


def tv_ratio(
    student_tv_N: ArrayLike,
    lm_tv_N: ArrayLike,
    noise_N: ArrayLike,
    clusters_N: Clusters,
    chosen_N: ArrayLike | None = None,
) -> TvRatio:
  """The plain ratio Σ TV(student, T) / Σ TV(lm, T) and what a perfect student would score.

  The noise floor is Σ noise / Σ TV(lm, T): T is itself a mean of draws, so that even p_T is
  some way off. Exact orbits have a floor of 0.

  Args:
    student_tv_N: float[N], `gap.distance_to_teacher` of the student on the canonical view.
    lm_tv_N: float[N], the same of the LM.
    noise_N: float[N], `gap.teacher_noise`.
    clusters_N: [N] names or numbers of the clusters.
    chosen_N: bool[N], the examples to take; all by default.

  Returns:
    (ratio, stderr, noise_floor); NaN when the LM is nowhere off the teacher.

  Example:
    >>> tv_ratio([0.1, 0.1], [0.2, 0.2], [0.05, 0.05], ["a", "b"])
    TvRatio(value=0.5, stderr=0.0, noise_floor=0.25)
  """
  student_N, lm_N, noise_N, clusters_N = _choose(
      chosen_N, student_tv_N, lm_tv_N, noise_N, clusters_N
  )
  floor = ratio_and_stderr(noise_N, lm_N, clusters_N).value
  return TvRatio(*ratio_and_stderr(student_N, lm_N, clusters_N), floor)


def summarise(
    figures: Mapping[str, ArrayLike], movable_N: ArrayLike, clusters_N: Clusters
) -> dict[str, dict[str, float]]:
  """Means over `all` examples and over the `movable` ones, each with its standard error.

  Args:
    figures: name -> float[N], such as `WarrantGap._asdict()` after vmap. Gap figures of items
      that cannot move are 0 (`gap.estimate` sees to that) and count so in `all`.
    movable_N: bool[N], orbit_size > 1.
    clusters_N: [N] names or numbers of the clusters.

  Returns:
    {"all": {"NAME": mean, "NAME_stderr": stderr, …}, "movable": {…}}; see `block`.

  Example:
    >>> parts = summarise({"pairwise_tv": [0.0, 0.2, 0.4]}, [False, True, True], ["a", "b", "c"])
    >>> round(parts["all"]["pairwise_tv"], 6), round(parts["movable"]["pairwise_tv"], 6)
    (0.2, 0.3)
  """
  parts = {}
  for part, chosen_N in (("all", None), ("movable", movable_N)):
    (names,) = _choose(chosen_N, clusters_N)
    parts[part] = block({n: _choose(chosen_N, v)[0] for n, v in figures.items()}, names)
  return parts


def _choose(chosen_N: ArrayLike | None, *arrays_N: ArrayLike) -> list[np.ndarray]:
  """The chosen examples of every array."""
  arrays = [np.asarray(a) for a in arrays_N]
  return arrays if chosen_N is None else [a[np.asarray(chosen_N, bool)] for a in arrays]
