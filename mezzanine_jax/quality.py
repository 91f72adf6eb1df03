"""How good the answers of several models are on the same examples: blocks for the results.

Means over examples have clustered standard errors; ECE, AUROC and batch-calibrated accuracy,
which are no means, those of a clustered bootstrap whose resamples all models share.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import bootstrap, clustered, divergences, evaluation, metrics
from mezzanine_jax.base import Array

MEANS = ("accuracy", "nll", "brier", "entropy")


class Quality(NamedTuple):
  """The figures of one model.

  Attributes:
    means: name of `MEANS` -> float[N]; NaN where the label that it needs is unknown.
    sets: name of `metrics.SetFigures` -> its value.
    resamples: name of `metrics.SetFigures` -> float[R].
    clusters: N names; those with a label are what `sets` is about.
  """

  means: dict[str, np.ndarray]
  sets: dict[str, float]
  resamples: dict[str, np.ndarray]
  clusters: np.ndarray


def measure(
    log_probs: Mapping[str, Array], log_weights: Array, labels: np.ndarray,
    clusters: Sequence[str], seed: int,
) -> dict[str, Quality]:
  """The quality of several models, a view at a time.

  Means are over the views of an example first. The others are of all views of all examples
  together, each with its weight. One view of weight 1 is the quality of the canonical one.

  Args:
    log_probs: name -> float[N, K, C]; anything where the view is padding.
    log_weights: float[N, K], normalised; -inf is padding.
    labels: int32[N], -1 where unknown.
    clusters: N names.
    seed: of the resamples.
  """
  clusters, known = np.asarray(clusters), np.asarray(labels) >= 0
  stacked = jnp.stack([jnp.asarray(own) for own in log_probs.values()])
  means = _means(stacked, jnp.asarray(log_weights), jnp.asarray(labels))
  means = {name: np.asarray(own) for name, own in means.items()}
  where = np.nonzero(np.isfinite(log_weights) & known[:, None])
  found = _no_sets(len(stacked))
  if len(where[0]):
    # Views are drawn from keys folded from the seed with names or small numbers.
    key = jax.random.fold_in(jax.random.key(seed), 2**31)
    found = bootstrap.clustered_bootstrap(
        _sets, [stacked[:, *where], jnp.asarray(labels)[where[0]]],
        np.exp(np.asarray(log_weights)[where]), clusters[where[0]], key)
  return {
      name: Quality(
          {figure: own[i] for figure, own in means.items()},
          {figure: float(own[i]) for figure, own in found.value._asdict().items()},
          {figure: own[:, i] for figure, own in found.resamples._asdict().items()}, clusters)
      for i, name in enumerate(log_probs)
  }


def block(quality: Quality) -> dict[str, float]:
  """Every figure of a model with its standard error: `{name, name_stderr}`."""
  out = {}
  for name, own in quality.means.items():
    known = ~np.isnan(own)
    out[name], out[f"{name}_stderr"] = clustered.mean_and_stderr(
        own[known], quality.clusters[known])
  for name, value in quality.sets.items():
    out |= {name: value, f"{name}_stderr": bootstrap.stderr(
        quality.resamples[name], _labelled_clusters(quality))}
  return out


def differences(a: Quality, b: Quality) -> dict[str, Any]:
  """a - b of every figure: `{name, name_stderr, name_interval}`, paired by example or resample.

  Args:
    a: measured together with `b`.
    b: another model on the same examples.

  Returns:
    The figures; the interval is of 95%, see `evaluation.interval`.
  """
  out = {}
  for name, own in a.means.items():
    known = ~np.isnan(own)
    found = clustered.paired_difference(
        own[known], b.means[name][known], a.clusters[known])
    out |= _difference(name, found, a.clusters[known])
  labelled = a.clusters[~np.isnan(a.means["accuracy"])]
  for name, value in a.sets.items():
    error = bootstrap.stderr(a.resamples[name] - b.resamples[name], _labelled_clusters(a))
    out |= _difference(name, clustered.Estimate(value - b.sets[name], error), labelled)
  return out


def _difference(name: str, found: clustered.Estimate, clusters: np.ndarray) -> dict[str, Any]:
  """One difference with its standard error and interval."""
  return {name: found.value, f"{name}_stderr": found.stderr,
          f"{name}_interval": evaluation.interval(found, clusters)}


def _labelled_clusters(quality: Quality) -> int:
  """How many clusters have a label."""
  return len(np.unique(quality.clusters[~np.isnan(quality.means["accuracy"])]))


@jax.jit
def _means(log_probs_AxNxKxC: Array, log_weights_NxK: Array, labels_N: Array) -> dict[str, Array]:
  """Each of `MEANS`, float[A, N]: the weighted mean over the views."""
  known_Nx1, labels_Nx1 = labels_N[:, None] >= 0, jnp.maximum(labels_N, 0)[:, None]

  def one(log_probs_NxKxC):
    labels_NxK = jnp.broadcast_to(labels_Nx1, log_weights_NxK.shape)
    taken = jnp.take_along_axis(log_probs_NxKxC, labels_NxK[..., None], -1)[..., 0]
    own = {
        "accuracy": jnp.where(known_Nx1, log_probs_NxKxC.argmax(-1) == labels_NxK, jnp.nan),
        "nll": jnp.where(known_Nx1, -taken, jnp.nan),
        "brier": jnp.where(known_Nx1, metrics.brier(log_probs_NxKxC, labels_NxK), jnp.nan),
        "entropy": divergences.entropy(log_probs_NxKxC),
    }
    # A weight of 0 does not take out what is infinite or not a number.
    real_NxK = log_weights_NxK > -jnp.inf
    return {name: jnp.where(real_NxK, jnp.exp(log_weights_NxK) * own, 0.0).sum(1)
            for name, own in own.items()}

  return jax.vmap(one)(log_probs_AxNxKxC)


def _sets(log_probs_AxPxC: Array, labels_P: Array, weights_P: Array) -> metrics.SetFigures:
  """`metrics.set_figures` of several models."""
  return jax.vmap(metrics.set_figures, (0, None, None))(log_probs_AxPxC, labels_P, weights_P)


def _no_sets(number: int) -> bootstrap.Resampled:
  """What stands where no label is known."""
  return bootstrap.Resampled(*(
      metrics.SetFigures(*[np.full(shape, np.nan)] * 3) for shape in (number, (1, number))))
