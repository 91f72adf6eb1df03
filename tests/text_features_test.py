"""Whole texts through a frozen encoder: without the template's words."""

from hypothesis import given
from hypothesis import strategies as st

from mezzanine_jax.text_features import without_common

WORDS = st.lists(st.sampled_from(["ab", "a", "b."]), min_size=1, max_size=4).map(" ".join)


@given(st.lists(WORDS, min_size=2, max_size=4))
def test_a_template_is_cut_and_whole_words_are_left(texts):
  whole = [f"Read this: {text}\nTopic of it:" for text in texts]
  for own, text, before in zip(without_common(whole), texts, whole, strict=True):
    # Words that all texts share are the template's, too; where none are left, all stay.
    assert own == before or (own in text and set(own.split()) <= set(text.split()))


def test_a_text_without_words_of_its_own_stays_and_the_others_are_cut():
  texts = ["News:\nTopic:", "News: one two.\nTopic:", "News: three.\nTopic:"]
  assert without_common(texts)[1:] == ["one two.", "three."]


def test_one_text_stays_as_it_is():
  assert without_common(["Read: one"]) == ["Read: one"]
