"""Questions about passages: any QA dataset from the Hugging Face hub or from local files."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.sentences import fold_white_space, split_sentences
from mezzanine_jax.worlds import files
from mezzanine_jax.worlds.labels import LabelMap, parse_label_map, to_labels
from mezzanine_jax.worlds.world import World, check_counts, digest, stable_hash

PRESETS = {"boolq": "google/boolq"}  # its fields and splits are the defaults of `load`
_TEST_SPLITS = ("validation", "test", "dev")
_LONG = 2000  # words, from which a passage is counted as long
_TEST_SHARE = 0.25  # of the passages, where a world has to be split here


class _Table(NamedTuple):
  """One split as it was read."""

  rows: list[dict[str, Any]]
  fields: list[str]
  label_names: dict[str, list[str]]  # of the fields whose labels the dataset itself names


def load(
  dataset: str,
  *,
  n_train: int,
  n_test: int,
  seed: int = 0,
  question_field: str = "question",
  passage_field: str = "passage",
  answer_field: str = "answer",
  label_map: LabelMap | None = None,
  train_split: str = "train",
  test_split: str | None = None,
  revision: str | None = None,
) -> World:
  """Loads a dataset of questions about passages, with yes/no answers or with labels.

  The examples used are the first `n` of an order fixed by the seed: fewer are a part of more.
  Training examples whose passage also stands in the test split are left out.

  Args:
    dataset: `boolq`, a hub id, a local folder (`train.*` and `validation.*` or `test.*` of
      jsonl, json, csv or parquet), or one such file, which is split by passage.
    n_train: how many training examples are asked for, >= 1.
    n_test: how many test examples are asked for, >= 1.
    seed: fixes which examples are used and how a single file is split.
    question_field: name of the field with the question.
    passage_field: name of the field with the passage.
    answer_field: name of the field with the answer.
    label_map: the answers in the order of their labels ("no,yes" or a list), or a mapping from
      answer to label ({"false": 0}, also as JSON). Not needed for yes/no and true/false (no is
      0, yes is 1) nor for labels that the dataset itself names.
    train_split: name of the split to learn from.
    test_split: name of the split to be judged by; by default `validation`, `test` or `dev`.
      The same name as `train_split` splits that one by passage.
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
  table_of, names = _open(dataset, revision)
  labels = None if label_map is None else parse_label_map(label_map)
  fields = (question_field, passage_field, answer_field)

  def read(split: str) -> tuple[list[Example], int]:
    return _examples(dataset, split, table_of(split), fields, labels)

  notes: dict[str, Any] = {"dataset": str(dataset), "dropped": {}, "messages": []}
  if names is None:
    train_split = test_split = "all"
  else:
    train_split = _pick(dataset, names, train_split, "train_split")
    test_split = _pick_test(dataset, names, train_split, test_split)
  train, num_labels = read(train_split)
  if train_split == test_split:
    train, test = _split_by_cluster(dataset, train, seed)
    notes["messages"].append(
      f"a quarter of the passages of {train_split!r}, chosen by the seed, makes the test part"
    )
  else:
    test, num_labels_test = read(test_split)
    num_labels = max(num_labels, num_labels_test)
    held_out = {example.cluster for example in test}
    kept = [example for example in train if example.cluster not in held_out]
    if not kept:
      raise InputError(
        f"no training example is left in {dataset}: every passage of {train_split!r} also stands"
        f" in {test_split!r}; choose other splits"
      )
    notes["dropped"]["train: passage also in test"] = len(train) - len(kept)
    train = kept
  parts = {}
  for part, examples, asked in (("train", train, n_train), ("test", test, n_test)):
    # Sorted by a hash: an order that no library version changes.
    used = sorted(examples, key=lambda example: stable_hash("use", seed, example.id))[:asked]
    parts[part] = used
    notes[part] = {"asked": asked, "available": len(examples), "used": len(used)} | _count(used)
    if len(used) < asked:
      notes["messages"].append(
        f"{asked} {part} examples were asked for, all {len(used)} that there are were used"
      )
  digests = {part: digest(examples) for part, examples in parts.items()}
  return World(parts["train"], parts["test"], num_labels, notes, digests)


def _open(dataset: str, revision: str | None) -> tuple[Callable[[str], _Table], list[str] | None]:
  """Returns a function from split to table, and the splits' names (None: one file, no splits)."""
  path = Path(dataset).expanduser()
  if dataset and dataset not in PRESETS and os.path.exists(path):  # False for odd names
    if revision is not None:
      raise InputError(f"revision is for hub datasets, but {dataset} is local: leave it out")
    if path.is_file():
      return (lambda split: _table(files.read_rows(path))), None
    splits = files.split_files(path)
    if not splits:
      raise InputError(
        f"the folder {dataset} holds no data file: put train.* and validation.* there, with "
        f"* one of {', '.join(form[1:] for form in files.FORMATS)}"
      )
    return (
      lambda split: _table([row for file in splits[split] for row in files.read_rows(file)])
    ), list(splits)
  looks_local = dataset.startswith((".", "/", "~")) or path.suffix.lower() in files.FORMATS
  if looks_local or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", dataset):
    raise InputError(
      f"dataset {dataset!r} does not exist: give a hub id, a folder with train.* and "
      f"validation.*, a file ({', '.join(files.FORMATS)}), or {', '.join(PRESETS)}"
    )
  hub = _from_hub(PRESETS.get(dataset, dataset), revision)
  return (lambda split: _hub_table(hub[split])), list(hub)


def _from_hub(dataset: str, revision: str | None) -> Any:
  """Downloads every split of a dataset (or takes them from the hub's own cache)."""
  import datasets

  try:
    return datasets.load_dataset(dataset, revision=revision)
  except Exception as error:  # many kinds, all of them about reaching or reading the dataset
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    raise InputError(
      f"the hub dataset {dataset!r} could not be loaded ({reason}): check the name and the "
      "network, or pass a local folder with train.* and validation.*"
    ) from error


def _hub_table(split: Any) -> _Table:
  """Takes a split of `datasets` to pieces."""
  import datasets

  names = {
    field: list(feature.names)
    for field, feature in split.features.items()
    if isinstance(feature, datasets.ClassLabel)
  }
  return _Table(split.to_list(), list(split.column_names), names)


def _table(rows: list[dict[str, Any]]) -> _Table:
  """Local rows as a table: its fields are those of any row."""
  return _Table(rows, list(dict.fromkeys(field for row in rows for field in row)), {})


def _pick(dataset: str, names: list[str], name: str, argument: str) -> str:
  """Returns the split's name where there is such a split."""
  if name not in names:
    raise InputError(
      f"{dataset} has no split {name!r}: set {argument} to one of {', '.join(names)}"
    )
  return name


def _pick_test(dataset: str, names: list[str], train_split: str, name: str | None) -> str:
  """Returns the test split's name: the one asked for, or the first usual one."""
  if name is not None:
    return _pick(dataset, names, name, "test_split")
  for usual in _TEST_SPLITS:
    if usual in names and usual != train_split:
      return usual
  raise InputError(
    f"{dataset} has no split {', '.join(_TEST_SPLITS[:-1])} or {_TEST_SPLITS[-1]} (it has "
    f"{', '.join(names)}): set test_split, to {train_split!r} to split that one by passage"
  )


def _examples(
  dataset: str,
  split: str,
  table: _Table,
  fields: tuple[str, str, str],
  label_map: dict[str, int] | None,
) -> tuple[list[Example], int]:
  """Turns a table into examples, all of them checked; also returns the number of labels."""
  if not table.rows:
    raise InputError(f"split {split!r} of {dataset} is empty: an example at least is needed")
  for argument, field in zip(
    ("question_field", "passage_field", "answer_field"), fields, strict=True
  ):
    if field not in table.fields:
      near = difflib.get_close_matches(field, [str(name) for name in table.fields], 1, 0.5)
      hint = f" (did you mean {near[0]!r}?)" if near else ""
      raise InputError(
        f"split {split!r} of {dataset} has no field {field!r}{hint}: set {argument} to one of "
        f"{', '.join(map(str, table.fields))}"
      )
  ids = [f"{split}:{row}" for row in range(len(table.rows))]
  questions, passages = (
    [_text(row.get(field), field, name) for row, name in zip(table.rows, ids, strict=True)]
    for field in fields[:2]
  )
  answers = [row.get(fields[2]) for row in table.rows]
  labels, num_labels = to_labels(
    answers, ids, fields[2], label_map, table.label_names.get(fields[2])
  )
  return [
    Example(name, {"passage": passage, "question": question}, label, _cluster(passage, question))
    for name, passage, question, label in zip(ids, passages, questions, labels, strict=True)
  ], num_labels


def _text(value: Any, field: str, name: str) -> str:
  """Returns a field's text; a missing one is empty, lone surrogates become question marks."""
  if value is None:
    return ""
  if not isinstance(value, str):
    raise InputError(
      f"field {field!r} of example {name!r} (rows count from 0) holds a "
      f"{type(value).__name__}: text is needed"
    )
  return value.encode("utf-8", "replace").decode("utf-8")


def _cluster(passage: str, question: str) -> str:
  """Names what may not be split: the passage, or the question where there is no passage."""
  folded = fold_white_space(passage)
  parts = ("passage", folded) if folded else ("question", fold_white_space(question))
  return stable_hash(*parts)[:16]


def _split_by_cluster(
  dataset: str, examples: list[Example], seed: int
) -> tuple[list[Example], list[Example]]:
  """Splits examples into a training and a test part that share no passage."""
  clusters = {example.cluster for example in examples}
  if len(clusters) < 2:
    raise InputError(
      f"{dataset} cannot be split: all its examples share one passage; give a folder with train.* "
      "and validation.*"
    )
  order = sorted(clusters, key=lambda cluster: stable_hash("split", seed, cluster))
  held_out = set(order[: max(1, round(_TEST_SHARE * len(order)))])
  return (
    [example for example in examples if example.cluster not in held_out],
    [example for example in examples if example.cluster in held_out],
  )


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
    "long_passage": sum(len(x["passage"].split()) > _LONG for x in texts),
  }
