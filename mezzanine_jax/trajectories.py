"""Trajectories as arrays: steps with a partial order, and their rows for a model of arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mezzanine_jax import arrays
from mezzanine_jax.base import Array, Example
from mezzanine_jax.errors import InputError

FIELDS = ("steps", "moves", "before")  # of an example: what `Steps` is made of


class Steps(NamedTuple):
  """One trajectory as arrays.

  Attributes:
    features: float32[S, F], what each step does, in the order in which it is done; 0 for padding.
    moves: bool[S], whether a step may change places; False for padding.
    before: bool[S, S], whether the step in place i must stay before the one in place j. The order
      as it is satisfies it; it need not be transitive.
  """

  features: Array
  moves: Array
  before: Array


def prepare(examples: Sequence[Example]) -> arrays.Prepared:
  """The trajectories of examples whose `x` has the fields `steps`, `moves` and `before`.

  Args:
    examples: N examples, padded alike by their world.

  Returns:
    `Steps` with a leading axis N.

  Raises:
    InputError: an example has no such fields.
  """
  if any(not isinstance(e.x.get(name), np.ndarray) for e in examples for name in FIELDS):
    raise InputError(
        f"the data has no trajectories, which are the arrays {', '.join(FIELDS)}: choose the world"
        " grid_trajectories, or one with those fields")
  stacked = (np.stack([e.x[name] for e in examples]) for name in FIELDS)
  return arrays.Prepared(Steps(*stacked), {})
