"""GPT-2: learned positions, layer norm, one fused matrix for queries, keys and values."""

from collections.abc import Mapping
from typing import Any

from mezzanine_jax.models.families.family import Family, Source, refuse, size
from mezzanine_jax.models.transformer_config import TransformerConfig


def _config(hf: Mapping[str, Any]) -> TransformerConfig:
  """Maps a GPT2Config."""
  refuse(hf, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False,
         add_cross_attention=False)
  width, heads = size(hf, "n_embd"), size(hf, "n_head")
  return TransformerConfig(
      vocab_size=size(hf, "vocab_size"), width=width, num_layers=size(hf, "n_layer"),
      num_heads=heads, num_kv_heads=heads, head_dim=width // heads,
      mlp_width=hf.get("n_inner") or 4 * width, max_positions=size(hf, "n_positions"),
      norm="layernorm", norm_eps=hf.get("layer_norm_epsilon", 1e-5), positions="learned",
      activation=hf.get("activation_function", "gelu_new"), gated_mlp=False, qkv_bias=True,
      out_bias=True, mlp_bias=True, tied_embeddings=hf.get("tie_word_embeddings", True))


def _weights() -> dict[str, Source]:
  """GPT-2's matrices are stored [in, out] already."""
  names = {"embed": "wte.weight", "positions": "wpe.weight", "unembed": "lm_head.weight",
           "final_norm/scale": "ln_f.weight", "final_norm/bias": "ln_f.bias"}
  for ours, theirs in {"attn_norm/scale": "ln_1.weight", "attn_norm/bias": "ln_1.bias",
                       "mlp_norm/scale": "ln_2.weight", "mlp_norm/bias": "ln_2.bias",
                       "out/kernel": "attn.c_proj.weight", "out/bias": "attn.c_proj.bias",
                       "up/kernel": "mlp.c_fc.weight", "up/bias": "mlp.c_fc.bias",
                       "down/kernel": "mlp.c_proj.weight",
                       "down/bias": "mlp.c_proj.bias"}.items():
    names["layers/" + ours] = "h.{}." + theirs
  table = {ours: Source(theirs) for ours, theirs in names.items()}
  for i, ours in enumerate("qkv"):
    table[f"layers/{ours}/kernel"] = Source("h.{}.attn.c_attn.weight", part=(i, 3))
    table[f"layers/{ours}/bias"] = Source("h.{}.attn.c_attn.bias", part=(i, 3))
  return table


GPT2 = Family(config=_config, weights=_weights(), prefix="transformer.",
              ignored=r"h\.\d+\.attn\.(masked_)?bias")
