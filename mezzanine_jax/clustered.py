"""Means, ratios and differences over a data set, with standard errors clustered by passage.

Host side, float64. Examples of one cluster (two questions about one passage) are not
independent: their residuals are summed before they are squared. NaN values make NaN figures.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mezzanine_jax.errors import InputError

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
    {"all": {"NAME": mean, "NAME_stderr": stderr, …}, "movable": {…}}.

  Example:
    >>> parts = summarise({"pairwise_tv": [0.0, 0.2, 0.4]}, [False, True, True], ["a", "b", "c"])
    >>> round(parts["all"]["pairwise_tv"], 6), round(parts["movable"]["pairwise_tv"], 6)
    (0.2, 0.3)
  """
  parts = {}
  for part, chosen_N in (("all", None), ("movable", movable_N)):
    parts[part] = {}
    for name, values_N in figures.items():
      mean, stderr = mean_and_stderr(*_choose(chosen_N, values_N, clusters_N))
      parts[part] |= {name: mean, f"{name}_stderr": stderr}
  return parts


def _choose(chosen_N: ArrayLike | None, *arrays_N: ArrayLike) -> list[np.ndarray]:
  """The chosen examples of every array."""
  arrays = [np.asarray(a) for a in arrays_N]
  return arrays if chosen_N is None else [a[np.asarray(chosen_N, bool)] for a in arrays]
