"""Whole texts through a frozen encoder: without the template's words."""

from hypothesis import given
from hypothesis import strategies as st

from mezzanine_jax.text_features import common_words, without_words

WORDS = st.lists(st.sampled_from(["ab", "a", "b."]), min_size=1, max_size=4).map(" ".join)


@given(st.lists(WORDS, min_size=2, max_size=4))
def test_a_template_is_cut_and_whole_words_are_left(texts):
  whole = [f"Read this: {text}\nTopic of it:" for text in texts]
  left = without_words(whole, *common_words(whole))
  for own, text, before in zip(left, texts, whole, strict=True):
    # Words that all texts share are the template's, too; where none are left, all stay.
    assert own == before or (own in text and set(own.split()) <= set(text.split()))


def test_a_text_without_words_of_its_own_stays_and_the_others_are_cut():
  texts = ["News:\nTopic:", "News: one two.\nTopic:", "News: three.\nTopic:"]
  assert without_words(texts, *common_words(texts))[1:] == ["one two.", "three."]


def test_other_texts_lose_what_they_share_of_the_words():
  words = common_words(["News: The end.\nTopic:", "News: The start.\nTopic:"])
  assert words == ("News: The ", "\nTopic:")
  assert without_words(["News: Then.\nTopic:", "Odd"], *words) == ["Then.", "Odd"]


def test_one_text_stays_as_it_is():
  assert common_words(["Read: one"]) == ("", "")
