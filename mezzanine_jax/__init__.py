"""Measure how far an answer moves over views that should not change it; distill the mean."""

from mezzanine_jax.base import Example, PredictFn, Symmetry, Views
from mezzanine_jax.errors import InputError
from mezzanine_jax.gap import WarrantGap
from mezzanine_jax.prompts import Prompt, Wordings
from mezzanine_jax.symmetries import (
    chain,
    demonstration_order,
    factorization,
    option_order,
    paraphrase,
    segment_order,
)
from mezzanine_jax.transforms import marginalize, view_log_probs, views, warrant_gap

__version__ = "0.1.0"

__all__ = [
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
    "factorization",
    "marginalize",
    "option_order",
    "paraphrase",
    "segment_order",
    "view_log_probs",
    "views",
    "warrant_gap",
]
