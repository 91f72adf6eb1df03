"""Choices and features of one pass: against plain passes, padding, batch mates, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax import packing, prompts, scoring
from mezzanine_jax.base import Symmetry
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.transformer import (
    Transformer,
    TransformerConfig,
    init_params,
    one_row,
    unembed,
)
from mezzanine_jax.symmetries import segment_order

CONFIG = TransformerConfig(
    vocab_size=64, width=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, mlp_width=48,
    max_positions=64, rope_frequencies=(1.0, 0.3, 0.1, 0.03))
SEGMENTS = [[5, 9], [11, 12, 13], [21], [33, 34], [41, 42, 43]]
GROUP = [0, 1, 1, 1, 0]
CHOICES = [[50], [51, 52], [53, 3, 7]]
PROMPT = prompts.make_prompt(SEGMENTS, GROUP, CHOICES, [3, 5, 11])
# Each layer, mode and norm at least once; two layers, so that -2 is layer 1.
CASES = [
    (0, "mean_std", "none"), (1, "last", "token"), (1, "mean", "none"), (-1, "last", "char"),
    (-1, "mean_std", "none"), (-2, "mean", "token"),
]


@pytest.fixture(scope="module")
def params():
  # Far from the small random numbers of a beginning, so that context and choices matter.
  made = init_params(CONFIG, jax.random.key(0))
  return jax.tree.map(lambda a: a * 10 if a.ndim > 1 else a, made)


@pytest.fixture(scope="module")
def scores(params):
  """Scores of `PROMPT` in every case: one program."""

  @jax.jit
  def every(params, prompt):
    return [
        scoring.scorer(CONFIG, embed_layer=layer, embed_mode=mode, choice_norm=norm)(params, prompt)
        for layer, mode, norm in CASES
    ]

  return dict(zip(CASES, every(params, PROMPT), strict=True))


@pytest.fixture(scope="module")
def plain(params):
  """`plain(ids) -> (hidden states of every layer, logits)` of one ordinary text."""

  @jax.jit
  def run(tokens):
    states = Transformer(CONFIG).apply(
        {"params": params}, one_row(tokens, jnp.arange(tokens.size)), layers=(0, 1, 2))
    return states, unembed(CONFIG, params, states[-1])

  def call(ids):
    # No token sees what comes behind it; a fixed length is one program for all texts.
    states, logits = run(jnp.array(ids + [0] * (16 - len(ids))))
    return [np.asarray(s)[: len(ids)] for s in states], np.asarray(logits)[: len(ids)]

  return call


def _log_softmax(logits):
  return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def _text(order=range(5)):
  return [token for s in order for token in SEGMENTS[s]]


def _one_at_a_time(plain, prompt_ids):
  """Each choice behind the prompt, as a text of its own."""
  sums = []
  for choice in CHOICES:
    ids = prompt_ids + choice
    _, logits = plain(ids)
    places = range(len(prompt_ids), len(ids))
    sums.append(sum(_log_softmax(logits[t - 1])[ids[t]] for t in places))
  return np.array(sums)


@pytest.mark.parametrize("case", CASES)
def test_choices_equal_one_plain_pass_each(scores, plain, case):
  expected = _one_at_a_time(plain, _text())
  assert np.ptp(expected) > 1  # the choices are told apart
  got, norm = scores[case], case[2]
  np.testing.assert_allclose(got.choice_log_probs, expected, atol=1e-5)
  np.testing.assert_allclose(got.choice_mass, np.exp(expected).sum(), atol=1e-6)
  divisor = {"none": [1, 1, 1], "token": [1, 2, 3], "char": [3, 5, 11]}[norm]
  np.testing.assert_allclose(got.log_probs, _log_softmax(expected / np.array(divisor)), atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_features_are_hidden_states_pooled_over_the_prompt_only(scores, plain, case):
  layer, mode, _ = case
  hidden = plain(_text())[0][layer]  # of the layers 0, 1, 2; -1 and -2 count from the end
  mean, std = hidden.mean(0), hidden.std(0)
  expected = {"last": hidden[-1], "mean": mean, "mean_std": np.concatenate([mean, std])}[mode]
  scale = np.abs(expected).max()  # rounding is that of the largest number in the sums
  np.testing.assert_allclose(scores[case].features, expected, atol=1e-5 + 3e-6 * scale)


def test_features_of_several_layers_stand_one_after_the_other(params, plain):
  score = jax.jit(scoring.scorer(CONFIG, embed_layer=(0, -1), embed_mode="last_mean"))
  hidden = plain(_text())[0]
  expected = np.concatenate([f for h in (hidden[0], hidden[-1]) for f in (h[-1], h.mean(0))])
  atol = 1e-5 + 3e-6 * np.abs(expected).max()
  np.testing.assert_allclose(score(params, PROMPT).features, expected, atol=atol)


def test_states_of_segments_are_means_of_their_tokens_as_they_stand(params, plain):
  score = jax.jit(scoring.scorer(CONFIG, embed_layer=(1, -1), embed_mode="segments"))
  padded = PROMPT._replace(lengths=np.append(PROMPT.lengths, 0), starts=np.append(PROMPT.starts, 0),
                           group=np.append(PROMPT.group, 0), block=np.append(PROMPT.block, 9))
  order = np.array([0, 3, 1, 2, 4, 5])
  moved = segment_order().act(order, padded)
  text = [t for s in order[:5] for t in SEGMENTS[s]]
  ends = np.cumsum([len(SEGMENTS[s]) for s in order[:5]])
  expected = []
  for states in (plain(text)[0][1], plain(text)[0][-1]):
    expected += [states[-1], states.mean(0)]
    expected += [part.mean(0) for part in np.split(states, ends)[:5]] + [np.zeros(32)]
  expected = np.concatenate(expected)
  atol = 1e-5 + 3e-6 * np.abs(expected).max()
  np.testing.assert_allclose(score(params, moved).features, expected, atol=atol)


def _same(got, expected, atol=1e-5):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), got, expected)


def test_padding_changes_nothing(params, scores):
  junk = lambda a, n, fill: np.pad(a, (0, n), constant_values=fill)
  padded = PROMPT._replace(
      tokens=junk(PROMPT.tokens, 13, 60),
      starts=junk(PROMPT.starts, 3, 0),
      lengths=junk(PROMPT.lengths, 3, 0),
      group=junk(PROMPT.group, 3, 0),
      choices=np.pad(PROMPT.choices, ((0, 0), (0, 2)), constant_values=61),
  )
  _same(jax.jit(scoring.scorer(CONFIG, embed_mode="mean_std"))(params, padded),
        scores[-1, "mean_std", "none"])


def test_batch_mates_change_nothing(params, scores):
  rng = np.random.default_rng(0)
  mates = [
      prompts.make_prompt([rng.integers(1, 64, 1 + n) for n in range(size)], [0] * size,
                          [[size], [9, 8], [7]], [1, 2, 1])
      for size in (1, 2, 4)
  ]
  batch = prompts.stack([PROMPT, *mates])
  score = jax.jit(jax.vmap(scoring.scorer(CONFIG, embed_mode="mean_std"), (None, 0)))
  together = score(params, batch)
  _same(jax.tree.map(lambda a: a[0], together), scores[-1, "mean_std", "none"])
  for n in range(4):  # each among three copies of another one
    other = [(n + 1) % 4, n, (n + 1) % 4, (n + 1) % 4]
    again = score(params, jax.tree.map(lambda a, other=other: a[np.array(other)], batch))
    _same(jax.tree.map(lambda a: a[1], again), jax.tree.map(lambda a, n=n: a[n], together))


def test_a_view_scores_as_its_text_does(params, plain):
  view = jax.jit(scoring.view_scorer(scoring.scorer(CONFIG), segment_order()))
  order = np.array([0, 3, 1, 2, 4])
  expected = _one_at_a_time(plain, _text(order))
  assert np.abs(expected - _one_at_a_time(plain, _text())).max() > 1e-2  # order matters
  got = view(params, order, PROMPT)
  np.testing.assert_allclose(got.choice_log_probs, expected, atol=1e-5)


def test_permuted_choices_are_put_back(params, scores):
  def act(order, x):
    return x._replace(choices=x.choices[order], choice_lengths=x.choice_lengths[order],
                      choice_chars=x.choice_chars[order])

  permute = Symmetry(
      identity=lambda x: jnp.arange(3), sample=lambda key, x: jax.random.permutation(key, 3),
      act=act, align=lambda order, prediction: prediction[jnp.argsort(order)])
  prompt, order = jax.tree.map(jnp.asarray, PROMPT), jnp.array([2, 0, 1])
  score = scoring.scorer(CONFIG, choice_norm="char")
  view = scoring.view_scorer(score, permute)
  got, raw = jax.jit(lambda order, x: (view(params, order, x), score(params, act(order, x))))(
      order, prompt)
  expected = scores[-1, "last", "char"]
  _same(got, expected)
  np.testing.assert_allclose(raw.log_probs, expected.log_probs[order], atol=1e-5)


def _logits_of_many_places(function, places, *args):
  """Shapes [..., V] of a function's intermediates that hold logits of `places` or more tokens."""
  found = []

  def walk(jaxpr):
    for equation in jaxpr.eqns:
      for out in equation.outvars:
        shape = out.aval.shape
        if shape[-1:] == (CONFIG.vocab_size,) and np.prod(shape[:-1]) >= places:
          found.append(shape)
      for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else [value]:
          inner = getattr(part, "jaxpr", part)  # of jit, scan, a custom derivative
          if hasattr(inner, "eqns"):
            walk(inner)

  walk(jax.make_jaxpr(function)(*args).jaxpr)
  return found


def test_logits_exist_at_the_scored_positions_only(params):
  rng = np.random.default_rng(0)
  long = prompts.make_prompt([rng.integers(1, 64, 50)], [0], CHOICES, [3, 5, 11])
  score = scoring.scorer(CONFIG)
  assert _logits_of_many_places(score, 50, params, long) == []
  # At one place after the other: the prompt's end, then two behind each of the three choices.
  assert _logits_of_many_places(score, 2, params, long) == []
  assert (1, 64) in _logits_of_many_places(score, 1, params, long)

  def wasteful(params, prompt):
    stream = one_row(jnp.asarray(prompt.tokens), jnp.arange(50))
    last, = Transformer(CONFIG).apply({"params": params}, stream)
    return unembed(CONFIG, params, last)[-1]

  assert _logits_of_many_places(wasteful, 50, params, long)  # it would be found


VIEWS = [[0, 1, 2, 3, 4], [0, 1, 3, 2, 4], [0, 2, 1, 3, 4], [0, 3, 2, 1, 4], [0, 3, 1, 2, 4]]


def _view_prompt(order, choices):
  segments, group = [SEGMENTS[s] for s in order], [GROUP[s] for s in order]
  return prompts.make_prompt(segments, group, choices, [3, 5, 11])


def _packed(some, shared=True, more_rows=0, more_tokens=0, more_length=0):
  """Prompts as `PackedRows`, in the order given, with beginnings shared or not."""
  pairs = [prompts.pack(jax.tree.map(jnp.asarray, p)) for p in some]
  tokens, lengths = np.stack([t for t, _ in pairs]), np.array([n for _, n in pairs])
  differ = tokens[1:] != tokens[:-1]
  common = np.where(differ.any(1), differ.argmax(1), tokens.shape[1])
  common = np.append(0, np.minimum(common, np.minimum(lengths[1:], lengths[:-1]))) * shared
  texts = packing.Texts(tokens, lengths, *(np.stack([getattr(p, name) for p in some]) for name in (
      "choices", "choice_lengths", "choice_chars")))
  extra = texts.choices.shape[1] * (texts.choices.shape[2] - 1)
  held = int(lengths.sum() - common.sum() + len(some) * extra)
  packed = packing.pack_rows(
      texts, common, num_tokens=held + more_tokens, num_rows=len(some) + more_rows,
      length=tokens.shape[1] + more_length)
  return packed, held


@pytest.fixture(scope="module")
def alone(params):
  """`alone(case, choices) -> Scores` of the views, one prompt at a time, no other in sight."""
  known = {}

  def call(case, choices):
    key = case, len(choices[-1])
    if key not in known:
      layer, mode, norm = case
      score = jax.jit(scoring.scorer(CONFIG, embed_layer=layer, embed_mode=mode, choice_norm=norm))
      parts = [score(params, _view_prompt(order, choices)) for order in VIEWS]
      known[key] = jax.tree.map(lambda *a: np.stack(a), *parts)
    return known[key]

  return call


@pytest.mark.parametrize("choices", [CHOICES, [[50], [51], [53]]], ids=["several", "one"])
@pytest.mark.parametrize("case", CASES)
def test_rows_score_as_each_prompt_alone(params, alone, case, choices):
  layer, mode, norm = case
  score = jax.jit(scoring.rows_scorer(
      CONFIG, embed_layer=layer, embed_mode=mode, choice_norm=norm))
  packed, held = _packed([_view_prompt(v, choices) for v in VIEWS], more_rows=2, more_tokens=5,
                         more_length=3)
  assert held < 5 * (len(_text()) + len(choices) * (len(choices[-1]) - 1))  # some are shared
  got = score(params, packed)
  assert got.log_probs.shape == (7, 3)
  expected = alone(case, choices)
  assert np.ptp(expected.log_probs[:, 0]) > 1e-2  # the views differ
  # States before the final norm reach 276 here: float32 has no 1e-5 of that, so by their size.
  size = max(1.0, np.abs(expected.features).max())
  scaled = lambda some: some._replace(features=some.features / size)
  which = np.array([0, 1, 2, 3, 4, 0, 0])  # rows that are padding are the first one again
  _same(scaled(got), scaled(jax.tree.map(lambda a: a[which], expected)))


def test_neither_mates_nor_order_nor_sharing_matter(params, alone):
  case = (-1, "mean_std", "none")
  score = jax.jit(scoring.rows_scorer(CONFIG, embed_mode="mean_std"))
  expected = alone(case, CHOICES)
  for which, shared in (([4, 2, 0, 3, 1], True), ([0, 1, 2, 3, 4], False), ([3], True),
                        ([2, 2, 1], True), ([1, 4], True)):
    packed, _ = _packed([_view_prompt(VIEWS[i], CHOICES) for i in which], shared)
    _same(score(params, packed), jax.tree.map(lambda a, which=which: a[which], expected))


def test_rows_of_a_symmetry_that_moves_choices_are_aligned(params, alone):
  align = lambda order, prediction: prediction[jnp.argsort(order)]
  permute = Symmetry(identity=None, sample=None, act=None, align=align)
  orders = np.array([[0, 1, 2], [2, 0, 1], [1, 2, 0]])
  prompt = _view_prompt(VIEWS[1], CHOICES)
  some = [prompt._replace(choices=prompt.choices[o], choice_lengths=prompt.choice_lengths[o],
                          choice_chars=prompt.choice_chars[o]) for o in orders]
  view = jax.jit(scoring.view_rows_scorer(scoring.rows_scorer(CONFIG), permute))
  got = view(params, orders, _packed(some)[0])
  expected = alone((-1, "mean_std", "none"), CHOICES)
  for field in ("choice_log_probs", "log_probs"):
    for row in getattr(got, field):
      np.testing.assert_allclose(row, getattr(expected, field)[1], atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"embed_layer": 3}, r"embed_layer must lie in -3\.\.2 .* of 2 layers .*, got 3"),
        ({"embed_layer": -4}, r"embed_layer must lie in -3\.\.2 .*, got -4"),
        ({"embed_mode": "max"},
         "embed_mode must be one of last, mean, mean_std, last_mean, segments, got 'max'"),
        ({"choice_norm": "byte"}, "choice_norm must be one of none, token, char, got 'byte'"),
    ],
)
def test_settings_that_do_not_exist_are_refused(wrong, message):
  with pytest.raises(InputError, match=message):
    scoring.scorer(CONFIG, **wrong)
  with pytest.raises(InputError, match=message):
    scoring.rows_scorer(CONFIG, **wrong)
