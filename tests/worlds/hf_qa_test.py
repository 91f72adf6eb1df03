"""QA datasets from folders, files and the hub: what is used, what is counted, what is refused."""

import json
from pathlib import Path

import pandas as pd
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds import WORLDS, World, digest

SHARED = Path(__file__).resolve().parents[3] / "shared"


def records(count, start=0, **more):
  """Rows with a passage of two sentences for every two questions."""
  return [
    {"question": f"is it {i}", "passage": f"Fact {i // 2} holds. It is so.", "answer": i % 3 == 0}
    | more
    for i in range(start, start + count)
  ]


def write(path, rows):
  """Writes rows in the format of the file's name."""
  if path.suffix == ".jsonl":
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
  elif path.suffix == ".json":
    path.write_text(json.dumps(rows), encoding="utf-8")
  elif path.suffix in (".csv", ".tsv"):
    pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
  else:
    pd.DataFrame(rows).to_parquet(path)
  return path


@pytest.fixture
def folder(tmp_path):
  write(tmp_path / "train.jsonl", records(40))
  write(tmp_path / "validation.jsonl", records(20, start=100))
  return tmp_path


def load(dataset, n_train=8, n_test=4, **settings):
  """The world of a dataset, small."""
  return WORLDS["hf_qa"](str(dataset), n_train=n_train, n_test=n_test, **settings)


def test_folder(folder):
  """A folder with the fields of BoolQ needs no settings; no is 0 and yes is 1."""
  world = load(folder)
  assert isinstance(world, World)
  assert (len(world.train), len(world.test), world.num_labels) == (8, 4, 2)
  for example in world.train:
    part, row = example.id.split(":")
    assert part == "train"
    assert example.x == {
      "passage": f"Fact {int(row) // 2} holds. It is so.", "question": f"is it {row}"
    }  # fmt: skip
    assert example.label == int(int(row) % 3 == 0)
  assert world.notes["train"] | {"labels": 0, "passages": 0} == {
    "asked": 8, "available": 40, "used": 8, "labels": 0, "passages": 0, "empty_passage": 0,
    "one_sentence": 0, "empty_question": 0, "non_ascii": 0, "long_passage": 0,
  }  # fmt: skip
  assert sum(world.notes["train"]["labels"].values()) == 8
  assert world.notes["messages"] == []
  assert world.digests == {"train": digest(world.train), "test": digest(world.test)}
  json.dumps(world.notes)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_formats_give_the_same_world(folder, tmp_path, suffix):
  """The same rows make the same examples, whatever the file's format."""
  other = tmp_path / suffix
  other.mkdir()
  write(other / f"train.{suffix}", records(40))
  write(other / f"validation.{suffix}", records(20, start=100))
  assert load(other).train == load(folder).train
  assert load(other).digests == load(folder).digests


def test_shards_are_read_in_order(folder):
  """Files train-00000-of-00002 and so on are one split."""
  (folder / "train.jsonl").unlink()
  write(folder / "train-00000-of-00002.parquet", records(15))
  write(folder / "train-00001-of-00002.parquet", records(25, start=15))
  world = load(folder, n_train=40)
  assert sorted(example.x["question"] for example in world.train) == sorted(
    row["question"] for row in records(40)
  )


def test_fewer_examples_are_the_first_of_more(folder):
  """A seed fixes one order; another seed another one."""
  few, many, other = load(folder, 5), load(folder, 20), load(folder, 20, seed=1)
  assert few.train == many.train[:5]
  assert few.digests["test"] == many.digests["test"]
  assert many.train != other.train
  assert many.train != sorted(many.train, key=lambda example: int(example.id.split(":")[1]))


def test_asking_for_more_uses_all_and_says_so(folder):
  """More than there are is no error."""
  world = load(folder, n_train=1000, n_test=20)
  assert len(world.train) == 40 == world.notes["train"]["used"]
  assert world.notes["train"]["asked"] == 1000
  assert world.notes["messages"] == [
    "1000 train examples were asked for, all 40 that there are were used"
  ]
  assert len({example.id for example in world.train + world.test}) == 60


def test_training_examples_with_a_test_passage_are_dropped(folder):
  """Also where only white space differs, and whatever part of the test split is used."""
  leaked = [row | {"passage": f"  {row['passage']}\n"} for row in records(6, start=100)]
  write(folder / "train.jsonl", records(10) + leaked)
  for n_test in (1, 20):
    world = load(folder, n_train=100, n_test=n_test)
    assert world.notes["dropped"] == {"train: passage also in test": 6}
    assert world.notes["train"]["available"] == len(world.train) == 10
  write(folder / "train.jsonl", leaked)
  with pytest.raises(InputError, match="no training example is left"):
    load(folder)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_single_file_is_split_by_passage(tmp_path, suffix):
  """A quarter of the passages is the test part; no passage stands in both."""
  path = write(tmp_path / f"all.{suffix}", records(80))
  world = load(path, 1000, 1000)
  assert (len(world.train), len(world.test)) == (60, 20)
  clusters = [{example.cluster for example in part} for part in (world.train, world.test)]
  assert [len(part) for part in clusters] == [30, 10]
  assert not clusters[0] & clusters[1]
  assert "a quarter of the passages" in world.notes["messages"][0]
  assert load(path, 1000, 1000) == world
  assert load(path, 1000, 1000, seed=1).test != world.test


def test_one_split_can_serve_as_both(folder):
  """The same name for both splits it by passage."""
  world = load(folder, 100, 100, test_split="train")
  assert len(world.train) + len(world.test) == 40
  assert {e.id.split(":")[0] for e in world.train + world.test} == {"train"}


def test_unusual_texts_are_kept_and_counted(folder):
  """Empty passages and questions, one sentence, other alphabets and huge passages are no errors."""
  rows = records(5)
  rows[0] |= {"passage": "", "question": "why"}
  rows[1] |= {"passage": None, "question": None}
  rows[2] |= {"passage": "Nur ein Satz über Öl"}
  rows[3] |= {"passage": "Ten words are in this one sentence of the passage. " * 1000}
  rows[4] |= {"question": " \n", "passage": "a lone \ud800 surrogate. And more."}
  write(folder / "train.jsonl", rows)
  world = load(folder, 5)
  notes = world.notes["train"]
  assert [notes[name] for name in ("used", "passages", "empty_passage", "one_sentence")] == [
    5, 5, 2, 1
  ]  # fmt: skip
  assert [notes[name] for name in ("empty_question", "non_ascii", "long_passage")] == [2, 1, 1]
  for example in world.train:
    (example.x["passage"] + example.x["question"]).encode("utf-8")


def test_examples_without_a_passage_are_not_one_cluster(folder):
  """Without a passage it is the question that two examples may share."""
  write(folder / "train.jsonl", [row | {"passage": ""} for row in records(6)])
  write(folder / "validation.jsonl", [row | {"passage": " "} for row in records(6, start=5)])
  world = load(folder, 10, 10)
  assert len({example.cluster for example in world.test}) == 6
  assert world.notes["dropped"] == {"train: passage also in test": 1}


def test_field_names_and_label_map(folder):
  """Any field names; answers that are not yes or no go by a map, in all of its forms."""
  rows = [
    {"q": f"what is {i}", "text": f"Text {i}.", "kind": ["World", "Sports", "Tech"][i % 3]}
    for i in range(30)
  ]
  write(folder / "train.jsonl", rows[:20])
  write(folder / "test.jsonl", rows[20:])
  fields = {"question_field": "q", "passage_field": "text", "answer_field": "kind"}
  worlds = [
    load(folder, 20, test_split="test", label_map=label_map, **fields)
    for label_map in (
      "world, sports,tech", ["World", "Sports", "Tech"], {"World": 0, "Sports": 1, "Tech": 2},
      '{"world": 0, "sports": 1, "tech": 2}',
    )
  ]  # fmt: skip
  assert worlds[0].num_labels == 3
  assert all(e.label == int(e.id.split(":")[1]) % 3 for e in worlds[0].train)
  assert all(world == worlds[0] for world in worlds)


@pytest.mark.parametrize(
  "answers, label_map, labels",
  [
    ([True, False], None, [1, 0]),
    (["Yes", " no "], None, [1, 0]),
    (["TRUE", "false"], None, [1, 0]),
    ([True, False], "yes,no", [0, 1]),
    (["yes", "no"], {"true": 1, "false": 0}, [1, 0]),
    ([0, 1], "0,1", [0, 1]),
    ([2.0, 1.0], {"1": 0, "2": 1}, [1, 0]),
  ],
)
def test_labels(folder, answers, label_map, labels):
  """Bools, their names and mapped answers of any simple type."""
  rows = records(2)
  for row, answer in zip(rows, answers, strict=True):
    row["answer"] = answer
  write(folder / "train.jsonl", rows)
  write(folder / "validation.jsonl", [row | {"passage": "Other."} for row in rows])
  world = load(folder, label_map=label_map)
  assert [e.label for e in sorted(world.train)] == labels


REFUSED = {
  "n_train": (dict(n_train=0), "n_train must be a whole number >= 1, got 0"),
  "train_split": (dict(train_split="trian"), "no split 'trian': set train_split to one of train,"),
  "test_split": (dict(test_split="test"), "no split 'test': set test_split to one of train, valid"),
  "question": (
    dict(question_field="quesion"),
    r"no field 'quesion' \(did you mean 'question'\?\): mend question_field",
  ),
  "passage": (
    dict(passage_field="xyz"),
    "no field 'xyz'; there are: question, passage, answer: mend passage_field",
  ),
  "answer": (dict(answer_field="answers"), "did you mean 'answer'"),
  "labels": (
    dict(answer_field="question"),
    "holds 'is it 0', 'is it 1', 'is it 10', 'is it 11', 'is it 12', ..., which is neither",
  ),
  "outside": (
    dict(label_map="no,maybe"),
    r"the answer True of example 'train:0' is not in label_map \(no, maybe\): add it",
  ),
  "map twice": (dict(label_map='{"no": 0, "false": 1}'), "names the answer 'no' twice"),
  "map gap": (dict(label_map={"no": 0, "yes": 2}), "must use every label from 0 on"),
  "map one": (dict(label_map="yes"), "at least two"),
  "map empty": (dict(label_map="no,,yes"), "holds the answer ''"),
  "map json": (dict(label_map='{"no": 0'), "is not valid JSON"),
  "map label": (dict(label_map={"no": "0", "yes": "1"}), "labels are 0, 1"),
  "map type": (dict(label_map=3), "label_map must be the answers in the order"),
  "revision": (dict(revision="main"), "revision is for hub datasets"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_settings(folder, name):
  """One line says what was given and what is allowed."""
  settings, message = REFUSED[name]
  with pytest.raises(InputError, match=message) as caught:
    load(folder, **settings)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "name, content, message",
  [
    ("train.jsonl", b"", "split 'train' of .* is empty"),
    ("train.jsonl", b'{"question": "a"\n', "train.jsonl is malformed: line 1 is not valid JSON"),
    ("train.jsonl", b"[1]\n", "line 1 is not an object with named fields"),
    ("train.jsonl", b"\xff\xfe\n", "is not UTF-8 text"),
    ("train.jsonl", b"[" * 100_000, "line 1 is not valid JSON"),
    ("train.json", b"7", "must hold a list of objects"),
    ("train.csv", b"", "split 'train' of .* is empty"),
    ("train.csv", b"question,passage,answer\n", "split 'train' of .* is empty"),
    ("train.csv", b"question,passage,answer\na,b,yes,d\n", "train.csv is malformed"),
    ("train.csv", b"question,passage,answer\na,b,yes\na,b\n", "'train:1' .* has no answer"),
    ("train.parquet", b"nothing", "train.parquet is malformed: it is not a parquet file"),
  ],
)
def test_refused_files(folder, name, content, message):
  """Empty and malformed files are named, with the place."""
  (folder / "train.jsonl").unlink()
  (folder / name).write_bytes(content)
  with pytest.raises(InputError, match=message):
    load(folder)


@pytest.mark.parametrize(
  "row, message",
  [
    ({"answer": None}, "'train:3' .* has no answer in field 'answer'"),
    ({"answer": ""}, "'train:3' .* has no answer"),
    ({"answer": float("nan")}, "'train:3' .* has no answer"),
    ({"answer": ["yes"]}, r"'train:3' holds \['yes'\]: an answer must be"),
    ({"answer": 1}, "holds 1, which is neither yes/no"),
    ({"passage": ["a", "b"]}, "field 'passage' of example 'train:3' .* holds a list"),
  ],
)
def test_refused_rows(folder, row, message):
  """A row that cannot be used is named."""
  rows = records(5)
  rows[3] |= row
  write(folder / "train.jsonl", rows)
  with pytest.raises(InputError, match=message):
    load(folder)


def test_refused_datasets(tmp_path):
  """Missing paths, folders without data, doubled splits and other files say what is allowed."""
  for name in ("./nowhere", "nowhere.jsonl", "/nowhere/x", "a b", "", "x" * 5000 + ".csv"):
    with pytest.raises(InputError, match="does not exist: give a hub id, a folder with train"):
      load(name)
  with pytest.raises(InputError, match="holds no data file: put train"):
    load(tmp_path)
  (tmp_path / "x.txt").write_text("x")
  with pytest.raises(InputError, match="x.txt is not a data file: allowed are .jsonl, .json, .csv"):
    load(tmp_path / "x.txt")
  write(tmp_path / "train.jsonl", records(4))
  with pytest.raises(InputError, match=r"no split validation, test or dev \(it has train\)"):
    load(tmp_path)
  write(tmp_path / "train.csv", records(4))
  with pytest.raises(InputError, match="'train' more than once .train.csv and train.jsonl."):
    load(tmp_path)
  path = write(tmp_path / "one.jsonl", records(2))
  with pytest.raises(InputError, match="all its examples share one passage"):
    load(path)


def test_hub(monkeypatch):
  """The preset is a hub id; labels that the dataset names need no map."""
  import datasets

  asked = []

  def fake(name, subset, revision=None):
    asked.append((name, subset, revision))
    rows = [row | {"answer": int(row["answer"])} for row in records(12)]
    split = datasets.Dataset.from_list(rows).cast_column(
      "answer", datasets.ClassLabel(names=["refuted", "supported"])
    )
    return datasets.DatasetDict(train=split.select(range(6)), validation=split.select(range(6, 12)))

  monkeypatch.setattr(datasets, "load_dataset", fake)
  world = load("boolq")
  assert asked == [("google/boolq", None, None)]
  assert {e.id: e.label for e in world.train} == {f"train:{i}": int(i % 3 == 0) for i in range(6)}
  other = load("some/thing", subset="easy", revision="v2", label_map="supported,refuted")
  assert asked[1] == ("some/thing", "easy", "v2")
  assert [e.label for e in other.train] == [1 - e.label for e in world.train]


@pytest.mark.parametrize("error", [ConnectionError("no\nroute"), FileNotFoundError("no such")])
def test_unreachable_hub(monkeypatch, error):
  """The message names the way round: a local folder."""
  import datasets

  def fail(*args, **kwargs):
    raise error

  monkeypatch.setattr(datasets, "load_dataset", fail)
  with pytest.raises(InputError, match="no file or folder 'google/boolq' here.* pass a local fold"):
    load("boolq")


def test_boolq_folder_works_with_the_defaults():
  """A part of the real dataset, by its folder."""
  folder = SHARED / "data" / "boolq"
  if not folder.exists():
    pytest.skip("needs ../shared/data/boolq")
  world = load(folder, 2048, 512)
  assert (len(world.train), len(world.test)) == (1500, 500)
  assert len(world.notes["messages"]) == 2
  assert world.notes["dropped"] == {"train: passage also in test": 0}
  assert 0.5 < sum(example.label for example in world.test) / 500 < 0.75


def test_ag_news_needs_a_label_map():
  """Real label answers: numbers need a map, and then give four labels."""
  folder = SHARED / "data" / "ag_news"
  if not folder.exists():
    pytest.skip("needs ../shared/data/ag_news")
  fields = {"question_field": "text", "passage_field": "text", "answer_field": "label"}
  with pytest.raises(InputError, match="holds 0, 1, 2, 3, which .* give label_map"):
    load(folder, **fields)
  assert load(folder, **fields, label_map="0,1,2,3").num_labels == 4
