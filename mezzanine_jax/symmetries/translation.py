"""`translation`: points moved together."""

import jax
import jax.numpy as jnp

from mezzanine_jax.base import Array, Symmetry
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries.rotation import check_points


def translation(shift: float = 0.5) -> Symmetry:
  """Moves within a box, an invariance: x → x + t, each of t's coordinates from U(-shift, shift).

  The element is float32[3]. Translations of all of space are a group, but have no law to draw
  from: this is a bounded family of them.

  Args:
    shift: the farthest along each axis, in the points' unit; 0 leaves them where they are.

  Returns:
    A `Symmetry` on points float[n, 3]; it has no finite orbit.

  Raises:
    InputError: for a negative `shift`, or when it is applied to what are no points.

  Example:
    >>> import jax.numpy as jnp
    >>> translation().act(jnp.array([1.0, 0.0, 0.0]), jnp.zeros((1, 3))).tolist()
    [[1.0, 0.0, 0.0]]
  """
  if not shift >= 0:
    raise InputError(f"shift must be >= 0, got {shift}")

  def identity(x: Array) -> Array:
    check_points("translation", x)
    return jnp.zeros(3, jnp.float32)

  def sample(key: Array, x: Array) -> Array:
    check_points("translation", x)
    return jax.random.uniform(key, (3,), minval=-shift, maxval=shift)

  def act(element: Array, x: Array) -> Array:
    check_points("translation", x)
    return jnp.asarray(x) + element

  return Symmetry(identity, sample, act)
