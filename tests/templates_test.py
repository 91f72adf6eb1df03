"""Templates: what they render, and which cannot be used."""

import json

import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import DEMONSTRATIONS, EVIDENCE, FACTS, FIXED, OPTIONS
from mezzanine_jax.templates import demonstration, fill, parse_template, read_wordings

FIELDS = ["passage", "question", "options", "facts"]
X = {
    "passage": "One is odd. Two is not.", "question": "is it", "options": ["red", "blue  sky"],
    "facts": {"name": "Anna", "age": 42},
}


def _pieces(template, x=X, shots=(), unit="sentence"):
  return fill(parse_template(template, "passage", FIELDS, unit), x, shots, unit)


def test_evidence_options_and_facts_are_pieces():
  pieces = _pieces("Read: {passage}\nData:\n{facts}\nQ: {question}\n{options}\nA:")
  assert [p[:2] for p in pieces] == [
      ("Read:", FIXED), (" One is odd.", EVIDENCE), (" Two is not.", EVIDENCE),
      ("\nData:", FIXED), ("\nname: Anna", FACTS), ("\nage: 42", FACTS),
      ("\nQ: is it\nA.", FIXED), (" red", OPTIONS), ("\nB.", FIXED), (" blue sky", OPTIONS),
      ("\nA:", FIXED),
  ]


@pytest.mark.parametrize(
    ("template", "whole"),
    [
        ("Do.\n\n{demonstrations}\n\nQ: {question}\nA:", "Do.\n\n{0}\n\n{1}\n\nQ: is it\nA:"),
        ("{demonstrations}Q: {question}\nA:", "{0}\n\n{1}\n\nQ: is it\nA:"),
        ("Q: {question}\nA:", "{0}\n\n{1}\n\nQ: is it\nA:"),
        ("{question}\nA:", "{0}\n\n{1}\n\nis it\nA:"),
        ("{options}\nA:", "{0}\n\n{1}\n\nA. red\nB. blue sky\nA:"),
    ],
)
def test_demonstrations_stand_in_any_order_with_blank_lines_between(template, whole):
  parsed = parse_template(template, "passage", FIELDS)
  others = [X | {"question": q, "options": [q, q]} for q in ("does it", "has it")]
  shots = [demonstration(parsed, other, " no") for other in others]
  assert all(shot.endswith("\nA: no") for shot in shots)
  pieces = fill(parsed, X, shots)
  assert "".join(p.text for p in pieces) == whole.format(*shots)
  first, second = [i for i, p in enumerate(pieces) if p.group == DEMONSTRATIONS]
  pieces[first], pieces[second] = pieces[second], pieces[first]
  assert "".join(p.text for p in pieces) == whole.format(*shots[::-1])


def test_without_demonstrations_their_place_is_empty():
  text = "".join(p.text for p in _pieces("Do.\n\n{demonstrations}\n\nQ: {question}\nA:"))
  assert text == "Do.\n\nQ: is it\nA:"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("One. Two.\n\nThree.", "paragraph", ["\n\nOne. Two.", "\n\nThree."]),
        (["One. Two.", "Three.\nFour."], "document", ["\n\nOne. Two.", "\n\nThree. Four."]),
    ],
)
def test_units_carry_the_white_space_before_the_field(value, unit, expected):
  pieces = _pieces("Read:\n\n{passage}\nA:", X | {"passage": value}, unit=unit)
  assert [p.text for p in pieces if p.group == EVIDENCE] == expected


def test_the_first_piece_stays():
  first, second = _pieces("{passage}\nA:")[:2]
  assert (first[:2], second[:2]) == (("", FIXED), (" One is odd.", EVIDENCE))


def test_braces_in_the_data_are_data():
  question = "is {passage} {x} odd"
  pieces = _pieces("Q: {question}\nA:", X | {"question": question})
  assert pieces[-1].text == f"Q: {question}\nA:"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Passage: {passage}\nQ: {title}\nA:", "names the field 'title'"),
        ("Passage: {passage} {passage}\nA:", "must hold {passage} once"),
        ("{question} {passage}", "must end in a cue"),
        ("Passage: {passage}\nQuestion: {question}", "must end in a cue"),
        ("Passage:\n{passage}\nAnswer:", "needs a space in front of {passage}"),
        ("Data: {facts}\nA:", "needs a line break in front of {facts}"),
        ("{facts}\nA:", "needs a line break in front of {facts}"),
        ("Q: {question} {demonstrations} A:", "only plain text may stand before"),
    ],
)
def test_unusable_templates_are_refused(template, message):
  with pytest.raises(InputError, match=message):
    parse_template(template, "passage", FIELDS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": ["a"]}, "{question} holds a list"),
        ({"options": "red"}, "{options} must be a list field"),
        ({"options": ["red"]}, "list field of 2 to 26"),
        ({"facts": "red"}, "{facts} must be a dict or a list"),
        ({"passage": 3}, "evidence must be a text or a list"),
    ],
)
def test_fields_of_the_wrong_type_are_refused(change, message):
  with pytest.raises(InputError, match=message):
    _pieces("R: {passage}\n{facts}\n{question}\n{options}\nA:", X | change)


def test_wordings_come_from_text_lists_and_files(tmp_path):
  assert read_wordings("a {x}\\nA:")[0] == ("a {x}\nA:", None, 1.0)
  own = {"template": "b {x}:", "choices": [" n", " y"], "weight": 3}
  (tmp_path / "t.json").write_text(json.dumps(["a {x}:", own]))
  expected = [("a {x}:", None, 1.0), ("b {x}:", (" n", " y"), 3.0)]
  assert read_wordings(str(tmp_path / "t.json")) == expected == read_wordings(["a {x}:", own])
  (tmp_path / "t.txt").write_text("a {x}\\nA:\n\nb {x}:\n")
  assert [w.template for w in read_wordings(str(tmp_path / "t.txt"))] == ["a {x}\nA:", "b {x}:"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("nowhere.json", "'nowhere.json' cannot be read"),
        ([], "a list of at least one"),
        ([{"templat": "x"}], "must be a text or"),
        ([{"template": "x", "weight": -1}], "must be a text or"),
        ([{"template": "x", "choices": " yes"}], "must be a text or"),
        ([{"template": "x", "weight": 0}], "weights of the templates are all 0"),
    ],
)
def test_unusable_wordings_are_refused(template, message):
  with pytest.raises(InputError, match=message):
    read_wordings(template)
