"""Images as arrays: what `arrays` makes views of."""

from collections.abc import Callable, Sequence

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


def renderer(symmetry: Symmetry) -> Callable[[Params, Element, Array], arrays.Rendered]:
  """`(params, elements, images) -> Rendered`: pixels in [0, 1], row by row."""
  return arrays.renderer(symmetry, read=lambda image: image.astype(jnp.float32) / 255)
