"""The row table and its index on disk: zarr 3 arrays that a killed run finds again.

`views.zarr/` holds one array per figure of a row (`choice_log_probs[R, C]`, `features[R, D]`, …),
`done[R]`, and the index `canonical_row[N]`, `row[N, K]` (-1 where an example has fewer views) and
`log_weight[N, K]`. Any zarr 3 reader opens it.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import parse_json, shown

FORMAT = 2  # of the store; another one's is refused
MARKER = "zarr.json"
_FACTS = {"fingerprint": str, "complete": bool, "about": dict, "rows": int, "row_arrays": list,
          "index": list}
PART = ".part"  # ends the name of a file that is being written
# A chunk is written anew by every batch that touches it, so wide rows come in short chunks.
_CHUNK_BYTES = 2**17
_ROWS_A_CHUNK = (64, 512)  # least and most
_MOST_ROWS, _MOST_BYTES = 2**28, 2**28  # of a store, of a chunk: more is damage, or worse


class DamageError(InputError):
  """What is on disk is not what was written."""


class Store(NamedTuple):
  """Open arrays of one folder.

  Attributes:
    path: the folder.
    arrays: name -> open TensorStore array.
  """

  path: pathlib.Path
  arrays: Mapping[str, Any]


def fingerprint(facts: Mapping[str, Any]) -> str:
  """SHA-256 of everything that changes the numbers, in hex; the order of the facts is irrelevant.

  Example:
    >>> fingerprint({"k": 8, "seed": 0}) == fingerprint({"seed": 0, "k": 8})
    True
  """
  text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
  # A lone surrogate, from a name that is no UTF-8, is a fact like any other.
  return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def open_store(
    path: str | pathlib.Path,
    fingerprint: str,
    row_arrays: Mapping[str, tuple[tuple[int, ...], str]],
    index: Mapping[str, np.ndarray],
    about: Mapping[str, Any] | None = None,
) -> Store:
  """Opens the store in `path`, or makes it there; what `damage.mend` can mend is no error.

  Args:
    path: the folder, `views.zarr` of a run.
    fingerprint: of everything that changes the rows.
    row_arrays: name -> (shape with R in front, dtype) of each array that rows are written to.
    index: arrays that say which row holds which view; written when the store is made.
    about: what a reader may want to know of a store that is made: whatever json can hold.

  Returns:
    The store; `done_rows` says what it already holds.

  Raises:
    InputError: if the folder holds the rows of another run, or other arrays, or cannot be written.
  """
  path = pathlib.Path(path)
  found = manifest(path)
  if found is not None and found["fingerprint"] != fingerprint:
    raise InputError(
        f"{path} holds the rows of another run; choose another --out or delete that folder"
    )
  num_rows = next(iter(row_arrays.values()))[0][0]
  specs = dict(row_arrays) | {"done": ((num_rows,), "uint8")}
  specs |= {name: (values.shape, str(values.dtype)) for name, values in index.items()}
  made = found is None or not found["complete"]
  attributes = {
      "format": FORMAT, "complete": False, "fingerprint": fingerprint, "about": dict(about or {}),
      "row_arrays": list(row_arrays), "index": list(index), "rows": num_rows,
  }
  if made:
    # The group's own file comes first, so that a folder of ours is known for one.
    _write_group(path, attributes)
  store = Store(path, {n: _array(path / n, *spec, made) for n, spec in specs.items()})
  if made:
    for name, values in index.items():
      write(store, name, values)
    _write_group(path, attributes | {"complete": True})
  for name, values in index.items():
    with contextlib.suppress(DamageError):
      found = read(store, name)
      if not (np.array_equal(found, values) or is_lost(found).any()):
        raise _misfit(path, name)
  return store


def manifest(path: str | pathlib.Path) -> dict[str, Any] | None:
  """What the store in `path` says of itself; None where no store was begun.

  Returns:
    `format`, `complete` (whether all arrays were made), `fingerprint`, `about`, `rows`, and the
    names `row_arrays` and `index`.

  Raises:
    InputError: if it is damaged, of another version of this package, or not a store.
  """
  marker = pathlib.Path(path) / MARKER
  if not marker.exists():
    return None
  try:
    found = parse_json(marker.read_bytes())["attributes"]
    version = found.get("format", 1 if "fingerprint" in found else None)
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise InputError(f"{marker} is damaged; delete that folder to score its rows anew") from error
  if version == FORMAT and not _is_whole(found):
    raise InputError(f"{marker} is damaged; delete that folder to score its rows anew")
  if version is None:
    raise InputError(f"{path} holds other data than rows of this package; give another folder")
  if version != FORMAT:
    raise InputError(
        f"{path} holds rows of another version of this package (format {shown(version)}, this one"
        f" has {FORMAT}); delete that folder to score them anew, or give another one"
    )
  return found


def reopen(path: str | pathlib.Path) -> Store:
  """Opens a store that was made, by what it says of itself.

  Raises:
    InputError: if there is none.
    DamageError: if one of its arrays cannot be opened, or is none that this package makes.
  """
  found = manifest(path)
  if found is None or not found["complete"]:
    raise InputError(f"{path} holds no complete store of rows")
  path, arrays = pathlib.Path(path), {}
  for name in [*found["row_arrays"], "done", *found["index"]]:
    try:
      arrays[name] = _open(path / name, open=True)
      good = _is_ours(arrays[name], found["rows"], name in found["index"])
    except ValueError as error:
      raise DamageError(f"{path / name / MARKER} is missing or damaged") from error
    if not good:
      raise DamageError(f"{path / name / MARKER} is damaged: it describes another array")
  return Store(path, arrays)


def touch(store: Store) -> None:
  """Marks the store as used now; a folder that may only be read stays as it is."""
  with contextlib.suppress(OSError):
    os.utime(store.path / MARKER)


def write_rows(store: Store, start: int, values: Mapping[str, np.ndarray]) -> None:
  """Writes consecutive rows, and marks them done once all of their figures are on disk.

  Args:
    store: the open store.
    start: index of the first row.
    values: name -> [n, ...] for every row array.

  Raises:
    InputError: if they cannot be written, for want of room or of the right to.
  """
  stop = start + len(next(iter(values.values())))
  futures = [store.arrays[name][start:stop].write(a) for name, a in values.items()]
  with _writing(store.path):
    for future in futures:
      future.result()
    store.arrays["done"][start:stop].write(np.ones(stop - start, np.uint8)).result()


def write(store: Store, name: str, values: np.ndarray) -> None:
  """Writes one array of the store, whole.

  Raises:
    InputError: if it cannot be written.
  """
  with _writing(store.path):
    store.arrays[name].write(values).result()


def done_rows(store: Store) -> np.ndarray:
  """bool[R]: which rows are complete."""
  return read(store, "done").astype(bool)


def read(store: Store, name: str, start: int | None = None, stop: int | None = None) -> np.ndarray:
  """One array of the store as NumPy, whole or from one row to another.

  Raises:
    DamageError: if what is on disk is not what was written.
  """
  try:
    return np.asarray(store.arrays[name][start:stop].read().result())
  except ValueError as error:
    if _is_damage(error):
      raise DamageError(
          f"{store.path / name} is damaged; the same command scores what is lost again"
      ) from error
    raise InputError(f"{store.path / name} cannot be read: {str(error).splitlines()[0]}") from error


def is_lost(values: np.ndarray) -> np.ndarray:
  """bool array: where there is what an array holds before it is written, and no figure is."""
  filled = _fill(values.dtype.name)
  return np.isnan(values) if isinstance(filled, str) else values == filled


def write_text(path: str | pathlib.Path, text: str) -> None:
  """Writes a file whole or not at all: beside its place first, then renamed into it.

  Raises:
    InputError: if there is no room or no right to write it.
  """
  path = pathlib.Path(path)
  beside = path.with_name(path.name + PART)
  try:
    if beside.is_symlink():  # which would be followed, out of the folder perhaps
      beside.unlink()
    with open(beside, "w", encoding="utf-8") as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())  # a power cut must not leave an empty file of that name
    beside.replace(path)
  except OSError as error:
    raise unwritable(path, error) from error


def unwritable(path: str | pathlib.Path, error: Exception) -> InputError:
  """The sentence for a place that cannot be written, with the system's own reason in it."""
  number = getattr(error, "errno", None)
  if number is None and (code := re.search(r"os_error_code='(\d+)'", str(error))):
    number = int(code[1])  # TensorStore's
  reason = os.strerror(number) if number else str(error).splitlines()[0]
  return InputError(f"{path} cannot be written: {reason}; the same command continues after that is"
                    " put right")


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
  """Tells of what cannot be written in a sentence."""
  try:
    yield
  except ValueError as error:
    raise unwritable(path, error) from error


def _write_group(path: pathlib.Path, attributes: Mapping[str, Any]) -> None:
  """Writes the group's own file."""
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise unwritable(path, error) from error
  group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
  write_text(path / MARKER, json.dumps(group, indent=1))


def _array(path: pathlib.Path, shape: tuple[int, ...], dtype: str, anew: bool) -> Any:
  """An open zarr 3 array with CRC32C checksums; where its metadata is lost it is written again."""
  row = [max(size, 1) for size in shape[1:]]
  rows = int(np.clip(_CHUNK_BYTES // (math.prod(row) * np.dtype(dtype).itemsize), *_ROWS_A_CHUNK))
  chunk = [min(max(shape[0], 1), rows), *row]
  metadata = {
      "shape": list(shape),
      "data_type": dtype,
      "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
      "fill_value": _fill(dtype),
      "codecs": [
          {"name": "bytes", "configuration": {"endian": "little"}},
          {"name": "crc32c"},
      ],
  }
  how = {"create": True, "delete_existing": True} if anew else {"create": True, "open": True}
  try:
    return _open(path, metadata=metadata, **how)
  except ValueError as error:
    if _is_damage(error) and (path / MARKER).exists():
      (path / MARKER).unlink()
      return _open(path, metadata=metadata, create=True)
    if str(error).startswith("FAILED_PRECONDITION"):  # another shape or type
      raise _misfit(path.parent, path.name) from error
    raise unwritable(path, error) from error


def _fill(dtype: str) -> Any:
  """A value that is never written, so that a chunk that is gone is told from one that was."""
  if "float" in dtype:
    return "NaN"
  return 0 if dtype.startswith("u") else int(np.iinfo(dtype).min)


def _is_whole(found: Mapping[str, Any]) -> bool:
  """Whether a store says all that it must of itself; names of arrays lead nowhere else."""
  good = all(isinstance(found.get(name), kind) for name, kind in _FACTS.items())
  good = good and 0 < found["rows"] <= _MOST_ROWS
  return good and all(isinstance(name, str) and name.isidentifier()
                      for name in (*found["row_arrays"], *found["index"]))


def _is_ours(array: Any, rows: int, is_index: bool) -> bool:
  """Whether an array is one that `_array` could have made, for a store of so many rows."""
  shape, dtype = array.shape, np.dtype(array.dtype.numpy_dtype)
  metadata = array.spec().to_json()["metadata"]
  codecs = [codec["name"] for codec in metadata["codecs"]]
  chunk = array.chunk_layout.read_chunk.shape
  # Examples have a row each, at least.
  fits = shape and (shape[0] <= rows if is_index else shape[0] == rows)
  return bool(
      fits and (dtype.kind in "fiu" or dtype.name == "bfloat16") and codecs == ["bytes", "crc32c"]
      and chunk[0] >= min(_ROWS_A_CHUNK[0], shape[0]) and chunk[1:] == shape[1:]
      and math.prod(chunk) * dtype.itemsize <= _MOST_BYTES)


def _misfit(path: pathlib.Path, name: str) -> InputError:
  """The sentence for an array of another run."""
  return InputError(
      f"{path} does not fit this run ({name}); delete that folder to score anew")


def _is_damage(error: ValueError) -> bool:
  """Whether what was read is not what was written."""
  return str(error).startswith(("DATA_LOSS", "OUT_OF_RANGE")) or "Not enough data" in str(error)


def _open(path: pathlib.Path, **spec: Any) -> Any:
  """Opens a zarr 3 array on the local file system."""
  import tensorstore as ts

  kvstore = {"driver": "file", "path": str(path)}
  return ts.open({"driver": "zarr3", "kvstore": kvstore, **spec}).result()
