"""What of a store on disk is lost, and how a run goes on with the rest.

Every chunk has a checksum, so a flipped byte or a file cut short is noticed, and no row holds the
value that stands where nothing was written, so a missing one is, too.
"""

import itertools
import pathlib
import shutil
from typing import NamedTuple

import numpy as np

from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.store import Store


class Found(NamedTuple):
  """What reading a store from end to end found.

  Attributes:
    chunks: the damaged ones as (array, number along the rows).
    present: bool[R], rows whose figures are all there, whatever `done` says.
    marked: bool[R], rows that are marked as done, as far as that can be read.
  """

  chunks: tuple[tuple[str, int], ...]
  present: np.ndarray
  marked: np.ndarray

  @property
  def lost(self) -> np.ndarray:
    """bool[R]: rows that were done and have to be run again."""
    return self.marked & ~self.present


def inspect(store: Store) -> Found:
  """Reads every chunk of a store, one at a time, and writes nothing.

  Args:
    store: an open store.

  Raises:
    InputError: if the disk does not let it be read.
  """
  found = store_lib.manifest(store.path)
  number = found["rows"]
  chunks, present, marked = [], np.ones(number, bool), np.zeros(number, bool)
  names = [*found["row_arrays"], "done", *found["index"]]
  if set(names) != set(store.arrays) or number != store.arrays["done"].shape[0]:
    raise InputError(f"{store.path / store_lib.MARKER} is damaged: it speaks of other arrays;"
                     " delete that folder to score its rows anew")
  for name in names:
    for chunk, part in enumerate(_parts(store, name)):
      try:
        values = store_lib.read(store, name, part.start, part.stop)
      except store_lib.DamageError:
        chunks.append((name, chunk))
        if name in found["row_arrays"]:
          present[part] = False
        continue
      if name in found["row_arrays"]:
        present[part] &= ~store_lib.is_lost(values).reshape(len(values), -1).any(1)
      elif name == "done":
        marked[part] = values.astype(bool)
      elif store_lib.is_lost(values).any():
        chunks.append((name, chunk))
  return Found(tuple(chunks), present, marked)


def is_whole(path: pathlib.Path, fingerprint: str) -> bool:
  """Whether the store holds every row, undamaged; writes nothing, and needs no lock.

  Args:
    path: the store's folder.
    fingerprint: that it must have.

  Raises:
    InputError: if there is something else.
  """
  found = store_lib.manifest(path)
  if found is None or not found["complete"] or found["fingerprint"] != fingerprint:
    return False
  try:
    store = store_lib.reopen(path)
    if not store_lib.done_rows(store).all():
      return False
  except store_lib.DamageError:
    return False
  seen = inspect(store)
  return not seen.chunks and not seen.lost.any()


def mend(store: Store, index: dict[str, np.ndarray]) -> str | None:
  """Makes a store fit to go on with: what is lost is marked as not done, what is known rewritten.

  Args:
    store: an open store that nobody else writes.
    index: as for `store.open_store`.

  Returns:
    A sentence about what was wrong; None if nothing was.

  Raises:
    InputError: if it cannot be read or written.
  """
  seen = inspect(store)
  if not seen.chunks and not seen.lost.any():
    return None
  broken = {name for name, _ in seen.chunks}
  # Rows are unmarked before their chunks go: whoever dies in between finds the same damage again.
  done = seen.present if "done" in broken else seen.marked & seen.present
  for name, chunk in seen.chunks:
    if name == "done":
      _delete(store, name, chunk)
  store_lib.write(store, "done", done.astype(np.uint8))
  for name, chunk in seen.chunks:
    if name != "done":
      _delete(store, name, chunk)
  for name in broken & set(index):
    store_lib.write(store, name, index[name])
  return f"{store.path}: {describe(seen)}; only what is lost is scored again"


def describe(found: Found) -> str:
  """What was found, in a few words.

  Example:
    >>> none = np.zeros(4, bool)
    >>> describe(Found((("features", 3),), none, ~none))
    '1 damaged chunk (features 3), 4 of 4 rows lost'
  """
  number = len(found.chunks)
  names = ", ".join(f"{name} {chunk}" for name, chunk in found.chunks[:3])
  names += ", …" if number > 3 else ""
  chunks = f"{number} damaged chunk{'s' * (number != 1)}" + f" ({names})" * bool(names)
  return f"{chunks}, {found.lost.sum()} of {len(found.lost)} rows lost"


def _parts(store: Store, name: str) -> list[slice]:
  """The rows of each chunk."""
  array = store.arrays[name]
  step = array.chunk_layout.read_chunk.shape[0]
  starts = [*range(0, array.shape[0], step), array.shape[0]]
  return [slice(a, b) for a, b in itertools.pairwise(starts)]


def _delete(store: Store, name: str, chunk: int) -> None:
  """Deletes a chunk, which could not be written to as it is."""
  path = store.path / name / "c" / str(chunk)
  try:
    if path.is_dir():
      shutil.rmtree(path)
    else:
      path.unlink(missing_ok=True)
  except OSError as error:
    raise store_lib.unwritable(path, error) from error
