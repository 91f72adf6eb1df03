"""Options and answers of multiple-choice questions, in the forms in which datasets write them."""

import string
from collections.abc import Sequence
from typing import Any, NamedTuple

from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import parse_json
from mezzanine_jax.worlds.fields import text
from mezzanine_jax.worlds.labels import answer_text

LETTERS = string.ascii_uppercase
FORMS = ("label", "index", "number", "text")


class Options(NamedTuple):
  """The options of one question.

  Attributes:
    texts: in the dataset's order.
    labels: what the dataset calls them ("A", "1"), folded; None where it names them not.
  """

  texts: list[str]
  labels: list[str] | None


def read_options(row: dict[str, Any], fields: Sequence[str], name: str) -> Options:
  """Reads the options of one row.

  Args:
    row: a record.
    fields: several fields, an option each (those missing or empty at the end are none), or one
      field: a list of texts, of {"text", "label"} objects, or {"text": [...], "label": [...]};
      also as JSON in a text.
    name: the example's id, for messages.

  Raises:
    InputError: the field holds something else.

  Example:
    >>> read_options({"choices": {"text": ["ice", "tea"], "label": ["A", "B"]}}, ["choices"], "0")
    Options(texts=['ice', 'tea'], labels=['a', 'b'])
    >>> read_options({"a": "ice", "b": "tea", "c": ""}, ["a", "b", "c"], "0").texts
    ['ice', 'tea']
  """
  if len(fields) > 1:
    texts = [_text(row.get(field), field, name) for field in fields]
    while texts and not texts[-1].strip():
      texts.pop()
    return Options(texts, None)
  field, value = fields[0], row.get(fields[0])
  if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
    try:
      value = parse_json(value)
    except ValueError as error:
      raise InputError(
        f"field {field!r} of example {name!r} is not valid JSON ({error}): a list is needed"
      ) from error
  if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
    value = {key: [item.get(key) for item in value] for key in ("text", "label")}
    if value["label"].count(None) == len(value["label"]):
      del value["label"]
  if isinstance(value, list):
    return Options([_text(item, field, name) for item in value], None)
  texts = value.get("text") if isinstance(value, dict) else None
  if not isinstance(texts, list):
    raise InputError(
      f"field {field!r} of example {name!r} (rows count from 0) holds a {type(value).__name__}: "
      "options are a list of texts or an object with the lists text and label"
    )
  labels = value.get("label")
  if labels is not None:
    labels = [answer_text(label) for label in labels] if isinstance(labels, list) else []
    if len(labels) != len(texts) or len({*labels} - {None, ""}) != len(texts):
      raise InputError(
        f"field {field!r} of example {name!r} must give every option a label of its own, got "
        f"{value.get('label')!r} for {len(texts)} options"
      )
  return Options([_text(item, field, name) for item in texts], labels)


def resolve_answers(
  answers: Sequence[Any],
  options: Sequence[Options],
  names: Sequence[str],
  field: str,
  form: str = "auto",
) -> list[int]:
  """Finds which option each answer means.

  One form holds for the whole dataset: `label` (the option's own label, else A, B, ... by
  place), `index` (0, 1, ...), `number` (1, 2, ...) or `text`. `auto` takes the one in which every
  answer makes sense; `label` goes before the others where the options have labels of their own.

  Args:
    answers: one a question.
    options: of the same questions.
    names: their ids, for messages.
    field: the answers' field, for messages.
    form: `auto` or one of `FORMS`.

  Returns:
    The index of the right option of every question.

  Raises:
    InputError: an answer is none of its options, or two forms make sense and disagree.

  Example:
    >>> two = Options(["ice", "tea"], None)
    >>> resolve_answers(["B", "A"], [two, two], ["0", "1"], "answer")
    [1, 0]
    >>> resolve_answers(["tea", "ice"], [two, two], ["0", "1"], "answer")
    [1, 0]
  """
  if form != "auto" and form not in FORMS:
    raise InputError(f"answer_form must be auto or one of {', '.join(FORMS)}, got {form!r}")
  for answer, name in zip(answers, names, strict=True):
    if answer is None or answer == "" or answer != answer:
      raise InputError(
        f"example {name!r} (rows count from 0) has no answer in field {field!r}: choose a split "
        "with answers, or remove such rows"
      )
  found: dict[str, list[int]] = {}
  failed: dict[str, int] = {}  # form -> the first question where it makes no sense
  for tried in FORMS if form == "auto" else [form]:
    places = [_place(a, o, tried) for a, o in zip(answers, options, strict=True)]
    if None in places:
      failed[tried] = places.index(None)
    else:
      found[tried] = places
  if not found:
    # The question that the most patient form stumbles over tells most.
    row = max(failed.values())
    raise InputError(
      f"the answer {answers[row]!r} of example {names[row]!r} (field {field!r}) is none of its "
      f"options {options[row].texts!r} as {' or '.join(failed)}: an answer is the option's label "
      "or letter, its index from 0, its number from 1, or its text"
    )
  if "label" in found and all(own.labels for own in options):
    return found["label"]
  forms = list(found)
  for other in forms[1:]:
    if found[other] != found[forms[0]]:
      raise InputError(
        f"the answers in field {field!r} may be meant as {forms[0]} or as {other}, which differ: "
        f"set answer_form to one of {', '.join(FORMS)}"
      )
  return found[forms[0]]


def _text(value: Any, field: str, name: str) -> str:
  """An option's text; numbers and truth values are options too."""
  plain = str(value) if isinstance(value, bool | int | float) else value
  return text(plain, field, name)


def _place(answer: Any, options: Options, form: str) -> int | None:
  """The index of the option that an answer means in one form; None where it means none."""
  folded = answer_text(answer)
  if form == "text":
    texts = [answer_text(text) for text in options.texts]
    return texts.index(folded) if folded in texts else None
  if form == "label":
    labels = options.labels or [letter.lower() for letter in LETTERS[: len(options.texts)]]
    bare = folded.strip("(). ") if folded and folded not in labels else folded
    return labels.index(bare) if bare in labels else None
  if isinstance(answer, bool) or folded is None or not folded.isdecimal():
    return None
  place = int(folded) - (form == "number")
  return place if 0 <= place < len(options.texts) else None
