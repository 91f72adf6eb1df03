"""BERT and its kind (MiniLM): an encoder with norms behind each half of a block."""

from collections.abc import Mapping
from typing import Any

from mezzanine_jax.models.families.family import Family, Source, refuse, size
from mezzanine_jax.models.transformer_config import TransformerConfig


def encoder_config(hf: Mapping[str, Any], **changes: Any) -> TransformerConfig:
  """Maps a BertConfig, or one of its kind with some changes."""
  refuse(hf, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
  width, heads = size(hf, "hidden_size"), size(hf, "num_attention_heads")
  facts = dict(
      vocab_size=size(hf, "vocab_size"), width=width, num_layers=size(hf, "num_hidden_layers"),
      num_heads=heads, num_kv_heads=heads, head_dim=width // heads,
      mlp_width=size(hf, "intermediate_size"), max_positions=size(hf, "max_position_embeddings"),
      causal=False, norm="layernorm", norm_place="after",
      norm_eps=hf.get("layer_norm_eps", 1e-12), positions="learned",
      token_types=hf.get("type_vocab_size", 2), activation=hf.get("hidden_act", "gelu"),
      gated_mlp=False, qkv_bias=True, out_bias=True, mlp_bias=True)
  return TransformerConfig(**facts | changes)


def encoder_weights(layer: str, **parts: str) -> dict[str, Source]:
  """Embeddings and blocks; `parts` are what a layer's modules are called, by our names."""
  names = {"embed": "embeddings.word_embeddings.weight",
           "positions": "embeddings.position_embeddings.weight",
           "token_types": "embeddings.token_type_embeddings.weight"}
  norms = {"embed_norm": "embeddings.LayerNorm"}
  for ours, theirs in parts.items():
    path, module = f"layers/{ours}", f"{layer}.{{}}.{theirs}"
    if ours.endswith("norm"):
      norms[path] = module
    else:
      names |= {f"{path}/kernel": f"{module}.weight", f"{path}/bias": f"{module}.bias"}
  for path, module in norms.items():
    names |= {f"{path}/scale": f"{module}.weight", f"{path}/bias": f"{module}.bias"}
  return {ours: Source(theirs, transposed=ours.endswith("kernel"))
          for ours, theirs in names.items()}


# Heads (pooler, masked words, a classifier) are left out; the first checkpoints of Google's have
# TensorFlow's names of a norm's parameters.
BERT = Family(
    config=encoder_config,
    weights=encoder_weights(
        "encoder.layer", q="attention.self.query", k="attention.self.key",
        v="attention.self.value", out="attention.output.dense",
        attn_norm="attention.output.LayerNorm", up="intermediate.dense", down="output.dense",
        mlp_norm="output.LayerNorm"),
    prefix="bert.", ignored=r"(pooler|cls|classifier|qa_outputs)\..*|embeddings\.position_ids",
    renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"})
