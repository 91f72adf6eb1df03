"""Shapes of well-known models: what their published config.json says, for plans without weights."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_LLAMA = {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5}

# Name -> config.json, without what changes no shape and no cost.
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "gpt2": {
        "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768,
        "n_layer": 12, "n_head": 12,
    },
    "HuggingFaceTB/SmolLM2-135M": _LLAMA | {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "max_position_embeddings": 8192, "rope_theta": 100000.0, "tie_word_embeddings": True,
    },
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": _LLAMA | {
        "vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632,
        "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
        "max_position_embeddings": 2048, "rope_theta": 10000.0,
    },
    "meta-llama/Meta-Llama-3-8B": _LLAMA | {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "max_position_embeddings": 8192, "rope_theta": 500000.0,
    },
})

SHORT = MappingProxyType({
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M",
    "tinyllama-1.1b": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "llama-8b": "meta-llama/Meta-Llama-3-8B",
})


def architecture(name: str) -> Mapping[str, Any] | None:
  """The config.json of a model whose shapes are known here; None for any other.

  Args:
    name: a hub id of `ARCHITECTURES`, or one of `SHORT`.

  Example:
    >>> architecture("llama-8b")["hidden_size"]
    4096
  """
  return ARCHITECTURES.get(SHORT.get(name, name))
