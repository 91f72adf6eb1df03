"""Opens a dataset: a hub id, a local folder, a file or a zip archive, as named splits."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import find_path, shown
from mezzanine_jax.worlds import files, zips

_LONGEST_ID = 200  # of the hub: two names of at most 96 letters


class Table(NamedTuple):
  """One split as it was read.

  Attributes:
    split: its name.
    rows: one dict a record.
    fields: the names of the fields that any row has.
    label_names: of the fields whose labels the dataset itself names.
  """

  split: str
  rows: list[dict[str, Any]]
  fields: list[str]
  label_names: dict[str, list[str]]


class Source(NamedTuple):
  """A dataset that was found.

  Attributes:
    name: as it was asked for.
    splits: the names of its splits; None for one file without splits.
    read: `(split) -> Table`; with splits None the name is only a name.
  """

  name: str
  splits: list[str] | None
  read: Callable[[str], Table]


def open_source(
  dataset: str,
  *,
  hub_ids: Mapping[str, str],
  subset: str | None = None,
  usual_subset: str | None = None,
  revision: str | None = None,
) -> Source:
  """Finds a dataset.

  Args:
    dataset: a name in `hub_ids`, a hub id, a local folder (`train.*` and `validation.*` or
      `test.*`), a data file, or a zip archive of data files.
    hub_ids: short names and the hub ids they stand for.
    subset: the name of a hub dataset's configuration, where it has several.
    usual_subset: the one taken from the hub where none is asked for.
    revision: branch, tag or commit of a hub dataset.

  Returns:
    Its splits; a table is read when it is asked for.

  Raises:
    InputError: there is no such dataset, or it holds no data.

  Example:
    >>> open_source("nowhere.csv", hub_ids={"boolq": "google/boolq"})
    Traceback (most recent call last):
    ...
    mezzanine_jax.errors.InputError: dataset 'nowhere.csv' does not exist: give a hub id, a folder \
with train.* and validation.*, a file (.jsonl, .json, .csv, .tsv, .parquet, .zip), or boolq
  """
  path = find_path(dataset) if dataset not in hub_ids else None
  if dataset and path:
    for argument, value in (("revision", revision), ("subset", subset)):
      if value is not None:
        raise InputError(f"{argument} is for hub datasets, but {dataset} is local: leave it out")
    return _local(dataset, path)
  known = (*files.FORMATS, zips.SUFFIX)
  looks_local = dataset.startswith((".", "/", "~")) or dataset.lower().endswith(known)
  is_id = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", dataset) and len(dataset) <= _LONGEST_ID
  if looks_local or not is_id:
    raise InputError(
      f"dataset {shown(dataset)!r} does not exist: give a hub id, a folder with train.* and "
      f"validation.*, a file ({', '.join(known)}), or {', '.join(hub_ids)}"
    )
  hub = _from_hub(hub_ids.get(dataset, dataset), subset or usual_subset, revision)
  return Source(dataset, list(hub), lambda split: _hub_table(split, hub[split]))


def short_name(dataset: str) -> str:
  """What a dataset is called, wherever it is: the last part of its id or path, folded.

  Example:
    >>> short_name("fancyzhx/ag_news"), short_name("../data/AG_News/"), short_name("imdb.csv.zip")
    ('ag_news', 'ag_news', 'imdb')
  """
  name = re.split(r"[/\\]", dataset.rstrip("/\\"))[-1].casefold()
  for suffix in (zips.SUFFIX, *files.FORMATS):
    name = name.removesuffix(suffix)
  return name


def _local(dataset: str, path: Path) -> Source:
  """A file, a folder or an archive as splits."""
  if not path.is_file() and not path.is_dir():
    raise InputError(f"{dataset} is neither a file nor a folder: give one of the two")
  archive = path.is_file() and path.suffix.lower() == zips.SUFFIX
  if path.is_file() and not archive:
    return Source(dataset, None, lambda split: _table(split, [files.data_file(path)]))
  found = zips.zip_files(path) if archive else files.folder_files(path)
  if not found:
    raise InputError(
      f"the {'archive' if archive else 'folder'} {dataset} holds no data file: put train.* and "
      f"validation.* there, with * one of {', '.join(form[1:] for form in files.FORMATS)}"
    )
  splits = files.split_files(dataset, found)
  if archive and len(splits) == 1:  # a file that was zipped to be smaller
    return Source(dataset, None, lambda split: _table(split, found))
  return Source(dataset, list(splits), lambda split: _table(split, splits[split]))


def _table(split: str, parts: list[files.DataFile]) -> Table:
  """Local rows as a table: its fields are those of any row."""
  rows = [row for file in parts for row in files.read_rows(file)]
  return Table(split, rows, list(dict.fromkeys(field for row in rows for field in row)), {})


def _from_hub(dataset: str, subset: str | None, revision: str | None) -> Any:
  """Downloads every split of a dataset (or takes them from the hub's own cache)."""
  import datasets

  try:
    return datasets.load_dataset(dataset, subset, revision=revision)
  except Exception as error:  # many kinds, all of them about reaching or reading the dataset
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    raise InputError(
      f"there is no file or folder {dataset!r} here, and as a dataset of the hub it could not be "
      f"loaded ({reason}): check the name and the network, or pass a local folder with train.* and "
      "validation.*"
    ) from error


def _hub_table(name: str, split: Any) -> Table:
  """Takes a split of `datasets` to pieces."""
  import datasets

  names = {
    field: list(feature.names)
    for field, feature in split.features.items()
    if isinstance(feature, datasets.ClassLabel)
  }
  return Table(name, split.to_list(), list(split.column_names), names)
