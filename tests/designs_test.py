"""Designs: exact orbits, draws without repeats, balanced and independent ones; determinism."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from tiny import random_prompt

from mezzanine_jax import designs
from mezzanine_jax.base import Symmetry, Views
from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import make_prompt, stack
from mezzanine_jax.symmetries import chain, option_order, segment_order
from mezzanine_jax.transforms import views

LENGTH = 6


def _sample(key, x):
  """A uniform order of the first x entries of LENGTH."""
  places = jnp.arange(LENGTH)
  rank = jnp.where(places < x, jax.random.uniform(key, (LENGTH,)), places)
  return jnp.argsort(rank).astype(jnp.int32)


def _orbit(x, limit):
  if math.factorial(int(x)) > limit:
    return None
  orders = [[*p, *range(int(x), LENGTH)] for p in itertools.permutations(range(int(x)))]
  return Views(np.array(orders), np.full(len(orders), -math.log(len(orders))), len(orders))


ORDERS = Symmetry(
    identity=lambda x: jnp.arange(LENGTH), sample=_sample, act=lambda e, x: x, orbit=_orbit,
    orbit_size=lambda x: math.factorial(int(x)),
)


def design(symmetry, xs, num_views, seed=0, ids=None):
  ids = [f"example {n}" for n in range(len(xs))] if ids is None else ids
  keys = designs.example_keys(jax.random.key(seed), ids)
  return designs.design_views(symmetry, np.asarray(xs), keys, num_views)


def test_example_keys_are_folded_from_the_id_alone():
  key = jax.random.key(0)
  keys = designs.example_keys(key, ["a", "b", "ä"])
  # The first four bytes of sha256("a"), little end first: ca 97 81 12.
  assert keys[0] == jax.random.fold_in(key, 0x128197CA)
  assert (designs.example_keys(key, ["ä", "a"]) == keys[jnp.array([2, 0])]).all()
  assert len(np.unique(jax.random.key_data(keys), axis=0)) == 3


def test_small_orbits_are_exact_and_padded_with_copies():
  drawn = design(ORDERS, [1, 2, 3], 8)
  np.testing.assert_array_equal(drawn.orbit_size, [1, 2, 6])
  assert drawn.log_weights.dtype == drawn.orbit_size.dtype == np.float32
  for n, size in enumerate([1, 2, 6]):
    exact = _orbit(n + 1, 8).elements
    np.testing.assert_array_equal(drawn.elements[n, :size], exact)
    np.testing.assert_array_equal(drawn.elements[n, size:], np.tile(exact[0], (8 - size, 1)))
    np.testing.assert_allclose(np.exp(drawn.log_weights[n, :size]), 1 / size, rtol=1e-6)
    assert (drawn.log_weights[n, size:] == -np.inf).all()


@pytest.mark.parametrize("num_views", [5, 20])
def test_larger_orbits_are_the_first_distinct_draws(num_views):
  drawn = design(ORDERS, [4, 5, 4], num_views)
  np.testing.assert_array_equal(drawn.orbit_size, [24, 120, 24])
  np.testing.assert_allclose(np.exp(drawn.log_weights), 1 / num_views, rtol=1e-6)
  keys = designs.example_keys(jax.random.key(0), [f"example {n}" for n in range(3)])
  draw = jax.jit(lambda key, k, x: _sample(jax.random.fold_in(key, k), x))
  for n, x in enumerate([4, 5, 4]):
    expected, k = [], 0
    while len(expected) < num_views:
      element = draw(keys[n], k, x).tolist()
      k += 1
      if element not in expected:
        expected.append(element)
    assert drawn.elements[n].tolist() == expected


def test_an_example_does_not_depend_on_the_set(monkeypatch):
  monkeypatch.setattr(designs, "_MAX_CHUNK", 4)
  xs, ids = [2, 4, 5, 4, 6, 4, 1, 4, 5], [f"name {n}" for n in range(9)]
  whole = design(ORDERS, xs, 20, ids=ids)
  for chosen in ([3], [8, 0, 4, 6, 1, 2]):
    part = design(ORDERS, [xs[n] for n in chosen], 20, ids=[ids[n] for n in chosen])
    for a, b in zip(jax.tree.leaves(part), jax.tree.leaves(whole), strict=True):
      np.testing.assert_array_equal(a, b[chosen])


def test_every_subset_is_equally_likely():
  drawn = design(ORDERS, np.full(3000, 3), 2)
  pairs, counts = np.unique(drawn.elements.reshape(3000, -1), axis=0, return_counts=True)
  assert len(pairs) == 6 * 5
  assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_endless_families_keep_repeats():
  coin = Symmetry(
      identity=lambda x: {"side": jnp.array(False), "size": jnp.zeros(2)},
      sample=lambda key, x: {"side": jax.random.bernoulli(key), "size": jnp.zeros(2) + x},
      act=lambda e, x: x,
  )
  drawn = design(coin, [0.0, 1.0, 2.0], 8)
  assert drawn.elements["side"].shape == (3, 8) and drawn.elements["size"].shape == (3, 8, 2)
  assert (drawn.orbit_size == np.inf).all()
  np.testing.assert_allclose(np.exp(drawn.log_weights), 1 / 8, rtol=1e-6)
  keys = designs.example_keys(jax.random.key(0), [f"example {n}" for n in range(3)])
  independent = jax.vmap(views(coin, 8))(keys, jnp.arange(3.0))
  for a, b in zip(jax.tree.leaves(drawn), jax.tree.leaves(independent), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_weighted_set_keeps_its_weights():
  weights = np.array([0.5, 0.2, 0.3])
  one_of_three = Symmetry(
      identity=lambda x: jnp.array(0), act=lambda e, x: x,
      sample=lambda key, x: jax.random.choice(key, 3, p=jnp.array(weights)),
      orbit=lambda x, limit: Views(np.arange(3), np.log(weights), 3.0) if limit > 2 else None,
  )
  exact, drawn = design(one_of_three, [0.0], 4), design(one_of_three, [0.0], 2)
  assert exact.orbit_size == 3 and drawn.orbit_size == np.inf
  np.testing.assert_allclose(np.exp(exact.log_weights), [[0.5, 0.2, 0.3, 0.0]], rtol=1e-6)


def test_a_small_orbit_that_is_not_listed_is_drawn_whole():
  unlisted = ORDERS._replace(orbit=lambda x, limit: None)
  drawn = design(unlisted, [3, 1, 2], 20)
  assert len({tuple(e) for e in drawn.elements[0, :6].tolist()}) == 6
  assert (drawn.elements[:, 6:] == drawn.elements[:, :1]).all()
  np.testing.assert_allclose(np.exp(drawn.log_weights[0]), [1 / 6] * 6 + [0] * 14, rtol=1e-6)
  np.testing.assert_array_equal(drawn.orbit_size, [6, 1, 2])


def test_an_orbit_beyond_float32_counts_as_independent():
  huge = ORDERS._replace(orbit_size=lambda x: 1e40)
  assert (design(huge, [6, 6, 6], 5).orbit_size == np.inf).all()


def test_bad_input():
  with pytest.raises(InputError, match="num_views must be >= 1, got 0"):
    design(ORDERS, [3], 0)
  with pytest.raises(InputError, match="one key an example, got 2 for 1"):
    design(ORDERS, [3], 2, ids=["a", "b"])
  boastful = ORDERS._replace(orbit_size=lambda x: 7.0)
  with pytest.raises(InputError, match="orbit_size is 7 for example 1, .* only 2 distinct"):
    design(boastful, [4, 2, 4], 5)


PROMPT = random_prompt(np.random.default_rng(0), sentences=5)
LONGER = random_prompt(np.random.default_rng(1), sentences=7)


def _balanced(xs, num_views, how="balanced", symmetry=None, ids=("a", "b", "c")):
  keys = designs.example_keys(jax.random.key(0), ids[: len(xs)])
  symmetry = segment_order() if symmetry is None else symmetry
  return designs.design_views(symmetry, stack(xs), keys, num_views, how)


@pytest.mark.parametrize("how", ["balanced", "auto"])
def test_balanced_views_are_orders_of_whole_blocks(how):
  drawn = _balanced([PROMPT, LONGER], 24, how)
  assert drawn.orbit_size.tolist() == [120, 5040]
  np.testing.assert_allclose(np.exp(drawn.log_weights), 1 / 24, rtol=1e-6)
  for n, (count, rows) in enumerate([(5, 10), (7, 14)]):
    orders = drawn.elements[n]
    assert len(np.unique(orders, axis=0)) == 24
    assert (orders[:, 0] == 0).all() and (orders[:, count + 1] == count + 1).all()  # they stay
    for start in range(0, 24 - rows + 1, rows):
      for place in orders[start : start + rows, 1 : count + 1].T:
        assert np.bincount(place)[1 : count + 1].tolist() == [rows // count] * count


def test_balanced_views_depend_on_the_key_alone():
  alone = _balanced([PROMPT], 7)
  beside = _balanced([PROMPT, LONGER], 7)  # padded to the longer one
  size = alone.elements.shape[-1]
  np.testing.assert_array_equal(beside.elements[0, :, :size], alone.elements[0])
  np.testing.assert_array_equal(
      _balanced([LONGER, PROMPT], 7, ids=("b", "a")).elements[1], beside.elements[0])
  assert (_balanced([PROMPT], 7, ids=("b",)).elements != alone.elements).any()


def test_two_balanced_views_are_an_order_and_its_reverse():
  pair = _balanced([LONGER], 2).elements[0, :, 1:8]
  np.testing.assert_array_equal(pair[0], pair[1, ::-1])


@pytest.mark.parametrize("how", ["auto", "balanced", "exact", "distinct"])
def test_small_orbits_are_exact_in_every_design_but_independent_draws(how):
  exact, drawn = _balanced([PROMPT], 120), _balanced([PROMPT], 120, how)
  jax.tree.map(np.testing.assert_array_equal, exact, drawn)
  assert len(np.unique(drawn.elements[0], axis=0)) == 120


def test_independent_draws_keep_repeats_and_still_inputs_stay():
  drawn = _balanced([PROMPT, random_prompt(np.random.default_rng(0), sentences=1)], 130, "iid")
  assert drawn.orbit_size.tolist() == [np.inf, 1]
  assert np.isfinite(drawn.log_weights).sum(1).tolist() == [130, 1]
  assert len(np.unique(drawn.elements[0], axis=0)) < 120
  draws, distinct = drawn.elements[0].tolist(), []
  for order in draws:
    distinct += [order] if order not in distinct else []
  assert distinct[:8] == _balanced([PROMPT], 8, "distinct").elements[0].tolist()


def test_balanced_options_stand_under_every_label_equally_often():
  segments = [[9], *([s] for n in range(4) for s in (1, 10 + n))]
  x = make_prompt(segments, [0, *[0, 2] * 4], [[7]] * 4, [1] * 4)
  drawn = _balanced([x], 8, symmetry=option_order()).elements[0]
  for label in drawn.T:
    assert np.bincount(label).tolist() == [2] * 4


def test_without_orders_auto_draws_distinct_and_balanced_is_refused():
  both = chain(segment_order(), segment_order())
  auto, distinct = (_balanced([LONGER], 4, how, both) for how in ("auto", "distinct"))
  jax.tree.map(np.testing.assert_array_equal, auto, distinct)
  with pytest.raises(InputError, match="'balanced' needs one family of orders .* give design"):
    _balanced([LONGER], 4, symmetry=both)
  small = _balanced([make_prompt([[1], [2]], [0, 1], [[7]], [1])], 4, symmetry=both)
  assert small.orbit_size == 1  # the whole orbit needs no design


def test_an_exact_design_needs_room():
  with pytest.raises(InputError, match="1 of 2 examples have more than 120 views, up to 5040"):
    _balanced([PROMPT, LONGER], 120, "exact")
  with pytest.raises(InputError, match="design must be one of auto, .*, got 'latin'"):
    _balanced([PROMPT], 4, "latin")
