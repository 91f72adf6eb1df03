"""Batches on devices: one after the other on one, or side by side over a mesh.

A batch is an `engine.Batch`: what stands behind its `start` and `stop` is its shape.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from mezzanine_jax import mesh as mesh_lib
from mezzanine_jax.base import Params


class Runner(NamedTuple):
  """How batches are run: `ways` of one shape at a time, side by side.

  Attributes:
    ways: how many.
    inputs: `(batches) -> inputs` on the devices, for `ways` batches of one shape or fewer.
    start: `(inputs) -> results` on the devices, which need not be done yet.
    fetch: `(batches, results) -> list`, the rows of each batch as NumPy arrays.
  """

  ways: int
  inputs: Callable[[Sequence[Any]], tuple]
  start: Callable[[tuple], Any]
  fetch: Callable[[Sequence[Any], Any], list[Any]]


def runner(
    batch_fn: Callable[..., Any], params: Params, inputs_of: Callable[[Any], tuple]
) -> Runner:
  """Runs batches where the parameters are: on one device, or over a mesh's axis `data`.

  Args:
    batch_fn: `(params, *inputs) -> NamedTuple of arrays [size, ...]`, pure.
    params: passed to every batch; `mesh.place` puts them on a mesh.
    inputs_of: `batch -> inputs`.
  """
  mesh = mesh_lib.mesh_of(params)
  if mesh is None:
    compiled = jax.jit(batch_fn)
    return Runner(
        1, lambda group: jax.device_put(inputs_of(group[0])),
        lambda inputs: compiled(params, *inputs),
        lambda group, out: [_rows(group[0], jax.device_get(out))])
  ways = mesh_lib.data_size(mesh)

  def stacked(group: Sequence[Any]) -> tuple:
    inputs = [inputs_of(batch) for batch in group]
    inputs += inputs[:1] * (ways - len(group))  # what the rest of the devices do is not looked at
    return mesh_lib.stack(inputs, mesh)

  def fetch(group: Sequence[Any], out: Any) -> list[Any]:
    out = jax.device_get(out)
    return [_rows(b, jax.tree.map(lambda a, i=i: a[i], out)) for i, b in enumerate(group)]

  run_spread = mesh_lib.spread(batch_fn, mesh, params)
  return Runner(ways, stacked, lambda inputs: run_spread(params, *inputs), fetch)


def grouped(batches: Sequence[Any], ways: int) -> list[list[Any]]:
  """Batches in their order, in groups of one shape, `ways` of them at most.

  Example:
    >>> from mezzanine_jax.engine import Batch
    >>> batches = [Batch(n, n + 1, 8 if n < 3 else 16, 1, 8) for n in range(5)]
    >>> [[batch.start for batch in group] for group in grouped(batches, 2)]
    [[0, 1], [2], [3, 4]]
  """
  groups = []
  for batch in batches:
    if not groups or len(groups[-1]) == ways or groups[-1][0][2:] != batch[2:]:
      groups.append([])
    groups[-1].append(batch)
  return groups


def _rows(batch: Any, out: Any) -> Any:
  """A batch's results without those of its padding."""
  return jax.tree.map(lambda a: a[: batch.stop - batch.start], out)
