"""`dihedral`: the eight turns and mirror images of a square."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array, Symmetry, Views
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries.view import check_image

_SIZE = 8


def dihedral() -> Symmetry:
  """The group D4 on a square image: four quarter turns, each plain or mirrored; an invariance.

  The element is int32[], `turns + 4 * mirrored`: the image is mirrored left to right first, then
  turned by 90 degrees counter-clockwise so many times. Use it where these keep the label, as in
  pictures from above or through a microscope; a turned 6 is a 9.

  Returns:
    A `Symmetry` on images [H, H] or [H, H, channels] of any dtype, with an orbit of 8 elements.

  Raises:
    InputError: when it is applied to what is no square image.

  Example:
    >>> import numpy as np
    >>> x = np.array([[1, 2], [3, 4]])
    >>> turn = dihedral()
    >>> [turn.act(e, x).ravel().tolist() for e in turn.orbit(x, 8).elements[:5]]
    [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2], [2, 1, 4, 3]]
  """

  def identity(x: Array) -> Array:
    _check(x)
    return jnp.zeros((), jnp.int32)

  def sample(key: Array, x: Array) -> Array:
    _check(x)
    return jax.random.randint(key, (), 0, _SIZE, jnp.int32)

  def act(element: Array, x: Array) -> Array:
    _check(x)
    x = jnp.asarray(x)
    both = (x, jnp.flip(x, 1))
    return jnp.stack([jnp.rot90(own, turns) for own in both for turns in range(4)])[element]

  def orbit(x: Array, limit: int) -> Views | None:
    _check(x)
    if limit < _SIZE:
      return None
    weights = np.full(_SIZE, -math.log(_SIZE), np.float32)
    return Views(np.arange(_SIZE, dtype=np.int32), weights, np.float32(_SIZE))

  def orbit_size(x: Array) -> float:
    _check(x)
    return float(_SIZE)

  return Symmetry(identity, sample, act, orbit=orbit, orbit_size=orbit_size)


def _check(x: Array) -> None:
  """Raises unless it is a square image."""
  height, width = check_image("dihedral", x)[:2]
  if height != width:
    raise InputError(
        f"the symmetry dihedral turns images by 90 degrees, which must be square, got {height} x"
        f" {width}: give square images, or the symmetry view")
