"""Transformations of a predict function: views of it, their average, their gap."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mezzanine_jax import divergences, gap
from mezzanine_jax.base import Array, Params, PredictFn, Symmetry, Views, X
from mezzanine_jax.errors import InputError


def views(symmetry: Symmetry, num_views: int) -> Callable[[Array, X], Views]:
  """`f(key, x) -> Views`: K independent draws from the symmetry's law.

  View k is drawn with `fold_in(key, k)`, so the first views of a larger K are those of a
  smaller one. The identity is not forced among them: that would bias teacher and gap.

  Args:
    symmetry: the family.
    num_views: K >= 1.

  Returns:
    A pure function of one example: `key` is a typed PRNG key, consumed; `x` any pytree.

  Raises:
    InputError: if `num_views` is below 1.

  Example:
    >>> import jax, jax.numpy as jnp, mezzanine_jax as mz
    >>> shuffle = mz.Symmetry(
    ...     identity=lambda x: jnp.arange(x.size),
    ...     sample=lambda key, x: jax.random.permutation(key, x.size),
    ...     act=lambda order, x: x[order])
    >>> mz.views(shuffle, 4)(jax.random.key(0), jnp.arange(3.0)).elements.shape
    (4, 3)
  """
  if num_views < 1:
    raise InputError(f"num_views must be >= 1, got {num_views}")

  def draw(key: Array, x: X) -> Views:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num_views))
    elements = jax.vmap(symmetry.sample, (0, None))(keys, x)
    return Views(elements, jnp.full(num_views, -jnp.log(num_views)), jnp.array(jnp.inf))

  return draw


def view_log_probs(
    predict: PredictFn, symmetry: Symmetry
) -> Callable[[Params, Views, X], Array]:
  """`f(params, views, x) -> log_probs[K, C]`: the prediction on every view, aligned.

  log_probs[k] = align(η_k, log p(· | η_k(x))).

  Args:
    predict: `(params, x) -> log_probs[C]`, normalised over the choices.
    symmetry: the family the views were drawn from.

  Returns:
    A pure function of one example.

  Example:
    >>> import jax, jax.numpy as jnp, mezzanine_jax as mz
    >>> flip = mz.Symmetry(
    ...     identity=lambda x: jnp.array(False),
    ...     sample=lambda key, x: jax.random.bernoulli(key),
    ...     act=lambda element, x: jnp.where(element, x[::-1], x))
    >>> both = mz.Views(jnp.array([False, True]), jnp.log(jnp.full(2, 0.5)), jnp.array(2.0))
    >>> predict = lambda w, x: jax.nn.log_softmax(jnp.stack([0.0, w @ x]))
    >>> weights, x = jnp.array([1.0, 0.0]), jnp.array([0.0, 9.0])
    >>> jnp.exp(view_log_probs(predict, flip)(weights, both, x)[:, 1]).round(2).tolist()
    [0.5, 1.0]
  """

  def apply(params: Params, views: Views, x: X) -> Array:
    def one(element):
      return symmetry.align(element, predict(params, symmetry.act(element, x)))

    return jax.vmap(one)(views.elements)

  return apply


def marginalize(
    predict: PredictFn, symmetry: Symmetry, num_views: int
) -> Callable[[Params, Array, X], Array]:
  """`f(params, key, x) -> log_probs[C]`: the teacher, log of the mean belief over K views.

  p_T(y|x) = (1/K) Σ_k p(y | η_k(x)), η_k drawn independently. It composes with `jit`,
  `vmap` and `grad`, and has the signature of a predict function with one more argument.

  Args:
    predict: `(params, x) -> log_probs[C]`, normalised over the choices.
    symmetry: the family.
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
    >>> predict = lambda w, x: jax.nn.log_softmax(jnp.stack([0.0, w @ x]))
    >>> teacher = jax.jit(mz.marginalize(predict, flip, 8))
    >>> teacher(jnp.array([2.0, 1.0]), jax.random.key(0), jnp.array([0.0, 1.0])).shape
    (2,)
  """
  draw, log_probs = views(symmetry, num_views), view_log_probs(predict, symmetry)

  def apply(params: Params, key: Array, x: X) -> Array:
    drawn = draw(key, x)
    return divergences.mixture(log_probs(params, drawn, x), drawn.log_weights)

  return apply


def warrant_gap(
    predict: PredictFn, symmetry: Symmetry, num_views: int
) -> Callable[[Params, Array, X], gap.WarrantGap]:
  """`f(params, key, x) -> WarrantGap`: how far the prediction moves over K independent views.

  The leading figure is `pairwise_tv` = E TV(p_η, p_η'), estimated without bias. The canonical
  view `x` is predicted apart, for the flip rate.

  Args:
    predict: `(params, x) -> log_probs[C]`, normalised over the choices.
    symmetry: the family.
    num_views: K >= 2; a gap cannot be estimated from one view.

  Returns:
    A pure function of one example; the key is consumed. See `gap.WarrantGap` for the figures.

  Raises:
    InputError: if `num_views` is below 2.

  Example:
    >>> import jax, jax.numpy as jnp, mezzanine_jax as mz
    >>> flip = mz.Symmetry(
    ...     identity=lambda x: jnp.array(False),
    ...     sample=lambda key, x: jax.random.bernoulli(key),
    ...     act=lambda element, x: jnp.where(element, x[::-1], x))
    >>> first = lambda params, x: jnp.log(jnp.stack([x[0], 1 - x[0]]))
    >>> gap = mz.warrant_gap(first, flip, 1000)(None, jax.random.key(0), jnp.array([0.2, 0.8]))
    >>> round(float(gap.pairwise_tv), 1)  # half of all pairs differ by 0.6
    0.3
  """
  if num_views < 2:
    raise InputError(f"num_views must be >= 2 to estimate a gap, got {num_views}")
  draw, log_probs = views(symmetry, num_views), view_log_probs(predict, symmetry)

  def apply(params: Params, key: Array, x: X) -> gap.WarrantGap:
    drawn = draw(key, x)
    return gap.estimate(
        log_probs(params, drawn, x), drawn.log_weights, drawn.orbit_size, predict(params, x)
    )

  return apply
