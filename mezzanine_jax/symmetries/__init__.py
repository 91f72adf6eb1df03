"""Symmetries: families of transformations that keep the answer, one family a file."""

import sys
import types
from collections.abc import Callable
from typing import Any

from mezzanine_jax import plugins
from mezzanine_jax.base import Symmetry
from mezzanine_jax.config import arguments_of, did_you_mean
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries.chain import chain
from mezzanine_jax.untrusted import shown

TEXT = ("segment_order", "option_order", "demonstration_order", "paraphrase", "factorization")
IMAGES = ("view", "dihedral")
POINTS = ("rotation", "translation", "particle_order")
PLANTS = ("mirror",)
# What `symmetry` in a configuration may name, and the factory behind it.
SYMMETRIES = plugins.BuiltIn(
    {name: f"mezzanine_jax.symmetries.{name}:{name}" for name in TEXT + IMAGES + POINTS + PLANTS})
ENTRY_POINTS = "mezzanine.symmetries"  # where other packages name factories of their own


def make_symmetry(names: str, **settings: Any) -> Symmetry:
  """The symmetry of a configuration: one name, or several with commas, chained in that order.

  A name that is not built in is looked for among the entry points of the group
  `mezzanine.symmetries` of the installed packages.

  Args:
    names: such as `segment_order` or `paraphrase,option_order`.
    **settings: a configuration's fields; each factory takes those it has an argument for.

  Raises:
    InputError: for a name that is not there, or `paraphrase` behind another one.

  Example:
    >>> make_symmetry("segment_order", keep_first=1, seed=0)._fields[:3]
    ('identity', 'sample', 'act')
  """
  wanted = [n.strip() for n in names.split(",")]
  factories = [get_symmetry(name) for name in wanted]
  if "paraphrase" in wanted[1:]:
    raise InputError(
        f"paraphrase must come first, and once, since the others act on the wording it chose, got"
        f" {names!r}"
    )
  made = [factory(**arguments_of(factory, settings)) for factory in factories]
  return made[0] if len(made) == 1 else chain(*made)


def get_symmetry(name: str) -> Callable[..., Symmetry]:
  """The factory of that name, built in or an installed package's.

  Raises:
    InputError: for a name that is not there.
  """
  factory = SYMMETRIES.get(name) or plugins.find(ENTRY_POINTS, name)
  if factory is None:
    raise InputError(f"unknown symmetry {shown(repr(name))}{did_you_mean(name, symmetry_names())}")
  return factory


def symmetry_names() -> list[str]:
  """The names of all symmetries: the built-in ones, then other packages'."""
  return [*SYMMETRIES, *(n for n in plugins.names(ENTRY_POINTS) if n not in SYMMETRIES)]


class _Package(types.ModuleType):
  """This package: its functions are imported when they are asked for.

  A function is called as its file is, and is what `mezzanine_jax.symmetries.NAME` means, also
  where somebody imported the file.
  """

  def __getattr__(self, name: str) -> Any:
    if name in SYMMETRIES:
      return SYMMETRIES[name]
    raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

  def __setattr__(self, name: str, value: Any) -> None:
    is_file = name in SYMMETRIES and isinstance(value, types.ModuleType)
    super().__setattr__(name, getattr(value, name) if is_file else value)


sys.modules[__name__].__class__ = _Package

__all__ = [
    "ENTRY_POINTS",
    "IMAGES",
    "PLANTS",
    "POINTS",
    "SYMMETRIES",
    "TEXT",
    "chain",
    "demonstration_order",
    "dihedral",
    "factorization",
    "get_symmetry",
    "make_symmetry",
    "mirror",
    "option_order",
    "paraphrase",
    "particle_order",
    "rotation",
    "segment_order",
    "symmetry_names",
    "translation",
    "view",
]
