"""Prompt templates: named fields in, pieces of text out, of which some may change places."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import DEMONSTRATIONS, EVIDENCE, FACTS, FIXED, OPTIONS
from mezzanine_jax.sentences import split_units
from mezzanine_jax.untrusted import parse_json

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # of options
_FIELD = re.compile(r"{(\w*)}")
_SPECIAL = {"options": OPTIONS, "facts": FACTS, "demonstrations": DEMONSTRATIONS}
_BLANK_LINE = "\n\n"


class Piece(NamedTuple):
  """A part of a prompt's text, which moves as one where its group may move (see `Prompt.group`).

  `after` holds the numbers, among the pieces of its group, of those that must stay before it;
  None where the group has no such order.
  """

  text: str
  group: int = FIXED
  after: tuple[int, ...] | None = None


class Template(NamedTuple):
  """A prompt template, cut at its fields.

  Attributes:
    header: text before the demonstrations, not repeated in them; without white space at its end.
    parts: `(text, field)` one after the other: fixed text, then the field behind it.
    cue: the text that ends the prompt, behind the last field.
    evidence: name of the field whose units are the evidence, None for a template without it.
    demonstrations: whether the template says where they stand.
  """

  header: str
  parts: tuple[tuple[str, str], ...]
  cue: str
  evidence: str | None
  demonstrations: bool


class Wording(NamedTuple):
  """One way to ask: a template, its own answers (None: the usual ones), how often it is drawn."""

  template: str
  choices: tuple[str, ...] | None = None
  weight: float = 1.0


def parse_template(
    template: str, evidence: str | None, fields: Sequence[str], unit: str = "sentence"
) -> Template:
  """Cuts a template such as `"Passage: {passage}\\nQuestion: {question}\\nAnswer:"` at its fields.

  - `{evidence}` is split into units. Each carries the white space that stands before the field:
    a space where the units are sentences (a template that begins with the field begins with one).
  - `{options}`, a list field, is rendered as lines "A. text".
  - `{facts}`, a dict or list field, as lines "key: value" behind a line break. Where the data
    has a field `facts_before`, bool[n, n], it says which facts must stay before which.
  - `{demonstrations}` are worked examples, each rendered with what follows in the template and
    the right answer, a blank line between them.
  - Any other field is text. Each of these four stands in a template once at most.

  Args:
    template: text with `{field}` placeholders and a cue at the end.
    evidence: name of the evidence field; it need not occur.
    fields: the fields that the examples have.
    unit: what the evidence is split into, see `sentences.split_units`.

  Raises:
    InputError: for a field that the examples do not have, one that moves and occurs twice or
      without the white space it needs, or a missing cue.

  Example:
    >>> parse_template("Read: {text}\\nTopic:", "text", ["text"]).cue
    '\\nTopic:'
  """
  names = _FIELD.findall(template)
  for name in names:
    if name not in fields and name != "demonstrations":
      raise InputError(f"the template names the field {name!r}, but the data has {list(fields)}")
  for name in {evidence, *_SPECIAL} & {n for n in names if names.count(n) > 1}:
    raise InputError(f"the template must hold {{{name}}} once, got {template!r}")
  header, found, body = template.rpartition("{demonstrations}")
  if found and _FIELD.search(header):
    raise InputError(
        f"only plain text may stand before {{demonstrations}}, got {template!r}: what follows is"
        " repeated in every demonstration"
    )
  body = body.lstrip() if found else body
  pieces = _FIELD.split(body)
  cue = pieces[-1]
  if not cue.strip():
    raise InputError(
        f"the template must end in a cue for the answer, such as 'Answer:', got {template!r}"
    )
  parts = tuple(zip(pieces[:-1:2], pieces[1::2], strict=True))
  for before, name in parts:
    if name == evidence and before and unit == "sentence" and not before.endswith(" "):
      raise InputError(
          f"the template needs a space in front of {{{name}}}, since every sentence carries the"
          f" space before it, got {template!r}"
      )
    if name == evidence and before and not before[-1].isspace():
      raise InputError(
          f"the template needs white space in front of {{{name}}}, which every unit carries with"
          f" it, got {template!r}"
      )
    if name == "facts" and not before.endswith("\n"):
      raise InputError(
          f"the template needs a line break in front of {{facts}}, which every line carries with"
          f" it, got {template!r}"
      )
  holds = evidence in [name for _, name in parts]
  return Template(header.rstrip(), parts, cue, evidence if holds else None, bool(found))


def movable_fields(template: Template) -> list[str]:
  """The names of the fields whose parts may change places, demonstrations left out."""
  return [name for _, name in template.parts if name == template.evidence or name in _SPECIAL]


def fill(
    template: Template,
    fields: Mapping[str, Any],
    demonstrations: Sequence[str] = (),
    unit: str = "sentence",
) -> list[Piece]:
  """The pieces of one example's prompt, in canonical order; joined they are its text.

  Args:
    template: from `parse_template`.
    fields: the example's, str but for evidence, options and facts.
    demonstrations: whole texts, see `demonstration`.
    unit: what the evidence is split into.

  Raises:
    InputError: for a field of another type than its place in the template allows.

  Example:
    >>> template = parse_template("Read: {text}\\nTopic:", "text", ["text"])
    >>> [piece.text for piece in fill(template, {"text": "One. Two."})]
    ['Read:', ' One.', ' Two.', '\\nTopic:']
  """
  pieces: list[Piece] = []
  fixed = ""  # not yet a piece: neighbours that stay are one

  def add(
      units: Sequence[str], group: int, after: Sequence[tuple[int, ...]] | None = None
  ) -> None:
    nonlocal fixed
    if units:
      if fixed or not pieces:  # the first piece stays: special tokens may stand before it
        pieces.append(Piece(fixed))
      pieces.extend(map(Piece, units, [group] * len(units), after or [None] * len(units)))
      fixed = ""

  opening, *parts = _opening(template)
  if demonstrations and template.header:
    fixed = template.header
    add([_BLANK_LINE + d for d in demonstrations], DEMONSTRATIONS)
    fixed = _BLANK_LINE + opening
  elif demonstrations:
    # Every one begins with the same words. They are taken off the first and put behind each, so
    # that no piece ends in white space, which tokenizers like to join with what follows.
    fixed = opening
    add([d.removeprefix(opening) + _BLANK_LINE + opening for d in demonstrations], DEMONSTRATIONS)
  else:
    fixed = (template.header + _BLANK_LINE if template.header else "") + opening
  for text, name in parts:
    value = fields[name]
    if name == template.evidence:
      stem = text.rstrip()
      between = text[len(stem):] or " "
      fixed += stem
      add([between + u for u in split_units(value, unit)], EVIDENCE)
    elif name == "facts":
      fixed += text.removesuffix("\n")
      lines = _lines(value)
      add(["\n" + line for line in lines], FACTS, _after(fields.get("facts_before"), len(lines)))
    elif name == "options":
      fixed += text
      for label, option in _labelled(value):
        fixed += f"\n{label}." if label != LABELS[0] else f"{label}."
        add([f" {option}"], OPTIONS)
    elif isinstance(value, str):
      fixed += text + value
    else:
      raise InputError(
          f"the template's field {{{name}}} holds a {type(value).__name__}, but only the evidence,"
          " {options} and {facts} may be lists"
      )
  pieces.append(Piece(fixed + template.cue))
  return pieces


def demonstration(
    template: Template, fields: Mapping[str, Any], answer: str, unit: str = "sentence"
) -> str:
  """A worked example: what follows `{demonstrations}` in the template, and the right answer."""
  pieces = fill(template._replace(header=""), fields, unit=unit)
  return "".join(p.text for p in pieces) + answer


def read_wordings(template: str | Sequence[Any]) -> list[Wording]:
  """The wordings that a configuration's `template` stands for.

  Args:
    template: a template (`\\n` as two characters is a line break), a list, or the path of a file:
      `.txt` with one template a line, or `.json` with a list. A list's items are templates or
      `{"template": ..., "choices": [" no", " yes"], "weight": 1.0}`, the last two optional.

  Raises:
    InputError: for a file or an item that cannot be used.

  Example:
    >>> read_wordings(["Q: {q}\\\\nA:", {"template": "{q} Answer:", "weight": 2}])[1].weight
    2.0
  """
  items: Any = template
  if isinstance(template, str):
    path = Path(template)
    items = [template]
    if "{" not in template and path.suffix in (".json", ".txt"):
      items = _read(path)
  if not isinstance(items, (list, tuple)) or not items:
    raise InputError(f"templates must be a list of at least one, got {items!r}")
  wordings = [_wording(item) for item in items]
  if not 0 < sum(w.weight for w in wordings) < float("inf"):
    raise InputError("the weights of the templates are all 0, or too large to add; give one a"
                     " weight above 0")
  return wordings


def _opening(template: Template) -> tuple[Any, ...]:
  """The words that begin every filled template, then its parts without them."""
  if not template.parts:
    return ("",)
  (text, name), *rest = template.parts
  if name == "options":  # the first label stays, too
    return ("", *template.parts)
  stem = text.rstrip()
  return (stem, (text[len(stem):], name), *rest)


def _lines(value: Any) -> list[str]:
  """Facts as lines."""
  if isinstance(value, Mapping):
    return [f"{' '.join(str(k).split())}: {' '.join(str(v).split())}" for k, v in value.items()]
  if isinstance(value, (list, tuple)):
    return [" ".join(str(line).split()) for line in value]
  raise InputError(f"{{facts}} must be a dict or a list field, got a {type(value).__name__}")


def _after(before: Any, count: int) -> list[tuple[int, ...]] | None:
  """For each fact those that must stay before it; None where the data says nothing of it."""
  if before is None:
    return None
  before = np.asarray(before)
  if before.shape != (count, count) or before.dtype != bool or np.tril(before).any():
    raise InputError(
        f"facts_before must be bool[{count}, {count}] here, True only where a fact above must stay"
        f" before one below it, got {before.dtype}{list(before.shape)}")
  return [tuple(np.flatnonzero(column).tolist()) for column in before.T]


def check_text(text: str) -> None:
  """Raises for text that no file and no tokenizer can hold: with half of a surrogate pair."""
  if any("\ud800" <= letter <= "\udfff" for letter in text):
    raise InputError(f"a template or a choice holds half of a character, got {text!r}; mend it")


def _labelled(value: Any) -> list[tuple[str, str]]:
  """Options under their labels."""
  if not isinstance(value, (list, tuple)) or not 2 <= len(value) <= len(LABELS):
    raise InputError(
        f"{{options}} must be a list field of 2 to {len(LABELS)} texts, got {str(value)[:60]!r}"
    )
  return [(label, " ".join(str(o).split())) for label, o in zip(LABELS, value, strict=False)]


def _read(path: Path) -> Any:
  """What a file of templates holds."""
  try:
    text = path.read_text("utf-8")
    return parse_json(text) if path.suffix == ".json" else [
        line for line in text.splitlines() if line.strip()]
  except (OSError, ValueError) as error:
    raise InputError(
        f"the file of templates {str(path)!r} cannot be read ({error}); give a .txt with one"
        " template a line, or a .json with a list"
    ) from error


def _wording(item: Any) -> Wording:
  """One item of a list of templates."""
  if isinstance(item, Wording):
    return item
  item = {"template": item} if isinstance(item, str) else item
  allowed = {"template": str, "choices": list, "weight": (int, float)}
  good = isinstance(item, dict) and "template" in item and all(
      key in allowed and isinstance(value, allowed[key]) for key, value in item.items())
  choices = item.get("choices") if good else None
  good = good and (choices is None or all(isinstance(c, str) for c in choices))
  if not good or not 0 <= item.get("weight", 1.0) < float("inf"):
    raise InputError(
        "a template in a list must be a text or {'template': text, 'choices': [texts], 'weight':"
        f" number >= 0}}, got {item!r}"
    )
  for text in (item["template"], *(choices or ())):
    check_text(text)
  return Wording(item["template"].replace("\\n", "\n"), choices and tuple(choices),
                 float(item.get("weight", 1.0)))
