"""Frozen models of images (ViT, DINOv2): loading them, and the features of images."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.allowed import DTYPES, IMAGE_POOLS
from mezzanine_jax.errors import InputError
from mezzanine_jax.models import load
from mezzanine_jax.models.attention import Array, Stream
from mezzanine_jax.models.families import VISION, family_of
from mezzanine_jax.models.families.family import size as size_of
from mezzanine_jax.models.families.vit import grid
from mezzanine_jax.models.transformer import Transformer, layer_indices
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.models.weights import load_params, open_safetensors
from mezzanine_jax.scoring import pool

_PREPROCESSOR = "preprocessor_config.json"
_SHARPNESS = -0.75  # of the cubic curve that positions are interpolated with, as in PyTorch


@dataclasses.dataclass(frozen=True, eq=False)
class VisionModel:
  """A loaded model of images.

  Attributes:
    name: what it was loaded by.
    config: the transformer's architecture.
    params: its parameters.
    size: pixels a side of the images that it sees.
    patch: pixels a side of a patch.
    mean: float32[channels], taken from pixels in [0, 1].
    std: float32[channels], what they are then divided by.
    digest: SHA-256 (hex) of what changes its numbers.
  """

  name: str
  config: TransformerConfig
  params: Any
  size: int
  patch: int
  mean: np.ndarray
  std: np.ndarray
  digest: str

  @property
  def dtype(self) -> jnp.dtype:
    """The dtype of the weight matrices."""
    return self.params["patches"]["kernel"].dtype


def load_vision(name: str, dtype: str = "float32", size: int | None = None) -> VisionModel:
  """Loads a model of images.

  Args:
    name: hub id ("google/vit-base-patch16-224", "facebook/dinov2-small"), or a folder with
      config.json, preprocessor_config.json and safetensors.
    dtype: "float32" or "bfloat16".
    size: pixels a side of the images, a multiple of the patch's; None: that of the model's config.
      For another size than that, the learned positions are interpolated (bicubic).

  Returns:
    the model, its parameters on the default device.

  Raises:
    InputError: the model is not found or not supported, or its files cannot be used.
  """
  if dtype not in DTYPES:
    raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
  path, hf = load.model_folder(name)
  family = family_of(hf["model_type"], VISION)
  config, patch, own = family.config(hf), size_of(hf, "patch_size"), size_of(hf, "image_size")
  size = own if size is None else size
  if size < patch or size % patch:
    raise InputError(f"the images' size must be a multiple of {patch}, the side of the model's"
                     f" patches, got {size}")
  channels = config.patch_values // patch**2
  mean, std = (_moment(path, field, channels) for field in ("image_mean", "image_std"))
  tensors = open_safetensors(path)
  params = load_params(
      config, family.weights, tensors, dtype, family.prefix, family.ignored, family.renamed)
  if size // patch != grid(hf):
    places = interpolate(np.asarray(params["positions"], np.float32), grid(hf), size // patch)
    params = params | {"positions": jnp.asarray(places, dtype)}
    config = dataclasses.replace(config, max_positions=len(places))
  facts = json.dumps([size, mean.tolist(), std.tolist()])
  return VisionModel(name, config, params, size, patch, mean, std,
                     load.digest(config, tensors, dtype, facts))


def encoder(
    model: VisionModel, *, layer: int = -1, pooling: str = "cls"
) -> Callable[[Any, Array], Array]:
  """`f(params, images) -> features`, of B images at once.

  Images are resized to the model's own size (bilinear, smoothed where they shrink) and normalised
  by its mean and standard deviation; a grey image is given as many channels as the model needs.

  Args:
    model: gives the architecture; the parameters are passed in.
    layer: 0 = embeddings, i = after block i, -1 = after the final norm.
    pooling: `cls` (the class token), `mean` or `mean_std` over class token and patches.

  Returns:
    A pure function of `params` and float[B, H, W, channels] with values in [0, 1]; it gives
    float32[B, D], or [B, 2 D] for `mean_std`.

  Raises:
    InputError: for a layer the model does not have, an unknown pooling, or, when it is applied,
      other channels than the model's.
  """
  if pooling not in IMAGE_POOLS:
    raise InputError(f"pool must be one of {', '.join(IMAGE_POOLS)}, got {pooling!r}")
  layer_indices(model.config, (layer,))
  length = model.config.max_positions
  transformer = Transformer(model.config, model.dtype)

  def encode(params: Any, images: Array) -> Array:
    count = images.shape[0]
    patches = jax.vmap(lambda image: _patches(model, image))(images)
    tokens = jnp.pad(patches, ((0, 0), (1, 0), (0, 0))).reshape(count * length, -1)
    places = jnp.arange(count * length, dtype=jnp.int32)
    stream = Stream(tokens, places % length, places.reshape(count, length), places)
    hidden, = transformer.apply({"params": params}, stream, layers=(layer,))
    return jax.vmap(lambda own: pool(own, length, pooling))(hidden.reshape(count, length, -1))

  return encode


def interpolate(positions: np.ndarray, old: int, new: int) -> np.ndarray:
  """Learned positions for another number of patches, by bicubic interpolation.

  Args:
    positions: float32[1 + old^2, D], the class token's first.
    old: patches a side that they are for.
    new: patches a side that there are.

  Returns:
    float32[1 + new^2, D]; that of the class token stays.

  Example:
    >>> interpolate(np.ones((5, 2), np.float32), 2, 3).shape
    (10, 2)
  """
  weights = _cubic(old, new)
  table = positions[1:].reshape(old, old, -1)
  table = np.einsum("ia,jb,abd->ijd", weights, weights, table, optimize=True)
  return np.concatenate([positions[:1], table.reshape(new * new, -1)]).astype(np.float32)


def _cubic(old: int, new: int) -> np.ndarray:
  """float64[new, old], weights of cubic convolution between the centres of pixels (Keys 1981).

  Beyond the edge its pixel is repeated.
  """
  at = (np.arange(new) + 0.5) * old / new - 0.5
  weights = np.zeros((new, old))
  for tap in range(-1, 3):
    place = np.floor(at) + tap
    d = np.abs(at - place)
    near = ((_SHARPNESS + 2) * d - (_SHARPNESS + 3)) * d**2 + 1
    far = _SHARPNESS * (((d - 5) * d + 8) * d - 4)
    column = np.clip(place, 0, old - 1).astype(int)
    np.add.at(weights, (np.arange(new), column), np.where(d <= 1, near, far))
  return weights


def _patches(model: VisionModel, image: Array) -> Array:
  """float32[patches, patch_values] of an image [H, W, channels], as the model's kernel has them."""
  wanted = len(model.mean)
  if image.shape[-1] not in (1, wanted):
    raise InputError(f"the model {model.name!r} needs images of {wanted} channels (or grey ones),"
                     f" got {image.shape[-1]}")
  image = jax.image.resize(image, (model.size, model.size, image.shape[-1]), "linear")
  image = (jnp.broadcast_to(image, (*image.shape[:2], wanted)) - model.mean) / model.std
  side = model.size // model.patch
  cut = image.reshape(side, model.patch, side, model.patch, wanted)
  return cut.transpose(0, 2, 4, 1, 3).reshape(side * side, -1)


def _moment(path: Path, field: str, channels: int) -> np.ndarray:
  """`image_mean` or `image_std` of the model's preprocessor."""
  file = path / _PREPROCESSOR
  if not file.is_file():
    raise InputError(f"{path} holds no {_PREPROCESSOR}, which says what pixels are divided by")
  try:
    found = json.loads(file.read_text("utf-8"))
    found = found.get(field) if isinstance(found, dict) else None
    values = np.array(found, np.float32)
  except (TypeError, ValueError) as error:
    raise InputError(f"{field} in {file} cannot be read ({error})") from error
  if values.shape != (channels,) or not np.isfinite(values).all() or (
      field == "image_std" and not (values > 0).all()):
    raise InputError(f"{field} in {file} must be {channels} numbers, got {found!r}")
  return values
