"""Options and answers in every form that datasets write them in."""

import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds.answers import Options, read_options, resolve_answers

ABC = Options(["ice", "tea", "rye"], None)


@pytest.mark.parametrize("value, labels", [
    (["ice", "tea"], None),
    ('["ice", "tea"]', None),
    ({"text": ["ice", "tea"], "label": ["A", "B"]}, ["a", "b"]),
    ({"label": ["1", "2"], "text": ["ice", "tea"]}, ["1", "2"]),
    ('{"text": ["ice", "tea"], "label": [1, 2]}', ["1", "2"]),
    ({"text": ["ice", "tea"]}, None),
    ([{"text": "ice", "label": "A"}, {"text": "tea", "label": "B"}], ["a", "b"]),
    ([{"text": "ice"}, {"text": "tea"}], None),
])
def test_one_field(value, labels):
  assert read_options({"o": value}, ["o"], "train:0") == Options(["ice", "tea"], labels)


def test_several_fields():
  """An option each; those missing at the end are none, one missing before stays empty."""
  row = {"a": "ice", "b": None, "c": "rye", "d": "", "e": None}
  assert read_options(row, list("abcde"), "0") == Options(["ice", "", "rye"], None)
  assert read_options({"a": 3, "b": True}, ["a", "b"], "0").texts == ["3", "True"]


@pytest.mark.parametrize("value, message", [
    (None, "'train:0' .* holds a NoneType: options are a list"),
    ("ice", "holds a str"),
    ('["ice"', "is not valid JSON"),
    ({"label": ["A"]}, "holds a dict"),
    ({"text": ["ice", "tea"], "label": ["A"]}, r"a label of its own, got \['A'\] for 2"),
    ({"text": ["ice", "tea"], "label": ["A", "A"]}, "a label of its own"),
    ([["ice"]], "text is needed"),
])
def test_refused_options(value, message):
  with pytest.raises(InputError, match=message):
    read_options({"o": value}, ["o"], "train:0")


@pytest.mark.parametrize("answers, form, places", [
    ([0, 2], "index", [0, 2]),
    (["0", "2"], "index", [0, 2]),
    ([1, 3], "number", [0, 2]),
    (["A", "c"], "label", [0, 2]),
    (["(A)", "C."], "label", [0, 2]),
    ([" Ice", "rye"], "text", [0, 2]),
])
def test_forms(answers, form, places):
  """The form is found where only one makes sense, and may be given."""
  assert resolve_answers(answers, [ABC] * 2, ["0", "1"], "answer", form) == places
  assert resolve_answers(answers, [ABC] * 2, ["0", "1"], "answer") == places


def test_own_labels_go_before_everything():
  """Labels 1, 2, 3 are not indices, and each question has labels of its own."""
  numbers, letters = (ABC._replace(labels=list(names)) for names in ("123", "abc"))
  assert resolve_answers(["2", "B"], [numbers, letters], ["0", "1"], "key") == [1, 1]
  assert resolve_answers(["1", "2"], [numbers] * 2, ["0", "1"], "key") == [0, 1]


def test_truth_values_are_texts():
  yes_no = Options(["no", "yes"], None)
  assert resolve_answers([True, False, "true"], [yes_no] * 3, list("012"), "answer") == [1, 0, 1]


@pytest.mark.parametrize("answers, form, message", [
    ([1, 2], "auto", "may be meant as index or as number, which differ: set answer_form"),
    ([0, 3], "auto", "the answer 3 of example '1' .* is none of its options"),
    (["A", "D"], "auto", "the answer 'D' of example '1'"),
    ([0, None], "auto", "example '1' .* has no answer in field 'answer'"),
    ([0, ""], "auto", "has no answer"),
    ([0, float("nan")], "auto", "has no answer"),
    ([0, -1], "index", "the answer -1 of example '1'"),
    ([0, 1], "letter", "answer_form must be auto or one of label, index, number, text"),
])
def test_refused_answers(answers, form, message):
  with pytest.raises(InputError, match=message):
    resolve_answers(answers, [ABC] * 2, ["0", "1"], "answer", form)


def test_a_letter_that_is_also_another_options_text():
  """Which of the two is meant has to be said."""
  odd = Options(["b", "a"], None)
  with pytest.raises(InputError, match="meant as label or as text"):
    resolve_answers(["a", "b"], [odd] * 2, ["0", "1"], "answer")
  assert resolve_answers(["a", "b"], [odd] * 2, ["0", "1"], "answer", "text") == [1, 0]
