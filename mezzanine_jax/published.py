"""Published corrections of biased answers and a published sensitivity index, on their definitions.

What they take are log-probs of the choices that this package scores anyway; none needs labels.
"""

import jax
import jax.numpy as jnp

from mezzanine_jax.base import Array


def batch_calibrate(log_probs_NxC: Array, weights_N: Array | None = None) -> Array:
  """Batch calibration: what each answer has above its mean over the batch, p(c|x) - E_x p(c|x).

  Args:
    log_probs_NxC: float[N, C], normalised over C.
    weights_N: float[N], how much each counts for the mean; equal by default.

  Returns:
    float[N, C]: scores whose largest is the calibrated answer; each row sums to 0.

  Example:
    >>> import jax.numpy as jnp
    >>> scores = batch_calibrate(jnp.log(jnp.array([[0.9, 0.1], [0.7, 0.3]])))
    >>> scores.argmax(1).tolist()
    [0, 1]

  Source: H. Zhou et al., Batch Calibration, ICLR 2024, the zero-shot form.
  """
  probs_NxC = jnp.exp(log_probs_NxC)
  return probs_NxC - jnp.average(probs_NxC, axis=0, weights=weights_N)


def label_prior(label_log_probs_KxC: Array, weights_K: Array | None = None) -> Array:
  """PriDe's prior of the labels: softmax_c (1/K) Σ_k log p_k(label c).

  Over the permutations of the options every option stands under every label equally often, so
  that what is left in the mean is the labels' own.

  Args:
    label_log_probs_KxC: float[K, C], one question's log-probs by LABEL (A, B, ...), not aligned
      to the options, over all permutations of the options or the C rotations; over independent
      draws of them the labels' own is left in the mean of many questions.
    weights_K: float[K], 0 where a view is padding; equal by default.

  Returns:
    float[C], log-probs. The prior of a data set is the mean of the probabilities over questions.

  Example:
    >>> import jax.numpy as jnp
    >>> always_a = jnp.log(jnp.array([[0.8, 0.2], [0.8, 0.2]]))
    >>> [round(p, 3) for p in jnp.exp(label_prior(always_a)).tolist()]
    [0.8, 0.2]

  Source: C. Zheng et al., Large Language Models Are Not Robust Multiple Choice Selectors, ICLR
  2024, section 4.
  """
  return jax.nn.log_softmax(jnp.average(label_log_probs_KxC, axis=0, weights=weights_K))


def remove_prior(log_probs_C: Array, log_prior_C: Array) -> Array:
  """PriDe's correction: log p(c) - log prior(c), normalised again.

  Args:
    log_probs_C: float[..., C], log-probs by label.
    log_prior_C: float[C], of `label_prior`, or of a mean over questions.

  Returns:
    float[..., C], log-probs.

  Example:
    >>> import jax.numpy as jnp
    >>> a, b = jnp.log(jnp.array([0.8, 0.2])), jnp.log(jnp.array([0.9, 0.1]))
    >>> [round(p, 3) for p in jnp.exp(remove_prior(b, a)).tolist()]
    [0.692, 0.308]
  """
  return jax.nn.log_softmax(log_probs_C - log_prior_C)


def posix(log_probs_KxK: Array, lengths_K: Array, is_view_K: Array | None = None) -> Array:
  """POSIX of one question: Σ_ij |log p(y_j|x_i) - log p(y_j|x_j)| / (L_j K (K-1)), nats a token.

  Args:
    log_probs_KxK: float[K, K]; [i, j] is the log-prob of the answer y_j (the one that is given
      on view j) on view i, over the whole vocabulary.
    lengths_K: int[K], tokens of each answer.
    is_view_K: bool[K], False where a view is padding; all are views by default.

  Returns:
    A scalar >= 0; 0 for a single view. The index of a data set is the mean over its questions.

  Example:
    >>> import jax.numpy as jnp
    >>> float(posix(jnp.array([[-1.0, -4.0], [-3.0, -2.0]]), jnp.array([1, 2])))  # (2 + 2/2) / 2
    1.5

  Source: A. Chatterjee et al., POSIX: A Prompt Sensitivity Index For Large Language Models,
  Findings of EMNLP 2024.
  """
  if is_view_K is None:
    is_view_K = jnp.ones(log_probs_KxK.shape[0], bool)
  num = is_view_K.sum()
  moved_KxK = jnp.abs(log_probs_KxK - jnp.diagonal(log_probs_KxK)) / lengths_K
  both_KxK = is_view_K[:, None] & is_view_K
  return jnp.where(both_KxK, moved_KxK, 0.0).sum() / jnp.maximum(num * (num - 1), 1)


def posix_of_choices(
    choice_log_probs_KxC: Array, choice_lengths: Array, is_view_K: Array | None = None
) -> Array:
  """`posix` where the answer given on a view is the choice that is likeliest there.

  Args:
    choice_log_probs_KxC: float[K, C], `Scores.choice_log_probs` of K views, aligned.
    choice_lengths: int[C], tokens of each choice; or int[K, C], on each view.
    is_view_K: bool[K], False where a view is padding; all are views by default.

  Example:
    >>> import jax.numpy as jnp
    >>> two = jnp.log(jnp.array([[0.5, 0.25], [0.125, 0.25]]))
    >>> round(float(posix_of_choices(two, jnp.array([1, 1]))) / float(jnp.log(2)), 4)
    1.0
  """
  given_K = choice_log_probs_KxC.argmax(1)
  lengths_KxC = jnp.broadcast_to(choice_lengths, choice_log_probs_KxC.shape)
  lengths_K = jnp.take_along_axis(lengths_KxC, given_K[:, None], axis=1)[:, 0]
  return posix(choice_log_probs_KxC[:, given_K], lengths_K, is_view_K)
