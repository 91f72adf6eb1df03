"""Data files inside a zip archive, read from it without being unpacked to disk."""

import io
import lzma
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds.files import FORMATS, DataFile

SUFFIX = ".zip"
# A member larger than this must not be so many times as large as it is packed: text is not.
_ENOUGH_BYTES, _MOST_TIMES = 2**27, 50


def zip_files(path: Path) -> list[DataFile]:
  """Lists the data files in an archive, in all of its folders.

  A member's name serves as a name only: nothing is written, so that one such as
  `../../train.csv` reaches nothing.

  Args:
    path: a zip archive.

  Returns:
    Its members of a known format, sorted by name; hidden ones are left out.

  Raises:
    InputError: the file is no zip archive or cannot be read.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      members = [member.filename for member in archive.infolist() if not member.is_dir()]
  except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
    raise InputError(f"{path} cannot be read as a zip archive ({error})") from error
  repeated = [name for name, count in Counter(members).items() if count > 1]
  if repeated:
    raise InputError(f"{path} holds {repeated[0]!r} twice: leave one of them there")
  return [_member(path, name) for name in sorted(members) if _is_data(name)]


def _is_data(name: str) -> bool:
  """Whether a member is of a known format and not a file system's own note."""
  parts = PurePosixPath(name).parts
  hidden = any(
    part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts
  )
  return PurePosixPath(name).suffix.lower() in FORMATS and not hidden


def _member(path: Path, name: str) -> DataFile:
  """One member as a data file."""
  inner = PurePosixPath(name)
  folder = "" if str(inner.parent) == "." else str(inner.parent)
  return DataFile(
    f"{path}/{name}", folder, inner.stem, inner.suffix.lower(), lambda: _open(path, name)
  )


def _open(path: Path, name: str) -> BinaryIO:
  """The bytes of a member, in memory, checked against its checksum."""
  try:
    with zipfile.ZipFile(path) as archive:
      member = archive.getinfo(name)
      if member.file_size > max(_ENOUGH_BYTES, _MOST_TIMES * member.compress_size):
        raise InputError(f"{path}/{name} is {member.file_size:,} bytes, packed into"
                         f" {member.compress_size:,}: unpack it yourself if it is really data")
      return io.BytesIO(archive.read(name))
  # RuntimeError: encrypted; NotImplementedError, one of its kinds: a method of another tool.
  except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError,
          struct.error) as error:
    raise InputError(f"{path}/{name} cannot be unpacked ({error}): zip it again") from error
