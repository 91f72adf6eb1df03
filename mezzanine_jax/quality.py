"""How good the answers of several models are on the same examples: blocks for the results.

Means over examples have clustered standard errors; ECE, AUROC and batch-calibrated accuracy,
which are no means, those of a clustered bootstrap whose resamples all models share.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import bootstrap, checks, clustered, metrics, published
from mezzanine_jax.base import Array

MEANS = ("accuracy", "nll", "brier", "entropy")


class Quality(NamedTuple):
  """The figures of one model.

  Attributes:
    means: name of `MEANS` -> float[N]; NaN where the label that it needs is unknown.
    sets: name of `metrics.SetFigures` -> its value, of the examples with a label.
    resamples: name of `metrics.SetFigures` -> float[R].
    clusters: N names.
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
  clusters, labels = np.asarray(clusters), np.asarray(labels)
  weights_NxK = np.exp(np.asarray(log_weights, np.float64))
  weights_NxK /= weights_NxK.sum(1, keepdims=True)  # they came as float32
  where = np.nonzero((weights_NxK > 0) & (labels >= 0)[:, None])
  key = _key(seed)
  out = {}
  for name, own in log_probs.items():
    own = np.asarray(own)
    sets, resamples = (metrics.SetFigures(*[nan] * 3) for nan in (np.nan, np.full(1, np.nan)))
    if len(where[0]):  # every model with the same key: the same resamples
      sets, resamples = bootstrap.clustered_bootstrap(
          metrics.set_figures, [own[where], labels[where[0]].astype(np.int32)], weights_NxK[where],
          clusters[where[0]], key)
    out[name] = Quality(
        _means(own, weights_NxK, labels), {n: float(v) for n, v in sets._asdict().items()},
        resamples._asdict(), clusters)
  return out


def block(quality: Quality) -> dict[str, float]:
  """Every figure of a model with its standard error, see `clustered.block`."""
  out, number = {}, _labelled_clusters(quality)
  for name, own in quality.means.items():
    known = ~np.isnan(own)
    out |= clustered.block({name: own[known]}, quality.clusters[known])
  for name, value in quality.sets.items():
    error = bootstrap.stderr(quality.resamples[name], number)
    out |= clustered.figure(name, clustered.Estimate(value, error), number)
  return out


def differences(a: Quality, b: Quality) -> dict[str, Any]:
  """a - b of every figure: `{name, name_stderr, name_interval}`, paired by example or resample.

  Args:
    a: measured together with `b`.
    b: another model on the same examples.

  Returns:
    The figures; the interval is of 95%, see `checks.interval`.
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


def pride_block(
    label_log_probs: Array, log_weights: Array, canonical: Array, labels: np.ndarray,
    clusters: Sequence[str], seed: int,
) -> dict[str, Any]:
  """`pride_accuracy` and `label_prior`: PriDe's correction of the canonical view, and its prior.

  The prior is the mean of `published.label_prior` over the examples with a known answer, and the
  answer argmax_c p(c) / prior(c). Resamples have priors of their own.

  Args:
    label_log_probs: float[N, K, C], by LABEL (A, B, ...), not aligned to the options.
    log_weights: float[N, K], -inf is padding.
    canonical: float[N, C], on the canonical view, where option c stands under label c.
    labels: int32[N], -1 where unknown.
    clusters: N names.
    seed: of the resamples.

  Returns:
    The accuracy as `clustered.figure` has it, and C probabilities; nothing where no answer is
    known.
  """
  known = np.asarray(labels) >= 0
  if not known.any():
    return {}
  names = np.asarray(clusters)[known]
  priors_NxC = np.exp(jax.jit(jax.vmap(published.label_prior))(
      np.asarray(label_log_probs)[known], np.exp(np.asarray(log_weights)[known])))
  found, resamples = bootstrap.clustered_bootstrap(
      _pride_accuracy, [priors_NxC, np.asarray(canonical)[known], np.asarray(labels)[known]],
      np.ones(len(names)), names, _key(seed))
  number = len(np.unique(names))
  accuracy = clustered.Estimate(float(found), bootstrap.stderr(resamples, number))
  return clustered.figure("pride_accuracy", accuracy, number) | {
      "label_prior": priors_NxC.mean(0).tolist()}


def _pride_accuracy(
    priors_NxC: Array, log_probs_NxC: Array, labels_N: Array, weights_N: Array
) -> Array:
  """The accuracy after the mean prior is taken out."""
  log_prior_C = jnp.log(jnp.average(priors_NxC, axis=0, weights=weights_N))
  right_N = published.remove_prior(log_probs_NxC, log_prior_C).argmax(1) == labels_N
  return (weights_N @ right_N) / weights_N.sum()


def _key(seed: int) -> Array:
  """Of the resamples: views are drawn from keys folded with names or small numbers."""
  return jax.random.fold_in(jax.random.key(seed), 2**31)


def _difference(name: str, found: clustered.Estimate, clusters: np.ndarray) -> dict[str, Any]:
  """One difference with its standard error and interval."""
  return {name: found.value, f"{name}_stderr": found.stderr,
          f"{name}_interval": checks.interval(found, clusters)}


def _labelled_clusters(quality: Quality) -> int:
  """How many clusters have a label."""
  return len(np.unique(quality.clusters[~np.isnan(quality.means["accuracy"])]))


def _means(
    log_probs_NxKxC: np.ndarray, weights_NxK: np.ndarray, labels_N: np.ndarray
) -> dict[str, np.ndarray]:
  """Each of `MEANS`, float64[N]: the weighted mean over the views."""
  log_probs_NxKxC = log_probs_NxKxC.astype(np.float64)
  labels_NxK = np.broadcast_to(np.maximum(labels_N, 0)[:, None], weights_NxK.shape)
  probs_NxKxC = np.exp(log_probs_NxKxC)
  surprise_NxKxC = np.where(probs_NxKxC > 0, -log_probs_NxKxC, 0.0)
  figures = {
      "accuracy": log_probs_NxKxC.argmax(-1) == labels_NxK,
      "nll": -np.take_along_axis(log_probs_NxKxC, labels_NxK[..., None], -1)[..., 0],
      "brier": metrics.brier(log_probs_NxKxC, labels_NxK),
      "entropy": (probs_NxKxC * surprise_NxKxC).sum(-1),
  }
  # A weight of 0 does not take out what is infinite or not a number.
  real_NxK = weights_NxK > 0
  means = {
      name: np.multiply(own, weights_NxK, where=real_NxK, out=np.zeros(real_NxK.shape)).sum(1)
      for name, own in figures.items()
  }
  unknown_N = labels_N < 0
  return {name: own if name == "entropy" else np.where(unknown_N, np.nan, own)
          for name, own in means.items()}
