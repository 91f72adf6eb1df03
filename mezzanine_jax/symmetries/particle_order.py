"""`particle_order`: the order in which like points are listed."""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array, Prediction, Symmetry, Views
from mezzanine_jax.symmetries.rotation import check_points


def particle_order() -> Symmetry:
  """The orders of n points of one kind: uniform over all n! of them, an equivariance.

  The element is int32[n], which point stands in each place. `align` puts every array of a
  prediction whose first axis has n entries (a number or a vector a point, such as forces) back
  into the points' own order, aligned[element[i]] = prediction[i], and returns others (an energy)
  as they are.

  Returns:
    A `Symmetry` on points float[n, 3], with an orbit of n! elements.

  Raises:
    InputError: when it is applied to what are no points.

  Example:
    >>> import jax.numpy as jnp
    >>> order, x = particle_order(), jnp.arange(6.0).reshape(2, 3)
    >>> swapped = jnp.array([1, 0])
    >>> order.act(swapped, x)[0].tolist(), order.align(swapped, jnp.array([5.0, 7.0])).tolist()
    ([3.0, 4.0, 5.0], [7.0, 5.0])
  """

  def count(x: Array) -> int:
    return check_points("particle_order", x)[0]

  def identity(x: Array) -> Array:
    return jnp.arange(count(x), dtype=jnp.int32)

  def sample(key: Array, x: Array) -> Array:
    return jax.random.permutation(key, identity(x))

  def act(element: Array, x: Array) -> Array:
    count(x)
    return jnp.asarray(x)[element]

  def align(element: Array, prediction: Prediction) -> Prediction:
    place_of = jnp.argsort(jnp.asarray(element))

    def in_order(a: Array) -> Array:
      a = jnp.asarray(a)
      return a[place_of] if a.ndim and a.shape[0] == place_of.shape[0] else a

    return jax.tree.map(in_order, prediction)

  def orbit_size(x: Array) -> float:
    return float(math.factorial(count(x))) if count(x) <= 170 else math.inf

  def orbit(x: Array, limit: int) -> Views | None:
    size = orbit_size(x)
    if size > limit:
      return None
    every = orders(x, lambda n: np.array(list(itertools.permutations(range(n)))))
    return Views(every, np.full(len(every), -math.log(size), np.float32), np.float32(size))

  def orders(x: Array, draw: Callable[[int], np.ndarray]) -> np.ndarray:
    return np.asarray(draw(count(x)), np.int32)

  return Symmetry(identity, sample, act, align, orbit, orbit_size, orders)
