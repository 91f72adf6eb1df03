"""Reads tables of records from local files: jsonl, json, csv and parquet."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

from mezzanine_jax.errors import InputError

FORMATS = (".jsonl", ".json", ".csv", ".parquet")
Row = dict[str, Any]


def split_files(folder: Path) -> dict[str, list[Path]]:
  """Finds the splits of a folder: `train.jsonl`, or shards `train-00000-of-00002.parquet`.

  Args:
    folder: an existing folder.

  Returns:
    The files of every split, in the order of their names.

  Raises:
    InputError: one split stands there in several formats.
  """
  splits: dict[str, list[Path]] = {}
  for path in sorted(folder.iterdir()):
    if path.suffix.lower() in FORMATS and path.is_file():
      name = re.sub(r"-\d+-of-\d+$", "", path.stem)
      splits.setdefault(name, []).append(path)
  for name, paths in splits.items():
    if len({path.suffix.lower() for path in paths}) > 1:
      found = " and ".join(path.name for path in paths)
      raise InputError(
        f"{folder} holds the split {name!r} more than once ({found}): leave one of them there"
      )
  return splits


def read_rows(path: Path) -> list[Row]:
  """Reads the records of one file.

  Args:
    path: a file of jsonl (one object a line), json (a list of objects, or an object that holds
      one such list), csv (a header line; every value is text) or parquet.

  Returns:
    One dict a record, in the file's order.

  Raises:
    InputError: the file cannot be read as what its name says.
  """
  readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
  reader = readers.get(path.suffix.lower())
  if reader is None:
    raise InputError(f"{path} is not a data file: allowed are {', '.join(FORMATS)}")
  try:
    return reader(path)
  except UnicodeDecodeError as error:
    raise InputError(f"{path} is not UTF-8 text (byte {error.start}): convert it") from error
  except OSError as error:
    raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _jsonl(path: Path) -> list[Row]:
  """Reads one JSON object a line; empty lines are passed over."""
  rows = []
  with path.open(encoding="utf-8-sig", newline="\n") as lines:
    for number, line in enumerate(lines, 1):
      if line.strip():
        rows.append(_object(path, f"line {number}", _parse(path, line, f"line {number}")))
  return rows


def _json(path: Path) -> list[Row]:
  """Reads a list of objects, also where it is the one list in an object."""
  content = _parse(path, path.read_text(encoding="utf-8-sig"), "the file")
  if isinstance(content, dict):
    lists = [value for value in content.values() if isinstance(value, list)]
    content = lists[0] if len(lists) == 1 else None
  if not isinstance(content, list):
    raise InputError(
      f"{path} must hold a list of objects (or one object with one such list); "
      "name it .jsonl where every line is an object"
    )
  return [_object(path, f"item {number}", item) for number, item in enumerate(content, 1)]


def _parse(path: Path, text: str, where: str) -> Any:
  """Parses JSON, or says where it is malformed."""
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise InputError(f"{path} is malformed: {where} is not valid JSON ({error})") from error


def _object(path: Path, where: str, value: Any) -> Row:
  """Returns a record, or says that it is none."""
  if not isinstance(value, dict):
    raise InputError(f"{path} is malformed: {where} is not an object with named fields")
  return value


def _csv(path: Path) -> list[Row]:
  """Reads a table with a header line; nothing is taken for a number or for missing."""
  import pandas as pd

  try:
    with warnings.catch_warnings():
      # A line with too many values is an error, not something to pass over.
      warnings.simplefilter("error", pd.errors.ParserWarning)
      table = pd.read_csv(
        path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
      )
  except pd.errors.EmptyDataError:
    return []
  except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
    raise InputError(f"{path} is malformed: {' '.join(str(error).split())}") from error
  # A line with too few values leaves the last ones missing.
  table = table.astype(object).where(table.notna(), None)
  return table.to_dict("records")


def _parquet(path: Path) -> list[Row]:
  """Reads a parquet file."""
  import pyarrow
  import pyarrow.parquet

  try:
    return pyarrow.parquet.read_table(path).to_pylist()
  except pyarrow.ArrowException as error:
    reason = " ".join(str(error).split())
    raise InputError(f"{path} is malformed: it is not a parquet file ({reason})") from error
