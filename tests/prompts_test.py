"""Prompts as arrays: packing, stacking, trimming."""

import jax
import numpy as np
import pytest
from tiny import random_prompt

from mezzanine_jax import prompts, williams
from mezzanine_jax.symmetries import paraphrase, segment_order


@pytest.mark.parametrize("seed", range(5))
def test_pack_concatenates_segments_in_their_order(seed):
  rng = np.random.default_rng(seed)
  prompt = random_prompt(rng, sentences=5, pad=3)
  order = np.concatenate([[0], 1 + rng.permutation(5), [6]])
  acted = segment_order().act(order, prompt)
  tokens, length = jax.jit(prompts.pack)(acted)
  pieces = [
      prompt.tokens[prompt.starts[s] : prompt.starts[s] + prompt.lengths[s]] for s in order
  ]
  expected = np.concatenate(pieces)
  assert int(length) == len(expected)
  np.testing.assert_array_equal(tokens[: len(expected)], expected)
  assert not np.any(tokens[len(expected) :])


@pytest.mark.parametrize("sentences", [0, 1, 2, 4, 5, 7])
@pytest.mark.parametrize("count", [2, 3, 4, 10])
def test_places_are_those_of_rows_of_a_williams_square(sentences, count):
  prompt = random_prompt(np.random.default_rng(3), sentences=sentences, pad=3)
  tokens, length = jax.tree.map(np.asarray, prompts.pack(prompt))
  found = np.asarray(jax.jit(prompts.set_places, static_argnums=1)(prompt, count))
  assert found.shape == (count, len(tokens))
  square = williams.block(sentences) if sentences > 1 else np.arange(sentences)[None]
  turns = max(len(square) // 2, 1)
  for k, places in enumerate(found):
    np.testing.assert_array_equal(np.sort(places), np.arange(len(tokens)))
    np.testing.assert_array_equal(places[length:], np.arange(length, len(tokens)))
    turn = k // 2 * turns // ((count + 1) // 2)
    own = square[2 * turn + k % 2] if sentences > 1 else square[0]
    other = segment_order().act(np.array([0, *(1 + own), sentences + 1]), prompt)
    np.testing.assert_array_equal(tokens[np.argsort(places)], prompts.pack(other)[0])
  if sentences > 1:  # of two tokens of different sentences each is the first one half of the time
    is_evidence = np.repeat(prompt.group, prompt.lengths) == prompts.EVIDENCE
    segment = np.repeat(np.arange(len(prompt.lengths)), prompt.lengths)
    pairs = segment[:, None] != segment
    pairs &= is_evidence[:, None] & is_evidence
    ahead = (found[:, :length, None] < found[:, None, :length])[:, pairs]
    assert count % 2 or (ahead.mean(0) == 0.5).all()


def test_places_of_sorted_evidence_are_one_for_all_orders():
  rng = np.random.default_rng(3)
  prompt = random_prompt(rng, sentences=5, pad=3)

  def read(order):
    own = prompts.sort_evidence(segment_order().act(order, prompt))
    return prompts.pack(own)[0], prompts.set_places(own, 4)

  orders = np.array([[0, *(1 + rng.permutation(5)), 6] for _ in range(6)])
  tokens, places = jax.vmap(read)(orders)
  np.testing.assert_array_equal(tokens, np.tile(tokens[:1], (6, 1)))
  np.testing.assert_array_equal(places, np.tile(places[:1], (6, 1, 1)))


def test_sorted_evidence_is_one_text_for_all_orders():
  rng = np.random.default_rng(3)
  prompt = random_prompt(rng, sentences=5, pad=3)
  read = jax.jit(lambda order: prompts.sort_evidence(segment_order().act(order, prompt)))
  found = []
  for _ in range(8):
    order = np.concatenate([[0], 1 + rng.permutation(5), [6]])
    own = jax.tree.map(np.asarray, read(order))
    assert sorted(zip(own.starts, own.lengths, strict=True)) == sorted(
        zip(prompt.starts, prompt.lengths, strict=True))
    assert (own.starts[0], own.starts[6]) == (prompt.starts[0], prompt.starts[6])
    found.append(tuple(np.asarray(prompts.pack(own)[0])))
  assert len(set(found)) == 1
  twice = prompts.make_prompt([[9], [5, 6], [7], [5, 6], [8]], [0, 1, 1, 1, 0], [[1]], [1])
  packed = {tuple(np.asarray(prompts.pack(prompts.sort_evidence(segment_order().act(
      np.array([0, *order, 4]), twice)))[0])) for order in ((1, 2, 3), (2, 1, 3), (3, 1, 2))}
  assert len(packed) == 1  # like sentences may stand in any order
  others = [random_prompt(np.random.default_rng(n), sentences=5) for n in range(20)]
  orders = {tuple(np.argsort(np.asarray(prompts.sort_evidence(p).starts))) for p in others}
  assert len(orders) > 10  # the texts fix the order, not the places


def test_stack_pads_and_keeps_every_prompt():
  rng = np.random.default_rng(0)
  many = [random_prompt(rng, sentences=n) for n in (0, 1, 4)]
  stacked = prompts.stack(many)
  tokens, lengths = jax.vmap(prompts.pack)(stacked)
  for n, prompt in enumerate(many):
    alone, length = prompts.pack(prompt)
    assert int(lengths[n]) == int(length)
    np.testing.assert_array_equal(tokens[n, : int(length)], alone[: int(length)])


def test_trim_cuts_padding_only():
  prompt = prompts.stack([random_prompt(np.random.default_rng(0), pad=9)])
  _, length = jax.vmap(prompts.pack)(prompt)
  short = prompts.trim(prompt, int(length[0]))
  before, after = jax.vmap(prompts.pack)(prompt)[0], jax.vmap(prompts.pack)(short)[0]
  np.testing.assert_array_equal(after[0], before[0, : int(length[0])])


def _wordings(rng, sizes):
  return prompts.make_wordings([random_prompt(rng, sentences=n) for n in sizes])


def test_wordings_are_padded_alike_and_read_as_their_current_one():
  rng = np.random.default_rng(0)
  many = [_wordings(rng, (0, 2)), _wordings(rng, (5, 1, 3))]
  stacked = prompts.stack(many)
  assert stacked.all.tokens.shape[:2] == (2, 3)
  assert jax.tree.map(np.shape, stacked.current) == jax.tree.map(
      lambda a: (a.shape[0], *a.shape[2:]), stacked.all)
  np.testing.assert_allclose(np.exp(stacked.log_weights), [[0.5, 0.5, 0], [1 / 3] * 3], rtol=1e-6)
  tokens, lengths = jax.vmap(prompts.pack)(stacked)
  for n, x in enumerate(many):
    alone, length = prompts.pack(x)
    assert int(lengths[n]) == int(length)
    np.testing.assert_array_equal(tokens[n, : int(length)], alone[: int(length)])


def test_a_trimmed_wording_is_whole_when_it_fits():
  rng = np.random.default_rng(1)
  x = prompts.stack([_wordings(rng, (6, 1))])
  short = int(x.all.lengths[0, 1].sum())
  act = jax.vmap(paraphrase().act)
  full, cut = (jax.vmap(prompts.pack)(act(np.array([1]), a)) for a in (x, prompts.trim(x, short)))
  assert cut[0].shape == (1, short) and int(cut[1][0]) == short
  np.testing.assert_array_equal(cut[0], full[0][:, :short])
