"""From text to a filled row table: each row holds its view's whole text, and scores as it does."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import KINDS, byte_level_bpe, merging

from mezzanine_jax import cache, designs, language, locks, prompts, scoring, transforms
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.transformer import init_params
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.sentences import split_sentences
from mezzanine_jax.symmetries import chain, paraphrase, segment_order

SYMMETRY = segment_order()
TEMPLATE = "Passage: {passage}\nQuestion: {question}\nAnswer:"
QUESTION = "does Anna own it"
PASSAGES = {
    "three": "Anna owns a red bicycle. Tom lives in Oslo! The oak is 12 metres tall.",
    "none": "",
    "one": "Dr. Who met 3.5 percent of the U.S. Army.",
    "foreign": 'Zürich has trams. Él dijo "¡no!" Das war 東京.',
    "two": "The elm is 7 metres tall. The pine is not.",
    "long": " ".join(f"Tom lives in Oslo{' and Anna too' * 20} for {n} years." for n in range(9)),
}
NUM_VIEWS = np.array([6, 3, 6, 6, 3, 6])  # every orbit in full
EXAMPLES = [
    Example(name, {"passage": text, "question": QUESTION}, None, name)
    for name, text in PASSAGES.items()
]


class Case:
  """A tokenizer, its prompts and the plan of their rows."""

  def __init__(self, tokenizer, symmetry=SYMMETRY, num_views=NUM_VIEWS, batch_tokens=1024,
               max_shapes=1):
    self.tokenizer = tokenizer
    two = " ".join(split_sentences(PASSAGES["long"])[:2])
    room = len(tokenizer.encode(TEMPLATE.format(passage=two, question=QUESTION)).ids) + 25
    self.prepared = language.prepare(
        EXAMPLES, tokenizer, template=TEMPLATE, evidence="passage", choices=[" no", " yes it is"],
        max_tokens=room)
    keys = designs.example_keys(jax.random.key(0), list(PASSAGES))
    self.plan = language.plan(self.prepared, tokenizer, symmetry, keys, num_views,
                              batch_tokens=batch_tokens, max_shapes=max_shapes)

  def owners(self):
    """The example of each row, as the index has it."""
    rows = self.plan.rows
    owner = np.full(len(rows.example), -1)
    for n, (canonical, drawn) in enumerate(zip(rows.canonical_row, rows.row, strict=True)):
      owner[[canonical, *drawn[drawn >= 0]]] = n
    return owner


@pytest.fixture(scope="module", params=[*KINDS.values(), merging], ids=lambda kind: kind.__name__)
def case(request):
  return Case(request.param())


def _text(case, n, order):
  """The whole text of a view, put together by hand."""
  sentences = split_sentences(PASSAGES[EXAMPLES[n].id])
  sentences = sentences[: len(sentences) - case.prepared.tokenized[n].dropped]
  tail = f"\nQuestion: {QUESTION}\nAnswer:"
  pieces = ["Passage:", *(" " + s for s in sentences), tail]
  return "".join(pieces[s] for s in order if s < len(pieces))


@jax.jit
def _packed(elements, xs):
  return jax.vmap(lambda e, x: prompts.pack(SYMMETRY.act(e, x)))(elements, xs)


def test_every_row_packs_the_whole_text_of_its_view(case):
  rows, owner = case.plan.rows, case.owners()
  assert (owner >= 0).all()
  xs = jax.tree.map(lambda a: a[case.plan.source], case.plan.xs)
  tokens, lengths = _packed(rows.elements, xs)
  texts = [_text(case, n, order) for n, order in zip(owner, rows.elements, strict=True)]
  for got, length, text in zip(np.asarray(tokens), lengths, texts, strict=True):
    assert got[:length].tolist() == case.tokenizer.encode(text).ids
  np.testing.assert_array_equal(case.plan.lengths, lengths)
  read = case.plan.texts_of(np.arange(len(texts)))
  np.testing.assert_array_equal(read.tokens, tokens)
  np.testing.assert_array_equal(owner, rows.example)
  for r in range(1, len(texts)):  # what a row shares with the one before it, by hand
    differ = np.append(np.asarray(tokens[r - 1]) != np.asarray(tokens[r]), True)
    common = min(differ.argmax(), lengths[r], lengths[r - 1]) * (owner[r] == owner[r - 1])
    assert case.plan.shared[r] == common
  assert len(set(zip(owner, texts, strict=True))) == len(texts)  # no view is run twice
  for n, row in enumerate(rows.canonical_row):
    assert texts[row] == _text(case, n, range(99))


def test_every_example_has_its_own_number_of_views(case):
  real = np.isfinite(case.plan.views.log_weights)
  np.testing.assert_array_equal(real.sum(1), case.plan.views.orbit_size)
  assert case.plan.views.orbit_size.tolist() == [6, 1, 1, 6, 2, 2]
  np.testing.assert_array_equal(case.plan.rows.row >= 0, real)


def test_views_that_are_drawn_are_rows_without_repeats():
  plan = Case(byte_level_bpe(), num_views=np.array([4, 1, 1, 5, 4, 4])).plan
  real = np.isfinite(plan.views.log_weights)
  assert real.sum(1).tolist() == [4, 1, 1, 5, 2, 2]
  np.testing.assert_allclose(np.exp(plan.views.log_weights).sum(1), 1.0, rtol=1e-6)
  np.testing.assert_array_equal(plan.rows.row >= 0, real)
  for row, keep, drawn in zip(plan.rows.row, real, plan.views.elements, strict=True):
    assert len(set(row[keep])) == keep.sum()
    np.testing.assert_array_equal(plan.rows.elements[row[keep]], drawn[keep])


def test_counts(case):
  counts = case.prepared.counts
  assert counts["truncated_prompts"] == 1 and counts["one_sentence"] == 1
  assert counts["without_evidence"] == 1 and counts["dropped_sentences"] == 9 - 2
  inexact = [not t.exact for t in case.prepared.tokenized]
  assert counts["tokenized_as_whole_texts"] == sum(inexact)
  assert any(inexact) == (merging().to_str() == case.tokenizer.to_str())


def test_cost_counts_distinct_rows(case):
  cost, plan = language.cost(case.plan), case.plan
  assert cost["rows"] == len(plan.rows.example) <= cost["views"]
  assert cost["views"] == (plan.rows.row >= 0).sum() + len(EXAMPLES)
  assert cost["tokens"] == plan.lengths.sum()
  assert cost["shared_tokens"] > 0  # the views of an example begin alike
  assert cost["tokens"] - cost["shared_tokens"] <= cost["padded_tokens"]
  assert cost["compiled_shapes"] == 1


def test_a_chain_of_orders_finds_its_whole_texts_too():
  symmetry = chain(segment_order(keep_first=1), SYMMETRY)
  both = Case(merging(), symmetry, np.full(len(EXAMPLES), 12))  # 2! orders of the rest, then 3!
  first, second = both.plan.rows.elements
  for r, n in enumerate(both.owners()):
    x = jax.tree.map(lambda a, r=r: a[both.plan.source[r]], both.plan.xs)
    size = int(x.lengths.sum())
    text = _text(both, n, first[r][second[r]])
    assert x.tokens[:size].tolist() == both.tokenizer.encode(text).ids


def _model(tokenizer):
  config = TransformerConfig(
      vocab_size=tokenizer.get_vocab_size(), width=16, num_layers=1, num_heads=2, num_kv_heads=1,
      head_dim=8, mlp_width=16, max_positions=512, rope_frequencies=(1.0, 0.3, 0.1, 0.03))
  params = init_params(config, jax.random.key(0))
  return config, jax.tree.map(lambda a: a * 10 if a.ndim > 1 else a, params)


def _scored(case, path):
  """The beliefs of all rows in the store, and the predict function behind them."""
  config, params = _model(case.tokenizer)
  score = scoring.scorer(config, embed_mode="mean", choice_norm="token")
  rows_score = scoring.rows_scorer(config, embed_mode="mean", choice_norm="token")
  batch_fn, seen = scoring.view_rows_scorer(rows_score, SYMMETRY), []
  store, ran = language.score(
      case.plan, batch_fn, params, path, "f", ids=list(PASSAGES), progress=seen.append)
  number = len(case.plan.rows.example)
  assert sum(seen) == ran == number and store_lib.done_rows(store).all()
  assert store_lib.read(store, "choice_log_probs").shape == (number, 2)
  assert store_lib.read(store, "features").shape == (number, 16)
  predict = lambda params, prompt: score(params, prompt).log_probs
  return store_lib.read(store, "log_probs"), predict, params


def test_scores_agree_with_the_transforms_on_the_same_views(tmp_path):
  case = Case(byte_level_bpe())
  got, predict, params = _scored(case, tmp_path / "v")
  log_probs = jax.jit(jax.vmap(transforms.view_log_probs(predict, SYMMETRY), (None, 0, 0)))
  expected = np.asarray(log_probs(params, case.plan.views, case.plan.xs))
  row, used = case.plan.rows.row, case.plan.rows.row >= 0
  np.testing.assert_allclose(got[row[used]], expected[used], atol=1e-5)
  np.testing.assert_allclose(np.exp(got).sum(1), 1.0, rtol=1e-5)
  moved = [np.ptp(got[row[n, used[n]], 0]) for n in (0, 3, 4)]
  assert min(moved) > 1e-4  # the model does look at the order


def test_whole_texts_score_as_they_are(tmp_path):
  case = Case(merging())
  got, predict, params = _scored(case, tmp_path / "v")
  rows = np.flatnonzero(case.plan.source >= len(EXAMPLES))
  ready = jax.tree.map(lambda a: a[case.plan.source[rows]], case.plan.xs)
  expected = jax.jit(jax.vmap(predict, (None, 0)))(params, ready)
  assert len(rows) > 5
  np.testing.assert_allclose(got[rows], expected, atol=1e-5)


@pytest.mark.parametrize(("batch_tokens", "max_shapes"), [(1, 8), (300, 3)])
def test_beliefs_do_not_depend_on_the_batches(tmp_path, batch_tokens, max_shapes):
  made = [Case(byte_level_bpe()),
          Case(byte_level_bpe(), batch_tokens=batch_tokens, max_shapes=max_shapes)]
  assert len(made[0].plan.batches) < len(made[1].plan.batches)
  (a, *_), (b, *_) = (_scored(c, tmp_path / str(n)) for n, c in enumerate(made))
  np.testing.assert_allclose(a, b, atol=1e-5)  # the rows' order does not depend on them either


def test_a_stopped_run_continues_to_the_same_bits(tmp_path):
  case = Case(byte_level_bpe(), batch_tokens=300, max_shapes=3)
  expected, _, params = _scored(case, tmp_path / "whole")
  config, _ = _model(case.tokenizer)
  batch_fn = scoring.view_rows_scorer(
      scoring.rows_scorer(config, embed_mode="mean", choice_norm="token"), SYMMETRY)

  class Stop(Exception):
    pass

  def stop(rows):
    raise Stop

  score = lambda progress: language.score(
      case.plan, batch_fn, params, tmp_path / "v", "f", ids=list(PASSAGES), progress=progress)
  with pytest.raises(Stop):
    score(stop)
  store, ran = score(lambda rows: None)
  assert 0 < ran < len(expected)
  np.testing.assert_array_equal(store_lib.read(store, "log_probs"), expected)


def test_damaged_rows_are_run_again_and_whole_stores_only_read(tmp_path, caplog):
  case = Case(byte_level_bpe(), batch_tokens=300, max_shapes=3)
  expected, _, params = _scored(case, tmp_path / "v")
  config, _ = _model(case.tokenizer)
  batch_fn = scoring.view_rows_scorer(
      scoring.rows_scorer(config, embed_mode="mean", choice_norm="token"), SYMMETRY)
  score = lambda: language.score(
      case.plan, batch_fn, params, tmp_path / "v", "f", ids=list(PASSAGES))
  with locks.only_one(cache.lock_of(tmp_path / "v"), "rows"):  # reading needs no lock
    assert score()[1] == 0
    assert not caplog.records
    (tmp_path / "v" / "features" / "c" / "0" / "0").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"v is being written by process \d+ on \S+; wait until"):
      score()
  store, ran = score()
  assert ran == len(expected)  # all in one chunk
  assert [r.message.split(": ")[1] for r in caplog.records] == [
      f"1 damaged chunk (features 0), {ran} of {ran} rows lost; only what is lost is scored again"]
  np.testing.assert_array_equal(store_lib.read(store, "log_probs"), expected)
  assert score()[1] == 0
  assert [p.name for p in tmp_path.iterdir()] == ["v"]


def test_an_error_names_the_example(tmp_path):
  case = Case(byte_level_bpe())
  config, params = _model(case.tokenizer)
  only, = case.tokenizer.encode("東", add_special_tokens=False).ids[:1]  # in "foreign" alone
  config = dataclasses.replace(config, tied_embeddings=False)  # or all logits would be NaN
  params = params | {"unembed": params["embed"], "embed": params["embed"].at[only].set(np.nan)}
  batch_fn = scoring.view_rows_scorer(scoring.rows_scorer(config), SYMMETRY)
  with pytest.raises(InputError, match="of example 'foreign' is not finite"):
    language.score(case.plan, batch_fn, params, tmp_path / "v", "f", ids=list(PASSAGES))


def test_a_field_that_the_data_lacks_is_refused():
  with pytest.raises(InputError, match="names the field 'title'"):
    language.prepare(EXAMPLES, None, template="{passage} {title}:", evidence="passage",
                     choices=[" a", " b"], max_tokens=9)


PAIRS = [
    Example(f"{n}", {"passage": f"Fact {n} is odd. More of it.", "question": QUESTION,
                     "others": ["It is odd.", "No. Yes. It is so."][: n % 3]}, n % 2, f"{n}")
    for n in range(5)
]


def test_wordings_shots_and_a_chat_come_together():
  around = ("<user>", "<end>\n<model>")
  prepared = language.prepare(
      PAIRS, byte_level_bpe(), template=[TEMPLATE, "{question}? {passage} So:"], evidence="passage",
      choices=[" no", " yes"], max_tokens=512, paraphrases="others", shots=2, demonstrations=PAIRS,
      around=around)
  assert [len(t.texts) for t in prepared.tokenized] == [2, 4, 6, 2, 4]
  assert prepared.counts["tokenized_as_whole_texts"] == 0
  xs = prompts.stack([t.prompt for t in prepared.tokenized])
  np.testing.assert_allclose(np.exp(xs.log_weights).sum(1), 1.0, rtol=1e-6)
  symmetry = chain(paraphrase(), segment_order())
  elements = jax.vmap(symmetry.sample)(jax.random.split(jax.random.key(0), 5), xs)
  tokens, lengths = jax.vmap(lambda e, x: prompts.pack(symmetry.act(e, x)))(elements, xs)
  for row, length in zip(np.asarray(tokens), lengths, strict=True):
    text = byte_level_bpe().decode(row[:length].tolist())
    assert text.startswith("<user>") and text.endswith(("<model>Answer:", "<model>So:"))
    assert text.count("\n\n") == 2


def test_templates_with_nothing_that_moves_are_refused():
  with pytest.raises(InputError, match="holds nothing that can move"):
    language.prepare(EXAMPLES, None, template="{question}\nA:", evidence="passage",
                     choices=[" a", " b"], max_tokens=9)
