"""Measure how far an answer moves over views that should not change it; distill the mean."""

from mezzanine_jax.base import Control, Example, PredictFn, Symmetry, Views
from mezzanine_jax.errors import InputError
from mezzanine_jax.gap import WarrantGap
from mezzanine_jax.plugins import BuiltIn
from mezzanine_jax.symmetries import SYMMETRIES, chain
from mezzanine_jax.transforms import marginalize, view_log_probs, views, warrant_gap

__version__ = "0.1.0"

__all__ = [
    "Control",
    "Example",
    "InputError",
    "PredictFn",
    "Prompt",
    "Symmetry",
    "Views",
    "WarrantGap",
    "Wordings",
    "chain",
    "demonstration_order",
    "dihedral",
    "factorization",
    "marginalize",
    "mirror",
    "option_order",
    "paraphrase",
    "particle_order",
    "rotation",
    "segment_order",
    "translation",
    "view",
    "view_log_probs",
    "views",
    "warrant_gap",
]

_PROMPTS = BuiltIn({name: f"mezzanine_jax.prompts:{name}" for name in ("Prompt", "Wordings")})


def __getattr__(name: str):
  """What belongs to one kind of data only: imported when it is asked for."""
  for found in (SYMMETRIES, _PROMPTS):
    if name in found:
      return found[name]
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
