"""Low-rank adapters: a student that is the language model itself, with small changes of weights.

Source: E. J. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021).
"""

import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from mezzanine_jax.base import Array, Params
from mezzanine_jax.errors import InputError

TARGETS = ("q", "k", "v", "out", "gate", "up", "down")


def init_adapters(
    params: Params, key: Array, *, rank: int = 8, targets: Sequence[str] = ("q", "k", "v", "out")
) -> dict[str, dict[str, Array]]:
  """Adapters that change nothing yet: A normal with variance 1 / in, B zero.

  Args:
    params: a language model's, see `models.transformer`.
    key: PRNG key; consumed.
    rank: r >= 1.
    targets: which matrices of every layer are changed, out of `TARGETS`.

  Returns:
    target -> {"a": float32[layers, in, r], "b": float32[layers, r, out]}.

  Raises:
    InputError: a rank below 1, or a target that the model does not have.

  Example:
    >>> params = {"layers": {"q": {"kernel": jnp.ones((2, 4, 6))}}}
    >>> adapters = init_adapters(params, jax.random.key(0), rank=1, targets=["q"])
    >>> adapters["q"]["a"].shape, adapters["q"]["b"].shape
    ((2, 4, 1), (2, 1, 6))
  """
  if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or rank < 1:
    raise InputError(f"rank must be an integer >= 1, got {rank!r}")
  if not targets:
    raise InputError(f"targets must name at least one of {', '.join(TARGETS)}")
  layers, adapters = params["layers"], {}
  for target, own in zip(targets, jax.random.split(key, len(targets)), strict=True):
    if target not in TARGETS or target not in layers:
      there = ", ".join(name for name in TARGETS if name in layers)
      raise InputError(f"there is no matrix {target!r} to adapt; this model has {there}")
    count, size_in, size_out = layers[target]["kernel"].shape
    adapters[target] = {
        "a": jax.random.normal(own, (count, size_in, rank)) / jnp.sqrt(size_in),
        "b": jnp.zeros((count, rank, size_out)),
    }
  return adapters


def merge(params: Params, adapters: dict[str, dict[str, Array]], alpha: float = 16.0) -> Params:
  """The model with its adapters added in: W + (alpha / r) A B.

  Differentiable in the adapters; matrices without one are shared with `params`, not copied.

  Args:
    params: the language model's.
    adapters: see `init_adapters`.
    alpha: the scale.

  Returns:
    Parameters of the same structure and dtypes.

  Example:
    >>> params = {"layers": {"q": {"kernel": jnp.ones((1, 2, 2))}}}
    >>> adapters = {"q": {"a": jnp.ones((1, 2, 1)), "b": jnp.ones((1, 1, 2))}}
    >>> merge(params, adapters, alpha=2.0)["layers"]["q"]["kernel"].tolist()
    [[[3.0, 3.0], [3.0, 3.0]]]
  """
  layers = dict(params["layers"])
  for target, own in adapters.items():
    kernel = layers[target]["kernel"]
    change = jnp.einsum("lir,lro->lio", own["a"], own["b"],
                        precision=jax.lax.Precision.HIGHEST) * (alpha / own["a"].shape[-1])
    layers[target] = {
        **layers[target], "kernel": (kernel.astype(jnp.float32) + change).astype(kernel.dtype)}
  return {**params, "layers": layers}


def attach(params: Params, adapters: dict[str, dict[str, Array]], alpha: float = 16.0) -> Params:
  """The model with its adapters beside its matrices: x W + x A B (alpha / r), as `merge` gives it.

  No matrix is copied, and a gradient with respect to the adapters makes none of a matrix's size:
  for training. One that is used many times is better merged.

  Args:
    params: the language model's.
    adapters: see `init_adapters`.
    alpha: the scale.

  Returns:
    Parameters that `models.transformer` takes; the adapters' stand beside each kernel.

  Example:
    >>> params = {"layers": {"q": {"kernel": jnp.ones((1, 2, 2))}}}
    >>> adapters = {"q": {"a": jnp.ones((1, 2, 1)), "b": jnp.ones((1, 1, 2))}}
    >>> sorted(attach(params, adapters)["layers"]["q"])
    ['a', 'b', 'kernel']
  """
  layers = dict(params["layers"])
  for target, own in adapters.items():
    scale = alpha / own["a"].shape[-1]
    layers[target] = {**layers[target], "a": own["a"], "b": own["b"] * scale}
  return {**params, "layers": layers}


def save_adapters(path: str | os.PathLike, adapters: Any, alpha: float = 16.0) -> None:
  """Writes adapters to a safetensors file: `q.a`, `q.b`, ... as in `init_adapters`, and `alpha`.

  Args:
    path: of the file; its folder is there.
    adapters: see `init_adapters`.
    alpha: see `merge`.
  """
  arrays = {f"{target}.{side}": np.ascontiguousarray(array)
            for target, own in adapters.items() for side, array in own.items()}
  safetensors.numpy.save_file(arrays, path, {"alpha": repr(float(alpha))})


def load_adapters(path: str | os.PathLike) -> tuple[dict[str, dict[str, Array]], float]:
  """Reads what `save_adapters` wrote.

  Args:
    path: of the file.

  Returns:
    (adapters, alpha), for `merge`.

  Raises:
    InputError: if it is no such file.

  Example:
    >>> import pathlib, tempfile
    >>> adapters = {"q": {"a": jnp.ones((1, 2, 1)), "b": jnp.zeros((1, 1, 2))}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   save_adapters(pathlib.Path(folder) / "adapters.safetensors", adapters, 8.0)
    ...   found, alpha = load_adapters(pathlib.Path(folder) / "adapters.safetensors")
    >>> found["q"]["a"].shape, alpha
    ((1, 2, 1), 8.0)
  """
  adapters = {}
  try:
    with safetensors.safe_open(path, "numpy") as file:
      alpha = float((file.metadata() or {})["alpha"])
      for name in file.keys():  # noqa: SIM118 (no mapping)
        target, side = name.split(".")
        adapters.setdefault(target, {})[side] = jnp.asarray(file.get_tensor(name))
  except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
    raise InputError(f"{str(path)!r} holds no adapters of this package: {error}") from error
  if not adapters or any(own.keys() != {"a", "b"} for own in adapters.values()):
    raise InputError(f"{str(path)!r} holds no adapters of this package: a and b of each are needed")
  return adapters, alpha


def count(adapters: Any) -> int:
  """How many numbers the adapters have."""
  return sum(leaf.size for leaf in jax.tree.leaves(adapters))
