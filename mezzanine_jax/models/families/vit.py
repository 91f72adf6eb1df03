"""ViT and DINOv2: an encoder of an image's patches behind a class token, norms before each half."""

from collections.abc import Mapping
from typing import Any

from mezzanine_jax.models.families.family import Family, Source, refuse, size
from mezzanine_jax.models.transformer_config import TransformerConfig


def _config(hf: Mapping[str, Any]) -> TransformerConfig:
  """Maps a ViTConfig or a Dinov2Config; what it does not say is as in their defaults."""
  refuse(hf, use_swiglu_ffn=False)
  dino = hf["model_type"] == "dinov2"
  width, heads, side = size(hf, "hidden_size"), size(hf, "num_attention_heads"), grid(hf)
  mlp_width = int(width * hf.get("mlp_ratio", 4)) if dino else size(hf, "intermediate_size")
  return TransformerConfig(
      vocab_size=1, patch_values=hf.get("num_channels", 3) * size(hf, "patch_size") ** 2,
      width=width, num_layers=size(hf, "num_hidden_layers"), num_heads=heads, num_kv_heads=heads,
      head_dim=width // heads, mlp_width=mlp_width, max_positions=1 + side**2, causal=False,
      norm="layernorm", norm_eps=hf.get("layer_norm_eps", 1e-6 if dino else 1e-12),
      positions="learned", activation=hf.get("hidden_act", "gelu"), gated_mlp=False,
      layer_scale=dino, qkv_bias=hf.get("qkv_bias", True), out_bias=True, mlp_bias=True)


def grid(hf: Mapping[str, Any]) -> int:
  """Patches a side of the images that the model was made for."""
  return size(hf, "image_size") // size(hf, "patch_size")


def _weights(norms: str, mlp: str) -> dict[str, Source]:
  """Embeddings and blocks; `norms` and `mlp` are what two modules of a layer each are called."""
  matrices = dict(zip("q k v out up down".split(), (
      "attention.attention.query attention.attention.key attention.attention.value"
      f" attention.output.dense {mlp}").split(), strict=True))
  names = {"patches/bias": "embeddings.patch_embeddings.projection.bias"}
  for path, module in {
      "final_norm": "layernorm",
      **{f"layers/{half}_norm": f"encoder.layer.{{}}.{norm}"
         for half, norm in zip(("attn", "mlp"), norms.split(), strict=True)},
  }.items():
    names |= {f"{path}/scale": f"{module}.weight", f"{path}/bias": f"{module}.bias"}
  for ours, theirs in matrices.items():
    names[f"layers/{ours}/kernel"] = f"encoder.layer.{{}}.{theirs}.weight"
    names[f"layers/{ours}/bias"] = f"encoder.layer.{{}}.{theirs}.bias"
  for number, half in enumerate(("attn", "mlp"), 1):
    names[f"layers/{half}_scale"] = f"encoder.layer.{{}}.layer_scale{number}.lambda1"
  table = {ours: Source(theirs, transposed=ours.endswith("kernel"))
           for ours, theirs in names.items()}
  return table | {
      "embed": Source("embeddings.cls_token", folded=True),
      "positions": Source("embeddings.position_embeddings", folded=True),
      "patches/kernel": Source(
          "embeddings.patch_embeddings.projection.weight", transposed=True, folded=True)}


_IGNORED = r"(pooler|classifier|decoder)\..*|embeddings\.mask_token"

VIT = Family(config=_config, prefix="vit.", ignored=_IGNORED, weights=_weights(
    norms="layernorm_before layernorm_after", mlp="intermediate.dense output.dense"))
DINOV2 = Family(config=_config, prefix="dinov2.", ignored=_IGNORED, weights=_weights(
    norms="norm1 norm2", mlp="mlp.fc1 mlp.fc2"))
