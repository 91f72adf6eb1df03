"""From the answers of a dataset to labels: no is 0, yes is 1, others by a label map."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import parse_json
from mezzanine_jax.worlds.sources import Table

LabelMap = str | Mapping[Any, int] | Sequence[Any]
_SAME = {"true": "yes", "false": "no"}
_BOOLEAN = {"no": 0, "yes": 1}


def answer_text(answer: Any) -> str | None:
  """Folds an answer to the text that label maps are looked up with.

  Args:
    answer: a bool, a whole number or a text.

  Returns:
    Lower case without outer white space, `yes`/`no` for `true`/`false`; None for other types.

  Example:
    >>> answer_text(True), answer_text(" No "), answer_text(3.0), answer_text(None)
    ('yes', 'no', '3', None)
  """
  if isinstance(answer, bool):
    return "yes" if answer else "no"
  if isinstance(answer, float) and answer.is_integer():
    answer = int(answer)
  if isinstance(answer, int):
    return str(answer)
  if isinstance(answer, str):
    text = " ".join(answer.casefold().split())
    return _SAME.get(text, text)
  return None


def parse_label_map(label_map: LabelMap) -> dict[str, int]:
  """Reads a label map in any of its forms.

  Args:
    label_map: the answers in the order of their labels, as a list or with commas between them,
      or a mapping from answer to label, also as JSON.

  Returns:
    From `answer_text` to label; the labels are 0 .. C-1 with C >= 2.

  Raises:
    InputError: the map is malformed, names an answer twice or leaves a label out.

  Example:
    >>> parse_label_map("no, yes"), parse_label_map('{"false": 0, "true": 1}')
    ({'no': 0, 'yes': 1}, {'no': 0, 'yes': 1})
  """
  form = 'the answers in the order of their labels ("no,yes") or JSON ({"no": 0, "yes": 1})'
  given, told = label_map, _short(label_map)
  if isinstance(given, str) and given.strip().startswith("{"):
    try:
      given = parse_json(given)
    except ValueError as error:
      raise InputError(f"label_map {told} is not valid JSON: give {form}") from error
  elif isinstance(given, str):
    given = given.split(",")
  if hasattr(given, "items"):
    pairs = list(given.items())
  elif isinstance(given, Sequence):
    pairs = [(answer, label) for label, answer in enumerate(given)]
  else:
    raise InputError(f"label_map must be {form}, got {told}")
  result: dict[str, int] = {}
  for answer, label in pairs:
    text = answer_text(answer)
    if not text:
      raise InputError(f"label_map {told} holds the answer {_short(answer)}: give {form}")
    if isinstance(label, bool) or not isinstance(label, int):
      raise InputError(
        f"label_map gives {_short(answer)} the label {_short(label)}: labels are 0, 1, ...")
    if result.setdefault(text, label) != label:
      raise InputError(f"label_map {told} names the answer {_short(text)} twice: name it once")
  if set(result.values()) != set(range(max(2, len(set(result.values()))))):
    raise InputError(
      f"label_map {told} must use every label from 0 on, and at least two: give {form}"
    )
  return result


def map_names(label_map: Mapping[str, int]) -> tuple[str, ...]:
  """What the labels of a parsed map are called: the first answer of each.

  Example:
    >>> map_names({"1": 0, "2": 0, "10": 1})
    ('1', '10')
  """
  first: dict[int, str] = {}
  for answer, label in label_map.items():
    first.setdefault(label, answer)
  return tuple(first[label] for label in sorted(first))


def found_labels(answers: Sequence[Any], field: str) -> list[str]:
  """The labels that occur, in an order that does not depend on where they stand.

  Args:
    answers: one a row; those that are missing are passed over.
    field: their field, for messages.

  Returns:
    A name for each: numbers by size, no before yes, other texts in the order of their
    folded form. `answer_text` of the names is distinct.

  Raises:
    InputError: there are fewer than two, or so many that they are no labels.

  Example:
    >>> found_labels(["spam", "Ham ", "spam"], "kind"), found_labels([10, 9, 10], "stars")
    (['Ham', 'spam'], ['9', '10'])
  """
  names: dict[str, str] = {}
  total = 0
  for answer in answers:
    text = answer_text(answer)
    if text:
      total += 1
      own = " ".join(answer.split()) if isinstance(answer, str) else text
      # Of several spellings the least one: the order of the rows plays no part.
      names[text] = min(own, names.get(text, own))
  if len(names) < 2 or (len(names) > 20 and 2 * len(names) > total):
    shown = ", ".join(sorted(map(_short, names.values()))[:3])
    raise InputError(
      f"field {field!r} holds {len(names)} different values in {total} examples"
      f"{f' ({shown}, ...)' if shown else ''}, which are no labels: name another label_field, or "
      "give label_map"
    )
  try:
    # "nan" is a name like any other: numbers have an order.
    order = sorted(names, key=float) if all(math.isfinite(float(n)) for n in names) else None
  except ValueError:
    order = None
  order = sorted(names) if order is None else order
  return [names[text] for text in order]


def table_labels(
  tables: Sequence[Table],
  field: str,
  label_map: LabelMap | None = None,
  known: Sequence[str] | None = None,
) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
  """The labels of a dataset: those that are asked for, known, its own, or those that occur.

  Args:
    tables: its splits.
    field: the field with the label.
    label_map: see `parse_label_map`; it goes before all else.
    known: the labels' names in their order, where they are known.

  Returns:
    From a label's folded value to its index, the labels' names, and what the reader is told.
  """
  if label_map is not None:
    used = parse_label_map(label_map)
    return used, map_names(used), []
  if known is not None:  # a local copy may hold indices or names
    used = {answer_text(name): label for label, name in enumerate(known)}
    return used | {str(label): label for label in range(len(used))}, tuple(known), []
  own = tables[0].label_names.get(field)
  if own is not None:
    return {answer_text(name): label for label, name in enumerate(own)}, tuple(own), []
  answers = [row.get(field) for table in tables for row in table.rows]
  names = found_labels(answers, field)
  used = {answer_text(name): label for label, name in enumerate(names)}
  numbered = list(used) == [str(label) for label in range(len(used))]
  shown = ", ".join(f"{label} {name}" for label, name in enumerate(names[:10]))
  shown += ", ..." if len(names) > 10 else ""
  return used, tuple(names), [] if numbered else [f"labels by the values of {field!r}: {shown}"]


def to_labels(
  answers: Sequence[Any],
  names: Sequence[str],
  field: str,
  label_map: dict[str, int] | None,
  own_names: Sequence[str] | None = None,
) -> tuple[list[int], int]:
  """Turns answers into labels.

  Args:
    answers: one answer an example.
    names: the examples' ids, for messages.
    field: the answers' field, for messages.
    label_map: a parsed map, or None.
    own_names: names the dataset gives its labels, where the answers are indices into them.

  Returns:
    The labels, and how many there are (C).

  Raises:
    InputError: an answer is missing, not in the map, or needs a map where none is given.
  """
  if own_names is not None:
    indices = answers
    answers = [
      own_names[index] if isinstance(index, int) and 0 <= index < len(own_names) else None
      for index in indices
    ]
    if label_map is None and None not in answers:
      return list(indices), len(own_names)
  texts = [answer_text(answer) for answer in answers]
  for answer, text, name in zip(answers, texts, names, strict=True):
    if answer is None or text == "" or answer != answer:
      raise InputError(
        f"example {name!r} (rows count from 0) has no answer in field {field!r}: "
        "remove such rows from the dataset"
      )
    if text is None:
      raise InputError(
        f"field {field!r} of example {name!r} holds {_short(answer)}: an answer must be a bool, "
        "a whole number or a text"
      )
  used = _BOOLEAN if label_map is None else label_map
  strange: dict[str, str] = {}
  for answer, text, name in zip(answers, texts, names, strict=True):
    if text not in used:
      strange.setdefault(_short(answer), name)
  if strange and label_map is None:
    shown = ", ".join(sorted(strange)[:5]) + (", ..." if len(strange) > 5 else "")
    raise InputError(
      f"field {field!r} holds {shown}, which is neither yes/no nor true/false: give label_map, "
      "the answers in the order of their labels with commas between them"
    )
  for answer, name in strange.items():
    raise InputError(
      f"the answer {answer} of example {name!r} is not in label_map ({', '.join(used)}): add it"
    )
  return [used[text] for text in texts], len(set(used.values()))


def to_known_labels(
  answers: Sequence[Any],
  names: Sequence[str],
  field: str,
  label_map: dict[str, int] | None,
  own_names: Sequence[str] | None = None,
) -> tuple[list[int | None], int]:
  """`to_labels` where answers may be missing: their label is None.

  Example:
    >>> to_known_labels(["no", None, " "], ["a", "b", "c"], "answer", None)
    ([0, None, None], 2)
  """
  known = [row for row, answer in enumerate(answers) if not missing(answer)]
  labels, count = to_labels(
    [answers[row] for row in known], [names[row] for row in known], field, label_map, own_names
  )
  found = dict(zip(known, labels, strict=True))
  return [found.get(row) for row in range(len(answers))], count


def missing(answer: Any) -> bool:
  """Whether there is no answer: none, NaN, or a text of white space."""
  return answer is None or answer != answer or (isinstance(answer, str) and not answer.strip())


def _short(value: Any) -> str:
  """A value for a message, cut where it is long."""
  text = repr(value)
  return text if len(text) <= 60 else text[:57] + "..."
