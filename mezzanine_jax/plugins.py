"""What other installed packages add, by entry-point groups such as `mezzanine.worlds`."""

import importlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from mezzanine_jax.errors import InputError


class BuiltIn(Mapping):
  """Name -> object, each imported when it is asked for; naming them imports nothing.

  Args:
    places: name -> `module:attribute`.

  Example:
    >>> BuiltIn({"segment_order": "mezzanine_jax.symmetries.segment_order:segment_order"})
    BuiltIn(segment_order)
  """

  def __init__(self, places: Mapping[str, str]):
    self._places = dict(places)

  def __getitem__(self, name: str) -> Any:
    module, _, attribute = self._places[name].partition(":")
    return getattr(importlib.import_module(module), attribute)

  def __contains__(self, name: object) -> bool:
    return name in self._places

  def __iter__(self) -> Iterator[str]:
    return iter(self._places)

  def __len__(self) -> int:
    return len(self._places)

  def __repr__(self) -> str:
    return f"BuiltIn({', '.join(self)})"


def find(group: str, name: str) -> Any | None:
  """The object that an installed package registers under a name.

  Ask for it only where the name is not built in: importing it runs that package's code.

  Args:
    group: an entry-point group: `mezzanine.worlds`, `mezzanine.recipes`, `mezzanine.symmetries`.
    name: the entry point's name.

  Returns:
    What the entry point refers to; None where nobody registers the name.

  Raises:
    InputError: two packages register the name, or importing it fails.

  Example:
    >>> find("mezzanine.worlds", "nobody_has_this") is None
    True
  """
  found = {(p.value, _package(p)): p for p in metadata.entry_points(group=group, name=name)}
  if not found:
    return None
  if len(found) > 1:
    owners = " and ".join(sorted(f"{package} ({value})" for value, package in found))
    raise InputError(f"{name!r} of {group} is registered by {owners}: uninstall one of them")
  ((value, package), point), = found.items()
  try:
    return point.load()
  except Exception as error:  # another package's code: whatever goes wrong is told
    raise InputError(
      f"{name!r} of {group} ({value}, from {package}) cannot be imported "
      f"({type(error).__name__}: {error}): mend or uninstall {package}"
    ) from error


def names(group: str) -> list[str]:
  """The names that installed packages register in a group, sorted; nothing is imported.

  Args:
    group: an entry-point group.

  Example:
    >>> names("mezzanine.nothing")
    []
  """
  return sorted({point.name for point in metadata.entry_points(group=group)})


def _package(point: metadata.EntryPoint) -> str:
  """The name of the distribution that an entry point comes from."""
  return point.dist.name if point.dist is not None else "an unnamed package"
