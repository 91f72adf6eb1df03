"""Worlds: where examples come from. One data source a file; `WORLDS` names them.

Every loader is called as `load(dataset, *, n_train, n_test, seed, ...) -> World`.
"""

from collections.abc import Callable
from typing import Any

from mezzanine_jax import plugins
from mezzanine_jax.config import arguments_of, did_you_mean
from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import shown
from mezzanine_jax.worlds.world import World, digest

GROUP = "mezzanine.worlds"  # entry points of other packages: a loader like those here

WORLDS = plugins.BuiltIn({
  name: f"mezzanine_jax.worlds.{name}:load"
  for name in (
    "evidence_qa", "hf_qa", "hf_text", "multiple_choice", "images", "lennard_jones", "cart_pole",
    "grid_trajectories")
})


def get_world(name: str) -> Callable[..., World]:
  """The loader of a world, built in or another package's.

  Args:
    name: one of `WORLDS`, or an entry point of the group `mezzanine.worlds`.

  Returns:
    A function `(dataset, *, n_train, n_test, seed, ...) -> World`.

  Raises:
    InputError: for a name that is not there, or one that is no function.

  Example:
    >>> len(get_world("evidence_qa")(n_train=3, n_test=2).train)
    3
  """
  if name in WORLDS:
    return WORLDS[name]
  found = plugins.find(GROUP, name)
  if found is None:
    raise InputError(f"unknown world {shown(repr(name))}{did_you_mean(name, world_names())}")
  if not callable(found):
    raise InputError(
      f"world {name!r} of another package is a {type(found).__name__}: its entry point in "
      f"{GROUP} must be a function load(dataset, *, n_train, n_test, seed) -> World"
    )
  return found


def world_names() -> list[str]:
  """The names of all worlds: the built-in ones, then other packages'."""
  return [*WORLDS, *(name for name in plugins.names(GROUP) if name not in WORLDS)]


def load_world(name: str, **settings: Any) -> World:
  """The world of a configuration.

  Args:
    name: see `get_world`.
    **settings: a configuration's fields; the loader takes those it has an argument for, and
      its own defaults stand in for those that are None (`dataset` among them).

  Raises:
    InputError: for an unknown name, and whatever the loader refuses.

  Example:
    >>> load_world("evidence_qa", dataset=None, n_train=3, n_test=2, seed=0, k_train=8).num_labels
    2
  """
  loader = get_world(name)
  given = {field: value for field, value in settings.items() if value is not None}
  return loader(**arguments_of(loader, given))


__all__ = ["WORLDS", "World", "digest", "get_world", "load_world", "world_names"]
