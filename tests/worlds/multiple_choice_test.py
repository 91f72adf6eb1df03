"""Multiple-choice questions: one number of options, presets, passages, fixed options."""

import json
from pathlib import Path

import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds import WORLDS, digest, sources
from mezzanine_jax.worlds.multiple_choice import PRESETS

SHARED = Path(__file__).resolve().parents[3] / "shared"


def records(count, start=0, options=4):
  """Questions whose right option is their number modulo the number of options."""
  return [
      {"question": f"which is {i}?", "options": [f"it is {o}" for o in range(options)],
       "answer": i % options}
      for i in range(start, start + count)
  ]


def write(path, rows):
  path.parent.mkdir(exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
  write(tmp_path / "data" / "train.jsonl", records(24))
  write(tmp_path / "data" / "test.jsonl", records(12, 100))
  return tmp_path / "data"


def load(dataset, n_train=100, n_test=100, **settings):
  return WORLDS["multiple_choice"](str(dataset), n_train=n_train, n_test=n_test, **settings)


def test_folder(folder):
  """Fields `question`, `options` and `answer` need no settings."""
  world = load(folder, 10, 5)
  assert (len(world.train), len(world.test), world.num_labels) == (10, 5, 4)
  for example in world.train:
    row = int(example.id.removeprefix("train:"))
    assert example.x == {
        "question": f"which is {row}?", "options": ["it is 0", "it is 1", "it is 2", "it is 3"]
    }
    assert example.label == row % 4
  assert world.choices == (" A", " B", " C", " D")
  assert (world.evidence, world.label_names) == (None, ("A", "B", "C", "D"))
  assert world.template == "Question: {question}\n{options}\nAnswer:"
  assert world.digests["train"] == digest(world.train)
  assert load(folder, 5).train == world.train[:5]
  json.dumps(world.notes)


def test_the_order_of_the_options_counts_in_the_digest(folder):
  world = load(folder)
  turned = [e._replace(x=e.x | {"options": e.x["options"][::-1]}) for e in world.train]
  assert digest(turned) != world.digests["train"]


def test_layouts_give_the_same_world(folder, tmp_path):
  """A list, an object of lists, several fields; an index, a letter, a text, as csv too."""
  import pandas as pd

  plain = load(folder)
  for name in ("train", "test"):
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    write(tmp_path / "arc" / f"{name}.jsonl", [
        {"question": r["question"], "answer": "ABCD"[r["answer"]],
         "options": {"text": r["options"], "label": list("ABCD")}} for r in rows
    ])
    (tmp_path / "fields").mkdir(exist_ok=True)
    pd.DataFrame([
        {"question": r["question"], "answer": r["options"][r["answer"]]}
        | {f"option_{'abcd'[o]}": text for o, text in enumerate(r["options"])} for r in rows
    ]).to_csv(tmp_path / "fields" / f"{name}.csv", index=False)
  arc = load(tmp_path / "arc")
  fields = load(tmp_path / "fields", options_field="option_a, option_b,option_c,option_d")
  assert arc.digests == fields.digests == plain.digests


def test_other_numbers_of_options_are_dropped_and_counted(folder):
  """The most frequent number of the training split, or the one asked for."""
  rows = records(24) + records(5, 50, options=3) + records(2, 60, options=5)
  rows[0]["options"] = ["it is 0", " ", "it is 2", "it is 3"]
  write(folder / "train.jsonl", rows)
  write(folder / "test.jsonl", records(12, 100) + records(3, 150, options=3))
  world = load(folder)
  assert {len(e.x["options"]) for e in world.train + world.test} == {4}
  assert (len(world.train), len(world.test)) == (23, 12)
  assert world.notes["dropped"] == {
      "train: not 4 options": 7, "train: an option without text": 1,
      "test: not 4 options": 3, "test: an option without text": 0,
      "train: question also in test": 0,
  }
  three = load(folder, num_options=3)
  assert (len(three.train), len(three.test), three.num_labels) == (5, 3, 3)


def test_passages_are_the_clusters(folder):
  """Questions about one passage stay together; without a passage it is the question."""
  for name, start in (("train", 0), ("test", 10)):
    write(folder / f"{name}.jsonl", [
        r | {"context": f"Passage {start + i // 2}. It ends."} for i, r in enumerate(records(12))
    ])
  with pytest.raises(InputError, match="every question of 'train' also stands in 'test'"):
    load(folder)
  world = load(folder, passage_field="context")
  assert (len(world.train), world.notes["train"]["clusters"]) == (12, 6)
  assert world.train[0].x.keys() == {"question", "options", "passage"}
  assert world.evidence == "passage"
  assert world.template.startswith("Passage: {passage}\nQuestion: {question}\n{options}")


def test_options_of_every_question(tmp_path):
  """Yes/no questions as options: no field holds them."""
  rows = [
      {"question": f"is it {i}", "passage": f"Fact {i}. So.", "answer": i % 2 == 0}
      for i in range(20)
  ]
  write(tmp_path / "boolq" / "train.jsonl", rows[:12])
  write(tmp_path / "boolq" / "validation.jsonl", rows[12:])
  world = load(tmp_path / "boolq")
  assert {tuple(e.x["options"]) for e in world.train} == {("no", "yes")}
  assert all(e.label == (int(e.id[6:]) % 2 == 0) for e in world.train)
  assert world.choices == (" A", " B")
  turned = load(tmp_path / "boolq", options=["yes", "no"])
  assert {e.id: 1 - e.label for e in turned.train} == {e.id: e.label for e in world.train}


ROWS = {  # as the datasets' cards describe them
    "ai2_arc": lambda i: {
        "id": f"q{i}", "question": f"which {i}?", "answerKey": "1234"[i % 4] if i < 4 else
        "ABCD"[i % 4], "choices": {"text": list("wxyz"), "label": list("1234" if i < 4 else "ABCD")}
    },
    "openbookqa": lambda i: {
        "id": f"q{i}", "question_stem": f"which {i}?", "answerKey": "ABCD"[i % 4],
        "choices": {"text": list("wxyz"), "label": list("ABCD")}
    },
    "commonsense_qa": lambda i: {
        "id": f"q{i}", "question": f"which {i}?", "question_concept": "w",
        "answerKey": "ABCD"[i % 4], "choices": {"text": list("wxyz"), "label": list("ABCD")}
    },
    "mmlu": lambda i: {
        "question": f"which {i}?", "subject": "law", "choices": list("wxyz"), "answer": i % 4
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_presets_from_the_hub(monkeypatch, name):
  """Hub id, subset, splits and fields of each, on rows of the form that its card gives."""
  import datasets

  asked = []

  def fake(hub_id, subset, revision=None):
    asked.append((hub_id, subset))
    rows = datasets.Dataset.from_list([ROWS[name](i) for i in range(24)])
    if name == "mmlu":
      rows = rows.cast_column("answer", datasets.ClassLabel(names=list("ABCD")))
    splits = ["train", "validation", "test"]
    if name == "mmlu":
      splits = ["auxiliary_train", "test", "validation", "dev"]
    return datasets.DatasetDict({
        split: rows.select(range(6 * s, 6 * s + 6)) for s, split in enumerate(splits)
    })

  monkeypatch.setattr(datasets, "load_dataset", fake)
  world = load(name)
  assert asked == [(PRESETS[name].hub_id, PRESETS[name].subset)]
  train, test = ("auxiliary_train", "test") if name == "mmlu" else ("train", "validation")
  assert {e.id.split(":")[0] for e in world.train} == {train}
  assert {e.id.split(":")[0] for e in world.test} == {test}
  for example in world.train:
    row = int(example.x["question"].removeprefix("which ").removesuffix("?"))
    assert example.x["options"] == list("wxyz")
    assert example.label == row % 4
  load(PRESETS[name].hub_id, subset="other")
  assert asked[1] == (PRESETS[name].hub_id, "other")
  assert sources.short_name(PRESETS[name].hub_id) == name


@pytest.mark.parametrize("settings, message", [
    (dict(question_field="quesion"), r"did you mean 'question'\?\): mend question_field"),
    (dict(options_field="a,b"), "no field 'a'; there are: question, options, answer: mend opt"),
    (dict(options_field="question"), "'train:0' .* holds a str: options are a list"),
    (dict(options_field="options", options="no|yes"), "two ways to say the same"),
    (dict(options="no|yes"), "the answer 2 of example 'train:2'"),
    (dict(options="yes"), "must have 2 to 26 options, got 1"),
    (dict(num_options=7), "no question of split 'train' .* has 7 options"),
    (dict(num_options=1), "must have 2 to 26 options, got 1"),
    (dict(answer_form="letters"), "answer_form must be auto or one of"),
    (dict(answer_form="number"), "the answer 0 of example 'train:0'"),
    (dict(preset="arc"), "unknown preset 'arc'"),
    (dict(extra_fields="options,explanation"), "no field 'explanation'"),
])
def test_refused(folder, settings, message):
  with pytest.raises(InputError, match=message) as caught:
    load(folder, **settings)
  assert "\n" not in str(caught.value)


def test_boolq_folder_works_with_the_defaults():
  """A part of the real dataset, by its folder."""
  folder = SHARED / "data" / "boolq"
  if not folder.exists():
    pytest.skip("needs ../shared/data/boolq")
  world = load(folder, 5000, 5000)
  assert (len(world.train), len(world.test)) == (1500, 500)
  assert world.notes["train"]["labels"] == {"0": 570, "1": 930}
