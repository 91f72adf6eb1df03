"""The supported model families, by the `model_type` of a Hugging Face config."""

from collections.abc import Mapping

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.families.bert import BERT
from mezzanine_jax.models.families.distilbert import DISTILBERT
from mezzanine_jax.models.families.family import Family, Source
from mezzanine_jax.models.families.gpt2 import GPT2
from mezzanine_jax.models.families.llama import LLAMA, QWEN
from mezzanine_jax.models.families.roberta import ROBERTA
from mezzanine_jax.models.families.vit import DINOV2, VIT

FAMILIES: dict[str, Family] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": QWEN,
    "qwen3": QWEN,
    "bert": BERT,
    "distilbert": DISTILBERT,
    "roberta": ROBERTA,
}

# Of images, see `vision`.
VISION: dict[str, Family] = {"vit": VIT, "dinov2": DINOV2}

__all__ = ["FAMILIES", "VISION", "Family", "Source", "family_of"]


def family_of(model_type: str, families: Mapping[str, Family] = FAMILIES) -> Family:
  """The family of a model type.

  Args:
    model_type: as in config.json, or as a GGUF file's architecture.
    families: those that will do.

  Raises:
    InputError: an unsupported type; the message lists the supported ones.
  """
  if model_type not in families:
    raise InputError(f"models of type {model_type!r} are not supported; "
                     f"supported: {', '.join(families)}")
  return families[model_type]
