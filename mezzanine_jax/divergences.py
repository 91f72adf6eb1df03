"""Divergences between predictions: pure functions of log-probabilities, in nats.

The choices are the last axis and any axes may lead. Where several views are compared they are
the axis before it, and a view of log-weight -inf is padding: it changes neither a value nor a
gradient, whatever stands in it.
"""

import jax.numpy as jnp
from jax.scipy.special import logsumexp

from mezzanine_jax.base import Array


def tv(log_p: Array, log_q: Array) -> Array:
  """Total variation: TV(p, q) = ½ Σ_c |p_c - q_c|.

  Args:
    log_p: float[..., C], normalised.
    log_q: float[..., C], normalised; leading axes broadcast.

  Returns:
    float[...], a probability: 0 for equal predictions, 1 for disjoint ones.

  Example:
    >>> import jax.numpy as jnp
    >>> round(float(tv(jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.75, 0.25])))), 6)
    0.25
  """
  return 0.5 * jnp.abs(jnp.exp(log_p) - jnp.exp(log_q)).sum(-1)


def kl(log_p: Array, log_q: Array) -> Array:
  """Kullback-Leibler divergence: KL(p ‖ q) = Σ_c p_c (log p_c - log q_c), with 0 log 0 = 0.

  Args:
    log_p: float[..., C], normalised.
    log_q: float[..., C], normalised; leading axes broadcast.

  Returns:
    float[...] in nats; inf where q leaves out a choice that p has.

  Example:
    >>> import jax.numpy as jnp
    >>> round(float(kl(jnp.log(jnp.array([1.0, 0.0])), jnp.log(jnp.array([0.5, 0.5])))), 4)
    0.6931
  """
  p = jnp.exp(log_p)
  # Replacing before subtracting keeps -inf - -inf out of the gradient, too.
  log_p, log_q = jnp.where(p > 0, log_p, 0.0), jnp.where(p > 0, log_q, 0.0)
  return (p * (log_p - log_q)).sum(-1)


def entropy(log_p: Array) -> Array:
  """Shannon entropy: H(p) = -Σ_c p_c log p_c, with 0 log 0 = 0.

  Args:
    log_p: float[..., C], normalised.

  Returns:
    float[...] in nats.

  Example:
    >>> import jax.numpy as jnp
    >>> round(float(entropy(jnp.log(jnp.array([0.5, 0.5, 0.0])))), 4)
    0.6931
  """
  p = jnp.exp(log_p)
  return -(p * jnp.where(p > 0, log_p, 0.0)).sum(-1)


def mixture(log_probs: Array, log_weights: Array) -> Array:
  """Log of the mean prediction: log Σ_k w_k p_k.

  Args:
    log_probs: float[..., K, C], normalised over C.
    log_weights: float[..., K], normalised over K; -inf is padding.

  Returns:
    float[..., C], normalised; -inf where no view gives the choice a probability.

  Example:
    >>> import jax.numpy as jnp
    >>> beliefs = jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5]]))
    >>> [round(p, 4) for p in jnp.exp(mixture(beliefs, jnp.log(jnp.full(2, 0.5)))).tolist()]
    [0.7, 0.3]
  """
  joint = log_weights[..., None] + without_padding(log_probs, log_weights)
  # The gradient of logsumexp is NaN where all terms are -inf: give it zeros there.
  some = (joint > -jnp.inf).any(-2)
  total = logsumexp(jnp.where(some[..., None, :], joint, 0.0), axis=-2)
  return jnp.where(some, total, -jnp.inf)


def jensen_shannon(log_probs: Array, log_weights: Array) -> Array:
  """Jensen-Shannon divergence of K predictions: JS = Σ_k w_k KL(p_k ‖ Σ_j w_j p_j).

  It is the information (in nats) that a prediction gives about the view it was made on; at
  most the entropy of the weights.

  Args:
    log_probs: float[..., K, C], normalised over C.
    log_weights: float[..., K], normalised over K; -inf is padding.

  Returns:
    float[...] in nats.

  Example:
    >>> import jax.numpy as jnp
    >>> opposite = jnp.log(jnp.eye(2))
    >>> round(float(jensen_shannon(opposite, jnp.log(jnp.full(2, 0.5)))), 4)
    0.6931
  """
  mean = mixture(log_probs, log_weights)
  divergence = kl(without_padding(log_probs, log_weights), mean[..., None, :])
  return (jnp.exp(log_weights) * divergence).sum(-1)


def without_padding(log_probs: Array, log_weights: Array) -> Array:
  """`log_probs[..., K, C]` with the padding views emptied: no choice has a probability there."""
  return jnp.where(log_weights[..., None] > -jnp.inf, log_probs, -jnp.inf)
