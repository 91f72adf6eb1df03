"""Reads tables of records from local files: jsonl, json, csv, tsv and parquet."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import parse_json, shown

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
# A small file may stand for a table that no memory holds. Up to here that is nobody's concern;
# beyond it a table must not be many times as large as its file.
_ENOUGH_CELLS, _ENOUGH_BYTES, _MOST_TIMES = 2**22, 2**28, 100
_PARQUET_ROWS, _ROW_BYTES = 256, 256  # rows read at once; of a row as a dict, without its values
Row = dict[str, Any]


class DataFile(NamedTuple):
  """A file of records, on disk or inside an archive.

  Attributes:
    label: how messages call it.
    folder: the folder it stands in, below the dataset ("" for the dataset's own).
    stem: its name without the suffix.
    suffix: one of `FORMATS`.
    open: gives its bytes, from the beginning.
  """

  label: str
  folder: str
  stem: str
  suffix: str
  open: Callable[[], BinaryIO]


def data_file(path: Path) -> DataFile:
  """A file on disk; whether it can be read shows when it is."""
  return DataFile(str(path), "", path.stem, path.suffix.lower(), lambda: path.open("rb"))


def folder_files(folder: Path) -> list[DataFile]:
  """The data files that stand in a folder itself, sorted by name."""
  return [
    data_file(path)
    for path in sorted(folder.iterdir())
    if path.suffix.lower() in FORMATS and path.is_file()
  ]


def split_files(where: str, files: Sequence[DataFile]) -> dict[str, list[DataFile]]:
  """Sorts files into splits: `train.jsonl`, or shards `train-00000-of-00002.parquet`.

  Args:
    where: the folder or archive, for messages.
    files: data files, in the order in which they are to be read.

  Returns:
    The files of every split. Its name is that of its files, with their folder before it only
    where two folders hold a split of that name.

  Raises:
    InputError: one split stands there in several formats.
  """
  splits: dict[tuple[str, str], list[DataFile]] = {}
  for file in files:
    splits.setdefault((file.folder, re.sub(r"-\d+-of-\d+$", "", file.stem)), []).append(file)
  names = [name for _, name in splits]
  result = {}
  for (folder, name), parts in splits.items():
    if len({file.suffix for file in parts}) > 1:
      found = " and ".join(file.stem + file.suffix for file in parts)
      raise InputError(
        f"{where} holds the split {name!r} more than once ({found}): leave one of them there"
      )
    alone = names.count(name) == 1
    result[name if alone else f"{folder or '.'}/{name}"] = parts
  return result


def read_rows(file: DataFile) -> list[Row]:
  """Reads the records of one file.

  Args:
    file: jsonl (one object a line), json (a list of objects, or an object that holds one such
      list), csv and tsv (a header line; every value is text) or parquet.

  Returns:
    One dict a record, in the file's order.

  Raises:
    InputError: the file cannot be read as what its name says.
  """
  readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
  reader = readers.get(file.suffix)
  if reader is None:
    raise InputError(f"{file.label} is not a data file: allowed are {', '.join(FORMATS)}, .zip")
  try:
    with file.open() as content:
      return reader(file, content)
  except UnicodeDecodeError as error:
    raise InputError(f"{file.label} is not UTF-8 text (byte {error.start}): convert it") from error
  except OSError as error:
    raise InputError(f"{file.label} cannot be read: {error.strerror or error}") from error


def _jsonl(file: DataFile, content: BinaryIO) -> list[Row]:
  """Reads one JSON object a line; empty lines are passed over."""
  rows = []
  with io.TextIOWrapper(content, encoding="utf-8-sig", newline="\n") as lines:
    for number, line in enumerate(lines, 1):
      if line.strip():
        where = f"line {number}"
        rows.append(_object(file.label, where, _parse(file.label, line, where)))
  return rows


def _json(file: DataFile, content: BinaryIO) -> list[Row]:
  """Reads a list of objects, also where it is the one list in an object."""
  value = _parse(file.label, content.read().decode("utf-8-sig"), "the file")
  if isinstance(value, dict):
    lists = [item for item in value.values() if isinstance(item, list)]
    value = lists[0] if len(lists) == 1 else None
  if not isinstance(value, list):
    raise InputError(
      f"{file.label} must hold a list of objects (or one object with one such list); "
      "name it .jsonl where every line is an object"
    )
  return [_object(file.label, f"item {number}", item) for number, item in enumerate(value, 1)]


def _parse(label: str, text: str, where: str) -> Any:
  """Parses JSON, or says where it is malformed."""
  try:
    return parse_json(text)
  except ValueError as error:
    raise InputError(f"{label} is malformed: {where} is not valid JSON ({error})") from error


def _object(label: str, where: str, value: Any) -> Row:
  """Returns a record, or says that it is none."""
  if not isinstance(value, dict):
    raise InputError(f"{label} is malformed: {where} is not an object with named fields")
  return value


def _csv(file: DataFile, content: BinaryIO) -> list[Row]:
  """Reads a table with a header line; nothing is taken for a number or for missing."""
  import pandas as pd

  data = content.read()
  separator = "\t" if file.suffix == ".tsv" else ","
  # Lines with too few values are filled up, which a header of many columns makes large.
  lines = max(data.count(b"\n"), data.count(b"\r"))
  cells = (re.split(b"[\r\n]", data, maxsplit=1)[0].count(separator.encode()) + 1) * lines
  if cells > max(_ENOUGH_CELLS, 4 * len(data)):
    raise InputError(f"{file.label} is malformed: its header has many more columns than its lines"
                     " have values")
  try:
    with warnings.catch_warnings():
      # A line with too many values is an error, not something to pass over.
      warnings.simplefilter("error", pd.errors.ParserWarning)
      table = pd.read_csv(
        io.BytesIO(data),
        sep=separator,
        dtype=str,
        keep_default_na=False,
        index_col=False,
        encoding="utf-8-sig",
      )
  except pd.errors.EmptyDataError:
    return []
  except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
    raise InputError(f"{file.label} is malformed: {shown(error, 200)}") from error
  # A line with too few values leaves the last ones missing.
  table = table.astype(object).where(table.notna(), None)
  return table.to_dict("records")


def _parquet(file: DataFile, content: BinaryIO) -> list[Row]:
  """Reads a parquet file."""
  import pyarrow
  import pyarrow.parquet

  most = max(_ENOUGH_BYTES, _MOST_TIMES * content.seek(0, io.SEEK_END))
  rows = []
  try:
    table = pyarrow.parquet.ParquetFile(content)
    held = table.metadata.num_rows * _ROW_BYTES
    # A value that comes again takes no room in the file, so that the size shows bit by bit.
    for batch in table.iter_batches(_PARQUET_ROWS) if held <= most else ():
      batch = pyarrow.table([
        column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column
        for column in batch.columns
      ], batch.schema.names)
      held += batch.nbytes
      if held > most:
        break
      rows += batch.to_pylist()
    if held > most:
      raise InputError(f"{file.label} holds many times more than its size: cut it into parts")
  except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
    if isinstance(error, InputError):
      raise
    raise InputError(
      f"{file.label} is malformed: it is not a parquet file ({shown(error, 200)})") from error
  return rows
