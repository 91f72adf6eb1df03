"""GGUF files: metadata as a Hugging Face config, tensors dequantized one at a time."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.families import FAMILIES, family_of
from mezzanine_jax.models.families.family import size
from mezzanine_jax.models.gguf_header import read_header
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.models.weights import Tensors
from mezzanine_jax.untrusted import shown

ROPE_FACTORS = "rope_freqs.weight"  # what Llama 3's rotary frequencies are divided by


def open_gguf(path: Path) -> tuple[dict[str, Any], Tensors]:
  """Opens a GGUF file.

  Args:
    path: the file.

  Returns:
    (metadata by key, tensors; dequantized to float32 where they are read).

  Raises:
    InputError: a malformed or truncated file, one part of a split model.
  """
  import gguf

  try:
    metadata, infos = read_header(path, gguf.GGML_QUANT_SIZES)
  except (ValueError, OSError) as error:
    raise InputError(f"{path} is not a readable GGUF file ({shown(error, 200)})") from error
  if metadata.get("split.count", 1) not in (0, 1):
    raise InputError(f"{path} is one part of a split model; merge the parts into one file")

  def read(name: str) -> np.ndarray:
    info = infos[name]
    kind = gguf.GGMLQuantizationType(info.kind)
    # Read, not mapped: pages of a mapped file would count as this process's memory.
    data = np.fromfile(path, np.uint8, info.num_bytes, offset=info.start)
    data = data.reshape(*info.shape[:-1], -1)
    try:
      return gguf.dequantize(data, kind).reshape(info.shape)
    except NotImplementedError as error:
      raise InputError(f"tensor {shown(name)!r} of {path} has the quantization {kind.name}, which "
                       "the gguf package does not dequantize; use Q8_0, F16 or the like") from error

  shapes = {name: info.shape for name, info in infos.items()}
  return metadata, Tensors(shapes, read, (path,))


def gguf_config(metadata: Mapping[str, Any], tensors: Tensors) -> TransformerConfig:
  """The architecture that a GGUF file's metadata describe.

  Args:
    metadata: by key, as `open_gguf` gives it.
    tensors: the file's tensors: vocabulary size, tied embeddings and biases are read off them.

  Raises:
    InputError: an architecture or a scaling that is not supported, missing metadata.
  """
  arch = str(metadata.get("general.architecture"))
  supported = [name for name, family in FAMILIES.items() if family.gguf_weights]
  if arch not in supported:
    raise InputError(f"GGUF files of architecture {shown(arch)!r} are not supported; supported: "
                     f"{', '.join(supported)}")

  def get(key: str, default: Any = None) -> Any:
    return metadata.get(f"{arch}.{key}", default)

  scaling = get("rope.scaling.type", "none")
  if scaling not in ("none", "linear"):
    raise InputError(f"rope scaling of type {shown(scaling)!r} in a GGUF file is not supported; "
                     "supported: none, linear, and Llama 3's table of factors")
  rope = {"rope_type": "default", "rope_theta": get("rope.freq_base", 10000.0)}
  if scaling == "linear":
    rope |= {"rope_type": "linear", "factor": get("rope.scaling.factor")}
  heads = size(metadata, f"{arch}.attention.head_count")
  width = size(metadata, f"{arch}.embedding_length")
  hf = {
      "model_type": arch,
      "vocab_size": tensors.shapes.get("token_embd.weight", (None,))[0],
      "hidden_size": width,
      "intermediate_size": get("feed_forward_length"),
      "num_hidden_layers": get("block_count"),
      "num_attention_heads": heads,
      "num_key_value_heads": get("attention.head_count_kv", heads),
      "head_dim": get("attention.key_length") or width // heads,
      "max_position_embeddings": get("context_length"),
      "rms_norm_eps": get("attention.layer_norm_rms_epsilon", 1e-6),
      "rope_parameters": rope,
      "attention_bias": "blk.0.attn_output.bias" in tensors.shapes,
      "mlp_bias": "blk.0.ffn_up.bias" in tensors.shapes,
      "tie_word_embeddings": "output.weight" not in tensors.shapes,
  }
  rotated = get("rope.dimension_count")
  if rotated not in (None, hf["head_dim"]):
    raise InputError(f"rotary positions on {rotated} of {hf['head_dim']} dimensions of a head "
                     "are not supported; only all of them are")
  config = family_of(arch).config(hf)
  if ROPE_FACTORS not in tensors.shapes:
    return config
  count = math.prod(tensors.shapes[ROPE_FACTORS])
  good = count == len(config.rope_frequencies)
  factors = tensors.read(ROPE_FACTORS).astype(float).ravel() if good else np.zeros(1)
  if not (np.isfinite(factors) & (factors > 0)).all():
    raise InputError(f"tensor {ROPE_FACTORS!r} must hold {len(config.rope_frequencies)} "
                     f"positive factors, got {f'{factors.min()} among them' if good else count}")
  scaled = (f / factor for f, factor in
            zip(config.rope_frequencies, factors.tolist(), strict=True))
  return dataclasses.replace(config, rope_frequencies=tuple(scaled))
