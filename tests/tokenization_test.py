"""Segments tokenize as whole texts do, or the example is known to be different."""

import itertools

import numpy as np
import pytest

from mezzanine_jax import tokenization as tok
from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import pack
from mezzanine_jax.symmetries import segment_order

TEMPLATE = "Passage: {passage}\nQuestion: {question}\nAnswer:"
SENTENCES = [
    "Anna owns a red bicycle.", "Tom lives in Oslo!", 'He said "stop."', "Zürich has 3.5 trams.",
]
CUE = "\nAnswer:"


def _segments(sentences=SENTENCES, question="does Anna own it"):
  template = tok.parse_template(TEMPLATE, "passage", ["passage", "question"])
  return tok.fill(template, {"passage": "", "question": question}, sentences)


def _tokenize(tokenizer, texts, choices=(" yes", " no"), max_tokens=512):
  return tok.tokenize_prompts(tokenizer, texts, choices, CUE, max_tokens)


def test_every_order_tokenizes_as_the_whole_text(tokenizer):
  [made] = _tokenize(tokenizer, [_segments()])
  assert made.exact
  symmetry = segment_order()
  beginning = tokenizer.encode("").ids
  for order in symmetry.orbit(made.prompt, 24).elements:
    pieces = ["Passage:", *(" " + s for s in SENTENCES), "\nQuestion: does Anna own it\nAnswer:"]
    text = "".join(pieces[i] for i in order)
    tokens, length = pack(symmetry.act(order, made.prompt))
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokens[: int(length)].tolist() == beginning + whole


def test_beginning_is_what_the_tokenizer_adds(tokenizer):
  [made] = _tokenize(tokenizer, [_segments()])
  first = int(made.prompt.tokens[0])
  assert (tokenizer.id_to_token(first) == "<s>") == bool(tokenizer.encode("").ids)


def test_a_tokenizer_that_merges_over_the_boundary_is_found_out(merging_tokenizer):
  [made] = _tokenize(merging_tokenizer, [_segments()])
  assert not made.exact
  pieces = [made.segments.head, *made.segments.sentences, made.segments.tail]
  for order in itertools.islice(itertools.permutations(range(1, 5)), 6):
    order = np.array([0, *order, 5])
    whole = tok.whole_prompt(merging_tokenizer, made, order)
    text = "".join(pieces[i] for i in order)
    expected = merging_tokenizer.encode(text).ids
    tokens, length = pack(whole)
    assert tokens[: int(length)].tolist() == expected
    # One segment only: whichever order acts on it, its tokens stay.
    assert whole.lengths.tolist() == [len(expected)]


def test_truncation_drops_whole_sentences_and_keeps_the_question(tokenizer):
  [full] = _tokenize(tokenizer, [_segments()])
  # A choice of several tokens needs room behind the prompt, for all but its last one.
  total = int(full.prompt.lengths.sum() + full.prompt.choice_lengths.max() - 1)
  [cut] = _tokenize(tokenizer, [_segments()], max_tokens=total - 1)
  assert cut.dropped == 1 and full.dropped == 0
  np.testing.assert_array_equal(cut.prompt.lengths[:-1], full.prompt.lengths[:-2])
  assert cut.prompt.lengths[-1] == full.prompt.lengths[-1]
  evidence = int(full.prompt.lengths[1:-1].sum())
  [none] = _tokenize(tokenizer, [_segments()], max_tokens=total - evidence)
  assert none.dropped == len(SENTENCES) and len(none.prompt.lengths) == 2


def test_no_evidence_and_one_sentence_are_handled(tokenizer):
  none, one = _tokenize(tokenizer, [_segments([]), _segments(SENTENCES[:1], question="")])
  assert none.exact and one.exact
  assert segment_order().orbit_size(none.prompt) == segment_order().orbit_size(one.prompt) == 1


def test_ten_thousand_words_are_cut_to_fit(tokenizer):
  [made] = _tokenize(tokenizer, [_segments(["Tom lives in Oslo for now."] * 1700)], max_tokens=256)
  assert made.prompt.lengths.sum() <= 256 and made.dropped > 1600


def test_a_question_that_does_not_fit_is_refused(tokenizer):
  with pytest.raises(InputError, match="without any evidence, but only [0-9]+ fit"):
    _tokenize(tokenizer, [_segments(question="is it " * 50)], max_tokens=20)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((" yes",), "at least two choices"),
        ((" yes", ""), "tokenizes to nothing"),
        ((" yes", " no", " yes"), "the same tokens"),
    ],
)
def test_unusable_choices_are_refused(tokenizer, choices, message):
  with pytest.raises(InputError, match=message):
    _tokenize(tokenizer, [_segments()], choices=choices)


def test_a_choice_that_merges_with_the_cue_is_refused(merging_tokenizer):
  with pytest.raises(InputError, match="merges with the end of the prompt"):
    tok.tokenize_choices(merging_tokenizer, ["swer", " no"], "\nAn")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Passage: {passage}\nQ: {title}\nA:", "names the field 'title'"),
        ("Question: {question}\nAnswer:", "evidence {passage} exactly once"),
        ("{question} {passage}", "must end in a cue"),
        ("Passage: {passage}\nQuestion: {question}", "must end in a cue"),
        ("Passage:\n{passage}\nAnswer:", "needs a space in front of {passage}"),
    ],
)
def test_unusable_templates_are_refused(template, message):
  with pytest.raises(InputError, match=message):
    tok.parse_template(template, "passage", ["passage", "question"])


def test_braces_in_the_data_are_data():
  question = "is {passage} {x} odd"
  assert _segments(question=question).tail == f"\nQuestion: {question}\nAnswer:"
