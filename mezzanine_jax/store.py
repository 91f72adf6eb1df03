"""The row table and its index on disk: zarr 3 arrays that a killed run finds again.

`views.zarr/` holds one array per figure of a row (`choice_log_probs[R, C]`, `features[R, D]`, …),
`done[R]`, and the index `canonical_row[N]`, `row[N, K]` (-1 where an example has fewer views) and
`log_weight[N, K]`. Any zarr 3 reader opens it.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax.errors import InputError

# A chunk is written anew by every batch that touches it, so wide rows come in short chunks.
_CHUNK_BYTES = 2**17
_ROWS_A_CHUNK = (64, 512)  # least and most


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
  return hashlib.sha256(text.encode()).hexdigest()


def open_store(
    path: str | pathlib.Path,
    fingerprint: str,
    row_arrays: Mapping[str, tuple[tuple[int, ...], str]],
    index: Mapping[str, np.ndarray],
) -> Store:
  """Opens the store in `path`, or makes it there.

  Args:
    path: the folder, `views.zarr` of a run.
    fingerprint: of everything that changes the numbers.
    row_arrays: name -> (shape with R in front, dtype) of each array that rows are written to.
    index: arrays that say which row holds which view; written when the store is made.

  Returns:
    The store; `done_rows` says what it already holds.

  Raises:
    InputError: if the folder holds the rows of another run, or other arrays.
  """
  path = pathlib.Path(path)
  marker = path / "zarr.json"
  if path.exists() and marker.exists():
    found = json.loads(marker.read_text()).get("attributes", {}).get("fingerprint")
    if found != fingerprint:
      raise InputError(
          f"{path} holds the rows of another run; choose another --out or delete that folder"
      )
    store = Store(path, {n: _open(path / n, open=True) for n in [*row_arrays, "done", *index]})
    _compare(store, row_arrays, index)
    return store

  num_rows = next(iter(row_arrays.values()))[0][0]
  arrays = {name: _create(path / name, *spec) for name, spec in row_arrays.items()}
  arrays["done"] = _create(path / "done", (num_rows,), "uint8")
  for name, values in index.items():
    arrays[name] = _create(path / name, values.shape, str(values.dtype))
    arrays[name].write(values).result()
  # The group's own file comes last: a folder without it was not finished and is made anew.
  attributes = {"fingerprint": fingerprint}
  group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
  write_text(marker, json.dumps(group, indent=1))
  return Store(path, arrays)


def write_rows(store: Store, start: int, values: Mapping[str, np.ndarray]) -> None:
  """Writes consecutive rows, and marks them done once all of their figures are on disk.

  Args:
    store: the open store.
    start: index of the first row.
    values: name -> [n, ...] for every row array.
  """
  stop = start + len(next(iter(values.values())))
  for future in [store.arrays[name][start:stop].write(a) for name, a in values.items()]:
    future.result()
  store.arrays["done"][start:stop].write(np.ones(stop - start, np.uint8)).result()


def done_rows(store: Store) -> np.ndarray:
  """bool[R]: which rows are complete."""
  return read(store, "done").astype(bool)


def read(store: Store, name: str) -> np.ndarray:
  """One array of the store, whole, as NumPy."""
  return np.asarray(store.arrays[name].read().result())


def read_array(path: str | pathlib.Path, name: str) -> np.ndarray:
  """One array of a store that is only read, whole.

  Args:
    path: the store's folder.
    name: of the array.

  Raises:
    InputError: if there is no such array, or it cannot be read.
  """
  try:
    return np.asarray(_open(pathlib.Path(path) / name, open=True).read().result())
  except (ValueError, OSError) as error:  # what tensorstore raises
    reason = str(error).split(" [")[0]
    raise InputError(f"{name!r} cannot be read from the store {str(path)!r}: {reason}") from error


def write_text(path: str | pathlib.Path, text: str) -> None:
  """Writes a file whole or not at all: beside its place first, then renamed into it."""
  path = pathlib.Path(path)
  beside = path.with_name(path.name + ".part")
  beside.write_text(text)
  beside.replace(path)


def _compare(store: Store, row_arrays, index) -> None:
  """Raises where the arrays on disk are not those that are asked for."""
  wrong = [
      name for name, (shape, dtype) in row_arrays.items()
      if (store.arrays[name].shape, store.arrays[name].dtype.name) != (tuple(shape), dtype)
  ]
  wrong += [name for name, values in index.items() if not np.array_equal(read(store, name), values)]
  if wrong:
    raise InputError(
        f"{store.path} does not fit this run ({', '.join(wrong)}); delete that folder to score anew"
    )


def _create(path: pathlib.Path, shape: tuple[int, ...], dtype: str) -> Any:
  """A new zarr 3 array with CRC32C checksums, in place of whatever is there."""
  row = [max(size, 1) for size in shape[1:]]
  rows = int(np.clip(_CHUNK_BYTES // (math.prod(row) * np.dtype(dtype).itemsize), *_ROWS_A_CHUNK))
  chunk = [min(max(shape[0], 1), rows), *row]
  metadata = {
      "shape": list(shape),
      "data_type": dtype,
      "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
      "codecs": [
          {"name": "bytes", "configuration": {"endian": "little"}},
          {"name": "crc32c"},
      ],
  }
  return _open(path, metadata=metadata, create=True, delete_existing=True)


def _open(path: pathlib.Path, **spec: Any) -> Any:
  """Opens a zarr 3 array on the local file system."""
  import tensorstore as ts

  kvstore = {"driver": "file", "path": str(path)}
  return ts.open({"driver": "zarr3", "kvstore": kvstore, **spec}).result()
