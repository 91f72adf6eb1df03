"""Llama and its relatives (TinyLlama, SmolLM2, Mistral, Qwen2, Qwen3): RMS norm, rotary, gated."""

from collections.abc import Mapping
from typing import Any

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.families.family import (
    Family,
    Source,
    refuse,
    required,
    rope_frequencies,
    size,
)
from mezzanine_jax.models.transformer_config import TransformerConfig


def _config(hf: Mapping[str, Any]) -> TransformerConfig:
  """Maps the config of any of the family's model types."""
  kind = required(hf, "model_type")
  refuse(hf, is_causal=True)
  width, heads = size(hf, "hidden_size"), size(hf, "num_attention_heads")
  kv_heads = hf.get("num_key_value_heads") or (8 if kind == "mistral" else heads)
  head_dim = hf.get("head_dim") or (128 if kind == "qwen3" else width // heads)
  bias = bool(hf.get("attention_bias", False)) and kind in ("llama", "qwen3")
  frequencies, scale = rope_frequencies(hf, head_dim)
  return TransformerConfig(
      vocab_size=size(hf, "vocab_size"), width=width,
      num_layers=size(hf, "num_hidden_layers"), num_heads=heads, num_kv_heads=kv_heads,
      head_dim=head_dim, mlp_width=size(hf, "intermediate_size"),
      max_positions=size(hf, "max_position_embeddings"), norm="rmsnorm",
      norm_eps=hf.get("rms_norm_eps", 1e-6), positions="rotary", rope_frequencies=frequencies,
      rope_scale=scale, activation=hf.get("hidden_act", "silu"), gated_mlp=True,
      qkv_bias=bias or kind == "qwen2", out_bias=bias,
      mlp_bias=bool(hf.get("mlp_bias", False)) and kind == "llama", qk_norm=kind == "qwen3",
      tied_embeddings=bool(hf.get("tie_word_embeddings", False)),
      sliding_window=_sliding_window(hf, kind))


def _sliding_window(hf: Mapping[str, Any], kind: str) -> int | None:
  """The window of every layer; windows in some layers only are refused."""
  if kind == "mistral":
    return hf.get("sliding_window", 4096)
  if kind == "llama" or not hf.get("use_sliding_window", False):
    return None
  layers = size(hf, "num_hidden_layers")
  first = hf.get("max_window_layers", 28)
  sliding = [kind == "sliding_attention" for kind in hf.get("layer_types") or ()]
  sliding = sliding or [i >= first for i in range(layers)]
  if any(sliding) and not all(sliding):
    raise InputError("a sliding window in some layers only is not supported; "
                     "it must hold for all layers or none (use_sliding_window, layer_types)")
  return hf.get("sliding_window", 4096) if all(sliding) else None


def _table(names: Mapping[str, str], rope_pairs: bool = False) -> dict[str, Source]:
  """Matrices lie [out, in] in the file; embeddings and vectors as they are used."""
  rotated = ("layers/q/", "layers/k/") if rope_pairs else ()
  return {ours: Source(theirs, transposed=ours.endswith("kernel"),
                       rope_pairs=ours.startswith(rotated))
          for ours, theirs in names.items()}


def _names(layer: str, embed: str, norm: str, unembed: str, inner: str) -> dict[str, str]:
  """Parameter paths -> tensor names, from the words that one file format uses."""
  q, k, v, out, gate, up, down, attn_norm, mlp_norm, q_norm, k_norm = inner.split()
  names = {"embed": f"{embed}.weight", "final_norm/scale": f"{norm}.weight",
           "unembed": f"{unembed}.weight"}
  for ours, theirs in dict(q=q, k=k, v=v, out=out, gate=gate, up=up, down=down).items():
    names[f"layers/{ours}/kernel"] = f"{layer}.{theirs}.weight"
    names[f"layers/{ours}/bias"] = f"{layer}.{theirs}.bias"
  for ours, theirs in dict(attn_norm=attn_norm, mlp_norm=mlp_norm, q_norm=q_norm,
                           k_norm=k_norm).items():
    names[f"layers/{ours}/scale"] = f"{layer}.{theirs}.weight"
  return names


_HF = _names("layers.{}", "embed_tokens", "norm", "lm_head",
             "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj "
             "mlp.gate_proj mlp.up_proj mlp.down_proj input_layernorm post_attention_layernorm "
             "self_attn.q_norm self_attn.k_norm")
_GGUF = _names("blk.{}", "token_embd", "output_norm", "output",
               "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down attn_norm ffn_norm "
               "attn_q_norm attn_k_norm")

# llama.cpp's converter reorders queries and keys for the llama architecture (Mistral's too).
LLAMA = Family(config=_config, weights=_table(_HF), prefix="model.",
               ignored=r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
               gguf_weights=_table(_GGUF, rope_pairs=True))
QWEN = LLAMA._replace(gguf_weights=_table(_GGUF))
