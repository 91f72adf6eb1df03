"""New rows of each world: every row in its order, answers optional, the same checks."""

import json

import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds import WORLDS
from mezzanine_jax.worlds.new_examples import READERS, read_new


@pytest.fixture
def read(tmp_path):
  """`read(rows, world, ...)` reads them from a file."""

  def call(rows, world, **settings):
    path = tmp_path / "new.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return read_new(str(path), world, **settings)

  return call


def test_every_built_in_world_has_a_reader():
  assert set(READERS) == set(WORLDS) - {
      "images", "lennard_jones", "cart_pole", "grid_trajectories"}


def test_a_world_of_another_package_is_refused(read):
  with pytest.raises(InputError, match="'mine' reads no new files; those that do are evidence_qa"):
    read([{}], "mine")


@pytest.mark.parametrize("world", ["hf_qa", "evidence_qa"])
def test_questions_about_passages(read, world):
  rows = [{"passage": "A.", "question": "b", "answer": True},
          {"passage": "A.", "question": "c", "answer": None},
          {"passage": "B.", "question": "c", "answer": " "},
          {"passage": "B.", "question": "c", "answer": "false"}]
  made = read(rows, world, dataset=world, n_train=3)
  assert [e.label for e in made.examples] == [1, None, None, 0]
  assert made.examples[1].x == {"passage": "A.", "question": "c"}
  clusters = [e.cluster for e in made.examples]
  assert clusters[0] == clusters[1] != clusters[2] == clusters[3]
  mapped = read([r | {"answer": "b"} for r in rows], world, label_map="a,b,c")
  assert [e.label for e in mapped.examples] == [1] * 4


def test_names_of_rows(read):
  rows = [{"passage": "A.", "question": "b", "id": name} for name in ("x", 7)]
  assert read(rows, "hf_qa").ids == ["x", 7]
  for bad in (None, "", True, 1.5, ["a"]):
    assert read([rows[0], rows[1] | {"id": bad}], "hf_qa").ids == [0, 1]


def test_labelled_texts_stay_all_of_them(read):
  rows = [{"text": "Same.", "label": label} for label in ("Ham", "spam", 1, 0, None, "SPAM ")]
  made = read(rows, "hf_text", dataset="mine.csv", label_names=["Ham", "spam"])
  assert [e.label for e in made.examples] == [0, 1, 1, 0, None, 1]
  with pytest.raises(InputError, match="'eggs' of example 'row:0' is not in label_map"):
    read([{"text": "a", "label": "eggs"}], "hf_text", dataset="mine.csv", label_names=["a", "b"])


def test_names_that_are_numbers_are_no_indices(read):
  rows = [{"text": "a", "label": label} for label in (1, "5", 3)]
  names = {"dataset": "mine.csv", "label_names": ["1", "3", "5"]}
  assert [e.label for e in read(rows, "hf_text", **names).examples] == [0, 2, 1]
  with pytest.raises(InputError, match="the answer 0 of example"):
    read([{"text": "a", "label": 0}], "hf_text", **names)


def test_fields_are_the_presets_or_those_given(read):
  rows = [{"text": "a", "label": "Sports"}, {"text": "b", "label": 3}]
  names = ["World", "Sports", "Business", "Sci/Tech"]
  made = read(rows, "hf_text", dataset=None, label_names=names)
  assert [e.label for e in made.examples] == [1, 3]
  made = read([{"body": "a"}], "hf_text", text_field="body", label_names=names)
  assert made.examples[0].x == {"text": "a"} and made.examples[0].label is None
  with pytest.raises(InputError, match="no field 'text'"):
    read([{"body": "a"}], "hf_text", label_names=names)


def test_questions_with_options(read):
  rows = [{"question": "q", "options": ["ice", "tea"], "answer": answer}
          for answer in ("A", None, "b", "")]
  made = read(rows, "multiple_choice", dataset="mine.csv", num_options=2)
  assert [e.label for e in made.examples] == [0, None, 1, None]
  assert made.examples[0].x == {"question": "q", "options": ["ice", "tea"]}
  unlabelled = [{k: v for k, v in row.items() if k != "answer"} for row in rows]
  found = read(unlabelled, "multiple_choice", dataset="mine.csv", num_options=2)
  assert [e.label for e in found.examples] == [None] * 4
  with pytest.raises(InputError, match="'row:1' .rows count from 0. must have 3 options with a"):
    read([rows[0] | {"options": ["a", "b", "c"]}, rows[1]], "multiple_choice",
         dataset="mine.csv", num_options=3)
  with pytest.raises(InputError, match="the answer 'z' of example 'row:0'"):
    read([rows[0] | {"answer": "z"}], "multiple_choice", dataset="mine.csv", num_options=2)
