"""Examples as texts: every wording of each, with its demonstrations and its answers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.templates import (
    LABELS,
    check_text,
    demonstration,
    fill,
    movable_fields,
    parse_template,
    read_wordings,
)
from mezzanine_jax.tokenization import Text
from mezzanine_jax.worlds.world import stable_hash


class Written(NamedTuple):
  """Examples as texts.

  Attributes:
    texts: the wordings of each example, N times >= 1.
    weights: how often each is drawn; None where every example has one wording only.
  """

  texts: list[list[Text]]
  weights: list[list[float]] | None


def write(
    examples: Sequence[Example],
    *,
    template: str | Sequence[Any],
    evidence: str | None,
    choices: Sequence[str] | None,
    unit: str = "sentence",
    paraphrases: str | None = None,
    shots: int = 0,
    demonstrations: Sequence[Example] = (),
    seed: int = 0,
) -> Written:
  """Fills the templates: an example's wordings are templates x paraphrases of the evidence.

  Demonstrations are the first `shots` examples of an order fixed by the seed, each of another
  cluster, without the example itself and what shares its cluster.

  Args:
    examples: N examples, their `x` a dict of fields.
    template: one template, or several wordings, see `templates.read_wordings`.
    evidence: the field whose units may change places, None for none.
    choices: the answers; choice c is label c. None: the labels of the options, " A", " B", ….
    unit: what the evidence is split into, see `sentences.split_units`.
    paraphrases: a list field with paraphrases of the evidence.
    shots: worked examples in each prompt, >= 0.
    demonstrations: what they are taken from.
    seed: fixes which ones are taken.

  Raises:
    InputError: for a template with nothing that can move, or anything else that cannot be used.

  Example:
    >>> example = Example("a", {"text": "One. Two."}, 0, "a")
    >>> written = write([example], template="Read: {text}\\nTopic:", evidence="text",
    ...                 choices=[" news", " sport"])
    >>> [piece.text for piece in written.texts[0][0].pieces]
    ['Read:', ' One.', ' Two.', '\\nTopic:']
  """
  if shots < 0:
    raise InputError(f"shots must be >= 0, got {shots}")
  wordings = read_wordings(template)
  fields = list(examples[0].x)
  for name in filter(None, (paraphrases,)):
    if name not in fields:
      raise InputError(f"there is no field {name!r} with paraphrases; the data has {fields}")
  parsed = [parse_template(w.template, evidence, fields, unit) for w in wordings]
  if len(wordings) == 1 and not (paraphrases or shots or movable_fields(parsed[0])):
    raise InputError(
        "the template holds nothing that can move: give it the evidence"
        f" {f'{{{evidence}}}' if evidence else 'field'}, {{options}}, {{facts}} or"
        f" {{demonstrations}} with shots, or several wordings, got {wordings[0].template!r}"
    )
  if paraphrases and not all(t.evidence for t in parsed):
    raise InputError("paraphrases of the evidence need the evidence in every template")
  choices = _labels(examples[0]) if choices is None else list(choices)
  for choice in choices:
    check_text(choice)
  answers = [list(choices if w.choices is None else w.choices) for w in wordings]
  for wording, own in zip(wordings, answers, strict=True):
    if len(own) != len(choices):
      raise InputError(
          f"a template must have {len(choices)} choices, as the others have, got {own} for"
          f" {wording.template!r}"
      )
  order = demonstration_pool(demonstrations, len(choices), seed) if shots else []
  shown: dict[tuple[int, str], str] = {}

  def demonstrations_of(example: Example, number: int) -> list[str]:
    chosen = [d for d in order[: shots + 1] if d.cluster != example.cluster][:shots]
    if len(chosen) < shots:
      raise InputError(
          f"{shots} demonstrations were asked for, but example {example.id!r} has {len(chosen)}"
          " labelled training examples of other clusters; give fewer shots or more n_train"
      )
    for d in chosen:
      if (number, d.id) not in shown:
        answer = answers[number][int(d.label)]
        shown[number, d.id] = demonstration(parsed[number], d.x, answer, unit)
    return [shown[number, d.id] for d in chosen]

  texts, weights = [], []
  for example in examples:
    versions = _versions(example, evidence, paraphrases)
    texts.append([
        Text(fill(t, x, demonstrations_of(example, i) if shots else (), unit), own, t.cue)
        for i, (t, own) in enumerate(zip(parsed, answers, strict=True))
        for x in versions
    ])
    weights.append([w.weight / len(versions) for w in wordings for _ in versions])
    if any("options" in movable_fields(t) for t in parsed):
      _check_options(example, choices)
  single = len(wordings) == 1 and not paraphrases
  return Written(texts, None if single else weights)


def as_chat(text: Text, before: str, behind: str) -> Text:
  """A prompt as a chat: all but the cue is the user's message, the cue begins the model's turn.

  The answers then continue the cue as they do in a plain prompt.

  Args:
    text: a plain prompt.
    before: what stands before the user's message.
    behind: what stands behind it, up to where the model's turn begins.

  Example:
    >>> from mezzanine_jax.templates import Piece
    >>> chat = as_chat(Text([Piece("Is it?\\nAnswer:")], [" no", " yes"], "\\nAnswer:"), "<", ">")
    >>> chat.pieces[0].text
    '<Is it?>Answer:'
  """
  pieces = list(text.pieces)
  end = pieces[-1].text.removesuffix(text.cue).rstrip() + behind + text.cue.lstrip()
  pieces[-1] = pieces[-1]._replace(text=end)
  pieces[0] = pieces[0]._replace(text=before + pieces[0].text.lstrip())
  return text._replace(pieces=pieces)


def _versions(
    example: Example, evidence: str | None, paraphrases: str | None
) -> list[Mapping[str, Any]]:
  """The example's fields, once with its own evidence and once with each paraphrase of it."""
  if paraphrases is None:
    return [example.x]
  others = example.x[paraphrases]
  if not isinstance(others, (list, tuple)):
    raise InputError(
        f"the field {paraphrases!r} of example {example.id!r} must be a list of paraphrases, got a"
        f" {type(others).__name__}"
    )
  return [example.x, *({**example.x, evidence: other} for other in others)]


def demonstration_pool(
    demonstrations: Sequence[Example], num_choices: int, seed: int
) -> list[Example]:
  """What demonstrations are taken from: one example a cluster, in an order by hash.

  Args:
    demonstrations: labelled examples; others are left out.
    num_choices: C.
    seed: fixes the order.
  """
  known = [d for d in demonstrations if d.label is not None and 0 <= d.label < num_choices]
  known.sort(key=lambda d: stable_hash("shot", seed, d.id))
  return list({d.cluster: d for d in reversed(known)}.values())[::-1]


def _labels(example: Example) -> list[str]:
  """The labels of an example's options as answers."""
  options = example.x.get("options")
  if not isinstance(options, (list, tuple)):
    raise InputError("choices must be given where the data has no list field 'options'")
  return [f" {label}" for label in LABELS[: len(options)]]


def _check_options(example: Example, choices: Sequence[str]) -> None:
  """Refuses an example with more or fewer options than answers."""
  count = len(example.x["options"])
  if count != len(choices):
    raise InputError(
        f"example {example.id!r} has {count} options, but there are {len(choices)} choices"
        f" ({', '.join(map(repr, choices))}); every example needs one option a choice"
    )
