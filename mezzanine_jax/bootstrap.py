"""The clustered bootstrap: a figure of many resamples of the passages, as one jitted `vmap`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array

NUM_RESAMPLES = 1024  # a standard error is then itself known to about 2%
_ENTRIES = 2**22  # weights that are held at once


class Resampled(NamedTuple):
  """A statistic of the data and of resamples of it.

  Attributes:
    value: what the statistic returned for the weights as they are.
    resamples: the same with a leading axis, one for each resample.
  """

  value: Any
  resamples: Any


def clustered_bootstrap(
    statistic: Callable[..., Any],
    args: Sequence[Array],
    weights_P: Array,
    clusters_P: Sequence[str] | np.ndarray,
    key: Array,
    num_resamples: int = NUM_RESAMPLES,
) -> Resampled:
  """Draws G of the G clusters with replacement, again and again, and computes the statistic.

  A resample is the same data with the weights w_n · m_g(n), the m multinomial counts. Statistics
  of several models in one call, or in several with equal keys and clusters, see the same
  resamples: their differences are paired.

  Args:
    statistic: `(*args, weights_P) -> pytree`, pure; the same function compiles once a shape.
    args: arrays that stay.
    weights_P: float[P].
    clusters_P: [P] names or numbers of the clusters.
    key: PRNG key; consumed.
    num_resamples: how many.

  Returns:
    `Resampled` of NumPy arrays.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> mean = lambda v, w: (w @ v) / w.sum()
    >>> found = clustered_bootstrap(
    ...     mean, [jnp.arange(4.0)], jnp.ones(4), ["a", "a", "b", "b"], jax.random.key(0))
    >>> float(found.value), sorted(set(found.resamples.tolist()))
    (1.5, [0.5, 1.5, 2.5])

  Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), ch. 6; of clusters,
  A. Davison and D. Hinkley, Bootstrap Methods and their Application (1997), ch. 3.8.
  """
  names, cluster_P = np.unique(np.asarray(clusters_P), return_inverse=True)
  found = _run(statistic, tuple(args), jnp.asarray(weights_P, jnp.float32), cluster_P, key,
               len(names), num_resamples)
  return jax.tree.map(np.asarray, found)


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def _run(statistic, args, weights_P, cluster_P, key, num_clusters, num_resamples) -> Resampled:
  """`vmap` over resamples, so many at a time that memory stays bounded."""

  def one(key):
    drawn_G = jax.random.randint(key, (num_clusters,), 0, num_clusters)
    counts_G = jnp.zeros(num_clusters).at[drawn_G].add(1.0)
    return statistic(*args, weights_P * counts_G[cluster_P])

  at_once = max(1, min(num_resamples, _ENTRIES // max(weights_P.size, 1)))
  resamples = jax.lax.map(one, jax.random.split(key, num_resamples), batch_size=at_once)
  return Resampled(statistic(*args, weights_P), resamples)


def stderr(resamples_R: np.ndarray, num_clusters: int) -> float:
  """Their standard deviation; NaN for a single cluster or where few have the figure at all.

  Resamples without it (an AUROC where one label is left) do not count.

  Example:
    >>> stderr(np.array([1.0, 3.0, np.nan]), 2) == 2**0.5
    True
  """
  known = resamples_R[np.isfinite(resamples_R)].astype(np.float64)
  if num_clusters < 2 or len(known) < max(2, len(resamples_R) / 2):
    return float("nan")
  return float(known.std(ddof=1))
