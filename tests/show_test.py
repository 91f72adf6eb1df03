"""Views as a person sees them."""

import jax
import rich.console
from tiny import byte_level_bpe, merging

from mezzanine_jax import designs, language
from mezzanine_jax.base import Example
from mezzanine_jax.show import render_views
from mezzanine_jax.symmetries import chain, paraphrase, segment_order

EXAMPLE = Example("a", {"passage": "Anna owns one. Tom is odd. It rains."}, 0, "a")


def _shown(tokenizer, template, symmetry, num_views, color=False):
  prepared = language.prepare([EXAMPLE], tokenizer, template=template, evidence="passage",
                              choices=[" no", " yes"], max_tokens=256)
  console = rich.console.Console(width=70, force_terminal=color, legacy_windows=False)
  key = designs.example_keys(jax.random.key(0), ["a"])[0]
  with console.capture() as captured:
    console.print(render_views(tokenizer, prepared.tokenized[0], symmetry, key, num_views))
  return captured.get()


def test_every_view_is_shown_with_its_text_and_tokens():
  tokenizer = byte_level_bpe()
  shown = _shown(tokenizer, "Read: {passage}\nOdd?", segment_order(), 6)
  for text in ("Anna owns one. Tom is odd. It rains.", "It rains. Tom is odd. Anna owns one."):
    assert f"Read: {text}" in shown
  assert shown.count("Odd? no| yes") == 7 and "canonical view" in shown and "view 6" in shown
  count = len(tokenizer.encode("Read: " + EXAMPLE.x["passage"] + "\nOdd?").ids)
  assert shown.count(f"{count} tokens ") == 7


def test_wordings_are_shown_as_they_read():
  templates = ["Read: {passage}\nOdd?", "Text: {passage}\nSo?"]
  shown = _shown(merging(), templates, chain(paraphrase(), segment_order(keep_first=1)), 4)
  assert shown.count("Read: Anna") == 3 and shown.count("Text: Anna") == 2
  assert "tokenized as a whole text" in shown and "weight 0.25" in shown


def test_groups_have_their_colours():
  shown = _shown(byte_level_bpe(), "Read: {passage}\nOdd?", segment_order(), 2, color=True)
  assert shown.count("Read:\x1b[36m ") == 3 and shown.count("\x1b[36m It rains.\x1b[0m") == 3


def test_some_of_the_views_keep_the_weights_of_all():
  prepared = language.prepare([EXAMPLE], byte_level_bpe(), template="Read: {passage}\nOdd?",
                              evidence="passage", choices=[" no", " yes"], max_tokens=256)
  console = rich.console.Console(width=70)
  key = designs.example_keys(jax.random.key(0), ["a"])[0]
  with console.capture() as captured:
    console.print(render_views(
        byte_level_bpe(), prepared.tokenized[0], segment_order(), key, 6, most=2))
  shown = captured.get()
  assert "view 2 of 6, weight 0.167" in shown and "view 3" not in shown
  assert "evidence" in shown and "options" not in shown  # only what the prompt has
