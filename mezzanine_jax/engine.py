"""The engine: distinct (example, view) pairs become rows, rows become batches of few shapes."""

import functools
import hashlib
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mezzanine_jax import cache, damage, devices, hosts, locks, parts
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Element, Params, Views
from mezzanine_jax.errors import InputError

# What one more compiled shape costs, in tokens that could have been run meanwhile; and how many
# pairs of places cost attention as much time as everything else takes for a token. Both were
# measured with SmolLM2-135M on a CPU; only the choice of shapes depends on them.
_TOKENS_A_SHAPE = 1000
_PAIRS_A_TOKEN = 1300
_STEP = 8


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
  """Rows `start:stop`, run in a shape of `size` rows of `length` tokens, `tokens` of them held.

  Rows that share tokens hold them once, so `tokens` may be less than `size * length`.
  """

  start: int
  stop: int
  length: int
  size: int
  tokens: int


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
    lengths: np.ndarray,
    batch_tokens: int,
    max_shapes: int = 8,
    *,
    shared: np.ndarray | None = None,
    extra: int = 0,
) -> list[Batch]:
  """Cuts rows, in their order, into batches of about `batch_tokens` tokens of few shapes.

  A row costs the tokens that it does not share with the row before it in its batch. At most
  `max_shapes` shapes are used, chosen by dynamic programming so that the work on padding plus
  that of compiling is least; rows that stand by length need fewest.

  Args:
    lengths: int[R], tokens of each row, best sorted.
    batch_tokens: tokens of a batch; a longer row is a batch of its own.
    max_shapes: the most shapes that are compiled.
    shared: int[R], tokens that a row has in common with the row before it; none by default.
    extra: tokens that every row has besides, shared with none.

  Returns:
    Batches that cover 0..R in order; `tokens` includes the extra ones, `length` does not.

  Raises:
    InputError: if `batch_tokens` or `max_shapes` is below 1.

  Example:
    >>> [tuple(batch) for batch in plan_batches(np.array([3, 5, 9]), batch_tokens=16)]
    [(0, 2, 16, 2, 16), (2, 3, 16, 2, 16)]
  """
  if batch_tokens < 1:
    raise InputError(f"batch_tokens must be >= 1, got {batch_tokens}")
  if max_shapes < 1:
    raise InputError(f"max_shapes must be >= 1, got {max_shapes}")
  if not len(lengths):
    return []
  shared = np.zeros_like(lengths) if shared is None else shared
  cuts, filled = _cut(lengths + extra, lengths + extra - shared, batch_tokens)
  longest = np.maximum.reduceat(lengths, cuts[:-1])
  counts = np.diff(cuts)
  batches, at = [], 0
  for stop in _groups(longest, counts, max_shapes):
    group = slice(at, stop)
    shape = (_round_up(longest[group].max()), int(counts[group].max()),
             _round_up(filled[group].max()))
    batches += [Batch(int(cuts[i]), int(cuts[i + 1]), *shape) for i in range(at, stop)]
    at = stop
  return batches


def _cut(whole: np.ndarray, after: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
  """Where batches begin and end, and the tokens in each: as many rows as `most` tokens hold.

  A row has `whole[i]` tokens at the beginning of a batch and adds `after[i]` behind another.
  """
  # Even batches: the last one would else be run as if it were full.
  number = -(-int(after.sum()) // most)
  even = min(most, int(after.sum() / number * 1.05) + int(whole.max()))
  cuts, filled = [0], []
  tokens = 0
  for i, (first, more) in enumerate(zip(whole.tolist(), after.tolist(), strict=True)):
    if tokens and tokens + more > even:
      cuts.append(i)
      filled.append(tokens)
      tokens = 0
    tokens += more if tokens else first
  return np.array([*cuts, len(whole)]), np.array([*filled, tokens])


def fill(
    batch_fn: Callable[..., Any],
    params: Params,
    inputs_of: Callable[[Batch], tuple],
    batches: Sequence[Batch],
    rows: Rows,
    views: Views,
    path: Any,
    fingerprint: str,
    *,
    ids: Sequence[str],
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda rows: None,
    processes: hosts.Processes = hosts.ALONE,
) -> tuple[store_lib.Store, int]:
  """Opens or makes the store of some rows, and runs those that it does not hold yet.

  Args:
    batch_fn: as for `run`, as are params, inputs_of and batches.
    params: passed to every batch.
    inputs_of: `batch -> inputs`.
    batches: of the rows.
    rows: the rows.
    views: what they were made of.
    path: the store's folder.
    fingerprint: of everything that changes the numbers.
    ids: the examples' names, for errors.
    about: what a reader may want to know of the store.
    progress: called with the number of rows whenever some are done.
    processes: that share the work; see `hosts.here`.

  Returns:
    The store, every row done, and how many rows were run now.

  Raises:
    InputError: if another process writes the store, it belongs to another run, or it cannot be
      written.
    hosts.Left: in all processes but the first, when they have done their shares.
  """
  shapes = jax.eval_shape(batch_fn, params, *inputs_of(batches[0]))._asdict()
  arrays = {name: ((len(rows.example), *a.shape[1:]), str(a.dtype)) for name, a in shapes.items()}
  index = {
      "canonical_row": rows.canonical_row, "row": rows.row, "log_weight": views.log_weights,
  }
  path = pathlib.Path(path)
  scored = functools.partial(
      run, batch_fn, params, inputs_of, progress=progress,
      name_of=lambda row: f"example {ids[rows.example[row]]!r}")
  if processes.index:
    told = parts.tell(processes, fingerprint, np.zeros(len(rows.example), bool))
    own = parts.shares(batches, told.done, processes.count)[processes.index]
    if own:
      progress(len(rows.example) - sum(b.stop - b.start for b in own))  # those of the others
      scored(own, parts.own_part(path, told, processes.index, fingerprint, arrays))
    raise hosts.Left
  if damage.is_whole(path, fingerprint):  # it may be in a place that can only be read
    store = store_lib.open_store(path, fingerprint, arrays, index)
    store_lib.touch(store)
    locks.sweep(cache.lock_of(path))
    parts.tell(processes, fingerprint, np.ones(len(rows.example), bool))
    progress(len(rows.example))
    return store, 0
  with locks.only_one(cache.lock_of(path), str(path)):
    store = store_lib.open_store(path, fingerprint, arrays, index, about)
    if (mended := damage.mend(store, index)) is not None:
      logging.getLogger(__name__).warning(mended)
    parts.absorb(store, fingerprint)
    ran = 0
    if processes.count > 1:
      told = parts.tell(processes, fingerprint, store_lib.done_rows(store))
      dealt = parts.shares(batches, told.done, processes.count)
      progress(int(told.done.sum()))
      ran = scored(dealt[0], store)
      ran += parts.gather(store, fingerprint, told, dealt, progress)
      scored.keywords["progress"] = lambda rows: None  # all were counted
    ran += scored(batches, store)
    store_lib.touch(store)
  return store, ran


def outputs(
    batch_fn: Callable[..., Any],
    params: Params,
    inputs_of: Callable[[Batch], tuple],
    batches: Sequence[Batch],
) -> Any:
  """What `batch_fn` gives for all rows of the batches, on the host; nothing is stored.

  Args:
    batch_fn: as for `run`, as are the others.
    params: passed to every batch.
    inputs_of: `batch -> inputs`.
    batches: of R rows.

  Returns:
    A pytree of numpy arrays [R, ...].
  """
  runner, parts = devices.runner(batch_fn, params, inputs_of), []
  for group in devices.grouped(batches, runner.ways):
    parts += runner.fetch(group, runner.start(runner.inputs(group)))
  return jax.tree.map(lambda *a: np.concatenate(a), *parts)


def digest(arrays: Any) -> str:
  """SHA-256 (hex) over the arrays of a pytree: what they are, and their bytes."""
  state = hashlib.sha256()
  for leaf in jax.tree.leaves(arrays):
    leaf = np.ascontiguousarray(leaf)
    state.update(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
  return state.hexdigest()


def run(
    batch_fn: Callable[..., Any],
    params: Params,
    inputs_of: Callable[[Batch], tuple],
    batches: Sequence[Batch],
    store: store_lib.Store,
    *,
    name_of: Callable[[int], str] = lambda row: f"row {row}",
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
  """Runs every batch that the store does not hold yet, under one `jax.jit`.

  While the device works on one batch, the host makes the next and writes the one before: one
  transfer in and one out for each. Batches are the unit of what is continued, so a row is
  always computed beside the same others. Over a mesh of devices, where `params` were placed by
  `mesh.place`, so many batches of one shape run side by side as its axis `data` is long.

  Args:
    batch_fn: `(params, *inputs) -> NamedTuple of arrays [size, ...]`, pure.
    params: passed to every batch.
    inputs_of: `batch -> inputs`, pytrees of NumPy arrays whose shapes depend on the batch's
      shape only.
    batches: from `plan_batches`.
    store: where each field of the result is written, under the field's name.
    name_of: what to call a row in an error.
    progress: called with the number of rows whenever some are done; of those that the store holds
      already, once, before all others.

  Returns:
    How many rows were run now.

  Raises:
    InputError: if a result is not finite.
  """
  runner = devices.runner(batch_fn, params, inputs_of)
  done = store_lib.done_rows(store)
  is_held = [bool(done[b.start : b.stop].all()) for b in batches]
  if any(is_held):
    progress(sum(b.stop - b.start for b, held in zip(batches, is_held, strict=True) if held))
  ran, waiting = 0, None

  def keep(group: Sequence[Batch], out: Any) -> int:
    fetched = runner.fetch(group, out)
    return sum(_finish(batch, rows, store, name_of, progress)
               for batch, rows in zip(group, fetched, strict=True))

  missing = [batch for batch, held in zip(batches, is_held, strict=True) if not held]
  for group in devices.grouped(missing, runner.ways):
    inputs = runner.inputs(group)
    if waiting is not None and jax.default_backend() == "cpu":
      jax.block_until_ready(waiting)  # two at once would fight for the same cores
    out = runner.start(inputs)
    if waiting is not None:  # the one before is fetched while this one runs
      ran += keep(*waiting)
    waiting = group, out
  return ran if waiting is None else ran + keep(*waiting)


def _finish(batch: Batch, out: Any, store: store_lib.Store, name_of, progress) -> int:
  """Checks a batch's results, and writes them."""
  values = out._asdict()
  count = batch.stop - batch.start
  for name, a in values.items():
    bad = np.flatnonzero(~np.isfinite(a).reshape(count, -1).all(1))
    if len(bad):
      raise InputError(
          f"{name} of {name_of(batch.start + int(bad[0]))} is not finite; the model's weights or"
          " the dtype cannot be used for it (try dtype=float32)"
      )
  store_lib.write_rows(store, batch.start, values)
  progress(count)
  return count


def _round_up(number: int) -> int:
  """To a multiple of `_STEP`: sizes that vector units like, and fewer of them."""
  return -(-int(number) // _STEP) * _STEP


def _groups(longest: np.ndarray, counts: np.ndarray, max_shapes: int) -> list[int]:
  """Where the shapes of batches end: least work on padded rows plus cost of the shapes."""
  edges = np.flatnonzero(np.diff([*map(_round_up, longest), -1])) + 1  # a shape may end here
  number = len(edges)
  begins = np.concatenate([[0], edges])
  work = np.empty((number, number))  # of the batches begins[i]:edges[j] in one shape
  for i in range(number):
    size, length = 0, 0
    for j in range(i, number):
      part = slice(begins[j], edges[j])
      size, length = max(size, counts[part].max()), max(length, _round_up(longest[part].max()))
      work[i, j] = (edges[j] - begins[i]) * size * length**2 / _PAIRS_A_TOKEN + _TOKENS_A_SHAPE
  cost = np.full((max_shapes + 1, number + 1), np.inf)
  cost[:, 0] = 0.0
  came_from = np.zeros((max_shapes + 1, number + 1), np.int64)
  for shapes in range(1, max_shapes + 1):
    for stop in range(1, number + 1):
      total = cost[shapes - 1, :stop] + work[:stop, stop - 1]
      came_from[shapes, stop] = np.argmin(total)
      cost[shapes, stop] = total.min()
  out, stop, shapes = [], number, max_shapes
  while stop:
    out.append(int(edges[stop - 1]))
    stop, shapes = came_from[shapes, stop], shapes - 1
  return out[::-1]
