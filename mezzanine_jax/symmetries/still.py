"""`still`: the family that holds the identity only, to run texts as they are."""

import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Symmetry, Views


def still() -> Symmetry:
  """The trivial symmetry: one view, the input itself.

  Example:
    >>> still().orbit_size("anything")
    1.0
  """
  one = Views(np.zeros(1, np.int32), np.zeros(1, np.float32), np.float32(1))
  return Symmetry(
      identity=lambda x: jnp.zeros((), jnp.int32),
      sample=lambda key, x: jnp.zeros((), jnp.int32),
      act=lambda element, x: x,
      orbit=lambda x, limit: one,
      orbit_size=lambda x: 1.0,
  )
