"""The supported model families, by the `model_type` of a Hugging Face config."""

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.families.bert import BERT
from mezzanine_jax.models.families.distilbert import DISTILBERT
from mezzanine_jax.models.families.family import Family, Source
from mezzanine_jax.models.families.gpt2 import GPT2
from mezzanine_jax.models.families.llama import LLAMA, QWEN
from mezzanine_jax.models.families.roberta import ROBERTA

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

__all__ = ["FAMILIES", "Family", "Source", "family_of"]


def family_of(model_type: str) -> Family:
  """The family of a model type.

  Args:
    model_type: as in config.json, or as a GGUF file's architecture.

  Raises:
    InputError: an unsupported type; the message lists the supported ones.
  """
  if model_type not in FAMILIES:
    raise InputError(f"models of type {model_type!r} are not supported; "
                     f"supported: {', '.join(FAMILIES)}")
  return FAMILIES[model_type]
