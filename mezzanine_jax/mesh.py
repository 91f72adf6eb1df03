"""Many devices: a mesh with the axes `data` and `model`, and what of a transformer lies where.

Rows go over `data`. Parameters go over `model`: heads, the MLP's width and the vocabulary; or,
fully sharded, over `data` too. Nothing here depends on values, so shapes without weights and
devices that are not there (those of `jax.experimental.topologies`) do as well.
"""

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mezzanine_jax.errors import InputError

if TYPE_CHECKING:  # experiments without a transformer import this module, too
  from mezzanine_jax.models.transformer_config import TransformerConfig

DATA, MODEL = "data", "model"
ALL_DEVICES = "data=-1,model=1"


def parse(text: str) -> tuple[int, int]:
  """The sizes of the two axes, as they are given: -1 stands for what is left.

  Args:
    text: such as `data=-1,model=1`; an axis that is not named has size 1.

  Returns:
    (data, model).

  Raises:
    InputError: for other names, sizes, or two axes that take what is left.

  Example:
    >>> parse("data=-1,model=2"), parse("model=4")
    ((-1, 2), (1, 4))
  """
  sizes = {}
  for part in text.split(","):
    found = re.fullmatch(rf"\s*({DATA}|{MODEL})\s*=\s*(-1|[1-9]\d*)\s*", part)
    if found is None or found[1] in sizes:
      raise InputError(
          f"mesh must be like {ALL_DEVICES}: the axes data and model, each once at most, with a"
          f" number of devices >= 1, or -1 for all that are left; got {text!r}")
    sizes[found[1]] = int(found[2])
  if list(sizes.values()) == [-1, -1]:
    raise InputError(f"only one axis of the mesh may take the devices that are left, got {text!r}")
  return sizes.get(DATA, 1), sizes.get(MODEL, 1)


def make_mesh(text: str = ALL_DEVICES, devices: Sequence[Any] | None = None) -> Mesh:
  """The mesh of some devices; the first ones where fewer are asked for.

  Args:
    text: see `parse`.
    devices: which ones; those of this process by default.

  Returns:
    A mesh with the axes `data` and `model`, both left to the compiler.

  Raises:
    InputError: if there are too few devices, or -1 leaves some over.

  Example:
    >>> dict(make_mesh("data=1,model=1").shape)
    {'data': 1, 'model': 1}
  """
  devices = list(jax.local_devices() if devices is None else devices)
  sizes = parse(text)
  if -1 in sizes:
    other = max(sizes)  # the one that is given
    if len(devices) % other:
      raise InputError(
          f"mesh {text!r} cannot use {len(devices)} devices: {len(devices)} is no multiple of"
          f" {other}; give both numbers, or one that divides")
    sizes = tuple(len(devices) // other if size == -1 else size for size in sizes)
  count = math.prod(sizes)
  if count > len(devices):
    raise InputError(
        f"mesh {text!r} needs {count} devices, there are {len(devices)}; give smaller numbers, or"
        " -1 for all that are left")
  if count == len(devices) > 1 and devices[0].platform == "tpu":
    from jax.experimental import mesh_utils

    # Chips that split a model stand next to each other.
    grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
  else:
    grid = np.array(devices[:count]).reshape(sizes)
  return Mesh(grid, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)


def param_specs(
    config: "TransformerConfig", shapes: Any, mesh: Mesh, fully_sharded: bool = False
) -> Any:
  """What every parameter of a transformer is split over; what does not divide stays whole.

  Query heads, key heads, the MLP's width and the vocabulary go over `model`. A head is never cut.

  Args:
    config: the architecture.
    shapes: its parameter tree, of arrays or of anything with a shape.
    mesh: from `make_mesh`.
    fully_sharded: whether every matrix is split over `data`, too, along its longest axis that is
      still whole and divides. Vectors, which weigh nothing, stay whole.

  Returns:
    A tree of `PartitionSpec`.

  Example:
    >>> from mezzanine_jax.models.transformer_config import TransformerConfig
    >>> config = TransformerConfig(vocab_size=10, width=8, num_layers=2, num_heads=2,
    ...                            num_kv_heads=1, head_dim=4, mlp_width=16, max_positions=8,
    ...                            rope_frequencies=(1.0, 0.01))
    >>> mesh = jax.sharding.AbstractMesh((4, 2), (DATA, MODEL))
    >>> shapes = {"embed": jax.ShapeDtypeStruct((10, 8), "float32"),
    ...           "layers": {"k": {"kernel": jax.ShapeDtypeStruct((2, 8, 4), "float32")}}}
    >>> specs = param_specs(config, shapes, mesh, fully_sharded=True)
    >>> specs["embed"] == P("model", "data")
    True
    >>> specs["layers"]["k"]["kernel"] == P(None, "data", None)  # one key head is not cut
    True
  """
  split = _split_axes(config, mesh.shape[MODEL])
  ways = mesh.shape[DATA] if fully_sharded else 1

  def spec(path: Any, leaf: Any) -> P:
    path = tuple(key.key for key in path)
    axes = [None] * len(leaf.shape)
    if (axis := split.get(path)) is not None:
      axes[axis] = MODEL
    layered = path[0] == "layers"
    if ways > 1 and len(axes) - layered > 1:
      whole = [i for i in range(layered, len(axes))
               if axes[i] is None and leaf.shape[i] % ways == 0]
      if whole:
        axes[max(whole, key=lambda i: leaf.shape[i])] = DATA
    return P(*axes) if any(axes) else P()

  return jax.tree_util.tree_map_with_path(spec, shapes)


def _split_axes(config: "TransformerConfig", ways: int) -> dict[tuple[str, ...], int]:
  """Which axis of which parameter is cut into `ways` over `model`."""
  if ways == 1:
    return {}
  out = {}
  if config.vocab_size % ways == 0:
    out |= {("embed",): 0, ("unembed",): 0}
  columns, rows = [], []  # of products whose results, and whose inputs, are split
  if config.num_heads % ways == 0:
    columns, rows = ["q"], ["out"]
    if config.num_kv_heads % ways == 0:
      columns += ["k", "v"]
  if config.mlp_width % ways == 0:
    columns, rows = [*columns, "up", "gate"], [*rows, "down"]
  for name in columns:
    out |= {("layers", name, "kernel"): 2, ("layers", name, "bias"): 1}
  return out | {("layers", name, "kernel"): 1 for name in rows}


def whole_parts(config: "TransformerConfig", mesh: Mesh) -> list[str]:
  """What every device of a mesh must hold whole, since `model` does not divide it, in words.

  Args:
    config: the architecture.
    mesh: from `make_mesh`.
  """
  ways = mesh.shape[MODEL]
  sizes = {"heads": config.num_heads, "key heads": config.num_kv_heads,
           "MLP width": config.mlp_width, "vocabulary": config.vocab_size}
  return [f"{name} ({size})" for name, size in sizes.items() if size % ways]


def place(
    config: "TransformerConfig", params: Any, mesh: Mesh, fully_sharded: bool = False
) -> Any:
  """The parameters on the devices of a mesh, split as `param_specs` says.

  Args:
    config: the architecture.
    params: its parameter tree.
    mesh: from `make_mesh`.
    fully_sharded: see `param_specs`.
  """
  specs = param_specs(config, params, mesh, fully_sharded)
  return jax.device_put(params, jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs))


def mesh_of(params: Any) -> Mesh | None:
  """The mesh that parameters were placed on; None where they are on one device."""
  for leaf in jax.tree.leaves(params):
    sharding = getattr(leaf, "sharding", None)
    if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
      return sharding.mesh
  return None


def over_data(mesh: Mesh) -> NamedSharding:
  """Where the inputs of `spread` lie: their first axis over `data`."""
  return NamedSharding(mesh, P(DATA))


def data_size(mesh: Mesh | None) -> int:
  """How many batches run side by side: the length of `data`, 1 without a mesh."""
  return 1 if mesh is None else mesh.shape[DATA]


def stack(parts: Sequence[Any], mesh: Mesh) -> Any:
  """The inputs of so many batches as `spread` takes them, on the devices.

  Args:
    parts: one pytree of NumPy arrays a batch, all of one shape; as many as `data_size`.
    mesh: from `make_mesh`.
  """
  return jax.device_put(jax.tree.map(lambda *a: np.stack(a), *parts), over_data(mesh))


def spread(batch_fn: Callable[..., Any], mesh: Mesh, params: Any) -> Callable[..., Any]:
  """`batch_fn` for one batch of each group of devices along `data`, all at once.

  Where all devices hold all parameters each runs what a single one would, and they exchange
  nothing. Otherwise the compiler divides the work as the parameters are divided.

  Args:
    batch_fn: `(params, *inputs) -> pytree of arrays`, pure. The same function for two calls
      compiles once.
    mesh: from `make_mesh`.
    params: as they will be passed, or `jax.ShapeDtypeStruct`s with their shardings.

  Returns:
    `(params, *inputs)` with an axis of size `data` in front of every array of inputs and results,
    under `jax.jit`.
  """
  whole = all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(params))
  return functools.partial(_side_by_side if whole else _divided, batch_fn, mesh)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _side_by_side(batch_fn: Callable[..., Any], mesh: Mesh, params: Any, *inputs: Any) -> Any:
  """Every device runs a batch of its own with parameters of its own."""

  def one(params: Any, *inputs: Any) -> Any:
    out = batch_fn(params, *jax.tree.map(lambda a: a[0], inputs))
    return jax.tree.map(lambda a: a[None], out)

  rows = P(DATA)
  return jax.shard_map(
      one, mesh=mesh, in_specs=(P(), *[rows] * len(inputs)), out_specs=rows, check_vma=False,
  )(params, *inputs)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _divided(batch_fn: Callable[..., Any], mesh: Mesh, params: Any, *inputs: Any) -> Any:
  """The compiler divides the work as the parameters are divided."""
  each = jax.vmap(batch_fn, (None, *[0] * len(inputs)), spmd_axis_name=DATA)
  return jax.lax.with_sharding_constraint(each(params, *inputs), over_data(mesh))
