"""From the fields of a table's rows to the texts of examples."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mezzanine_jax.config import did_you_mean
from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds.sources import Source, Table
from mezzanine_jax.worlds.world import Field, stable_hash

LONG = 2000  # words, from which a text is counted as long


def row_ids(table: Table) -> list[str]:
  """The examples' ids: the split and the row, counted from 0."""
  return [f"{table.split}:{row}" for row in range(len(table.rows))]


def field_names(fields: str | Sequence[str] | None) -> list[str]:
  """Reads a list of field names, also one text with commas between them.

  Example:
    >>> field_names("title, facts"), field_names(None)
    (['title', 'facts'], [])
  """
  names = fields.split(",") if isinstance(fields, str) else list(fields or ())
  return [name.strip() for name in names if name.strip()]


def require(source: Source, table: Table, asked: Mapping[str, str | Sequence[str]]) -> None:
  """Checks that a table has the fields.

  Args:
    source: the dataset, for messages.
    table: one split of it.
    asked: argument -> the field or fields that it names.

  Raises:
    InputError: a field is not there.
  """
  for argument, names in asked.items():
    for name in [names] if isinstance(names, str) else names:
      if name not in table.fields:
        raise InputError(
          f"split {table.split!r} of {source.name} has no field {name!r}"
          f"{did_you_mean(name, map(str, table.fields))}: mend {argument}"
        )


def texts(table: Table, field: str) -> list[str]:
  """The texts of one field, a row each; a missing one is empty.

  Raises:
    InputError: a row holds something other than text.
  """
  return [
    text(row.get(field), field, name)
    for row, name in zip(table.rows, row_ids(table), strict=True)
  ]  # fmt: skip


def text(value: Any, field: str, name: str) -> str:
  """Returns a field's text; a missing one is empty, lone surrogates become question marks."""
  if value is None:
    return ""
  if not isinstance(value, str):
    raise InputError(
      f"field {field!r} of example {name!r} (rows count from 0) holds a "
      f"{type(value).__name__}: text is needed"
    )
  return value.encode("utf-8", "replace").decode("utf-8")


def extra_fields(
  source: Source, table: Table, fields: str | Sequence[str] | None, taken: Mapping[str, str]
) -> list[dict[str, Field]]:
  """More fields of every row, as they are, for templates.

  Args:
    source: the dataset, for messages.
    table: one split of it.
    fields: names, see `field_names`.
    taken: the names that `x` has already -> the table's fields they were read from ("" for one
      made of several).

  Returns:
    One dict a row. A list of values becomes a list of str, an object a dict of str in its
    order; numbers and truth values are written as in JSON, what is missing is empty.

  Raises:
    InputError: a field is missing, named as another one of `x`, or nested deeper.
  """
  names = [name for name in dict.fromkeys(field_names(fields)) if taken.get(name) != name]
  require(source, table, {"extra_fields": names})
  for name in names:
    if name in taken:
      raise InputError(
        f"extra_fields names {name!r}, but that is what examples call the field "
        f"{taken[name] or 'made of several'!r}: give one of the two another name in the data"
      )
  return [
    {field: _field(row.get(field), field, name) for field in names}
    for row, name in zip(table.rows, row_ids(table), strict=True)
  ]  # fmt: skip


def cluster(kind: str, content: str, *otherwise: str) -> str:
  """Names what may not be split: a text, white space folded, or another where it is empty.

  Args:
    kind: what the text is ("passage").
    content: the text.
    *otherwise: kind and text that stand in for an empty one.
  """
  from mezzanine_jax.sentences import fold_white_space  # worlds of texts only

  folded = fold_white_space(content)
  if not folded and otherwise:
    kind, folded = otherwise[0], fold_white_space(otherwise[1])
  return stable_hash(kind, folded)[:16]


def _field(value: Any, field: str, name: str) -> Field:
  """A value as a text, a list of texts or a dict of texts."""
  if isinstance(value, list):
    return [_plain(item, field, name) for item in value]
  if isinstance(value, dict):
    return {
      text(str(key), field, name): _plain(item, field, name) for key, item in value.items()
    }
  return _plain(value, field, name)


def _plain(value: Any, field: str, name: str) -> str:
  """A single value as a text."""
  if isinstance(value, bool | int | float):
    return json.dumps(value)
  if value is None or isinstance(value, str):
    return text(value, field, name)
  raise InputError(
    f"extra field {field!r} of example {name!r} (rows count from 0) holds a "
    f"{type(value).__name__} within or of a kind that cannot be used: allowed are text, numbers, "
    "and a list or an object of them"
  )
