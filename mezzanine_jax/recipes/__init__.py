"""Recipes: one experiment a file, a `Config` and `run(config, out)`."""

import importlib
from types import ModuleType

from mezzanine_jax import plugins
from mezzanine_jax.config import did_you_mean
from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import shown

GROUP = "mezzanine.recipes"  # entry points of other packages: a module like those here

# Name -> module, imported when it is asked for.
RECIPES = {
    "dynamics_action_distill": "mezzanine_jax.recipes.dynamics_action_distill",
    "hf_llm_hiddenstate_order_distill": "mezzanine_jax.recipes.hf_llm_hiddenstate_order_distill",
    "hf_text_order_distill": "mezzanine_jax.recipes.hf_text_order_distill",
    "llm_belief_distill": "mezzanine_jax.recipes.llm_belief_distill",
    "llm_order_gap": "mezzanine_jax.recipes.llm_order_gap",
    "physics_orbit_distill": "mezzanine_jax.recipes.physics_orbit_distill",
    "trajectory_factorization_distill": "mezzanine_jax.recipes.trajectory_factorization_distill",
    "vision_view_distill": "mezzanine_jax.recipes.vision_view_distill",
}


def get_recipe(name: str) -> ModuleType:
  """The module of a recipe, built in or another package's.

  Args:
    name: one of `RECIPES`, or an entry point of the group `mezzanine.recipes`.

  Returns:
    A module with `NAME`, `Config`, `run(config, out)` and a docstring.

  Raises:
    InputError: for a name that is not there, or one whose module is no recipe.

  Example:
    >>> get_recipe("hf_llm_hiddenstate_order_distill").Config().k_train
    4
  """
  if isinstance(name, str) and name in RECIPES:
    return importlib.import_module(RECIPES[name])
  found = plugins.find(GROUP, name) if isinstance(name, str) else None
  if found is None and str(name).endswith(".py"):
    raise InputError(f"unknown recipe {shown(repr(name))}: give a configuration file as --config")
  if found is None:
    raise InputError(f"unknown recipe {shown(repr(name))}{did_you_mean(str(name), recipe_names())}")
  missing = [part for part in ("Config", "run") if not hasattr(found, part)]
  if missing:
    raise InputError(
        f"recipe {name!r} of another package has no {' and no '.join(missing)}: its entry point"
        f" in {GROUP} must be a module with Config and run(config, out)"
    )
  return found


def recipe_names() -> list[str]:
  """The names of all recipes: the built-in ones, then other packages'."""
  return [*RECIPES, *(name for name in plugins.names(GROUP) if name not in RECIPES)]
