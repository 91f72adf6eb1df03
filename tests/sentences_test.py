"""Sentences: they join to the text again, and a sentence is never cut in two."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzanine_jax.errors import InputError
from mezzanine_jax.sentences import fold_white_space, split_sentences, split_units

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Pieces that a splitter may stumble over, for random texts.
PIECES = st.sampled_from(
  ["``", "''", "'", '"', ". ", "? ", "! ", "...", "; ", "(", ")", "[", "] ", "\u200b", "\u00a0",
   "\u2028", "\r\n", "\n\n", "\x00", "\x1f", "A. ", "Dr. ", "U.S. ", "e.g. ", "The ", "then ",
   "3.5", "שלום. ", "مرحبا؟ ", "🦊. ", "👩‍👩‍👧", "。", "é", "-", "a-\nb", "$", "\ud800", "ﬁ"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=40).map("".join))

WHOLE = [  # each one is one sentence
  "Dr. Who, Mr. All and Dr. No met.",
  "The U.S. Army left.",
  "Bring something warm, e.g. this coat, i.e. The North Face.",
  "It grew by 3.5 to 12.75 percent.",
  "Barbara Hutton was a granddaughter of F.W. Woolworth himself.",
  "A medal went to Lt. Vincent and to Gen. Lee of Ft. Smith.",
  "The book is by J. R. R. Tolkien, not by A. A. Milne.",
  "St. Elias is a mountain near Sault Ste. Marie.",
  "Chanel No. 5 is a perfume.",
  "The U.S. No. 1 hit was short.",
  "They watched Ohio vs. Iowa, which Roe v. Wade followed.",
  "Martin Luther King Jr. Day is a holiday by Warner Bros. Pictures.",
  "A shop in Richmond, Va. Beach (see Fig. 3) was closed.",
  '"Is it?" he asked.',
  "``Is it?'' he asked.",
  "He stayed (He was tired. He slept.) at home.",
  "One thing was clear; However was not.",
  "It opened at www.example.com and at 7.30 p.m. on Monday.",
]


@pytest.mark.parametrize("sentence", WHOLE)
def test_sentence_stays_whole(sentence):
  """Abbreviations, initials, numbers and quotations do not end a sentence."""
  assert split_sentences(sentence) == [sentence]
  assert split_sentences(f"Foxes ran. {sentence} Foxes slept.") == [
    "Foxes ran.", sentence, "Foxes slept."
  ]  # fmt: skip


@pytest.mark.parametrize(
  "sentences",
  [
    ['He said "Go."', "She went."],
    ["He said ``Go.''", "She went."],
    ["He said “Go.”", "She went."],
    ["He said 'Go.'", "She went."],
    ["He said it.", "``Go now.''", "She went."],
    ["The term is ``Huddy''.", "Others use ``Cuddy.''"],
    ["(It rained.)", "The sun came."],
    ["Was it?!", "Yes!", "It was..."],
    ["It rose in the U.S.", "In Canada it fell."],
    ["The film cost $3.5 million.", "€12 was a ticket."],
    ["It was No. 5.", "Then it was 1999.", "The end came."],
    ["Ça va.", "Élodie rit.", "Ñandú corre."],
  ],
)
def test_sentences_come_apart(sentences):
  """A stop with the closing quotes after it ends a sentence."""
  assert split_sentences(" ".join(sentences)) == sentences


def test_white_space_is_folded_first():
  """Line breaks, tabs and the other spaces of Unicode are single spaces."""
  text = "\n One\u00a0fox\tran. \u2028\r\n\n It\u2003slept.\x1f "
  assert fold_white_space(text) == "One fox ran. It slept."
  assert split_sentences(text) == ["One fox ran.", "It slept."]


@pytest.mark.parametrize("text", ["", " ", "\n\t\u00a0\u2028"])
def test_nothing_has_no_sentences(text):
  """An empty text is no error."""
  assert split_sentences(text) == []


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_sentences_join_to_the_text(text):
  """For any text at all the sentences join to it, and none is empty or ends in a space."""
  sentences = split_sentences(text)
  assert " ".join(sentences) == fold_white_space(text)
  assert all(sentence == sentence.strip() != "" for sentence in sentences)


@pytest.mark.parametrize(
  "text, count",
  [
    ("x" * 1_000_000 + ". The end.", 2),
    ("word " * 50_000, 1),
    ("Ten words are in this one sentence of the passage. " * 1000, 1000),
    (". " * 20_000, 1),
    ("( " * 10_000, 1),
    ("``A.''" * 10_000, 1),
    ("A." * 100_000, 1),
    ("'" * 100_000, 1),
  ],
)
def test_huge_texts(text, count):
  """Megabytes without a sentence's end and 10,000 words are split as any other text."""
  sentences = split_sentences(text)
  assert len(sentences) == count
  assert " ".join(sentences) == fold_white_space(text)


def test_boolq_passages():
  """On real passages most sentences come apart and none loses its first half."""
  path = SHARED / "data" / "boolq" / "validation.jsonl"
  if not path.exists():
    pytest.skip("needs ../shared/data/boolq")
  lines = path.read_text(encoding="utf-8").splitlines()
  passages = [json.loads(line)["passage"] for line in lines]
  split = [split_sentences(passage) for passage in passages]
  assert [" ".join(sentences) for sentences in split] == list(map(fold_white_space, passages))
  assert 3.5 < sum(map(len, split)) / len(split) < 5
  starts = [sentence.lstrip("`'\"“‘([{") for sentences in split for sentence in sentences[1:]]
  assert not [start for start in starts if start[:1].islower()]


@pytest.mark.parametrize(
  ("value", "unit", "expected"),
  [
    ("One. Two.\n\nThree.", "sentence", ["One.", "Two.", "Three."]),
    (["One. Two.", "Three."], "sentence", ["One.", "Two.", "Three."]),
    ("One. Two.\nMore.\n \n\nThree.\n\n", "paragraph", ["One. Two. More.", "Three."]),
    (["One.\n\nTwo.", "", "Three."], "paragraph", ["One.", "Two.", "Three."]),
    (["One.\n\nTwo.", " ", "Three."], "document", ["One. Two.", "Three."]),
  ],
)
def test_units(value, unit, expected):
  assert split_units(value, unit) == expected


@pytest.mark.parametrize(
  ("value", "unit", "message"),
  [
    ("One.", "word", "unit must be one of sentence, paragraph, document"),
    ("One.", "document", "unit=document needs a list field"),
    ([1], "sentence", "must be a text or a list of texts"),
  ],
)
def test_units_that_cannot_be_split(value, unit, message):
  with pytest.raises(InputError, match=message):
    split_units(value, unit)
