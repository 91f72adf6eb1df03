"""Examples that come after a world was learned from: one file, every row, answers optional."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mezzanine_jax.base import Example
from mezzanine_jax.config import arguments_of
from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import find_path, shown
from mezzanine_jax.worlds import evidence_qa, hf_qa, hf_text, multiple_choice
from mezzanine_jax.worlds.files import FORMATS
from mezzanine_jax.worlds.sources import Table, open_source
from mezzanine_jax.worlds.zips import SUFFIX

# World -> `read(source, table, ...) -> examples` of the rows that such a world is made of.
READERS: dict[str, Callable[..., list[Example]]] = {
  evidence_qa.NAME: hf_qa.read,  # which generates passages and questions
  "hf_qa": hf_qa.read,
  "hf_text": hf_text.read,
  "multiple_choice": multiple_choice.read,
}


class NewExamples(NamedTuple):
  """The rows of a file.

  Attributes:
    examples: one a row, in the file's order; a label is None where the row has no answer.
    ids: what the rows are called: their own field `id`, or their number from 0.
  """

  examples: list[Example]
  ids: list[str | int]


def read_new(path: str, world: str, **settings: Any) -> NewExamples:
  """Reads every row of a file as an example of a world.

  Args:
    path: jsonl, json, csv, tsv or parquet, also inside a zip archive of that one file.
    world: a name in `READERS`.
    **settings: a configuration's fields, and `label_names`; the reader takes those that it has
      an argument for, and its own defaults stand in for those that are None.

  Raises:
    InputError: the file is missing, empty or malformed, or a field or an answer cannot be used.
  """
  if world not in READERS:
    raise InputError(
      f"the world {world!r} reads no new files; those that do are {', '.join(READERS)}"
    )
  file = find_path(path)
  if file and file.is_dir():
    raise InputError(f"{path!r} is a folder: name one of its files ({', '.join(FORMATS)}, .zip)")
  if not file or not file.is_file():
    raise InputError(
      f"there is no file {shown(path)!r}: give one of {', '.join(FORMATS)} or {SUFFIX}"
    )
  source = open_source(str(file), hub_ids={})
  if source.splits is not None:
    raise InputError(
      f"{path!r} holds several data files ({', '.join(source.splits)}): give an archive of one"
    )
  table = source.read("row")
  if not table.rows:
    raise InputError(f"{path!r} is empty: an example at least is needed")
  reader = READERS[world]
  given = {name: value for name, value in settings.items() if value is not None}
  return NewExamples(reader(source, table, **arguments_of(reader, given)), _ids(table))


def _ids(table: Table) -> list[str | int]:
  """The rows' own names, where each has one; else their numbers."""
  own = [row.get("id") for row in table.rows]
  if all(type(name) is int or (isinstance(name, str) and name) for name in own):
    return own
  return list(range(len(own)))
