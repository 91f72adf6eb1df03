"""The engine: distinct (example, view) pairs become rows, rows become batches of few shapes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Element, Params, Views, X
from mezzanine_jax.errors import InputError

# What one more compiled shape costs, in tokens that could have been run meanwhile.
_TOKENS_A_SHAPE = 4096
_LENGTH_STEP = 8


class Rows(NamedTuple):
  """The distinct (example, view) pairs of a data set, and where each view's row is.

  Attributes:
    example: int32[R], index of the example.
    elements: pytree with leading axis R.
    canonical_row: int32[N], the row of the canonical view.
    row: int32[N, K], the row of each view; -1 where the view is padding.
  """

  example: np.ndarray
  elements: Element
  canonical_row: np.ndarray
  row: np.ndarray


class Batch(NamedTuple):
  """Rows `start:stop`, run as `size` rows of `length` tokens (filled up with copies)."""

  start: int
  stop: int
  length: int
  size: int


def distinct_rows(views: Views, identities: Element) -> Rows:
  """One row for each distinct element of each example; the canonical view shares a drawn one's.

  Args:
    views: elements [N, K, ...] and log_weights [N, K] of a data set.
    identities: elements [N, ...], the canonical view of each example.
  """
  num, k = np.shape(views.log_weights)
  joined = jax.tree.map(
      lambda first, rest: np.concatenate([np.asarray(first)[:, None], np.asarray(rest)], 1),
      identities, views.elements,
  )
  leaves = [np.repeat(np.arange(num), k + 1), *jax.tree.leaves(joined)]
  columns = [np.ascontiguousarray(a).reshape(num * (k + 1), -1).view(np.uint8) for a in leaves]
  used = np.concatenate([np.ones((num, 1), bool), np.isfinite(views.log_weights)], 1).reshape(-1)
  keys = np.concatenate(columns, 1)[used]
  _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
  # np.unique sorts by bytes; rows are numbered by first appearance instead.
  rank = np.empty(len(first), np.int32)
  rank[np.argsort(first)] = np.arange(len(first))
  row = np.full(num * (k + 1), -1, np.int32)
  row[used] = rank[inverse.reshape(-1)]
  chosen = np.flatnonzero(used)[np.sort(first)]
  elements = jax.tree.map(lambda a: a.reshape(num * (k + 1), *a.shape[2:])[chosen], joined)
  row = row.reshape(num, k + 1)
  return Rows((chosen // (k + 1)).astype(np.int32), elements, row[:, 0], row[:, 1:])


def reorder(rows: Rows, order: np.ndarray) -> Rows:
  """The same rows, numbered so that new row i is old row `order[i]`."""
  new = np.empty(len(order) + 1, np.int32)
  new[order] = np.arange(len(order))
  new[-1] = -1  # padding stays padding
  return Rows(
      rows.example[order],
      jax.tree.map(lambda a: a[order], rows.elements),
      new[rows.canonical_row],
      new[rows.row],
  )


def plan_batches(
    lengths: np.ndarray, batch_tokens: int, max_shapes: int = 8
) -> tuple[np.ndarray, list[Batch]]:
  """Sorts rows by length and cuts them into batches of about `batch_tokens` tokens.

  At most `max_shapes` padded lengths are used, chosen by dynamic programming so that padding
  plus the cost of compiling is least.

  Args:
    lengths: int[R], tokens of each row.
    batch_tokens: tokens of a batch, padding included; a longer row is a batch of its own.
    max_shapes: the most shapes that are compiled.

  Returns:
    `(order, batches)`: `order[i]` is the row that comes i-th; batches cover 0..R in that order.

  Raises:
    InputError: if `batch_tokens` or `max_shapes` is below 1.

  Example:
    >>> order, batches = plan_batches(np.array([9, 3, 5]), batch_tokens=16)
    >>> order.tolist(), [(b.start, b.stop, b.length, b.size) for b in batches]
    ([1, 2, 0], [(0, 1, 16, 1), (1, 2, 16, 1), (2, 3, 16, 1)])
  """
  if batch_tokens < 1:
    raise InputError(f"batch_tokens must be >= 1, got {batch_tokens}")
  if max_shapes < 1:
    raise InputError(f"max_shapes must be >= 1, got {max_shapes}")
  order = np.argsort(lengths, kind="stable")
  rounded = -(-lengths[order] // _LENGTH_STEP) * _LENGTH_STEP
  edges, counts = np.unique(rounded, return_counts=True)
  batches, start = [], 0
  for length, count in _buckets(edges, counts, max_shapes):
    most = max(1, batch_tokens // length)
    number = -(-count // most)
    size = -(-count // number)  # even batches, so that the last one is nearly full
    for at in range(start, start + count, size):
      batches.append(Batch(at, min(at + size, start + count), length, size))
    start += count
  return order, batches


def run(
    row_fn: Callable[[Params, Element, X], Any],
    params: Params,
    xs: X,
    rows: Rows,
    batches: Sequence[Batch],
    store: store_lib.Store,
    *,
    trim: Callable[[X, int], X] = lambda x, length: x,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
  """Runs every row that the store does not hold yet, one jitted function over the batches.

  While the device works on one batch, the host gathers the next and writes the one before.
  Batches are the unit of what is continued, so a row is always computed beside the same others.

  Args:
    row_fn: `(params, element, x) -> NamedTuple of arrays`, one row; `jit(vmap(row_fn))` is run.
    params: passed to every row.
    xs: pytree with a leading axis of examples; `rows.example` points into it.
    rows: the distinct rows, in the order of the batches.
    batches: from `plan_batches`.
    store: where each field of the result is written, under the field's name.
    trim: `(xs, length) -> xs` cuts a batch of inputs to a padded length.
    progress: called with the number of rows whenever some are done.

  Returns:
    How many rows were run now.

  Raises:
    InputError: if a result is not finite.
  """
  batch_fn = jax.jit(jax.vmap(row_fn, (None, 0, 0)))
  done = store_lib.done_rows(store)

  def results() -> Iterator[tuple[Batch, Any]]:
    for batch in batches:
      if done[batch.start : batch.stop].all():
        progress(batch.stop - batch.start)
        continue
      at = np.minimum(np.arange(batch.start, batch.start + batch.size), batch.stop - 1)
      take = rows.example[at]
      x = trim(jax.tree.map(lambda a, take=take: np.asarray(a)[take], xs), batch.length)
      elements = jax.tree.map(lambda a, at=at: a[at], rows.elements)
      yield batch, batch_fn(params, elements, x)

  ran, waiting = 0, []
  for item in results():
    waiting.append(item)
    if len(waiting) > 1:  # the one before is fetched while this one runs
      ran += _finish(*waiting.pop(0), rows, store, progress)
  for item in waiting:
    ran += _finish(*item, rows, store, progress)
  return ran


def _finish(batch: Batch, out: Any, rows: Rows, store: store_lib.Store, progress) -> int:
  """Fetches a batch's results, checks them, and writes them."""
  count = batch.stop - batch.start
  values = {name: np.asarray(a)[:count] for name, a in out._asdict().items()}
  for name, a in values.items():
    bad = np.flatnonzero(~np.isfinite(a).reshape(count, -1).all(1))
    if len(bad):
      raise InputError(
          f"{name} of example {rows.example[batch.start + bad[0]]} is not finite; the model's"
          " weights or the dtype cannot be used for it (try dtype=float32)"
      )
  store_lib.write_rows(store, batch.start, values)
  progress(count)
  return count


def _buckets(
    edges: np.ndarray, counts: np.ndarray, max_shapes: int
) -> list[tuple[int, int]]:
  """Padded lengths and how many rows each takes: least padding plus cost of the shapes."""
  number = len(edges)
  cumulated = np.concatenate([[0], np.cumsum(counts)])
  cost = np.full((max_shapes + 1, number + 1), np.inf)
  cost[:, 0] = 0.0
  came_from = np.zeros((max_shapes + 1, number + 1), np.int64)
  for shapes in range(1, max_shapes + 1):
    for stop in range(1, number + 1):
      rows_in = cumulated[stop] - cumulated[:stop]
      total = cost[shapes - 1, :stop] + rows_in * edges[stop - 1] + _TOKENS_A_SHAPE
      came_from[shapes, stop] = np.argmin(total)
      cost[shapes, stop] = total.min()
  out, stop, shapes = [], number, max_shapes
  while stop:
    begin = came_from[shapes, stop]
    out.append((int(edges[stop - 1]), int(cumulated[stop] - cumulated[begin])))
    stop, shapes = begin, shapes - 1
  return out[::-1]
