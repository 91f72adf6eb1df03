"""How examples are asked about: made by a run, kept beside its student, used for new examples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError

if TYPE_CHECKING:  # what is not of texts is asked about, too
  from mezzanine_jax import language
  from mezzanine_jax.models.load import LanguageModel

_EXAMPLE = {"id": str, "x": dict, "label": int, "cluster": str}


class Asking(NamedTuple):
  """What a question about an example is made of, beside the fields of the configuration.

  Attributes:
    template: one template or several wordings, see `templates.read_wordings`; None for what is
      no text.
    evidence: the field whose units may change places, None for none.
    choices: C answers.
    label_names: what the labels are called; empty where they have no names.
    demonstrations: what worked examples are taken from.
    around: text before and behind a chat model's user message, None for no chat.
  """

  template: str | Sequence[Any] | None
  evidence: str | None
  choices: Sequence[str]
  label_names: Sequence[str] = ()
  demonstrations: Sequence[Example] = ()
  around: tuple[str, str] | None = None


def prepare(
    config: Any, asking: Asking, lm: "LanguageModel", examples: Sequence[Example]
) -> "language.Prepared":
  """The prompts of some examples, by the fields of `settings.LmFields` and a seed.

  Args:
    config: a run's configuration.
    asking: the rest of what prompts are made of.
    lm: the model that is asked.
    examples: N examples.

  Raises:
    InputError: for a template, choice, field or question that cannot be used.
  """
  from mezzanine_jax import language

  return language.prepare(
      examples, lm.tokenizer, template=asking.template, evidence=asking.evidence,
      choices=asking.choices, max_tokens=most_tokens(config, lm), unit=config.unit,
      paraphrases=config.paraphrases, shots=config.shots, demonstrations=asking.demonstrations,
      seed=config.seed, around=asking.around,
  )


def most_tokens(config: Any, model: "LanguageModel") -> int:
  """The most tokens of a prompt: the configuration's `max_length`, or the model's own."""
  limit = model.config.max_positions
  return limit if config.max_length is None else min(limit, config.max_length)


def record(config: Any, asking: Asking) -> dict[str, Any]:
  """All of it as JSON has it: files of templates are read, needed demonstrations kept.

  Args:
    config: a run's configuration.
    asking: how it asked.
  """
  from mezzanine_jax import texts
  from mezzanine_jax.templates import read_wordings

  wordings = [
      {"template": w.template, "weight": w.weight}
      | ({} if w.choices is None else {"choices": list(w.choices)})
      for w in read_wordings(asking.template)
  ]
  shots = getattr(config, "shots", 0)
  shown = texts.demonstration_pool(asking.demonstrations, len(asking.choices), config.seed)
  return {
      "template": wordings,
      "evidence": asking.evidence,
      "choices": list(asking.choices),
      "label_names": list(asking.label_names),
      # One more than are shown: an example is never shown what shares its cluster.
      "demonstrations": [
          {name: getattr(e, name) for name in _EXAMPLE} | {"x": _texts(e.x)}
          for e in shown[: shots + 1 if shots else 0]
      ],
      "around": asking.around and list(asking.around),
  }


def _texts(x: dict[str, Any]) -> dict[str, Any]:
  """The fields that prompts are made of: an example may have arrays, too."""
  return {name: value for name, value in x.items() if not isinstance(value, np.ndarray)}


def recall(kept: Any) -> Asking:
  """What `record` kept.

  Raises:
    InputError: if that is damaged.

  Example:
    >>> import types
    >>> asking = Asking("Read: {text}\\nTopic:", "text", [" news", " sport"])
    >>> recall(record(types.SimpleNamespace(seed=0), asking)).choices
    [' news', ' sport']
  """
  texts_of = {name: kept.get(name) if isinstance(kept, dict) else None
              for name in ("choices", "label_names", "around")}
  good = (
      isinstance(kept, dict)
      and all(_all(own, str) or own is None for own in texts_of.values())
      and texts_of["choices"] and isinstance(texts_of["label_names"], list)
      and (texts_of["around"] is None or len(texts_of["around"]) == 2)
      and isinstance(kept.get("template"), list)
      and (kept.get("evidence") is None or isinstance(kept["evidence"], str))
      and _all(kept.get("demonstrations"), dict)
      and all(isinstance(e.get(name), kind) for e in kept["demonstrations"]
              for name, kind in _EXAMPLE.items())
  )
  if not good:
    raise InputError("what the student's folder says of its prompts is damaged: train it again")
  shown = [Example(**{name: e[name] for name in _EXAMPLE}) for e in kept["demonstrations"]]
  around = texts_of["around"] and tuple(texts_of["around"])
  return Asking(kept["template"], kept.get("evidence"), texts_of["choices"],
                texts_of["label_names"], shown, around)


def _all(value: Any, kind: type) -> bool:
  """Whether it is a list of such things."""
  return isinstance(value, list) and all(isinstance(item, kind) for item in value)
