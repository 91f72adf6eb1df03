"""How good predictions are: Brier score of one; ECE, AUROC, calibrated accuracy of a weighted set.

The figures of a set are pure functions that `vmap` over the weights: a resample of a data set is
the same predictions with other weights, and what depends on the predictions alone (sorting, bins)
is done once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from numpy.typing import ArrayLike

from mezzanine_jax.base import Array
from mezzanine_jax.published import batch_calibrate

NUM_BINS = 15


class SetFigures(NamedTuple):
  """Figures that are no means over examples: scalars.

  Attributes:
    ece: a probability, see `ece`.
    auroc: a probability, see `auroc`.
    batch_calibrated_accuracy: a probability, see `batch_calibrated_accuracy`.
  """

  ece: Array
  auroc: Array
  batch_calibrated_accuracy: Array


def brier(log_probs_C: ArrayLike, labels: ArrayLike) -> np.ndarray:
  """Brier score of each prediction: Σ_c (p_c - [c = label])², from 0 to 2. On the host, float64.

  For two choices it is twice the score that counts one of them only.

  Args:
    log_probs_C: float[..., C], normalised.
    labels: int[...].

  Returns:
    float64[...].

  Example:
    >>> brier(np.log([0.75, 0.25]), 0).round(4).item()
    0.125

  Source: G. W. Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather
  Review 78 (1950).
  """
  probs_C = np.exp(np.asarray(log_probs_C, np.float64))
  is_label_C = np.arange(probs_C.shape[-1]) == np.asarray(labels)[..., None]
  return ((probs_C - is_label_C) ** 2).sum(-1)


def ece(
    log_probs_PxC: Array, labels_P: Array, weights_P: Array, num_bins: int = NUM_BINS
) -> Array:
  """Expected calibration error of the answers: Σ_b |Σ_{n in b} w_n (conf_n - right_n)| / Σ_n w_n.

  conf is the probability of the likeliest choice. The bins are equally wide on (0, 1], closed on
  the right. It is above 0 for calibrated predictions, too, by about the noise of the bins' means.

  Args:
    log_probs_PxC: float[P, C], normalised over C.
    labels_P: int[P].
    weights_P: float[P], >= 0.
    num_bins: how many bins.

  Returns:
    A scalar, a probability; NaN where all weights are 0.

  Example:
    >>> import jax.numpy as jnp
    >>> beliefs = jnp.log(jnp.array([[0.9, 0.1], [0.9, 0.1]]))
    >>> round(float(ece(beliefs, jnp.array([0, 1]), jnp.ones(2))), 4)
    0.4

  Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
  """
  confidence_P = jnp.exp(log_probs_PxC.max(1))
  bin_P = jnp.clip(jnp.ceil(confidence_P * num_bins) - 1, 0, num_bins - 1).astype(jnp.int32)
  excess_P = confidence_P - (log_probs_PxC.argmax(1) == labels_P)
  excess_PxB = jax.nn.one_hot(bin_P, num_bins) * excess_P[:, None]
  return jnp.abs(weights_P @ excess_PxB).sum() / weights_P.sum()


def auroc(log_probs_PxC: Array, labels_P: Array, weights_P: Array) -> Array:
  """Area under the ROC curve: P(score of a positive > of a negative) + ½ P(equal).

  Two choices: choice 1 against choice 0. More: every choice against the rest, and the mean over
  the choices that are the label of some and not of all (macro, one against the rest).

  Args:
    log_probs_PxC: float[P, C], normalised over C.
    labels_P: int[P].
    weights_P: float[P], >= 0.

  Returns:
    A scalar, a probability; NaN where only one label has weight.

  Example:
    >>> import jax.numpy as jnp
    >>> beliefs = jnp.log(jnp.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]))
    >>> float(auroc(beliefs, jnp.array([0, 1, 0]), jnp.ones(3)))
    0.5

  Source: J. A. Hanley and B. J. McNeil, Radiology 143 (1982).
  """
  num_choices = log_probs_PxC.shape[1]

  def one(choice: Array) -> Array:
    others_PxC = jnp.where(jnp.arange(num_choices) == choice, -jnp.inf, log_probs_PxC)
    # Log-odds: of beliefs that are nearly sure, the probability would be rounded to 1.
    score_P = log_probs_PxC[:, choice] - logsumexp(others_PxC, axis=1)
    order_P = jnp.argsort(score_P)
    ranked_P = score_P[order_P]
    is_positive_P = labels_P == choice
    positive_P = jnp.where(is_positive_P, weights_P, 0.0)
    negative_P = jnp.where(is_positive_P, 0.0, weights_P)
    below = jnp.append(0.0, jnp.cumsum(negative_P[order_P]))
    ends = [jnp.searchsorted(ranked_P, score_P, side) for side in ("left", "right")]
    wins_P = (below[ends[0]] + below[ends[1]]) / 2  # a tie is half won
    return (positive_P @ wins_P) / (positive_P.sum() * negative_P.sum())

  if num_choices == 2:
    return one(jnp.array(1))
  area_C = jax.vmap(one)(jnp.arange(num_choices))
  return jnp.nanmean(area_C)


def batch_calibrated_accuracy(
    log_probs_PxC: Array, labels_P: Array, weights_P: Array
) -> Array:
  """Share of right answers after `published.batch_calibrate` over the same set.

  Args:
    log_probs_PxC: float[P, C], normalised over C.
    labels_P: int[P].
    weights_P: float[P], >= 0.

  Returns:
    A scalar, a probability; NaN where all weights are 0. Predictions that are all alike have
    nothing left, and an arbitrary answer.
  """
  right_P = batch_calibrate(log_probs_PxC, weights_P).argmax(1) == labels_P
  return (weights_P @ right_P) / weights_P.sum()


def set_figures(log_probs_PxC: Array, labels_P: Array, weights_P: Array) -> SetFigures:
  """All of them; arguments as in `ece`."""
  return SetFigures(*(figure(log_probs_PxC, labels_P, weights_P)
                      for figure in (ece, auroc, batch_calibrated_accuracy)))
