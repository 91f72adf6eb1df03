"""Weight files to the parameter tree: names, shapes and values are checked, then converted once."""

import functools
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from mezzanine_jax.errors import InputError
from mezzanine_jax.mesh import param_specs
from mezzanine_jax.models.families import Source
from mezzanine_jax.models.transformer import init_params
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.untrusted import parse_json, shown

_ALIGNMENT = 64  # bytes; XLA's own buffers begin at multiples of it


class Tensors(NamedTuple):
  """The tensors of one or more opened weight files.

  Attributes:
    shapes: name -> shape.
    read: name -> array of floats; reads that tensor alone.
    files: the weight files, in a fixed order.
  """

  shapes: Mapping[str, tuple[int, ...]]
  read: Callable[[str], np.ndarray]
  files: tuple[Path, ...]


def open_safetensors(directory: Path, ignored: str = "") -> Tensors:
  """Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists.

  Args:
    directory: folder of the model.
    ignored: regular expression of tensor names that may hold other things than floats.

  Returns:
    its tensors; each is read when it is asked for.

  Raises:
    InputError: no safetensors, a missing shard, a malformed file, a type that is no float.
  """
  from safetensors import SafetensorError, safe_open

  files = _safetensors_files(directory)
  shapes, homes = {}, {}
  for file in files:
    try:
      with safe_open(file, framework="numpy") as handle:
        for name in handle.keys():  # noqa: SIM118 (no mapping)
          part = handle.get_slice(name)
          floats = part.get_dtype() in ("F64", "F32", "F16", "BF16")
          if not floats and not re.fullmatch(ignored, name):
            raise InputError(f"tensor {shown(name)!r} of {file} is of type {part.get_dtype()}; "
                             "supported: F64, F32, F16, BF16")
          if name in shapes:
            raise InputError(f"tensor {shown(name)!r} stands in more than one file of {directory}")
          shapes[name], homes[name] = tuple(part.get_shape()), file
    except (SafetensorError, OSError) as error:
      raise InputError(f"{file} is not a readable safetensors file ({shown(error, 200)})"
                       ) from error

  def read(name: str) -> np.ndarray:
    # Opened anew: what a mapped file has read counts as this process's memory until it is closed.
    with safe_open(homes[name], framework="numpy") as handle:
      return handle.get_tensor(name)

  return Tensors(shapes, read, files)


def _safetensors_files(directory: Path) -> tuple[Path, ...]:
  """The weight files of a model folder."""
  index = directory / "model.safetensors.index.json"
  if index.is_file():
    try:
      names = sorted(set(parse_json(index.read_bytes())["weight_map"].values()))
      # A name is a name: a path would lead out of the folder.
      odd = [name for name in names
             if Path(name).name != name or name == ".." or "\0" in name or len(name) > 255]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
      raise InputError(f"{index} is not a safetensors index; it must be json with a "
                       "'weight_map'") from error
    if odd or not names:
      raise InputError(f"{index} must name files of its own folder, got "
                       f"{_listed(odd) or 'none'}; download the model again")
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
      raise InputError(f"{directory} lacks the weight files {_listed(missing)} that its "
                       "safetensors index names; download the model again")
    return tuple(directory / name for name in names)
  single = directory / "model.safetensors"
  if single.is_file():
    return (single,)
  pickled = sorted(f.name for f in directory.iterdir() if f.suffix in (".bin", ".pt", ".pth"))
  if pickled:
    raise InputError(f"{directory} holds pickled weights only ({_listed(pickled)}), which are "
                     "refused because loading them can run code; convert them to safetensors")
  raise InputError(f"{directory} holds no model.safetensors; pickled .bin files are refused, so "
                   "the model must be converted to safetensors")


def load_params(config: TransformerConfig, sources: Mapping[str, Source], tensors: Tensors,
                dtype: str, prefix: str = "", ignored: str = "",
                renamed: Mapping[str, str] = MappingProxyType({}), mesh: Mesh | None = None,
                fully_sharded: bool = False) -> Any:
  """Reads every parameter once into the tree of `Transformer(config)`.

  Args:
    config: the architecture.
    sources: parameter path -> Source.
    tensors: the opened weight files.
    dtype: "float32" or "bfloat16", of matrices; norms and biases are float32.
    prefix: start of tensor names that may be there or not.
    ignored: regular expression of tensor names (without prefix) to leave alone.
    renamed: end of a tensor's name -> what stands in its place in `sources`.
    mesh: devices that the parameters are divided among, none of which has to hold them all; None
      or a mesh of one: the default device.
    fully_sharded: see `mesh.param_specs`.

  Returns:
    the parameter tree.

  Raises:
    InputError: missing or extra tensors, wrong shapes, NaN or infinity; the tensors are named.
  """
  shapes = param_shapes(config, dtype)
  leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
  wanted = {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}
  names = {_plain_name(name, prefix, renamed): name for name in tensors.shapes}
  _check_names(config, wanted, sources, names, ignored)
  _check_shapes(config, wanted, sources, names, tensors)
  homes = jax.tree.map(lambda shape: None, shapes)
  if mesh is not None and mesh.size > 1:
    specs = param_specs(config, shapes, mesh, fully_sharded)
    homes = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
  homes = tree.flatten_up_to(homes)
  params = []
  with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # NumPy lets threads run at once
    for (path, shape), (_, leaf), home in zip(wanted.items(), leaves, homes, strict=True):
      layered = path.startswith("layers/")
      full = _aligned(shape, leaf.dtype)
      parts = full if layered else full[None]
      own = [names[sources[path].name.format(layer)] for layer in range(len(parts))]
      convert = functools.partial(_converted, config, path, sources[path])
      list(pool.map(functools.partial(_fill, tensors, convert), own, parts))
      params.append(jax.device_put(full, home))  # on a CPU the array itself, not a copy
  return jax.tree_util.tree_unflatten(tree, params)


def param_shapes(config: TransformerConfig, dtype: str) -> Any:
  """The tree of parameters as `load_params` makes it, shapes and dtypes alone.

  Args:
    config: the architecture.
    dtype: "float32" or "bfloat16", of matrices; norms and biases are float32.

  Returns:
    `jax.ShapeDtypeStruct`s.
  """
  shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))

  def typed(path, leaf):
    is_matrix = len(leaf.shape) - (path[0].key == "layers") > 1
    return jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype) if is_matrix else jnp.float32)

  return jax.tree_util.tree_map_with_path(typed, shapes)


def _plain_name(name: str, prefix: str, renamed: Mapping[str, str]) -> str:
  """A tensor's name as the family calls it."""
  name = name.removeprefix(prefix)
  old = next((end for end in renamed if name.endswith(end)), "")
  return name.removesuffix(old) + renamed[old] if old else name


def _aligned(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
  """An array without values, aligned so that JAX on a CPU takes it as it is."""
  size = math.prod(shape) * dtype.itemsize
  room = np.empty(size + _ALIGNMENT, np.uint8)
  start = -room.ctypes.data % _ALIGNMENT
  return room[start : start + size].view(dtype).reshape(shape)


def _fill(tensors: Tensors, convert: Callable[[np.ndarray], np.ndarray], name: str,
          out: np.ndarray) -> None:
  """Reads one tensor into its place."""
  values = np.asarray(tensors.read(name), np.float32)
  if not np.isfinite(values).all():
    raise InputError(f"tensor {name!r} holds NaN or infinity; the weights cannot be used")
  out[...] = convert(values)


def _converted(config: TransformerConfig, path: str, source: Source,
               values: np.ndarray) -> np.ndarray:
  """A tensor as its file holds it -> the parameter."""
  if source.folded:
    values = values.reshape(_folded(values.shape))
  if source.rope_pairs:
    heads = config.num_heads if path.startswith("layers/q/") else config.num_kv_heads
    split = values.reshape(heads, config.head_dim // 2, 2, *values.shape[1:])
    values = split.swapaxes(1, 2).reshape(values.shape)
  if source.transposed and values.ndim == 2:
    values = values.T
  i, n = source.part
  size = values.shape[-1] // n
  return values[..., i * size:(i + 1) * size]


def _file_shape(shape: Sequence[int], source: Source) -> tuple[int, ...]:
  """The shape that a parameter of `shape` has in its file."""
  shape = (*shape[:-1], shape[-1] * source.part[1])
  return shape[::-1] if source.transposed else shape


def _folded(shape: Sequence[int]) -> tuple[int, ...]:
  """[1, T, D] as [T, D], [D, C, P, P] as [D, C P P]."""
  while len(shape) > 2 and shape[0] == 1:
    shape = shape[1:]
  return (*shape[:1], math.prod(shape[1:])) if len(shape) > 2 else tuple(shape)


def _check_names(config, wanted, sources, names, ignored):
  """Every parameter has its tensor, every tensor its parameter."""
  needed = set()
  for path in wanted:
    source = sources[path].name
    needed |= {source.format(layer) for layer in range(config.num_layers)}
  missing = sorted(needed - set(names))
  if missing:
    raise InputError(f"the weights lack {_listed(missing)}; they are incomplete or not of the "
                     "model that the config describes")
  tied = config.tied_embeddings and "unembed" in sources
  allowed = {sources["unembed"].name} if tied else set()
  extra = [names[name] for name in sorted(set(names) - needed - allowed)
           if not re.fullmatch(ignored, name)]
  if extra:
    raise InputError(f"the weights hold tensors that the model has no place for: "
                     f"{_listed(extra)}; they are not of the model that the config describes")


def _check_shapes(config, wanted, sources, names, tensors):
  """Every tensor has the shape that the config asks for."""
  wrong = {}
  for path, shape in wanted.items():
    layered = path.startswith("layers/")
    expected = _file_shape(shape[1:] if layered else shape, sources[path])
    for layer in range(config.num_layers if layered else 1):
      name = names[sources[path].name.format(layer)]
      found = tensors.shapes[name]
      if (_folded(found) if sources[path].folded else found) != expected:
        wrong[name] = f"{name} has {tensors.shapes[name]} where the config asks for {expected}"
  if wrong:
    raise InputError(f"wrong shapes in the weights: {_listed(list(wrong.values()))}")


def _listed(items: Sequence[str], most: int = 4) -> str:
  """The first few items, and how many more there are."""
  rest = len(items) - most
  return ", ".join(map(shown, items[:most])) + (f" and {rest} more" if rest > 0 else "")
