"""Texts with a label: any text-classification dataset from the hub or from local files."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from mezzanine_jax.base import Example
from mezzanine_jax.config import did_you_mean
from mezzanine_jax.errors import InputError
from mezzanine_jax.sentences import split_sentences
from mezzanine_jax.worlds import fields as fields_lib
from mezzanine_jax.worlds.labels import (
  LabelMap,
  answer_text,
  parse_label_map,
  table_labels,
  to_known_labels,
  to_labels,
)
from mezzanine_jax.worlds.sources import Source, Table, open_source, short_name
from mezzanine_jax.worlds.splits import assemble, read_parts, without_repeats
from mezzanine_jax.worlds.world import World, check_counts


class Preset(NamedTuple):
  """What is known of a dataset by its name.

  Attributes:
    hub_id: where it is on the hub.
    text_field: the field with the text.
    label_field: the field with the label.
    label_names: the labels in their order, as the dataset names them.
    template: a prompt that asks a language model for the label.
    choices: the answers of that prompt, one a label.
  """

  hub_id: str
  text_field: str
  label_field: str
  label_names: tuple[str, ...]
  template: str
  choices: tuple[str, ...]


# Fields and labels: https://huggingface.co/datasets/fancyzhx/ag_news and stanfordnlp/imdb.
PRESETS = {
  "ag_news": Preset(
    "fancyzhx/ag_news",
    "text",
    "label",
    ("World", "Sports", "Business", "Sci/Tech"),
    # Of five prompts the one by which SmolLM2-135M names most topics of 120 training texts: .58.
    "{text}\nThe topic of this news article is",
    (" world", " sports", " business", " technology"),
  ),
  "imdb": Preset(
    "stanfordnlp/imdb",
    "text",
    "label",
    ("neg", "pos"),
    "Review: {text}\nIs this review negative or positive?\nAnswer:",
    (" negative", " positive"),
  ),
}
_HUB_IDS = {name: preset.hub_id for name, preset in PRESETS.items()}
_TEMPLATE = "Text: {text}\nLabel:"


def find_preset(dataset: str, preset: str | None = None) -> Preset | None:
  """The preset of a dataset, by its name or as asked for.

  Args:
    dataset: short name, hub id, local folder or file; its last part counts.
    preset: a name in `PRESETS`; "" for none; None: by the dataset's name.

  Raises:
    InputError: there is no preset of the name that is asked for.

  Example:
    >>> find_preset("../data/ag_news").label_names[1], find_preset("other.csv")
    ('Sports', None)
  """
  if preset is None:
    return PRESETS.get(short_name(dataset))
  if preset and preset not in PRESETS:
    raise InputError(f"unknown preset {preset!r}{did_you_mean(preset, PRESETS)}")
  return PRESETS.get(preset)


def load(
  dataset: str = "ag_news",
  *,
  n_train: int,
  n_test: int,
  seed: int = 0,
  preset: str | None = None,
  text_field: str | None = None,
  label_field: str | None = None,
  label_map: LabelMap | None = None,
  extra_fields: str | Sequence[str] | None = None,
  train_split: str = "train",
  test_split: str | None = None,
  subset: str | None = None,
  revision: str | None = None,
) -> World:
  """Loads a dataset of texts that each have one label.

  The examples used are the first `n` of an order fixed by the seed: fewer are a part of more.
  Texts are the same where they differ in white space only: a text that comes again with the same
  label is left out, as is a training text that also stands in the test split; one that comes
  again with another label stays, in the same cluster.

  Args:
    dataset: `ag_news`, `imdb`, a hub id, a local folder or zip archive (`train.*` and
      `validation.*` or `test.*` of jsonl, json, csv, tsv or parquet), or one such file, which is
      split by text.
    n_train: how many training examples are asked for, >= 1.
    n_test: how many test examples are asked for, >= 1.
    seed: fixes which examples are used and how a single file is split.
    preset: `ag_news` or `imdb`: its fields, label names and prompt; by default that of the
      dataset's name, also where it is a local folder of that name; "" for none.
    text_field: name of the field with the text (default: the preset's, or `text`).
    label_field: name of the field with the label (default: the preset's, or `label`).
    label_map: the labels' values in their order, or a mapping from value to label, as in `hf_qa`.
      By default the preset's or the dataset's own names; else the values that occur: whole
      numbers by size, false before true, texts in the order of the alphabet.
    extra_fields: names of more fields that are copied into `x`, with commas between them.
    train_split: name of the split to learn from.
    test_split: name of the split to be judged by; by default `validation`, `test` or `dev`.
      The same name as `train_split` splits that one by text.
    subset: configuration of a hub dataset that has several.
    revision: branch, tag or commit of a hub dataset.

  Returns:
    A `World` whose examples have the field `text`, with names of the labels and a prompt.

  Raises:
    InputError: the dataset, a split, a field or a label is missing or cannot be used.

  Example:
    >>> world = load("../shared/data/ag_news", n_train=100, n_test=20)  # doctest: +SKIP
    >>> world.label_names  # doctest: +SKIP
    ('World', 'Sports', 'Business', 'Sci/Tech')
  """
  check_counts(n_train, n_test)
  known = find_preset(dataset, preset)
  text_field, label_field = _fields(known, text_field, label_field)
  if known and (label_map is not None or label_field != known.label_field):
    known = None  # other labels than those that the preset knows
  source = open_source(dataset, hub_ids=_HUB_IDS, subset=subset, revision=revision)
  tables = [t for t in read_parts(source, train_split, test_split, "text") if t is not None]
  for table in tables:
    asked = {"text_field": text_field, "label_field": label_field}
    fields_lib.require(source, table, asked)
  used_map, names, message = table_labels(
    tables, label_field, label_map, known.label_names if known else None)
  read, dropped = [], {}
  for part, table in zip(("train", "test"), tables, strict=False):
    examples = _examples(source, table, text_field, label_field, extra_fields, used_map)
    kept = without_repeats(examples)
    dropped[f"{part if len(tables) > 1 else 'all'}: text again"] = len(examples) - len(kept)
    read.append(kept)
  return assemble(
    source,
    read[0],
    read[1] if len(read) > 1 else None,
    n_train=n_train,
    n_test=n_test,
    seed=seed,
    num_labels=len(names),
    what="text",
    count=_count,
    notes={"dropped": dropped, "messages": message, "label_names": list(names)},
    evidence="text",
    template=known.template if known else _TEMPLATE,
    choices=known.choices if known else tuple(f" {name}" for name in names),
    label_names=names,
  )


def read(
  source: Source,
  table: Table,
  *,
  label_names: Sequence[str] = (),
  dataset: str = "ag_news",
  preset: str | None = None,
  text_field: str | None = None,
  label_field: str | None = None,
  label_map: LabelMap | None = None,
  extra_fields: str | Sequence[str] | None = None,
) -> list[Example]:
  """All rows of a table as examples, in their order; labels may be missing.

  Args:
    source: where the table is from, for messages.
    table: the rows.
    label_names: the labels in their order, as `World.label_names` has them; a row holds a name
      or, where the names are no numbers themselves, its index.
    dataset: what the examples before these were loaded from: its preset names the fields.
    preset: as for `load`, and so are the others.
    text_field: name of the field with the text.
    label_field: name of the field with the label; the table need not have it.
    label_map: the labels' values in their order.
    extra_fields: names of more fields that are copied into `x`.

  Raises:
    InputError: a field or a label cannot be used.
  """
  text_field, label_field = _fields(find_preset(dataset, preset), text_field, label_field)
  fields_lib.require(source, table, {"text_field": text_field})
  if label_map is not None:
    used = parse_label_map(label_map)
  else:
    used = {answer_text(name): label for label, name in enumerate(label_names)}
    if not any(name.isdecimal() for name in used):
      used |= {str(label): label for label in range(len(used))}
  return _examples(source, table, text_field, label_field, extra_fields, used, labelled=False)


def _fields(
  known: Preset | None, text_field: str | None, label_field: str | None
) -> tuple[str, str]:
  """The fields with text and label: those asked for, the preset's, or the usual ones."""
  return (
    text_field or (known.text_field if known else "text"),
    label_field or (known.label_field if known else "label"),
  )


def _examples(
  source: Source,
  table: Table,
  text_field: str,
  label_field: str,
  extra_fields: str | Sequence[str] | None,
  label_map: dict[str, int],
  labelled: bool = True,
) -> list[Example]:
  """Turns a table into examples, all of them checked."""
  ids = fields_lib.row_ids(table)
  texts = fields_lib.texts(table, text_field)
  extras = fields_lib.extra_fields(source, table, extra_fields, {"text": text_field})
  answers = [row.get(label_field) for row in table.rows]
  own = table.label_names.get(label_field)
  to = to_labels if labelled else to_known_labels
  labels, _ = to(answers, ids, label_field, label_map, own)
  return [
    Example(name, {"text": text} | extra, label, fields_lib.cluster("text", text))
    for name, text, extra, label in zip(ids, texts, extras, labels, strict=True)
  ]


def _count(examples: list[Example]) -> dict[str, Any]:
  """Counts the labels, the texts and what is unusual but no error."""
  texts = [example.x["text"] for example in examples]
  sentences = [len(split_sentences(text)) for text in texts]
  labels = Counter(example.label for example in examples)
  return {
    "labels": {str(label): labels[label] for label in sorted(labels)},
    "texts": len({example.cluster for example in examples}),
    "empty_text": sentences.count(0),
    "one_sentence": sentences.count(1),
    "non_ascii": sum(not text.isascii() for text in texts),
    "long_text": sum(len(text.split()) > fields_lib.LONG for text in texts),
  }
