"""The warrant gap and the distance to the teacher: estimators for ONE example, to be vmapped.

What they estimate: η, η' independent and uniform over the orbit of M members (or drawn from a
family's law, M = inf). K is the number of real views; views of log-weight -inf are padding.
K == M is the exact orbit, where every figure is exact and the weights may differ; a finite M
above K means K draws without repeats, of equal weight. `orbit_size` may be traced.

A figure that cannot be estimated (one view of an orbit that has more) is NaN, its gradient 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from mezzanine_jax import divergences
from mezzanine_jax.base import Array


class WarrantGap(NamedTuple):
  """How far one example's prediction moves over its views: scalars, or [N] after vmap.

  Attributes:
    pairwise_tv: E TV(p_η, p_η'), the warrant gap; a probability; unbiased.
    tv_to_mean: E TV(p_η, p̄), p̄ the mean over the orbit; a probability; bias-reduced.
    tv_to_mean_plugin: the same with the mean of the K views, uncorrected: too small.
    jensen_shannon: E KL(p_η ‖ p̄) in nats, the mean KL to the mean; bias-reduced, so it can
      fall below 0.
    flip_rate: P(argmax p_η != argmax p₀), p₀ the canonical view's; unbiased.
    any_flip: 1 where the K views give more than one answer, else 0: grows with K, see `any_flip`.
  """

  pairwise_tv: Array
  tv_to_mean: Array
  tv_to_mean_plugin: Array
  jensen_shannon: Array
  flip_rate: Array
  any_flip: Array


def estimate(
    log_probs_KxC: Array, log_weights_K: Array, orbit_size: Array | float, canonical_C: Array
) -> WarrantGap:
  """All figures of one example's gap; exactly 0 where the orbit has one member.

  Args:
    log_probs_KxC: float[K, C], the aligned predictions on the views.
    log_weights_K: float[K], normalised; -inf is padding.
    orbit_size: M; inf for independent draws.
    canonical_C: float[C], the prediction on the canonical view (used by the flip rate alone).

  Returns:
    `WarrantGap` of scalars; differentiable.

  Example:
    >>> import jax.numpy as jnp
    >>> beliefs = jnp.log(jnp.array([[0.9, 0.1], [0.4, 0.6]]))
    >>> figures = estimate(beliefs, jnp.log(jnp.full(2, 0.5)), 2.0, beliefs[0])
    >>> [round(float(f), 3) for f in (figures.pairwise_tv, figures.tv_to_mean, figures.flip_rate)]
    [0.25, 0.25, 0.5]
  """
  args = (log_probs_KxC, log_weights_K, orbit_size)
  figures = WarrantGap(
      pairwise_tv=pairwise_tv(*args),
      tv_to_mean=tv_to_mean(*args),
      tv_to_mean_plugin=tv_to_mean_plugin(log_probs_KxC, log_weights_K),
      jensen_shannon=jensen_shannon(*args),
      flip_rate=flip_rate(log_probs_KxC, log_weights_K, canonical_C),
      any_flip=any_flip(*args),
  )
  return jax.tree.map(lambda figure: jnp.where(orbit_size > 1, figure, 0.0), figures)


def pairwise_tv(
    log_probs_KxC: Array, log_weights_K: Array, orbit_size: Array | float
) -> Array:
  """The warrant gap, E TV(p_η, p_η'): Σ_{i≠j} w_i w_j TV(p_i, p_j) · K/(K-1) · (1 - 1/M).

  The sum times K/(K-1) is the U-statistic; 1 - 1/M brings the diagonal of the M² pairs in.
  The two factors cancel at K == M, where the double sum is exact. Arguments as in `estimate`.
  """
  num = _count(log_weights_K)
  weights_K = jnp.exp(log_weights_K)
  log_probs_KxC = divergences.without_padding(log_probs_KxC, log_weights_K)
  tv_KxK = divergences.tv(log_probs_KxC[:, None], log_probs_KxC[None])
  total = (weights_K[:, None] * weights_K * tv_KxK).sum()
  factor = num / jnp.maximum(num - 1, 1) * (1 - 1 / orbit_size)
  return _known(num, orbit_size, total, factor * total)


def jensen_shannon(
    log_probs_KxC: Array, log_weights_K: Array, orbit_size: Array | float
) -> Array:
  """E KL(p_η ‖ p̄) in nats, bias-reduced. Arguments as in `estimate`."""
  return bias_reduced(divergences.jensen_shannon, log_probs_KxC, log_weights_K, orbit_size)


def tv_to_mean(log_probs_KxC: Array, log_weights_K: Array, orbit_size: Array | float) -> Array:
  """E TV(p_η, p̄), bias-reduced. Arguments as in `estimate`."""
  return bias_reduced(tv_to_mean_plugin, log_probs_KxC, log_weights_K, orbit_size)


def tv_to_mean_plugin(log_probs_KxC: Array, log_weights_K: Array) -> Array:
  """Σ_k w_k TV(p_k, Σ_j w_j p_j): below its limit at finite K, as each view is in the mean."""
  mean_C = divergences.mixture(log_probs_KxC, log_weights_K)
  log_probs_KxC = divergences.without_padding(log_probs_KxC, log_weights_K)
  return (jnp.exp(log_weights_K) * divergences.tv(log_probs_KxC, mean_C)).sum()


def flip_rate(log_probs_KxC: Array, log_weights_K: Array, canonical_C: Array) -> Array:
  """Share of the views whose answer is not the canonical view's: Σ_k w_k [argmax differs]."""
  flips_K = log_probs_KxC.argmax(-1) != canonical_C.argmax(-1)
  return (jnp.exp(log_weights_K) * flips_K).sum()


def any_flip(log_probs_KxC: Array, log_weights_K: Array, orbit_size: Array | float) -> Array:
  """1 where the K views give more than one answer, else 0. Arguments as in `estimate`.

  For an exact orbit it says whether some view changes the answer. From fewer views it is
  unbiased for the chance that K draws disagree, which grows with K towards that: figures are
  to be compared at the same K. The canonical view counts only where it is among the K.
  """
  num, real_K = _count(log_weights_K), log_weights_K > -jnp.inf
  answers_K = log_probs_KxC.argmax(-1)
  flips = (real_K & (answers_K != answers_K[real_K.argmax()])).any().astype(jnp.float32)
  return _known(num, orbit_size, flips, flips)


def bias_reduced(
    plugin: Callable[[Array, Array], Array],
    log_probs_KxC: Array,
    log_weights_K: Array,
    orbit_size: Array | float,
) -> Array:
  """Jackknife for a finite population: θ + (K-1)(1 - K/M)(θ - mean_i θ₋ᵢ).

  It takes out the bias of order 1/K - 1/M: all of the ordinary jackknife's correction at
  M = inf, none for an exact orbit.

  Args:
    plugin: `(log_probs[K, C], log_weights[K]) -> θ`, ignoring views of log-weight -inf.
    log_probs_KxC: float[K, C].
    log_weights_K: float[K], normalised; -inf is padding.
    orbit_size: M; inf for independent draws.

  Returns:
    A scalar; the plug-in itself for an exact orbit, NaN for one view of a larger one.

  Source: B. Efron and C. Stein, The jackknife estimate of variance, Ann. Statist. 9 (1981).
  """
  num, real_K = _count(log_weights_K), log_weights_K > -jnp.inf
  theta = plugin(log_probs_KxC, log_weights_K)

  def without(k: Array) -> Array:
    others_K = jnp.where(jnp.arange(real_K.size) == k, -jnp.inf, log_weights_K)
    return plugin(log_probs_KxC, _normalise(others_K))

  thetas_K = jax.vmap(without)(jnp.arange(real_K.size))
  mean = jnp.where(real_K, thetas_K, 0.0).sum() / num
  reduced = theta + (num - 1) * (1 - num / orbit_size) * (theta - mean)
  return _known(num, orbit_size, theta, reduced)


def teacher_without(
    log_probs_KxC: Array,
    log_weights_K: Array,
    orbit_size: Array | float,
    is_compared_K: Array,
    compared_C: Array,
) -> Array:
  """The teacher a prediction on one view is compared with: p₀/M + (1 - 1/M) · mean of others.

  Draws that are the compared view are left out and the view's own weight 1/M is restored, so
  that a view does not look closer for being in its own average: an unbiased p_T, whether the
  view is among the draws or not. An exact orbit gives its mixture, weights as they are;
  M = inf the plain mean of the others.

  For the canonical view, `is_compared_K` marks the draws that equal it (none when the draws are
  independent: they may repeat it, and do so as often as they should). For view k of the K
  themselves it is `jnp.arange(K) == k` and `compared_C` is `log_probs_KxC[k]`.

  Args:
    log_probs_KxC: float[K, C], the LM's aligned predictions on the views.
    log_weights_K: float[K], normalised; -inf is padding.
    orbit_size: M; inf for independent draws.
    is_compared_K: bool[K], the draws that are the compared view.
    compared_C: float[C], the LM's log-probs p₀ on the compared view, also when another model's
      prediction on that view is being compared.

  Returns:
    log_probs float[C]; NaN where no other view is left.

  Example:
    >>> import jax.numpy as jnp
    >>> beliefs = jnp.log(jnp.array([[0.9, 0.1], [0.4, 0.6]]))
    >>> weights, first = jnp.log(jnp.full(2, 0.5)), jnp.array([True, False])
    >>> teacher = teacher_without(beliefs, weights, jnp.inf, first, beliefs[0])
    >>> [round(p, 3) for p in jnp.exp(teacher).tolist()]
    [0.4, 0.6]
  """
  exact, num_others, others_K = _others(log_weights_K, orbit_size, is_compared_K)
  # The compared view goes in front as one more view; at log-weight -inf it is padding.
  drawn = jnp.append(-jnp.log(orbit_size), jnp.log1p(-1 / orbit_size) + _normalise(others_K))
  whole = jnp.append(-jnp.inf, log_weights_K)
  log_probs = jnp.concatenate([compared_C[None], log_probs_KxC])
  teacher_C = divergences.mixture(log_probs, jnp.where(exact, whole, drawn))
  return jnp.where(exact | (num_others > 0), teacher_C, jnp.nan)


def distance_to_teacher(
    log_q_C: Array,
    log_probs_KxC: Array,
    log_weights_K: Array,
    orbit_size: Array | float,
    is_compared_K: Array,
    compared_C: Array,
) -> Array:
  """TV(q, T), T the teacher of `teacher_without`; above TV(q, p_T) by T's sampling noise.

  Args:
    log_q_C: float[C], a prediction made on the compared view.
    log_probs_KxC, log_weights_K, orbit_size, is_compared_K, compared_C: see `teacher_without`.

  Returns:
    A scalar, a probability.
  """
  teacher_C = teacher_without(
      log_probs_KxC, log_weights_K, orbit_size, is_compared_K, compared_C
  )
  return divergences.tv(log_q_C, teacher_C)


def kl_to_teacher(
    log_q_C: Array,
    log_probs_KxC: Array,
    log_weights_K: Array,
    orbit_size: Array | float,
    is_compared_K: Array,
    compared_C: Array,
) -> Array:
  """KL(T ‖ q) in nats, bias-reduced: the jackknife over the views other than the compared one.

  The plug-in is above KL(p_T ‖ q) by about ½ Σ_c var(T_c) / p_T,c, which does not depend on q.
  Those views are n of the M - 1 others, so `bias_reduced` takes out the order 1/n - 1/(M-1).

  Args:
    log_q_C: float[C], a prediction made on the compared view.
    log_probs_KxC, log_weights_K, orbit_size, is_compared_K, compared_C: see `teacher_without`.

  Returns:
    A scalar, which can fall below 0; the plug-in for an exact orbit, NaN where fewer than two
    other views are left of more.
  """
  exact, _, others_K = _others(log_weights_K, orbit_size, is_compared_K)
  log_keep = jnp.log1p(-1 / orbit_size)

  def plugin(log_probs_KxC: Array, others_K: Array) -> Array:
    mean_C = divergences.mixture(log_probs_KxC, others_K)
    return divergences.kl(
        jnp.logaddexp(compared_C - jnp.log(orbit_size), mean_C + log_keep), log_q_C)

  drawn = bias_reduced(plugin, log_probs_KxC, _normalise(others_K), orbit_size - 1)
  whole = divergences.kl(divergences.mixture(log_probs_KxC, log_weights_K), log_q_C)
  return jnp.where(exact, whole, drawn)


def squared_distance_to_teacher(
    log_q_C: Array,
    log_probs_KxC: Array,
    log_weights_K: Array,
    orbit_size: Array | float,
    is_compared_K: Array,
    compared_C: Array,
) -> Array:
  """|q - p_T|² without bias: |q - T|² - (1 - 1/M)² S² (1/n - 1/(M-1)), for `fidelity`.

  n is the number of views other than the compared one and S² the sum over the choices of
  their unbiased sample variance. It equals the average of (q - p_A)·(q - p_B) over all splits
  of those views into two halves, each half's teacher made as in `teacher_without`, plus what
  disjoint halves of a finite population covary: (1 - 1/M)² S²/(M-1). An exact orbit gives
  |q - p_T|². Single values can fall below 0; sums over examples are what is meant.

  Args:
    log_q_C: float[C], a prediction made on the compared view; independent of the draws.
    log_probs_KxC, log_weights_K, orbit_size, is_compared_K, compared_C: see `teacher_without`.

  Returns:
    A scalar; NaN where fewer than two other views are left of more.
  """
  teacher_C = teacher_without(
      log_probs_KxC, log_weights_K, orbit_size, is_compared_K, compared_C
  )
  distance = ((jnp.exp(log_q_C) - jnp.exp(teacher_C)) ** 2).sum()
  exact, num, others_K = _others(log_weights_K, orbit_size, is_compared_K)
  shrink = _teacher_variance(exact, num, orbit_size)
  is_other_Kx1 = others_K[:, None] > -jnp.inf
  probs_KxC = jnp.exp(divergences.without_padding(log_probs_KxC, others_K))
  mean_C = probs_KxC.sum(0) / jnp.maximum(num, 1)
  squares = jnp.where(is_other_Kx1, (probs_KxC - mean_C) ** 2, 0.0).sum()
  variance = squares / jnp.maximum(num - 1, 1)
  return jnp.where((num > 1) | (shrink == 0), distance - shrink * variance, jnp.nan)


def teacher_noise(
    log_probs_KxC: Array, log_weights_K: Array, orbit_size: Array | float, is_compared_K: Array
) -> Array:
  """The distance E TV(p_T, T) that a perfect student would still show, for the noise floor.

  The n views other than the compared one are split into the first a = ⌊n/2⌋ and the last
  b = n - a. With L = M - 1 and S² the variance of one view, p_A - p_B has variance
  S² (1/a + 1/b) (drawn without repeats, too: disjoint parts covary by -S²/L) and T - p_T has
  (1 - 1/M)² S² (1/n - 1/L). For deviations of one shape (normal, at large K)

    E TV(p_T, T) ≈ (1 - 1/M) √[(1/n - 1/L) / (1/a + 1/b)] TV(p_A, p_B),

  which for equal halves is ½ (1 - 1/M) √(1 - n/L) TV(p_A, p_B). An exact orbit has 0.

  Args:
    log_probs_KxC, log_weights_K, orbit_size, is_compared_K: see `teacher_without`.

  Returns:
    A scalar, a probability; NaN where fewer than two other views are left of more.
  """
  exact, num, others_K = _others(log_weights_K, orbit_size, is_compared_K)
  is_other_K = others_K > -jnp.inf
  is_first_K = is_other_K & (jnp.cumsum(is_other_K) <= num // 2)
  first_C, last_C = (
      divergences.mixture(log_probs_KxC, _normalise(jnp.where(half_K, 0.0, -jnp.inf)))
      for half_K in (is_first_K, is_other_K & ~is_first_K)
  )
  a, b = jnp.maximum(num // 2, 1), jnp.maximum(num - num // 2, 1)
  noise = _teacher_variance(exact, num, orbit_size)
  scaled = jnp.sqrt(noise / (1 / a + 1 / b)) * divergences.tv(first_C, last_C)
  return jnp.where((num > 1) | (noise == 0), jnp.where(noise == 0, 0.0, scaled), jnp.nan)


def _count(log_weights_K: Array) -> Array:
  """The number of real views."""
  return (log_weights_K > -jnp.inf).sum()


def _normalise(log_weights_K: Array) -> Array:
  """Log-weights that sum to 1 again; all -inf where nothing is left."""
  some = (log_weights_K > -jnp.inf).any()
  return log_weights_K - jnp.where(some, logsumexp(jnp.where(some, log_weights_K, 0.0)), 0.0)


def _known(num: Array, orbit_size: Array | float, exact: Array, drawn: Array) -> Array:
  """The exact value for a whole orbit, the estimate for two draws or more, else NaN."""
  return jnp.where(num >= orbit_size, exact, jnp.where(num > 1, drawn, jnp.nan))


def _others(
    log_weights_K: Array, orbit_size: Array | float, is_compared_K: Array
) -> tuple[Array, Array, Array]:
  """Is the orbit exact; how many views are not the compared one; their log-weights."""
  others_K = jnp.where(is_compared_K, -jnp.inf, log_weights_K)
  return _count(log_weights_K) >= orbit_size, _count(others_K), others_K


def _teacher_variance(exact: Array, num: Array, orbit_size: Array | float) -> Array:
  """Variance of T in units of S²: (1 - 1/M)² (1/n - 1/(M-1)), 0 for an exact orbit."""
  per_view = 1 / jnp.maximum(num, 1) - 1 / jnp.maximum(orbit_size - 1, 1)
  return jnp.where(exact, 0.0, (1 - 1 / orbit_size) ** 2 * jnp.maximum(per_view, 0.0))
