"""The header of a GGUF file: its metadata, and where its tensors lie.

The format is llama.cpp's (docs/gguf.md of ggml-org/ggml). The gguf package reads it too, but
makes several arrays of every word of the vocabulary, which takes seconds.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)


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
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
      try:
        return _parse(_Cursor(data), size, sizes)
      except struct.error as error:
        raise ValueError("it ends within its header") from error
      except MemoryError as error:
        raise ValueError("a length in its header is not plausible") from error


class _Cursor:
  """Reads one value after the other."""

  def __init__(self, data: mmap.mmap):
    self.data, self.at = data, 0

  def scalars(self, code: str, count: int = 1) -> tuple[Any, ...]:
    """`count` little-endian numbers."""
    layout = f"<{count}{code}"
    values = struct.unpack_from(layout, self.data, self.at)
    self.at += struct.calcsize(layout)
    return values

  def strings(self, count: int) -> list[str]:
    """`count` strings: there are a hundred thousand of them in a tokenizer."""
    data, at, length, out = self.data, self.at, struct.Struct("<Q").unpack_from, []
    for _ in range(count):
      (size,) = length(data, at)
      text = data[at + 8 : at + 8 + size]
      if len(text) != size:
        raise struct.error
      out.append(text.decode())
      at += 8 + size
    self.at = at
    return out

  def values(self, kind: int, count: int) -> list[Any]:
    """`count` values of one type of metadata."""
    if kind == _STRING:
      return self.strings(count)
    if kind == _ARRAY:
      return [self.values(*self.scalars("I"), *self.scalars("Q")) for _ in range(count)]
    if kind not in _SCALARS:
      raise ValueError(f"its metadata hold a value of the unknown type {kind}")
    return list(self.scalars(_SCALARS[kind], count))


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
      raise ValueError(f"the key {key!r} stands in it twice")
    (metadata[key],) = cursor.values(kind, 1)
  table = {}
  for _ in range(num_tensors):
    (name,), (rank,) = cursor.strings(1), cursor.scalars("I")
    if name in table:
      raise ValueError(f"the tensor {name!r} stands in it twice")
    shape = cursor.scalars("Q", rank)[::-1]  # GGUF counts from the fastest-moving dimension
    table[name] = (shape, *cursor.scalars("I"), *cursor.scalars("Q"))
  unit = metadata.get("general.alignment", 32)
  if not isinstance(unit, int) or unit < 1:
    raise ValueError(f"its alignment is {unit!r}")
  first = -(-cursor.at // unit) * unit
  tensors = {name: _place(name, *entry, first, size, sizes) for name, entry in table.items()}
  return Header(metadata, tensors)


def _place(name: str, shape: tuple[int, ...], kind: int, offset: int, first: int, size: int,
           sizes: Mapping[int, tuple[int, int]]) -> TensorInfo:
  """Where a tensor lies; a ValueError where it does not lie within the file."""
  if kind not in sizes:
    raise ValueError(f"the tensor {name!r} is of the unknown type {kind}")
  values, num_bytes = sizes[kind]
  if shape and shape[-1] % values:
    raise ValueError(f"the rows of the tensor {name!r} are no multiple of {values} values")
  total = math.prod(shape) // values * num_bytes
  if first + offset + total > size:
    raise ValueError(f"the tensor {name!r} goes beyond its end; download it again")
  return TensorInfo(shape, kind, first + offset, total)
