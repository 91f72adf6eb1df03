"""Recipes: one experiment a file, a `Config` and `run(config, out)`."""

import importlib
from types import ModuleType

from mezzanine_jax.config import did_you_mean
from mezzanine_jax.errors import InputError

# Name -> module, imported when it is asked for.
RECIPES = {
    "hf_llm_hiddenstate_order_distill": "mezzanine_jax.recipes.hf_llm_hiddenstate_order_distill",
}


def get_recipe(name: str) -> ModuleType:
  """The module of a recipe: `NAME`, `Config`, `run(config, out)` and a docstring.

  Raises:
    InputError: for a name that is not there.

  Example:
    >>> get_recipe("hf_llm_hiddenstate_order_distill").Config().k_train
    8
  """
  if not isinstance(name, str) or name not in RECIPES:
    raise InputError(f"unknown recipe {name!r}{did_you_mean(str(name), RECIPES)}")
  return importlib.import_module(RECIPES[name])
