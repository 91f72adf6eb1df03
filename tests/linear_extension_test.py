"""Linear extensions against all permutations; the chain against its bound and uniformity."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mezzanine_jax.symmetries import linear_extension as lib

# 0 < 1 < 2 beside 3 < 4: ten orders.
TWO_CHAINS = np.zeros((5, 5), bool)
TWO_CHAINS[[0, 1, 3], [1, 2, 4]] = True


def _random_order(seed, n, share=0.3):
  return np.triu(np.random.default_rng(seed).random((n, n)) < share, 1)


def _filtered(before):
  """All linear extensions: the permutations that break nothing."""
  pairs = list(zip(*np.nonzero(before), strict=True))
  return [p for p in itertools.permutations(range(len(before)))
          if all(p.index(i) < p.index(j) for i, j in pairs)]


def _drawn(before, number, draws, seed=0):
  keys = jax.random.split(jax.random.key(seed), draws)
  return np.asarray(jax.jit(jax.vmap(lib.draw, (0, None, None)))(keys, before, number))


def _p_value(orders, every):
  """Of the chi-square test that every order is as likely as any other."""
  counts = np.array([(orders == own).all(1).sum() for own in every])
  assert counts.sum() == len(orders)  # nothing else was drawn
  return stats.chisquare(counts).pvalue


@pytest.mark.parametrize("seed", range(6))
def test_all_are_counted_and_listed(seed):
  before = _random_order(seed, n=2 + seed % 5)
  every = _filtered(before)
  assert lib.count(before) == len(every)
  assert lib.extensions(before, len(every)).tolist() == [list(p) for p in every]
  assert lib.extensions(before, len(every) - 1) is None
  assert lib.nth(before, len(every) - 1) == list(every[-1])


def test_large_orders_are_counted_while_their_down_sets_are_few():
  chains = np.zeros((40, 40), bool)
  chains[range(0, 38), range(2, 40)] = True  # the odd ones and the even ones: 21 x 21 down-sets
  assert lib.count(chains) == math.comb(40, 20)
  assert lib.count(np.zeros((10, 10), bool)) == math.factorial(10)
  assert lib.count(np.zeros((15, 15), bool)) == math.inf
  assert lib.extensions(np.zeros((15, 15), bool), 10**6) is None
  assert lib.count(np.zeros((0, 0))) == 1 and lib.extensions(np.zeros((0, 0)), 1).shape == (1, 0)


def test_draws_are_uniform():
  every = _filtered(TWO_CHAINS)
  assert _p_value(_drawn(TWO_CHAINS, 5, 4000), every) > 0.01
  fork = np.zeros((4, 4), bool)  # 0 < 1, 0 < 2, and 3 alone: 8 orders
  fork[0, 1:3] = True
  assert _p_value(_drawn(fork, 4, 4000), _filtered(fork)) > 0.01


def test_a_random_topological_sort_would_not_be():
  """What the chain is not: any thing whose predecessors stand already, place by place."""
  rng, orders = np.random.default_rng(0), []
  for _ in range(4000):
    order = []
    while len(order) < 5:
      left = [j for j in range(5) if j not in order]
      order.append(rng.choice([j for j in left if not TWO_CHAINS[left, j].any()]))
    orders.append(order)
  assert _p_value(np.array(orders), _filtered(TWO_CHAINS)) < 1e-6


@pytest.mark.parametrize("before", [
    np.zeros((4, 4), bool), TWO_CHAINS, _random_order(3, 5), np.eye(5, k=3, dtype=bool)])
def test_so_many_rounds_bring_any_start_as_near_as_promised(before):
  """The chain's whole transition matrix, by hand."""
  n, every = len(before), _filtered(before)
  number = {p: m for m, p in enumerate(every)}
  one = np.zeros((len(every), len(every)))
  for p, m in number.items():
    for at in range(1, n):
      swapped = (*p[: at - 1], p[at], p[at - 1], *p[at + 1 :])
      share = at * (n - at) / ((n**3 - n) / 6)
      one[m, m] += share / 2
      one[m, number.get(swapped, m)] += share / 2
  np.testing.assert_allclose(one.sum(1), 1)
  for distance in (0.3, 0.01, 1e-4):
    after = np.linalg.matrix_power(one, lib.rounds(n, distance))
    assert np.abs(after - 1 / len(every)).sum(1).max() / 2 <= distance


def test_padding_changes_no_draw_and_stays():
  plain = _drawn(TWO_CHAINS, 5, 50)
  padded = _drawn(np.pad(TWO_CHAINS, (0, 4)), 5, 50)
  np.testing.assert_array_equal(padded[:, :5], plain)
  np.testing.assert_array_equal(padded[:, 5:], np.tile(range(5, 9), (50, 1)))
  assert len({tuple(p) for p in plain.tolist()}) > 5
  np.testing.assert_array_equal(lib.draw(jax.random.key(0), jnp.zeros((1, 1), bool), 1), [0])
