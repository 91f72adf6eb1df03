"""Designs: exact orbits, draws without repeats, independent draws, and their determinism."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from mezzanine_jax import designs
from mezzanine_jax.base import Symmetry, Views
from mezzanine_jax.errors import InputError
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
