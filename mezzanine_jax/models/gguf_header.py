"""The header of a GGUF file: its metadata, and where its tensors lie.

The format is llama.cpp's (docs/gguf.md of ggml-org/ggml). The gguf package reads it too, but
makes several arrays of every word of the vocabulary, which takes seconds.
"""

import itertools
import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mezzanine_jax.untrusted import shown

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
# More than any model has (a quarter of a million words, a chat template): a header that says so
# is damaged or made to fill the memory.
_MOST_BYTES, _MOST_VALUES, _MOST_NESTED, _MOST_DIMENSIONS = 2**26, 2**22, 4, 4


class TensorInfo(NamedTuple):
  """A tensor of the file: shape (the slowest dimension first), GGML type, place in bytes."""

  shape: tuple[int, ...]
  kind: int
  start: int
  num_bytes: int


class Header(NamedTuple):
  """What stands before the weights."""

  metadata: dict[str, Any]
  tensors: dict[str, TensorInfo]


def read_header(path: Path, sizes: Mapping[int, tuple[int, int]]) -> Header:
  """Reads the metadata and the table of tensors; the weights are not touched.

  Args:
    path: the file.
    sizes: GGML type -> (values, bytes) of one block, `gguf.GGML_QUANT_SIZES`.

  Returns:
    The header; arrays of the metadata are lists.

  Raises:
    ValueError: what is wrong with the file.
    OSError: it cannot be read.
  """
  with path.open("rb") as file:
    size = file.seek(0, 2)
    if not size:
      raise ValueError("it is empty")
    with mmap.mmap(file.fileno(), min(size, _MOST_BYTES), access=mmap.ACCESS_READ) as data:
      try:
        return _parse(_Cursor(data), size, sizes)
      except struct.error as error:
        raise _too_much() if size > _MOST_BYTES else ValueError(
            "it ends within its header") from error


class _Cursor:
  """Reads one value after the other, as many as a header may hold."""

  def __init__(self, data: mmap.mmap):
    self.data, self.at, self.left = data, 0, _MOST_VALUES

  def scalars(self, code: str, count: int = 1) -> tuple[Any, ...]:
    """`count` little-endian numbers."""
    self._take(count)
    layout = f"<{count}{code}"
    values = struct.unpack_from(layout, self.data, self.at)
    self.at += struct.calcsize(layout)
    return values

  def strings(self, count: int) -> list[str]:
    """`count` strings: there are a hundred thousand of them in a tokenizer."""
    self._take(count)
    data, at, length, out = self.data, self.at, struct.Struct("<Q").unpack_from, []
    for _ in range(count):
      (size,) = length(data, at)
      if at + 8 + size > len(data):
        raise struct.error
      out.append(data[at + 8 : at + 8 + size].decode())
      at += 8 + size
    self.at = at
    return out

  def values(self, kind: int, count: int, depth: int = 0) -> list[Any]:
    """`count` values of one type of metadata, within so many arrays."""
    if kind == _STRING:
      return self.strings(count)
    if kind == _ARRAY:
      if depth == _MOST_NESTED:
        raise ValueError(f"its metadata hold arrays nested deeper than {_MOST_NESTED}")
      return [self.values(*self.scalars("I"), *self.scalars("Q"), depth + 1) for _ in range(count)]
    if kind not in _SCALARS:
      raise ValueError(f"its metadata hold a value of the unknown type {kind}")
    return list(self.scalars(_SCALARS[kind], count))

  def _take(self, count: int) -> None:
    """Counts values before they are read."""
    self.left -= count
    if self.left < 0:
      raise _too_much()


def _too_much() -> ValueError:
  """The sentence for a header that is longer than any model's."""
  return ValueError("a length in its header is not plausible")


def _parse(cursor: _Cursor, size: int, sizes: Mapping[int, tuple[int, int]]) -> Header:
  """The header of a file of `size` bytes."""
  if cursor.data[:4] != b"GGUF":
    raise ValueError("it does not begin with GGUF")
  cursor.at = 4
  (version,) = cursor.scalars("I")
  if version not in _VERSIONS:
    raise ValueError(f"its version is {version}; supported are little-endian files of versions "
                     f"{' and '.join(map(str, _VERSIONS))}")
  num_tensors, num_keys = cursor.scalars("Q", 2)
  metadata = {}
  for _ in range(num_keys):
    (key,), (kind,) = cursor.strings(1), cursor.scalars("I")
    if key in metadata:
      raise ValueError(f"the key {shown(key)!r} stands in it twice")
    (metadata[key],) = cursor.values(kind, 1)
  table = {}
  for _ in range(num_tensors):
    (name,), (rank,) = cursor.strings(1), cursor.scalars("I")
    if name in table:
      raise ValueError(f"the tensor {shown(name)!r} stands in it twice")
    if not 1 <= rank <= _MOST_DIMENSIONS:
      raise ValueError(f"the tensor {shown(name)!r} has {rank} dimensions, allowed are 1 to "
                       f"{_MOST_DIMENSIONS}")
    shape = cursor.scalars("Q", rank)[::-1]  # GGUF counts from the fastest-moving dimension
    table[name] = (shape, *cursor.scalars("I"), *cursor.scalars("Q"))
  unit = metadata.get("general.alignment", 32)
  if not isinstance(unit, int) or unit < 1:
    raise ValueError(f"its alignment is {unit!r}")
  first = -(-cursor.at // unit) * unit
  tensors = {name: _place(name, *entry, first, size, sizes) for name, entry in table.items()}
  _check_apart(tensors)
  return Header(metadata, tensors)


def _check_apart(tensors: Mapping[str, TensorInfo]) -> None:
  """A ValueError where bytes belong to two tensors: so a small file could stand for a large one."""
  placed = sorted(tensors.items(), key=lambda item: item[1].start)
  for (before, one), (name, other) in itertools.pairwise(placed):
    if one.start + one.num_bytes > other.start:
      raise ValueError(f"the tensors {shown(before)!r} and {shown(name)!r} overlap")


def _place(name: str, shape: tuple[int, ...], kind: int, offset: int, first: int, size: int,
           sizes: Mapping[int, tuple[int, int]]) -> TensorInfo:
  """Where a tensor lies; a ValueError where it does not lie within the file."""
  if 0 in shape:
    raise ValueError(f"the tensor {shown(name)!r} has the shape {shape}, which holds nothing")
  if kind not in sizes:
    raise ValueError(f"the tensor {shown(name)!r} is of the unknown type {kind}")
  values, num_bytes = sizes[kind]
  if shape[-1] % values:
    raise ValueError(f"the rows of the tensor {shown(name)!r} are no multiple of {values} values")
  total = math.prod(shape) // values * num_bytes
  if first + offset + total > size:
    raise ValueError(f"the tensor {shown(name)!r} goes beyond its end; download it again")
  return TensorInfo(shape, kind, first + offset, total)
