"""Images as arrays: what `arrays` makes views of."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import arrays
from mezzanine_jax.base import Array, Element, Example, Params, Symmetry
from mezzanine_jax.errors import InputError


def prepare(examples: Sequence[Example]) -> arrays.Prepared:
  """The images of examples whose `x` has the field `image`, uint8[N, H, W, channels].

  Raises:
    InputError: they have none.
  """
  if any("image" not in e.x for e in examples):
    raise InputError("the data has no images: choose the world images, or one with that field")
  return arrays.Prepared(np.stack([e.x["image"] for e in examples]), {})


def renderer(
    symmetry: Symmetry, read: Callable[[Params, Array], Array] | None = None
) -> Callable[[Params, Element, Array], arrays.Rendered]:
  """`(params, elements, images) -> Rendered`, the function of a batch.

  Args:
    symmetry: the family of views.
    read: `(params, views) -> features`, of float32[B, H, W, channels] with values in [0, 1], such
      as `models.vision.encoder`; None for the pixels, row by row.
  """
  see = jnp.ravel if read is None else lambda image: image
  shown = arrays.renderer(symmetry, see, read=lambda image: image.astype(jnp.float32) / 255)
  if read is None:
    return shown

  def render(params: Params, elements: Element, images: Array) -> arrays.Rendered:
    return arrays.Rendered(read(params, shown(params, elements, images).features))

  return render


def looker(plan: arrays.Plan, symmetry: Symmetry) -> Callable[[int], np.ndarray]:
  """`row -> float32[H, W, channels]`, the view of that row, with values in [0, 1]."""
  show = jax.jit(renderer(symmetry, lambda params, views: views))

  def look(row: int) -> np.ndarray:
    element = jax.tree.map(lambda a: a[row : row + 1], plan.rows.elements)
    at = plan.rows.example[row]
    return np.asarray(show({}, element, plan.xs[at : at + 1]).features[0])

  return look
