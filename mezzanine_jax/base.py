"""The contract: examples, symmetries, views and predictions. Nothing here knows about text.

Letters used in names and docstrings, here and everywhere else:
`B` batch, `K` views, `M` orbit size, `C` choices, `S` segments, `T` tokens, `V` vocabulary,
`D` features, `N` examples, `R` rows (distinct (example, view) pairs).
Divergences are in nats; a PRNG key is `key`, a typed `jax.random.key`.

Every function below takes ONE example. `jax.vmap` makes views and batches of it and `jax.jit`
goes round the outside.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array
X = Any  # any pytree of arrays
Params = Any  # any pytree of arrays
Element = Any  # any pytree of arrays: which member of a symmetry's family
Prediction = Any  # any pytree of arrays; most often log_probs[C]


class Example(NamedTuple):
  """What a world yields.

  Attributes:
    id: stable name of the example; PRNG keys are folded in from it.
    x: the input, any pytree of arrays (a mapping of strings before it is tokenized).
    label: index of the right choice, a real value or an array of them, or None where it is
      unknown.
    cluster: what may neither be split between parts of the data nor be counted as
      independent (two questions about one passage share its name).
  """

  id: str
  x: X
  label: int | float | Array | None
  cluster: str


class Views(NamedTuple):
  """Some members of a symmetry's family, for one example.

  Attributes:
    elements: pytree with a leading axis K.
    log_weights: float32[K]; `exp` of it sums to 1. A view of log-weight -inf is padding.
    orbit_size: float32[], how many members the draws were taken from without repeats (M);
      inf for independent draws. With K == M the views are the exact orbit.
  """

  elements: Element
  log_weights: Array
  orbit_size: Array


IdentityFn = Callable[[X], Element]
SampleFn = Callable[[Array, X], Element]
ActFn = Callable[[Element, X], X]
AlignFn = Callable[[Element, Prediction], Prediction]
OrbitFn = Callable[[X, int], Views | None]
OrbitSizeFn = Callable[[X], float]
OrdersFn = Callable[[X, Callable[[int], Any]], Element | None]
PredictFn = Callable[[Params, X], Array]


def invariant(element: Element, prediction: Prediction) -> Prediction:
  """The `align` of a symmetry that leaves the prediction as it is."""
  del element
  return prediction


def no_orbit(x: X, limit: int) -> Views | None:
  """The `orbit` of a family that is not finite."""
  del x, limit
  return None


def endless(x: X) -> float:
  """The `orbit_size` of a family that is not finite."""
  del x
  return math.inf


def no_orders(x: X, draw: Callable[[int], Any]) -> Element | None:
  """The `orders` of a family that is not all orders of some things."""
  del x, draw
  return None


class Symmetry(NamedTuple):
  """A family of transformations that keep the answer: pure functions of one example.

  It plays the part of `optax.GradientTransformation`: a tuple of functions, made by a
  lowercase factory such as `segment_order()`. Own symmetries need the first three only.

  Attributes:
    identity: `(x) -> element`, the member that changes nothing.
    sample: `(key, x) -> element`, one draw from the family's law.
    act: `(element, x) -> x` of the same shapes; the only place where an element is applied.
    align: `(element, prediction) -> prediction` undoes what the element did to the order of
      the prediction (shuffled options). Default: the prediction is returned as it is.
    orbit: `(x, limit) -> Views | None`, on the host: every member once, with its weight; None
      where there are more than `limit` or where the family is not finite (the default).
    orbit_size: `(x) -> float`, on the host: how many members there are; `math.inf` where the
      family is not finite (the default) or not sampled uniformly.
    orders: `(x, draw) -> elements | None`, on the host, for a family of all orders of n things:
      the members that put thing `draw(n)[k, i]` in place i, with a leading axis K; `draw` gives
      int[K, n]. None for any other family (the default), which has no balanced designs.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> flip = Symmetry(
    ...     identity=lambda x: jnp.array(False),
    ...     sample=lambda key, x: jax.random.bernoulli(key),
    ...     act=lambda element, x: jnp.where(element, x[::-1], x))
    >>> flip.act(jnp.array(True), jnp.arange(3)).tolist()
    [2, 1, 0]
  """

  identity: IdentityFn
  sample: SampleFn
  act: ActFn
  align: AlignFn = invariant
  orbit: OrbitFn = no_orbit
  orbit_size: OrbitSizeFn = endless
  orders: OrdersFn = no_orders


class Control(NamedTuple):
  """A transformation that is meant to change the answer: no symmetry, and nothing is aligned.

  A model whose answers stay as good under it does not use what it takes away.

  Attributes:
    sample: `(key, xs) -> element`, one draw for a whole batch; xs a pytree [N, ...].
    act: `(element, xs) -> xs` of the same shapes.
  """

  sample: SampleFn
  act: ActFn
