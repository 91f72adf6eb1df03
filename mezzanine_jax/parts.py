"""The rows that other processes score: each writes a part of its own, process 0 takes them over.

A part is a store within the store, `views.zarr/parts/NAME`, which holds the figures of some rows.
No chunk is written by two processes, and a part that a killed run left is taken over by the next.
"""

import itertools
import logging
import pathlib
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax import hosts
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.store import Store

PARTS = "parts"
_NAME = 8  # bytes of a name
_ROWS = 512  # that are held in memory while they are taken over
_POLL = 0.5  # seconds between two looks at the parts
_PATIENCE = 60.0  # seconds until what one host writes must be seen by another


class Told(NamedTuple):
  """What process 0 says when scoring begins.

  Attributes:
    name: of the parts of this start.
    done: bool[R], the rows that the store holds.
  """

  name: str
  done: np.ndarray


def tell(processes: hosts.Processes, fingerprint: str, done: np.ndarray) -> Told:
  """All processes learn what is done.

  Args:
    processes: of the run.
    fingerprint: of the store.
    done: bool[R]; of process 0 it counts, of the others the shape only.

  Raises:
    InputError: if this process would score other rows than process 0.
  """
  own = np.frombuffer(bytes.fromhex(store_lib.fingerprint({"of": fingerprint})), np.uint8)
  head = processes.tell(np.concatenate([own, np.frombuffer(secrets.token_bytes(_NAME), np.uint8)]))
  if not np.array_equal(head[: len(own)], own):
    raise InputError(
        f"process {processes.index} has other data, weights, settings or another version than"
        " process 0; give all processes the same command")
  told = processes.tell(np.asarray(done, np.uint8)).astype(bool)
  return Told(bytes(head[len(own) :].astype(np.uint8)).hex(), told)


def shares(batches: Sequence[Any], done: np.ndarray, count: int) -> list[list[Any]]:
  """The batches that are not done, dealt to some processes: of every shape about as many to each.

  Args:
    batches: see `engine.plan_batches`.
    done: bool[R].
    count: of processes.

  Returns:
    The batches of each process.

  Example:
    >>> from mezzanine_jax.engine import Batch
    >>> batches = [Batch(n, n + 1, 8, 1, 8) for n in range(5)]
    >>> dealt = shares(batches, np.array([True, False, False, False, False]), 2)
    >>> [[batch.start for batch in own] for own in dealt]
    [[1, 2], [3, 4]]
  """
  missing = [b for b in batches if not done[b.start : b.stop].all()]
  out = [[] for _ in range(count)]
  for first, (_, alike) in enumerate(itertools.groupby(missing, lambda batch: batch[2:])):
    alike = list(alike)
    cuts = np.linspace(0, len(alike), count + 1).round().astype(int)
    for i, (a, b) in enumerate(itertools.pairwise(cuts)):
      out[(first + i) % count] += alike[a:b]  # whoever gets one more is another the next time
  return out


def own_part(
    path: pathlib.Path, told: Told, index: int, fingerprint: str, arrays: Mapping[str, Any]
) -> Store:
  """The part that process `index` writes, new.

  Args:
    path: the store's folder, which process 0 has made.
    told: by process 0.
    index: which process.
    fingerprint: of the store.
    arrays: see `store.open_store`.

  Raises:
    InputError: if the store is not there, or cannot be written.
  """
  until = time.monotonic() + _PATIENCE
  while store_lib.manifest(path) is None:
    if time.monotonic() > until:
      raise InputError(f"process {index} does not see {path}, which process 0 has made: --out and"
                       " --cache_dir must be folders that all processes share")
    time.sleep(_POLL)
  return store_lib.open_store(_part(path, told, index), fingerprint, arrays, {})


def gather(
    store: Store, fingerprint: str, told: Told, dealt: Sequence[Sequence[Any]],
    progress: Callable[[int], None],
) -> int:
  """Waits until the other processes have done their shares, and takes their rows over.

  Args:
    store: open, and locked by this process.
    fingerprint: of the store.
    told: to the others.
    dealt: the batches of each process, this one's first.
    progress: called with the number of rows that are new, at every look.

  Returns:
    How many rows were taken over.
  """
  wanted = [sum(b.stop - b.start for b in own) for own in dealt[1:]]
  seen = 0
  while True:
    found = sum(_done(_part(store.path, told, i + 1)) for i, n in enumerate(wanted) if n)
    progress(found - seen)
    seen = found
    if found >= sum(wanted):
      return absorb(store, fingerprint)
    time.sleep(_POLL)


def absorb(store: Store, fingerprint: str) -> int:
  """Takes over the rows of all parts that there are, and deletes the parts.

  Args:
    store: open, and locked by this process.
    fingerprint: of the store.

  Returns:
    How many rows were taken over.
  """
  taken = 0
  for path in sorted((store.path / PARTS).glob("*")):
    try:
      found = store_lib.manifest(path)
      if found is not None and found["complete"] and found["fingerprint"] == fingerprint:
        taken += _take(store, store_lib.reopen(path))
    except InputError as error:  # damage among them: those rows are scored again
      logging.getLogger(__name__).warning("%s; only what is lost is scored again", error)
    shutil.rmtree(path, ignore_errors=True)
  return taken


def _take(store: Store, part: Store) -> int:
  """Copies the rows that a part has and the store lacks."""
  names = store_lib.manifest(part.path)["row_arrays"]
  new = store_lib.done_rows(part) & ~store_lib.done_rows(store)
  edges = np.flatnonzero(np.diff(new, prepend=False, append=False))
  for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
    for at in range(start, stop, _ROWS):
      until = min(at + _ROWS, stop)
      values = {name: store_lib.read(part, name, at, until) for name in names}
      if any(store_lib.is_lost(a).any() for a in values.values()):
        raise store_lib.DamageError(f"{part.path} lacks rows that it had")
      store_lib.write_rows(store, at, values)
  return int(new.sum())


def _part(path: pathlib.Path, told: Told, index: int) -> pathlib.Path:
  """The folder of a process's part."""
  return path / PARTS / f"{told.name}-{index}"


def _done(path: pathlib.Path) -> int:
  """How many rows a part holds; 0 where it is not there yet."""
  found = store_lib.manifest(path)
  if found is None or not found["complete"]:
    return 0
  return int(store_lib.done_rows(store_lib.reopen(path)).sum())
