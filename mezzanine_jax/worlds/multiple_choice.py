"""Questions with options: any multiple-choice dataset from the hub or from local files."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mezzanine_jax.base import Example
from mezzanine_jax.config import did_you_mean
from mezzanine_jax.errors import InputError
from mezzanine_jax.sentences import split_sentences
from mezzanine_jax.worlds import fields as fields_lib
from mezzanine_jax.worlds.answers import LETTERS, Options, read_options, resolve_answers
from mezzanine_jax.worlds.labels import missing
from mezzanine_jax.worlds.sources import Source, Table, open_source, short_name
from mezzanine_jax.worlds.splits import assemble, read_parts
from mezzanine_jax.worlds.world import World, check_counts


@dataclasses.dataclass(frozen=True)
class Preset:
  """What is known of a dataset by its name; the fields are arguments of `load`."""

  hub_id: str
  question_field: str = "question"
  options_field: str = "choices"
  answer_field: str = "answerKey"
  passage_field: str | None = None
  options: str | None = None
  subset: str | None = None
  train_split: str = "train"
  test_split: str | None = None


# Meant for the datasets of these names on the hub. Only boolq's fields were tried on the data
# itself: where another's differ, give the fields as arguments.
PRESETS = {
  "ai2_arc": Preset("allenai/ai2_arc", subset="ARC-Challenge"),
  "openbookqa": Preset("allenai/openbookqa", question_field="question_stem", subset="main"),
  "commonsense_qa": Preset("tau/commonsense_qa"),  # its test split has no answers
  "mmlu": Preset(
    "cais/mmlu",
    answer_field="answer",
    subset="all",
    train_split="auxiliary_train",
    test_split="test",
  ),
  "boolq": Preset(
    "google/boolq", answer_field="answer", passage_field="passage", options="no|yes"
  ),
}
_HUB_IDS = {name: preset.hub_id for name, preset in PRESETS.items()}
_TEMPLATE = "Question: {question}\n{options}\nAnswer:"


def load(
  dataset: str = "ai2_arc",
  *,
  n_train: int,
  n_test: int,
  seed: int = 0,
  preset: str | None = None,
  question_field: str | None = None,
  options_field: str | Sequence[str] | None = None,
  options: str | Sequence[str] | None = None,
  answer_field: str | None = None,
  answer_form: str = "auto",
  passage_field: str | None = None,
  num_options: int | None = None,
  extra_fields: str | Sequence[str] | None = None,
  train_split: str | None = None,
  test_split: str | None = None,
  subset: str | None = None,
  revision: str | None = None,
) -> World:
  """Loads a dataset of questions that each have several options, one of them right.

  All examples have the same number of options C; questions with another number, or with an option
  without text, are left out and counted. The examples used are the first `n` of an order fixed by
  the seed. Training examples whose passage (or question, where there is none) also stands in the
  test split are left out.

  Args:
    dataset: a name in `PRESETS`, a hub id, a local folder or zip archive, or one file; see
      `hf_qa`.
    n_train: how many training examples are asked for, >= 1.
    n_test: how many test examples are asked for, >= 1.
    seed: fixes which examples are used and how a single file is split.
    preset: a name in `PRESETS`: its fields and splits; by default that of the dataset's name, also
      where it is a local folder of that name; "" for none.
    question_field: name of the field with the question (default: the preset's, or `question`).
    options_field: name of the field with the options, a list of texts or an object with the lists
      `text` and `label`, or names of several fields with commas between them, an option each
      (default: the preset's, or `options`).
    options: the options of every question ("no|yes", or a list), where no field holds them.
    answer_field: name of the field with the right answer (default: the preset's, or `answer`).
    answer_form: how answers are written: `label` (A, B, ... or the option's own label), `index`
      (from 0), `number` (from 1), `text`, or `auto`, which finds out.
    passage_field: name of the field with a passage, where there is one.
    num_options: C; by default the most frequent number of options of the training split.
    extra_fields: names of more fields that are copied into `x`, with commas between them.
    train_split: name of the split to learn from (default: the preset's, or `train`).
    test_split: name of the split to be judged by (default: the preset's, or `validation`, `test`
      or `dev`). The same name as `train_split` splits that one.
    subset: configuration of a hub dataset that has several (default: the preset's).
    revision: branch, tag or commit of a hub dataset.

  Returns:
    A `World` whose examples have the fields `question`, `options` (a list of C texts) and, with
    `passage_field`, `passage`; the label is the index of the right option.

  Raises:
    InputError: the dataset, a split, a field, an option or an answer is missing or cannot be used.

  Example:
    >>> world = load("data/ai2_arc", n_train=100, n_test=20)  # doctest: +SKIP
    >>> world.choices  # doctest: +SKIP
    (' A', ' B', ' C', ' D')
  """
  check_counts(n_train, n_test)
  known = _preset(dataset, preset)
  fixed, several = _offered(known, options_field, options)
  question_field = question_field or known.question_field
  answer_field = answer_field or known.answer_field
  passage_field = passage_field or known.passage_field
  asked = {"question_field": question_field, "answer_field": answer_field}
  asked |= {"passage_field": passage_field} if passage_field else {}
  asked |= {} if fixed else {"options_field": several}
  source = open_source(
    dataset, hub_ids=_HUB_IDS, subset=subset, usual_subset=known.subset, revision=revision
  )
  tables = read_parts(
    source, train_split or known.train_split, test_split or known.test_split, "question"
  )
  tables = [table for table in tables if table is not None]
  for table in tables:
    fields_lib.require(source, table, asked)
  offered = [_options(table, several, fixed) for table in tables]
  count = _num_options(offered[0], num_options)
  dropped: dict[str, int] = {}
  read = []
  kept = [_usable(own, count) for own in offered]
  for part, table, own, rows in zip(("train", "test"), tables, offered, kept, strict=False):
    part = part if len(tables) > 1 else "all"
    other = sum(len(o.texts) != count for o in own)
    dropped[f"{part}: not {count} options"] = other
    dropped[f"{part}: an option without text"] = len(own) - other - len(rows)
    if not rows:
      raise InputError(
        f"no question of split {table.split!r} of {dataset} has {count} options with a text each: "
        "mend num_options or options_field"
      )
  labels = _labels(tables, offered, kept, answer_field, answer_form)
  for table, own, rows in zip(tables, offered, kept, strict=True):
    taken = {"question": question_field, "options": several[0] if len(several) == 1 else ""}
    taken |= {"passage": passage_field} if passage_field else {}
    examples = _examples(source, table, own, taken, extra_fields)
    read.append([examples[row]._replace(label=labels[table.split, row]) for row in rows])
  letters = tuple(LETTERS[:count])
  return assemble(
    source,
    read[0],
    read[1] if len(read) > 1 else None,
    n_train=n_train,
    n_test=n_test,
    seed=seed,
    num_labels=count,
    what="passage" if passage_field else "question",
    count=_count,
    notes={"dropped": dropped},
    evidence="passage" if passage_field else None,
    template=("Passage: {passage}\n" if passage_field else "") + _TEMPLATE,
    choices=tuple(f" {letter}" for letter in letters),
    label_names=letters,
  )


def read(
  source: Source,
  table: Table,
  *,
  num_options: int,
  dataset: str = "ai2_arc",
  preset: str | None = None,
  question_field: str | None = None,
  options_field: str | Sequence[str] | None = None,
  options: str | Sequence[str] | None = None,
  answer_field: str | None = None,
  answer_form: str = "auto",
  passage_field: str | None = None,
  extra_fields: str | Sequence[str] | None = None,
) -> list[Example]:
  """All rows of a table as examples, in their order; answers may be missing.

  Args:
    source: where the table is from, for messages.
    table: the rows.
    num_options: C; every question must have so many options.
    dataset: what the examples before these were loaded from: its preset names the fields.
    preset: as for `load`, and so are the others.
    question_field: name of the field with the question.
    options_field: name of the field with the options, or names of several.
    options: the options of every question, where no field holds them.
    answer_field: name of the field with the right answer; the table need not have it.
    answer_form: how answers are written.
    passage_field: name of the field with a passage.
    extra_fields: names of more fields that are copied into `x`.

  Raises:
    InputError: a field, an option or an answer cannot be used.
  """
  known = _preset(dataset, preset)
  fixed, several = _offered(known, options_field, options)
  taken = {"question": question_field or known.question_field}
  passage_field = passage_field or known.passage_field
  taken |= {"passage": passage_field} if passage_field else {}
  asked = {f"{name}_field": field for name, field in taken.items()}
  fields_lib.require(source, table, asked | ({} if fixed else {"options_field": several}))
  offered = _options(table, several, fixed)
  ids = fields_lib.row_ids(table)
  usable = set(_usable(offered, num_options))
  for row, name in enumerate(ids):
    if row not in usable:
      raise InputError(
        f"example {name!r} (rows count from 0) must have {num_options} options with a text each, "
        f"got {offered[row].texts!r}"
      )
  taken["options"] = several[0] if len(several) == 1 else ""
  examples = _examples(source, table, offered, taken, extra_fields)
  answer_field = answer_field or known.answer_field
  answered = [row for row in usable if not missing(table.rows[row].get(answer_field))]
  labels = _labels([table], [offered], [answered], answer_field, answer_form) if answered else {}
  return [e._replace(label=labels.get((table.split, row))) for row, e in enumerate(examples)]


def _offered(
  known: Preset, options_field: str | Sequence[str] | None, options: str | Sequence[str] | None
) -> tuple[Sequence[str] | None, list[str]]:
  """The options of every question where they are fixed, and the fields that hold them else."""
  fixed = options if options is not None else (known.options if options_field is None else None)
  fixed = fixed.split("|") if isinstance(fixed, str) else fixed
  if fixed and options_field:
    raise InputError("options and options_field are two ways to say the same: give one of them")
  return fixed, fields_lib.field_names(options_field or known.options_field)


def _preset(dataset: str, preset: str | None) -> Preset:
  """The preset asked for, or that of the dataset's name; else the names that are usual."""
  if preset and preset not in PRESETS:
    raise InputError(f"unknown preset {preset!r}{did_you_mean(preset, PRESETS)}")
  name = short_name(dataset) if preset is None else preset
  return PRESETS.get(name, Preset("", options_field="options", answer_field="answer"))


def _options(table: Table, several: Sequence[str], fixed: Sequence[str] | None) -> list[Options]:
  """The options of every row."""
  if fixed:
    return [Options(list(fixed), None)] * len(table.rows)
  ids = fields_lib.row_ids(table)
  return [read_options(row, several, name) for row, name in zip(table.rows, ids, strict=True)]


def _num_options(offered: Sequence[Options], asked: int | None) -> int:
  """C: the number asked for, or the most frequent one (of several, the largest)."""
  if asked is None:
    counts = Counter(len(own.texts) for own in offered)
    count = max(counts, key=lambda number: (counts[number], number))
  else:
    count = asked
  if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= len(LETTERS):
    raise InputError(
      f"questions must have 2 to {len(LETTERS)} options, got {count!r}: mend num_options, "
      "options_field or options"
    )
  return count


def _usable(offered: Sequence[Options], count: int) -> list[int]:
  """The rows that have so many options, each with a text."""
  return [
    row
    for row, own in enumerate(offered)
    if len(own.texts) == count and all(text.strip() for text in own.texts)
  ]


def _labels(
  tables: Sequence[Table],
  offered: Sequence[Sequence[Options]],
  kept: Sequence[Sequence[int]],
  field: str,
  form: str,
) -> dict[tuple[str, int], int]:
  """(split, row) -> index of the right option; both splits are read in the same form."""
  where, answers, options, names = [], [], [], []
  for table, own, rows in zip(tables, offered, kept, strict=True):
    ids, labels = fields_lib.row_ids(table), table.label_names.get(field)
    for row in rows:
      answer = table.rows[row].get(field)
      if labels is not None:  # an index into names such as A, B, C, D
        answer = labels[answer] if answer is not None and 0 <= answer < len(labels) else None
      where.append((table.split, row))
      answers.append(answer)
      options.append(own[row])
      names.append(ids[row])
  places = resolve_answers(answers, options, names, field, form)
  return dict(zip(where, places, strict=True))


def _examples(
  source: Source,
  table: Table,
  offered: Sequence[Options],
  taken: dict[str, str],
  extra_fields: str | Sequence[str] | None,
) -> list[Example]:
  """Turns all rows of a table into examples, still without labels."""
  questions = fields_lib.texts(table, taken["question"])
  passages = fields_lib.texts(table, taken["passage"]) if "passage" in taken else None
  extras = fields_lib.extra_fields(source, table, extra_fields, taken)
  examples = []
  for row, name in enumerate(fields_lib.row_ids(table)):
    x = {"question": questions[row], "options": list(offered[row].texts)} | extras[row]
    about = ("question", questions[row])
    if passages is not None:
      x["passage"] = passages[row]
      about = ("passage", passages[row], *about)
    examples.append(Example(name, x, None, fields_lib.cluster(*about)))
  return examples


def _count(examples: list[Example]) -> dict[str, Any]:
  """Counts the labels, the clusters and what is unusual but no error."""
  texts = [example.x for example in examples]
  labels = Counter(example.label for example in examples)
  counts = {
    "labels": {str(label): labels[label] for label in sorted(labels)},
    "clusters": len({example.cluster for example in examples}),
    "empty_question": sum(not x["question"].strip() for x in texts),
    "same_option_twice": sum(len(set(x["options"])) < len(x["options"]) for x in texts),
    "non_ascii": sum(
      not (x["question"] + "".join(x["options"]) + x.get("passage", "")).isascii() for x in texts
    ),
  }
  if texts and "passage" in texts[0]:
    sentences = [len(split_sentences(x["passage"])) for x in texts]
    counts |= {
      "empty_passage": sentences.count(0),
      "one_sentence": sentences.count(1),
      "long_passage": sum(len(x["passage"].split()) > fields_lib.LONG for x in texts),
    }
  return counts
