"""Laws that every symmetry obeys, each family by the laws it claims."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_prompt

from mezzanine_jax import transforms
from mezzanine_jax.base import Symmetry
from mezzanine_jax.prompts import pack
from mezzanine_jax.symmetries import chain, segment_order


def _flip() -> Symmetry:
  """A reader's own symmetry with nothing but the three functions."""
  return Symmetry(
      identity=lambda x: jnp.array(False),
      sample=lambda key, x: jax.random.bernoulli(key),
      act=lambda element, x: jnp.where(element, x[::-1], x),
  )


def _roll() -> Symmetry:
  """An equivariance: the input and the prediction turn together."""
  return Symmetry(
      identity=lambda x: jnp.array(0),
      sample=lambda key, x: jax.random.randint(key, (), 0, x.shape[0]),
      act=lambda element, x: jnp.roll(x, element),
      align=lambda element, prediction: jnp.roll(prediction, -element),
  )


PROMPT = random_prompt(np.random.default_rng(0), sentences=4)
CASES = {
    "segment_order": (segment_order(), PROMPT),
    "segment_order, keep_first": (segment_order(keep_first=1), PROMPT),
    "chain of two orders": (chain(segment_order(keep_first=2), segment_order()), PROMPT),
    "own flip": (_flip(), jnp.arange(5.0)),
    "own roll": (_roll(), jnp.arange(5.0)),
    "chain of own": (chain(_roll(), _flip()), jnp.arange(5.0)),
}
FINITE_GROUPS = ["segment_order", "segment_order, keep_first"]


@pytest.fixture(params=CASES)
def case(request):
  return CASES[request.param]


def _same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def _content(x):
  """What must be preserved: the multiset of the tokens, or of the values."""
  return np.sort(np.asarray(pack(x)[0] if hasattr(x, "starts") else x))


def test_identity_acts_trivially(case):
  symmetry, x = case
  _same(symmetry.act(symmetry.identity(x), x), x)


def test_identity_aligns_trivially(case):
  symmetry, x = case
  prediction = jnp.arange(5.0)
  _same(symmetry.align(symmetry.identity(x), prediction), prediction)


def test_content_is_preserved(case):
  symmetry, x = case
  for seed in range(8):
    element = symmetry.sample(jax.random.key(seed), x)
    _same(_content(symmetry.act(element, x)), _content(x))


def test_shapes_are_kept(case):
  symmetry, x = case
  acted = symmetry.act(symmetry.sample(jax.random.key(0), x), x)
  assert jax.tree.map(jnp.shape, acted) == jax.tree.map(jnp.shape, x)


def test_jit_equals_plain(case):
  symmetry, x = case
  key = jax.random.key(3)
  element = symmetry.sample(key, x)
  _same(jax.jit(symmetry.sample)(key, x), element)
  _same(jax.jit(symmetry.act)(element, x), symmetry.act(element, x))
  prediction = jnp.arange(5.0)
  _same(jax.jit(symmetry.align)(element, prediction), symmetry.align(element, prediction))


def test_an_invariant_predictor_has_no_gap(case):
  symmetry, x = case
  predict = lambda params, x: jnp.log(jnp.full(5, 0.2))
  gap = transforms.warrant_gap(predict, symmetry, 6)(None, jax.random.key(0), x)
  np.testing.assert_allclose(np.array(gap), 0.0, atol=1e-6)


def test_samples_are_of_the_identitys_type(case):
  symmetry, x = case
  kind = lambda element: jax.tree.map(lambda a: (jnp.shape(a), jnp.asarray(a).dtype), element)
  assert kind(symmetry.sample(jax.random.key(0), x)) == kind(symmetry.identity(x))


def test_an_equivariant_predictor_has_no_gap_after_align():
  predict = lambda params, x: jax.nn.log_softmax(x)
  symmetry, x = CASES["own roll"]
  gap = transforms.warrant_gap(predict, symmetry, 6)(None, jax.random.key(0), x)
  np.testing.assert_allclose(gap.pairwise_tv, 0.0, atol=1e-6)
  unaligned = symmetry._replace(align=lambda element, prediction: prediction)
  moved = transforms.warrant_gap(predict, unaligned, 6)(None, jax.random.key(0), x)
  assert moved.pairwise_tv > 0.1


@pytest.mark.parametrize("name", FINITE_GROUPS)
def test_the_orbit_is_closed(name):
  symmetry, x = CASES[name]
  views = symmetry.orbit(x, 24)
  members = {tuple(e.tolist()) for e in views.elements}
  assert len(members) == len(views.elements) == symmetry.orbit_size(x)
  assert tuple(symmetry.identity(x).tolist()) in members
  for a in views.elements:
    for b in views.elements:
      # Acting with a and then b is acting with one member: the composition of the two.
      assert tuple(a[b].tolist()) in members
  np.testing.assert_allclose(np.exp(views.log_weights).sum(), 1.0, rtol=1e-6)


@pytest.mark.parametrize("name", FINITE_GROUPS)
def test_samples_are_uniform_over_the_orbit(name):
  symmetry, x = CASES[name]
  members = [tuple(e.tolist()) for e in symmetry.orbit(x, 24).elements]
  draws = 200 * len(members)
  keys = jax.random.split(jax.random.key(0), draws)
  sampled = np.asarray(jax.jit(jax.vmap(symmetry.sample, (0, None)))(keys, x))
  counts = np.array([(sampled == np.array(m)).all(1).sum() for m in members])
  assert counts.sum() == draws  # nothing outside the orbit
  chi_square = ((counts - 200) ** 2 / 200).sum()
  degrees = len(members) - 1
  assert abs(chi_square - degrees) < 4 * math.sqrt(2 * degrees)


@pytest.mark.parametrize("keep_first", [0, 1, 3])
def test_immovable_segments_stay(keep_first):
  symmetry = segment_order(keep_first=keep_first)
  fixed = [0, *range(1, 1 + keep_first), 5]
  for seed in range(10):
    order = symmetry.sample(jax.random.key(seed), PROMPT)
    np.testing.assert_array_equal(order[jnp.array(fixed)], fixed)


def test_an_orbit_over_the_limit_is_none():
  symmetry, x = CASES["segment_order"]
  assert symmetry.orbit(x, 23) is None and symmetry.orbit_size(x) == 24
  assert CASES["own flip"][0].orbit(jnp.arange(3.0), 10) is None


def test_chain_samples_on_the_acted_input_and_aligns_in_reverse():
  seen = []

  def part(name, shift):
    def sample(key, x):
      seen.append((name, x.tolist()))
      return jnp.array(shift)

    return Symmetry(
        identity=lambda x: jnp.array(0),
        sample=sample,
        act=lambda e, x: x * 2 + e,
        align=lambda e, p: (p - e) / 2,
    )

  both = chain(part("a", 1), part("b", 3))
  x = jnp.array([1.0])
  element = both.sample(jax.random.key(0), x)
  assert seen == [("a", [1.0]), ("b", [3.0])]
  acted = both.act(element, x)
  assert acted.tolist() == [9.0]
  assert both.align(element, acted).tolist() == [1.0]


def test_chained_orbits_multiply():
  prompt = PROMPT._replace(group=np.array([0, 1, 1, 2, 2, 0]))
  both = chain(segment_order(), segment_order(group=2))
  views = both.orbit(prompt, 10)
  assert both.orbit_size(prompt) == 4 and views.log_weights.shape == (4,)
  tokens = {tuple(pack(both.act(e, prompt))[0].tolist()) for e in zip(*views.elements, strict=True)}
  assert len(tokens) == 4
  np.testing.assert_allclose(np.exp(views.log_weights), 0.25, rtol=1e-6)
  assert both.orbit(prompt, 3) is None
