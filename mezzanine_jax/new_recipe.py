"""`mezzanine new recipe NAME`: the skeleton of a package with a recipe of one's own."""

import importlib.util
import keyword
import os
import pathlib
import re
import shutil
import string

from mezzanine_jax import recipes, symmetries, worlds
from mezzanine_jax.errors import InputError

_RESERVED = ("config", "tests")  # what else is in the folder
_TEXTS = pathlib.Path(__file__).parent / "skeleton"
# What is written -> the text that it is made of.
_FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "config.py": "config.py.txt",
    "$name/__init__.py": "init.py.txt",
    "$name/world.py": "world.py.txt",
    "$name/symmetry.py": "symmetry.py.txt",
    "$name/recipe.py": "recipe.py.txt",
    "tests/${name}_test.py": "test.py.txt",
}


def write(name: str, to: str | pathlib.Path = ".") -> pathlib.Path:
  """Writes the folder of a package, whole or not at all.

  Args:
    name: of the recipe, its world, its symmetry, and the package: a Python name in lower case.
    to: the folder in which its own is made.

  Returns:
    The package's folder.

  Raises:
    InputError: the name cannot be used or is taken, or the folder is there or cannot be written.
  """
  _check_name(name)
  to = pathlib.Path(to)
  place = to / name
  if place.is_symlink() or place.exists():
    raise InputError(f"{str(place)!r} is there already: give another name, or another folder with"
                     " --to DIR")
  if not to.is_dir():
    raise InputError(f"--to {str(to)!r} is no folder: make it first, or give another one")
  part = to / f".{name}-{os.getpid()}.part"
  try:
    part.mkdir()
    for file, source in _FILES.items():
      path = part / _filled(file, name)
      path.parent.mkdir(exist_ok=True)
      path.write_text(_filled((_TEXTS / source).read_text("utf-8"), name), "utf-8")
    part.rename(place)
  except OSError as error:
    raise InputError(f"{str(place)!r} cannot be written: {error.strerror}; give another folder with"
                     " --to DIR") from error
  finally:
    if part.exists():
      shutil.rmtree(part)
  return place


def in_words(place: pathlib.Path) -> str:
  """What was written, and what to do with it."""
  files = "\n".join(f"  {path.relative_to(place)}" for path in sorted(place.rglob("*"))
                    if path.is_file())
  return (f"wrote {place}\n{files}\n\npip install -e {place}\npytest {place}\n"
          f"mezzanine run --config {place / 'config.py'} --out out/{place.name}")


def _check_name(name: str) -> None:
  """Raises unless a package and its recipe may be called so."""
  if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in _RESERVED:
    raise InputError(f"a recipe's name must be a Python name of lower-case letters, digits and _,"
                     f" such as my_recipe, got {name!r}")
  for kind, names in (("recipe", recipes.recipe_names()), ("world", worlds.world_names()),
                      ("symmetry", symmetries.symmetry_names())):
    if name in names:
      raise InputError(f"there is a {kind} {name!r} already: give another name")
  if importlib.util.find_spec(name) is not None:
    raise InputError(f"there is a Python module {name!r} already: give another name")


def _filled(text: str, name: str) -> str:
  """A text of the skeleton with the name in it."""
  return string.Template(text).substitute(name=name)
