"""`view`: an image cropped, turned, mirrored and lit a little differently."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from mezzanine_jax.base import Array, Symmetry
from mezzanine_jax.errors import InputError


class View(NamedTuple):
  """One member of the family.

  Attributes:
    scale: float32[], the side of the window over the image's side, in [1 - crop, 1].
    shift: float32[2], where the window's centre is off the image's (down, right), over the
      image's sides.
    angle: float32[], counter-clockwise, in degrees.
    mirrored: bool[], left to right.
    brightness: float32[], what every pixel is multiplied by.
  """

  scale: Array
  shift: Array
  angle: Array
  mirrored: Array
  brightness: Array


def view(
    crop: float = 0.1, flip: float = 0.0, rotation: float = 10.0, brightness: float = 0.1
) -> Symmetry:
  """Crop, flip, rotation and brightness, each from a stated range: a bounded continuous family.

  A window of `1 - U(0, crop)` of each side, anywhere within the image, is turned by
  U(-rotation, rotation) degrees about its centre and drawn in the image's own size, bilinearly;
  beyond the image its edge is repeated. It is mirrored with probability `flip`, multiplied by
  `1 + U(-brightness, brightness)`, and kept in [0, 1]. A range of 0 leaves its part out.
  The family is an invariance, is no group, and has no finite orbit: its views are sampled.

  Args:
    crop: the most of each side that is cut off, in [0, 0.9].
    flip: probability, in [0, 1]; 0.5 where a mirror image keeps its label, else 0.
    rotation: the largest angle, degrees in [0, 180].
    brightness: the largest change, in [0, 1].

  Returns:
    A `Symmetry` on images float[H, W] or [H, W, channels] with values in [0, 1].

  Raises:
    InputError: for a range that is not allowed, or when it is applied to what is no image.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> symmetry, x = view(crop=0.2, rotation=15.0), jnp.eye(8)
    >>> seen = symmetry.act(symmetry.sample(jax.random.key(0), x), x)
    >>> seen.shape, bool((seen >= 0).all() and (seen <= 1).all())
    ((8, 8), True)
  """
  for name, value, most in (
      ("crop", crop, 0.9), ("flip", flip, 1.0), ("rotation", rotation, 180.0),
      ("brightness", brightness, 1.0)):
    if not 0 <= value <= most:
      raise InputError(f"{name} must be between 0 and {most:g}, got {value}")

  def identity(x: Array) -> View:
    check_image("view", x)
    one, zero = jnp.float32(1), jnp.float32(0)
    return View(one, jnp.zeros(2, jnp.float32), zero, jnp.array(False), one)

  def sample(key: Array, x: Array) -> View:
    check_image("view", x)
    size, down, right, turn, mirror, light = jax.random.uniform(key, 6)
    scale = 1 - crop * size
    shift = (1 - scale) * (jnp.stack([down, right]) - 0.5)
    return View(
        scale, shift, rotation * (2 * turn - 1), mirror < flip, 1 + brightness * (2 * light - 1))

  def act(element: View, x: Array) -> Array:
    check_image("view", x)
    image = jnp.asarray(x)
    radians = jnp.deg2rad(element.angle)
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    height, width = image.shape[:2]
    # Where each pixel is taken from, in pixels from the image's centre.
    row = jnp.arange(height)[:, None] - (height - 1) / 2
    column = jnp.arange(width)[None] - (width - 1) / 2
    column = jnp.where(element.mirrored, -column, column)
    from_row = element.scale * (cos * row + sin * column) + element.shift[0] * height
    from_column = element.scale * (cos * column - sin * row) + element.shift[1] * width
    places = [from_row + (height - 1) / 2, from_column + (width - 1) / 2]
    take = lambda plane: map_coordinates(plane, places, order=1, mode="nearest")
    planes = image.reshape(height, width, -1)
    drawn = jax.vmap(take, 2, 2)(planes).reshape(image.shape)
    return jnp.clip(drawn * element.brightness, 0, 1).astype(image.dtype)

  return Symmetry(identity, sample, act)


def in_words(element: View) -> str:
  """What a view does, for a reader.

  Example:
    >>> in_words(View(0.9, (0.02, -0.03), -7.0, False, 1.05))
    'window of 90% of each side, 2% down, 3% left; turned by -7 degrees; brightness 105%'
    >>> in_words(View(1.0, (0.0, 0.0), 0.0, False, 1.0))
    'as it is'
  """
  down, right = (round(100 * float(s)) for s in element.shift)
  moved = "".join(
      f", {abs(own)}% {names[own < 0]}"
      for own, names in ((down, ("down", "up")), (right, ("right", "left"))) if own)
  scale, angle, light = float(element.scale), float(element.angle), float(element.brightness)
  parts = [
      f"window of {scale:.0%} of each side{moved}" if scale != 1 else "",
      f"turned by {angle:.0f} degrees" if angle else "",
      "mirrored" if element.mirrored else "",
      f"brightness {light:.0%}" if light != 1 else "",
  ]
  return "; ".join(part for part in parts if part) or "as it is"


def check_image(symmetry: str, x: Any) -> tuple[int, ...]:
  """The shape of an image.

  Raises:
    InputError: if it is no array [H, W] or [H, W, channels].
  """
  shape = getattr(x, "shape", ())
  if len(shape) not in (2, 3):
    what = f"an array of shape {list(shape)}" if shape else f"a {type(x).__name__}"
    raise InputError(
        f"the symmetry {symmetry} acts on images [H, W] or [H, W, channels], got {what}: give"
        " images, or a symmetry of texts such as segment_order")
  return shape
