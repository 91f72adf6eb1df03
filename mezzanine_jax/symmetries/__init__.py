"""Symmetries: families of transformations that keep the answer, one family a file."""

from typing import Any

from mezzanine_jax.base import Symmetry
from mezzanine_jax.config import arguments_of, did_you_mean
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries.chain import chain
from mezzanine_jax.symmetries.segment_order import segment_order

# What `symmetry` in a configuration may name, and the factory behind it.
SYMMETRIES = {"segment_order": segment_order}


def make_symmetry(names: str, **settings: Any) -> Symmetry:
  """The symmetry of a configuration: one name, or several with commas, chained in that order.

  Args:
    names: such as `segment_order`.
    **settings: a configuration's fields; each factory takes those it has an argument for.

  Raises:
    InputError: for a name that is not there.

  Example:
    >>> make_symmetry("segment_order", keep_first=1, seed=0)._fields[:3]
    ('identity', 'sample', 'act')
  """
  made = []
  for name in (n.strip() for n in names.split(",")):
    if name not in SYMMETRIES:
      raise InputError(f"unknown symmetry {name!r}{did_you_mean(name, SYMMETRIES)}")
    made.append(SYMMETRIES[name](**arguments_of(SYMMETRIES[name], settings)))
  return made[0] if len(made) == 1 else chain(*made)


__all__ = ["SYMMETRIES", "chain", "make_symmetry", "segment_order"]
