"""The share of the variance of predictions, or features, that lies between an example's views."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array
from mezzanine_jax.clustered import Clusters, Estimate, ratio_and_stderr

_ROUNDING = 1e-6  # of float32, relative: smaller deviations are none


class Spread(NamedTuple):
  """Mean and variance over the views of one example: or with a leading axis N after vmap.

  Attributes:
    mean: float[D], of the views that were drawn.
    within: Var_η, the squared distance of a random view from the orbit's mean; unbiased.
    noise: the squared distance of `mean` from the orbit's mean that the draws alone make;
      unbiased, 0 for an exact orbit.
  """

  mean: Array
  within: Array
  noise: Array


def spread(values_KxD: Array, log_weights_K: Array, orbit_size: Array | float) -> Spread:
  """Mean and variances of one example's views, summed over the D numbers of a view.

  Exact orbit: Var_η = Σ_k w_k |v_k - v̄|², no noise. Otherwise, with the sample variance
  S² = Σ_k |v_k - v̄|² / (K-1): Var_η = (1 - 1/M) S², and noise = (1/K - 1/M) S².

  Args:
    values_KxD: float[K, D], probabilities or features of the views.
    log_weights_K: float[K], normalised; -inf is padding.
    orbit_size: M; inf for independent draws.

  Returns:
    `Spread`; the variances are NaN for one view of an orbit that has more.

  Example:
    >>> import jax.numpy as jnp
    >>> found = spread(jnp.array([[0.0], [2.0]]), jnp.log(jnp.full(2, 0.5)), jnp.inf)
    >>> [round(float(a), 4) for a in (found.mean[0], found.within, found.noise)]
    [1.0, 2.0, 1.0]

  Source: W. G. Cochran, Sampling Techniques, 3rd ed. (1977), ch. 2.
  """
  real_K = log_weights_K > -jnp.inf
  weights_K, num = jnp.exp(log_weights_K), real_K.sum()
  values_KxD = jnp.where(real_K[:, None], values_KxD.astype(jnp.float32), 0.0)
  mean_D = weights_K @ values_KxD
  squares_K = jnp.where(real_K, ((values_KxD - mean_D) ** 2).sum(-1), 0.0)
  sample = jnp.where(num > 1, squares_K.sum() / jnp.maximum(num - 1, 1), jnp.nan)
  exact = num >= orbit_size
  return Spread(
      mean_D,
      jnp.where(exact, weights_K @ squares_K, (1 - 1 / orbit_size) * sample),
      jnp.where(exact, 0.0, (1 / num - 1 / orbit_size) * sample),
  )


@jax.jit
def row_spreads(values_RxD: Array, row: Array, log_weights: Array, orbit_size: Array) -> Spread:
  """`spread` of N examples whose views are rows of a table; one example after the other.

  Args:
    values_RxD: float[R, D].
    row: int32[N, K]; anything where the view is padding.
    log_weights: float32[N, K], -inf is padding.
    orbit_size: float32[N].

  Returns:
    `Spread` with a leading axis N.
  """
  return jax.lax.map(
      lambda own: spread(values_RxD[own[0]], *own[1:]), (row, log_weights, orbit_size))


def share_between_views(spreads: Spread, clusters_N: Clusters) -> Estimate:
  """Var_η / (Var_η + Var_x): 0 where the view does not matter, 1 where nothing else does.

  Both parts are unbiased (see `variance_parts`), their ratio is consistent; the standard error is
  that of a ratio of sums, clustered.

  Args:
    spreads: of N examples.
    clusters_N: [N] names or numbers of the clusters.

  Returns:
    (share, stderr); NaN for a single cluster, or where nothing varies but by float32's rounding.

  Example:
    >>> exact = Spread(np.array([[0.0], [2.0]]), np.array([1.0, 1.0]), np.zeros(2))
    >>> round(share_between_views(exact, ["a", "b"]).value, 4)  # 1 / (1 + 2)
    0.3333
  """
  within_N, between_N = variance_parts(spreads, clusters_N)
  total_N, largest = within_N + between_N, float(np.abs(spreads.mean).max(initial=0.0))
  if total_N.sum() <= len(total_N) * (_ROUNDING * largest) ** 2:
    return Estimate(np.nan, np.nan)
  return ratio_and_stderr(within_N, total_N, clusters_N)


def variance_parts(spreads: Spread, clusters_N: Clusters) -> tuple[np.ndarray, np.ndarray]:
  """What each example adds to Var_η and to Var_x, without bias: their means are the two parts.

  Var_η is the mean of the examples' variances over their views. Var_x is the variance of the
  examples' means, ½ E|v̄_i - v̄_j|² over pairs of examples of different clusters, less the noise
  of the draws: two examples of one passage are nearer than two of the population.

  Args:
    spreads: of N examples.
    clusters_N: [N] names or numbers of the clusters.

  Returns:
    (within, between), float64[N] each; NaN for `between` where there is a single cluster.
  """
  mean_NxD, within_N, noise_N = (np.asarray(a, np.float64) for a in spreads)
  names, cluster_N, sizes_G = np.unique(
      np.asarray(clusters_N), return_inverse=True, return_counts=True)
  if len(names) < 2:
    return within_N, np.full(len(mean_NxD), np.nan)
  mean_NxD = mean_NxD - mean_NxD.mean(0)
  squares_N = (mean_NxD**2).sum(1) - noise_N
  sums_GxD = np.zeros((len(names), mean_NxD.shape[1]))
  np.add.at(sums_GxD, cluster_N, mean_NxD)
  # With the mean taken off, the pairs' sum is one over examples and one over clusters.
  others_N = len(mean_NxD) - sizes_G[cluster_N]
  between = (others_N @ squares_N + (sums_GxD**2).sum()) / others_N.sum()
  return within_N, squares_N + between - squares_N.mean()
