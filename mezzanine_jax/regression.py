"""`marginalize` and `warrant_gap` of real-valued predictions: means and squared distances.

The same two transformations as in `transforms`, where f(x) is a number, a vector or an array
(a temperature, a velocity, a field) instead of log p(y | x). The teacher is E_η[f(η(x))], and the
gap E |f(η(x)) - f(η'(x))|² = 2 Var_η f.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from mezzanine_jax import transforms, variances
from mezzanine_jax.base import Array, Params, PredictFn, Symmetry, X
from mezzanine_jax.errors import InputError


class SquaredGap(NamedTuple):
  """How far one example's prediction moves over its views, in squared units of the prediction.

  Attributes:
    pairwise_square: E |f_η - f_η'|², the warrant gap: 2 `variance`; unbiased.
    variance: E |f_η - f̄|², f̄ the mean over the orbit; unbiased.
    canonical_square: |f₀ - f̄|², f₀ the prediction on the canonical view; unbiased, so that it
      can fall below 0.
  """

  pairwise_square: Array
  variance: Array
  canonical_square: Array


def estimate(
    values_KxD: Array, log_weights_K: Array, orbit_size: Array | float, canonical_D: Array
) -> SquaredGap:
  """All figures of one example's gap, summed over the D numbers of a prediction.

  Args:
    values_KxD: float[K, D], the aligned predictions on the views.
    log_weights_K: float[K], normalised; -inf is padding.
    orbit_size: M; inf for independent draws. K == M is the exact orbit.
    canonical_D: float[D], the prediction on the canonical view.

  Returns:
    `SquaredGap` of scalars; NaN for one view of an orbit that has more.

  Example:
    >>> import jax.numpy as jnp
    >>> both = estimate(jnp.array([[0.0], [2.0]]), jnp.log(jnp.full(2, 0.5)), 2.0, jnp.zeros(1))
    >>> [round(float(a), 4) for a in both]  # pairs: two of four differ, by 2
    [2.0, 1.0, 1.0]
  """
  found = variances.spread(values_KxD, log_weights_K, orbit_size)
  return SquaredGap(
      2 * found.within, found.within, ((canonical_D - found.mean) ** 2).sum() - found.noise)


def mean(values_KxD: Array, log_weights_K: Array) -> Array:
  """The teacher of views that were predicted: Σ_k w_k f_k, float[D].

  Args:
    values_KxD: float[K, D]; anything where the view is padding.
    log_weights_K: float[K], normalised; -inf is padding.

  Example:
    >>> import jax.numpy as jnp
    >>> mean(jnp.array([[0.0], [2.0]]), jnp.log(jnp.full(2, 0.5))).tolist()
    [1.0]
  """
  real_K = log_weights_K > -jnp.inf
  return jnp.exp(log_weights_K) @ jnp.where(real_K[:, None], values_KxD, 0.0)


def squared_distance(a: Array, b: Array) -> Array:
  """|a - b|² over the last axis, in squared units of the prediction.

  Example:
    >>> import jax.numpy as jnp
    >>> float(squared_distance(jnp.array([0.0, 3.0]), jnp.array([4.0, 0.0])))
    25.0
  """
  return ((a - b) ** 2).sum(-1)


def marginalize(
    predict: PredictFn, symmetry: Symmetry, num_views: int
) -> Callable[[Params, Array, X], Array]:
  """`f(params, key, x) -> prediction`: the teacher, the mean prediction over K views.

  f_T(x) = (1/K) Σ_k align(η_k, f(η_k(x))), η_k drawn independently.

  Args:
    predict: `(params, x) -> float[...]`, real values.
    symmetry: the family; its `align` undoes what an element does to the prediction.
    num_views: K >= 1.

  Returns:
    A pure function of one example; the key is consumed.

  Raises:
    InputError: if `num_views` is below 1.

  Example:
    >>> import jax, jax.numpy as jnp, mezzanine_jax as mz
    >>> flip = mz.Symmetry(
    ...     identity=lambda x: jnp.array(False),
    ...     sample=lambda key, x: jax.random.bernoulli(key),
    ...     act=lambda element, x: jnp.where(element, x[::-1], x))
    >>> teacher = marginalize(lambda params, x: x[0], flip, 1000)
    >>> round(float(teacher(None, jax.random.key(0), jnp.array([0.0, 10.0]))))
    5
  """
  draw, values = transforms.views(symmetry, num_views), transforms.view_log_probs(predict, symmetry)

  def apply(params: Params, key: Array, x: X) -> Array:
    drawn = draw(key, x)
    return jnp.tensordot(jnp.exp(drawn.log_weights), values(params, drawn, x), 1)

  return apply


def warrant_gap(
    predict: PredictFn, symmetry: Symmetry, num_views: int
) -> Callable[[Params, Array, X], SquaredGap]:
  """`f(params, key, x) -> SquaredGap`: how far the prediction moves over K independent views.

  Args:
    predict: `(params, x) -> float[...]`, real values.
    symmetry: the family; its `align` undoes what an element does to the prediction.
    num_views: K >= 2; a gap cannot be estimated from one view.

  Returns:
    A pure function of one example; the key is consumed.

  Raises:
    InputError: if `num_views` is below 2.

  Example:
    >>> import jax, jax.numpy as jnp, mezzanine_jax as mz
    >>> flip = mz.Symmetry(
    ...     identity=lambda x: jnp.array(False),
    ...     sample=lambda key, x: jax.random.bernoulli(key),
    ...     act=lambda element, x: jnp.where(element, x[::-1], x))
    >>> gap = warrant_gap(lambda params, x: x[0], flip, 1000)
    >>> found = gap(None, jax.random.key(0), jnp.array([0.0, 2.0]))
    >>> round(float(found.pairwise_square), 1)  # half of all pairs differ by 2
    2.0
  """
  if num_views < 2:
    raise InputError(f"num_views must be >= 2 to estimate a gap, got {num_views}")
  draw, values = transforms.views(symmetry, num_views), transforms.view_log_probs(predict, symmetry)

  def apply(params: Params, key: Array, x: X) -> SquaredGap:
    drawn = draw(key, x)
    values_KxD = values(params, drawn, x).reshape(num_views, -1)
    return estimate(values_KxD, drawn.log_weights, math.inf, predict(params, x).reshape(-1))

  return apply
