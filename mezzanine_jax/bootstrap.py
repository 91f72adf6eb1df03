"""The clustered bootstrap: a figure of many resamples of the passages, as one jitted `vmap`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array

NUM_RESAMPLES = 1000  # a standard error is then itself known to about 2%
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
    args: Sequence[np.ndarray],
    weights_P: np.ndarray,
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
    args: arrays with a leading axis P, which stay.
    weights_P: float[P].
    clusters_P: [P] names or numbers of the clusters.
    key: PRNG key; consumed.
    num_resamples: how many.

  Returns:
    `Resampled` of NumPy arrays.

  Example:
    >>> mean = lambda v, w: (w @ v) / w.sum()
    >>> found = clustered_bootstrap(
    ...     mean, [np.arange(4.0)], np.ones(4), ["a", "a", "b", "b"], jax.random.key(0))
    >>> float(found.value), sorted(set(found.resamples.tolist()))
    (1.5, [0.5, 1.5, 2.5])

  Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), ch. 6; of clusters,
  A. Davison and D. Hinkley, Bootstrap Methods and their Application (1997), ch. 3.8.
  """
  names, cluster_P = np.unique(np.asarray(clusters_P), return_inverse=True)
  weights_P = np.asarray(weights_P, np.float32)
  size, room = _round_up(len(weights_P)), _round_up(len(names))
  behind = size - len(weights_P)
  args = [np.pad(a, [(0, behind)] + [(0, 0)] * (np.ndim(a) - 1), mode="edge") for a in args]
  rows = _run(
      statistic, num_resamples, room, args, np.pad(weights_P, (0, behind)),
      np.pad(cluster_P, (0, behind)), len(names), key)
  rows = jax.tree.map(np.asarray, rows)
  return Resampled(jax.tree.map(lambda a: a[0], rows),
                   jax.tree.map(lambda a: a[1 : num_resamples + 1], rows))


def _round_up(number: int) -> int:
  """To a power of two, so that data sets of about one size are one compiled program."""
  return max(256, 1 << (number - 1).bit_length())


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(statistic, num_resamples, room, args, weights_P, cluster_P, num_clusters, key) -> Any:
  """The statistic of the weights as they are, of every resample, and of what fills the shape."""
  drawn_RxG = jax.random.randint(key, (num_resamples, room), 0, num_clusters)
  is_drawn_G = (jnp.arange(room) < num_clusters).astype(jnp.float32)
  counts_RxG = jnp.zeros((num_resamples, room)).at[
      jnp.arange(num_resamples)[:, None], drawn_RxG].add(is_drawn_G)
  at_once = min(1 << num_resamples.bit_length(), max(1, _ENTRIES // weights_P.size))
  filling = -(num_resamples + 1) % at_once
  counts = jnp.concatenate([jnp.ones((1, room)), counts_RxG, jnp.ones((filling, room))])
  of_one = lambda counts_G: statistic(*args, weights_P * counts_G[cluster_P])
  rows = jax.lax.map(jax.vmap(of_one), counts.reshape(-1, at_once, room))
  return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), rows)


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
