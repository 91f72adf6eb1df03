"""`rotation`: points turned in space, and with them the vectors that are predicted."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.spatial.transform import Rotation

from mezzanine_jax.base import Array, Element, Prediction, Symmetry
from mezzanine_jax.errors import InputError


def rotation() -> Symmetry:
  """The group SO(3) on points: turns about the origin, uniform over all of them.

  The element is float32[4], a unit quaternion (x, y, z, w) whose direction is uniform (Haar's
  measure). An equivariance: `align` turns back every array of a prediction whose last axis has
  3 entries (vectors, such as forces), and returns others (energies) as they are.

    x → x Rᵀ,   aligned = prediction R.

  Returns:
    A `Symmetry` on points float[..., 3]; it has no finite orbit.

  Raises:
    InputError: when it is applied to what are no points.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> turn, x = rotation(), jnp.eye(3)
    >>> element = turn.sample(jax.random.key(0), x)
    >>> jnp.allclose(turn.align(element, turn.act(element, x)), x, atol=1e-6).item()
    True

  Source: K. Shoemake, Uniform random rotations, in Graphics Gems III (1992).
  """

  def identity(x: Array) -> Array:
    check_points("rotation", x)
    return jnp.array([0.0, 0.0, 0.0, 1.0], jnp.float32)

  def sample(key: Array, x: Array) -> Array:
    check_points("rotation", x)
    drawn = jax.random.normal(key, (4,))
    return drawn / jnp.linalg.norm(drawn)

  def act(element: Element, x: Array) -> Array:
    check_points("rotation", x)
    return jnp.asarray(x) @ _matrix(element).T

  def align(element: Element, prediction: Prediction) -> Prediction:
    matrix = _matrix(element)

    def turned_back(a: Array) -> Array:
      a = jnp.asarray(a)
      return a @ matrix if a.ndim and a.shape[-1] == 3 else a

    return jax.tree.map(turned_back, prediction)

  return Symmetry(identity, sample, act, align)


def check_points(symmetry: str, x: Any) -> tuple[int, ...]:
  """The shape of points.

  Raises:
    InputError: if it is no array [n, 3].
  """
  shape = getattr(x, "shape", ())
  if len(shape) != 2 or shape[1] != 3:
    what = f"an array of shape {list(shape)}" if shape else f"a {type(x).__name__}"
    raise InputError(
        f"the symmetry {symmetry} acts on points [n, 3], got {what}: give points, or another"
        " symmetry")
  return shape


def _matrix(element: Array) -> Array:
  """float32[3, 3], the rotation of a unit quaternion."""
  return Rotation.from_quat(jnp.asarray(element)).as_matrix()
