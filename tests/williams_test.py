"""Williams squares: balance, distinct orders, uniform views, pairs of an order and its reverse."""

import collections
import itertools
import math

import numpy as np
import pytest
import scipy.stats

from mezzanine_jax import williams
from mezzanine_jax.errors import InputError

SIZES = range(2, 10)


def _orders(count, size, seed=0):
  return williams.orders(np.random.default_rng(seed), count, size)


def _assert_balanced(rows):
  """Everything stands everywhere, and follows every other thing, equally often."""
  num, count = rows.shape
  for place in rows.T:
    assert np.bincount(place, minlength=count).tolist() == [num // count] * count
  followed = collections.Counter(p for row in rows.tolist() for p in itertools.pairwise(row))
  expected = {pair: num // count for pair in itertools.permutations(range(count), 2)}
  assert followed == expected


@pytest.mark.parametrize("count", SIZES)
def test_a_block_is_balanced(count):
  rows = williams.block(count)
  assert rows.shape == (count if count % 2 == 0 else 2 * count, count)
  assert len(np.unique(rows, axis=0)) == len(rows)
  _assert_balanced(rows)


@pytest.mark.parametrize("count", SIZES)
def test_whole_blocks_are_balanced_and_the_rest_are_pairs_of_one_more(count):
  rows = len(williams.block(count))
  blocks = min(2, math.factorial(count) // rows - 1)
  rest = min(5, rows - 1) if blocks or count > 2 else 0
  size = max(blocks * rows + rest, 1)
  for seed in range(20):
    drawn = _orders(count, size, seed)
    assert drawn.shape == (size, count) and len(np.unique(drawn, axis=0)) == size
    for start in range(0, blocks * rows, rows):
      _assert_balanced(drawn[start : start + rows])
    last = drawn[blocks * rows :]
    for order, reverse in zip(last[:-1:2], last[1::2], strict=False):
      np.testing.assert_array_equal(order, reverse[::-1])
    # In a square nothing stands twice in a place; reverses meet in the middle of odd n.
    ahead = last[::2]
    for place in ahead.T:
      assert np.bincount(place).max(initial=0) <= (1 if count % 2 == 0 else 2)


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_all_orders_are_whole_blocks(count):
  drawn = _orders(count, math.factorial(count))
  assert len(np.unique(drawn, axis=0)) == math.factorial(count)
  rows = len(williams.block(count))
  for start in range(0, len(drawn), rows):
    _assert_balanced(drawn[start : start + rows])


@pytest.mark.parametrize("count, size", [(3, 2), (3, 5), (4, 1), (4, 2), (4, 7), (4, 23)])
def test_every_view_is_uniform(count, size):
  draws = 200 * math.factorial(count)
  rng = np.random.default_rng(0)
  drawn = np.array([williams.orders(rng, count, size) for _ in range(draws)])
  codes = (drawn * count ** np.arange(count)).sum(-1)
  pvalues = []
  for k in range(size):
    counts = np.unique(codes[:, k], return_counts=True)[1]
    assert len(counts) == math.factorial(count)
    pvalues.append(scipy.stats.chisquare(counts).pvalue)
  assert min(pvalues) > 1e-3 / size


def test_balance_takes_out_places_and_neighbours():
  """A sum over places and neighbouring pairs has the same mean over every whole block."""
  rng = np.random.default_rng(1)
  for count in (4, 5, 6):
    place, pair = rng.normal(size=(2, count, count))

    def value(rows, place=place, pair=pair, count=count):
      return place[rows, np.arange(count)].sum(1) + pair[rows[:, :-1], rows[:, 1:]].sum(1)

    every = value(np.array(list(itertools.permutations(range(count)))))
    means = [value(_orders(count, len(williams.block(count)), s)).mean() for s in range(5)]
    np.testing.assert_allclose(means, every.mean(), rtol=1e-12)
    assert every.std() > 0.5


def test_the_same_seed_draws_the_same_and_names_may_be_given():
  np.testing.assert_array_equal(_orders(7, 20, 3), _orders(7, 20, 3))
  assert (_orders(7, 20, 3) != _orders(7, 20, 4)).any()
  turned = williams.orders(
      np.random.default_rng(0), 5, 10, lambda rng, count: np.arange(count)[::-1])
  np.testing.assert_array_equal(turned, 4 - williams.block(5))


def test_bad_input():
  with pytest.raises(InputError, match="needs 2 things or more, got 1"):
    williams.block(1)
  for size in (0, 7):
    with pytest.raises(InputError, match=f"3 things have 1 to 6 orders, got {size}"):
      _orders(3, size)
