"""Questions about passages: any QA dataset from the Hugging Face hub or from local files."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mezzanine_jax.base import Example
from mezzanine_jax.sentences import split_sentences
from mezzanine_jax.worlds import fields as fields_lib
from mezzanine_jax.worlds.labels import LabelMap, parse_label_map, to_known_labels, to_labels
from mezzanine_jax.worlds.sources import Source, Table, open_source
from mezzanine_jax.worlds.splits import assemble, read_parts
from mezzanine_jax.worlds.world import World, check_counts

PRESETS = {"boolq": "google/boolq"}  # its fields and splits are the defaults of `load`


def load(
  dataset: str = "boolq",
  *,
  n_train: int,
  n_test: int,
  seed: int = 0,
  question_field: str = "question",
  passage_field: str = "passage",
  answer_field: str = "answer",
  label_map: LabelMap | None = None,
  extra_fields: str | Sequence[str] | None = None,
  train_split: str = "train",
  test_split: str | None = None,
  subset: str | None = None,
  revision: str | None = None,
) -> World:
  """Loads a dataset of questions about passages, with yes/no answers or with labels.

  The examples used are the first `n` of an order fixed by the seed: fewer are a part of more.
  Training examples whose passage also stands in the test split are left out.

  Args:
    dataset: `boolq`, a hub id, a local folder or zip archive (`train.*` and `validation.*` or
      `test.*` of jsonl, json, csv, tsv or parquet), or one such file, which is split by passage.
    n_train: how many training examples are asked for, >= 1.
    n_test: how many test examples are asked for, >= 1.
    seed: fixes which examples are used and how a single file is split.
    question_field: name of the field with the question.
    passage_field: name of the field with the passage.
    answer_field: name of the field with the answer.
    label_map: the answers in the order of their labels ("no,yes" or a list), or a mapping from
      answer to label ({"false": 0}, also as JSON). Not needed for yes/no and true/false (no is
      0, yes is 1) nor for labels that the dataset itself names.
    extra_fields: names of more fields that are copied into `x`, with commas between them.
    train_split: name of the split to learn from.
    test_split: name of the split to be judged by; by default `validation`, `test` or `dev`.
      The same name as `train_split` splits that one by passage.
    subset: configuration of a hub dataset that has several.
    revision: branch, tag or commit of a hub dataset.

  Returns:
    A `World` whose examples have the fields `passage` and `question`.

  Raises:
    InputError: the dataset, a split, a field or an answer is missing or cannot be used.

  Example:
    >>> world = load("../shared/data/boolq", n_train=100, n_test=20)  # doctest: +SKIP
    >>> sorted(world.train[0].x)  # doctest: +SKIP
    ['passage', 'question']
  """
  check_counts(n_train, n_test)
  source = open_source(dataset, hub_ids=PRESETS, subset=subset, revision=revision)
  labels = None if label_map is None else parse_label_map(label_map)
  tables = read_parts(source, train_split, test_split, "passage")
  fields = (question_field, passage_field, answer_field)
  read = [
    _examples(source, table, fields, extra_fields, labels) for table in tables if table is not None
  ]
  return assemble(
    source,
    read[0][0],
    read[1][0] if len(read) > 1 else None,
    n_train=n_train,
    n_test=n_test,
    seed=seed,
    num_labels=max(number for _, number in read),
    what="passage",
    count=_count,
    notes={},
    evidence="passage",
  )


def read(
  source: Source,
  table: Table,
  *,
  question_field: str = "question",
  passage_field: str = "passage",
  answer_field: str = "answer",
  label_map: LabelMap | None = None,
  extra_fields: str | Sequence[str] | None = None,
) -> list[Example]:
  """All rows of a table as examples, in their order; answers may be missing.

  Args:
    source: where the table is from, for messages.
    table: the rows.
    question_field: as for `load`, and so are the others.
    passage_field: name of the field with the passage.
    answer_field: name of the field with the answer; the table need not have it.
    label_map: the answers in the order of their labels.
    extra_fields: names of more fields that are copied into `x`.

  Raises:
    InputError: a field or an answer cannot be used.
  """
  labels = None if label_map is None else parse_label_map(label_map)
  fields = (question_field, passage_field, answer_field)
  return _examples(source, table, fields, extra_fields, labels, answered=False)[0]


def _examples(
  source: Source,
  table: Table,
  fields: tuple[str, str, str],
  extra_fields: str | Sequence[str] | None,
  label_map: dict[str, int] | None,
  answered: bool = True,
) -> tuple[list[Example], int]:
  """Turns a table into examples, all of them checked; also returns the number of labels."""
  arguments = ("question_field", "passage_field", "answer_field")
  required = dict(list(zip(arguments, fields, strict=True))[: 3 if answered else 2])
  fields_lib.require(source, table, required)
  ids = fields_lib.row_ids(table)
  questions, passages = (fields_lib.texts(table, field) for field in fields[:2])
  taken = {"question": fields[0], "passage": fields[1]}
  extras = fields_lib.extra_fields(source, table, extra_fields, taken)
  answers = [row.get(fields[2]) for row in table.rows]
  labels, num_labels = (to_labels if answered else to_known_labels)(
    answers, ids, fields[2], label_map, table.label_names.get(fields[2])
  )
  return [
    Example(
      name,
      {"passage": passage, "question": question} | extra,
      label,
      fields_lib.cluster("passage", passage, "question", question),
    )
    for name, passage, question, extra, label in zip(
      ids, passages, questions, extras, labels, strict=True
    )
  ], num_labels


def _count(examples: list[Example]) -> dict[str, Any]:
  """Counts the labels, the passages and what is unusual but no error."""
  texts = [example.x for example in examples]
  sentences = [len(split_sentences(x["passage"])) for x in texts]
  labels = Counter(example.label for example in examples)
  return {
    "labels": {str(label): labels[label] for label in sorted(labels)},
    "passages": len({example.cluster for example in examples}),
    "empty_passage": sentences.count(0),
    "one_sentence": sentences.count(1),
    "empty_question": sum(not x["question"].strip() for x in texts),
    "non_ascii": sum(not (x["passage"] + x["question"]).isascii() for x in texts),
    "long_passage": sum(len(x["passage"].split()) > fields_lib.LONG for x in texts),
  }
