"""Prompts as arrays: packing, stacking, trimming."""

import jax
import numpy as np
import pytest
from tiny import random_prompt

from mezzanine_jax import prompts
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


def test_a_unit_read_apart_keeps_its_positions_in_every_order():
  rng = np.random.default_rng(3)
  prompt = random_prompt(rng, sentences=4, pad=3)
  read = jax.jit(lambda order: (
      prompts.pack(segment_order().act(order, prompt)),
      prompts.apart(segment_order().act(order, prompt))))
  seen = set()
  for _ in range(6):
    order = np.concatenate([[0], 1 + rng.permutation(4), [5]])
    (tokens, length), (units, positions) = jax.tree.map(np.asarray, read(order))
    fixed = np.flatnonzero(units == 0)
    np.testing.assert_array_equal(positions[fixed], fixed)  # nothing else moved
    assert sorted(set(units[:length])) == [0, 1, 2, 3, 4] and not units[length:].any()
    seen.add(frozenset((tuple(tokens[units == u]), tuple(positions[units == u]))
                       for u in range(1, 5)))
  assert len(seen) == 1
  (first, *_), (last, *_) = (np.flatnonzero(units)[[0]], np.flatnonzero(units)[[-1]])
  for u in range(1, 5):  # half-way between the first place and the last
    own = positions[units == u]
    assert own[0] == first + (last + 1 - first - len(own)) // 2


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
