"""A recipe and its configuration, as a command line names them."""

import argparse
import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from mezzanine_jax.errors import InputError


def configured(
    first: argparse.ArgumentParser, argv: list[str]
) -> tuple[argparse.Namespace, str, ModuleType, Any, set[str]] | None:
  """Arguments, recipe, its module, its configuration, and the fields given; None: help was shown.

  Defaults < `--config FILE` < `--FIELD VALUE`.

  Args:
    first: has the arguments that are no fields, `--config` among them.
    argv: what stands behind the command.

  Raises:
    InputError: for a recipe, a file, a field or a value that cannot be used.
  """
  from mezzanine_jax import config as config_lib
  from mezzanine_jax.recipes import get_recipe, recipe_names

  # A recipe comes first or not at all: the value of a field is never taken for one.
  named = argv[:1] if argv and not argv[0].startswith("-") else []
  known, rest = first.parse_known_args(argv[len(named) :])
  recipe = named[0] if named else None
  from_file = config_lib.read_file(known.config) if known.config else {}
  recipe = recipe or from_file.pop("recipe", None)
  if recipe is None:
    if {"-h", "--help"} & set(rest):
      first.print_help()
      return None
    names = ", ".join(recipe_names())
    raise InputError(f"name a recipe or a --config that names one; recipes: {names}")
  from_file.pop("recipe", None)
  module = get_recipe(recipe)
  if {"-h", "--help"} & set(rest):
    _parser(first, recipe, module).print_help()
    return None
  flags = fields(rest)
  config = config_lib.resolve(module.Config, from_file, flags)
  return known, recipe, module, config, {*from_file, *flags}


def fields(rest: Sequence[str]) -> dict[str, str]:
  """`--field value` and `--field=value` pairs as a dict.

  Raises:
    InputError: for anything else.

  Example:
    >>> fields(["--k_train", "4", "--seed=1"])
    {'k_train': '4', 'seed': '1'}
  """
  flags, words = {}, list(rest)
  while words:
    word = words.pop(0)
    if not word.startswith("--"):
      raise InputError(f"expected --FIELD VALUE, got {word!r}")
    name, equals, value = word[2:].partition("=")
    if not equals:
      if not words or words[0].startswith("--"):
        raise InputError(f"--{name} needs a value")
      value = words.pop(0)
    flags[name] = value
  return flags


def _parser(first: argparse.ArgumentParser, recipe: str, module) -> argparse.ArgumentParser:
  """The help of a recipe: every field with its type, default and a line of text."""
  from mezzanine_jax import config as config_lib

  parser = argparse.ArgumentParser(
      prog=first.prog, parents=[first], allow_abbrev=False,
      usage=first.usage.replace("[RECIPE]", recipe),
      description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  group = parser.add_argument_group("fields")
  for field in dataclasses.fields(module.Config):
    allowed = f" ({', '.join(field.metadata['one_of'])})" if field.metadata["one_of"] else ""
    text = f"{field.metadata['help']}{allowed}; default {field.default!r}"
    kind = config_lib.type_name(field)
    group.add_argument(f"--{field.name}", metavar=kind, help=text.replace("%", "%%"))
  return parser
