"""The laws of `laws_test` for symmetries of points and plants, and those of an equivariance."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws_test import (
    test_an_invariant_predictor_has_no_gap,
    test_identity_acts_trivially,
    test_identity_aligns_trivially,
    test_jit_equals_plain,
    test_samples_are_of_the_identitys_type,
    test_shapes_are_kept,
)

from mezzanine_jax import regression, transforms
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries import (
    chain,
    mirror,
    particle_order,
    rotation,
    translation,
)
from mezzanine_jax.worlds import lennard_jones

__all__ = [
    "test_an_invariant_predictor_has_no_gap", "test_identity_acts_trivially",
    "test_identity_aligns_trivially", "test_jit_equals_plain",
    "test_samples_are_of_the_identitys_type", "test_shapes_are_kept",
]

POINTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32) * 2
STEP = {"observation": np.arange(1.0, 5.0, dtype=np.float32), "action": np.float32([0.5])}
CASES = {
    "rotation": (rotation(), POINTS),
    "translation": (translation(2.0), POINTS),
    "particle_order": (particle_order(), POINTS),
    "chain of points": (chain(rotation(), translation(), particle_order()), POINTS),
    "mirror": (mirror((-1, 1, -1, -1), (-1,)), STEP),
}


# The chain holds the laws for its parts, too; each by itself is for the slow tier.
@pytest.fixture(params=[
    name if name in ("chain of points", "mirror") else pytest.param(name, marks=pytest.mark.slow)
    for name in CASES])
def case(request):
  return CASES[request.param]


def _drawn(name, draws):
  symmetry, x = CASES[name]
  keys = jax.random.split(jax.random.key(0), draws)
  return np.asarray(jax.jit(jax.vmap(symmetry.sample, (0, None)))(keys, x))


@pytest.mark.parametrize("name", [
    *(pytest.param(name, marks=pytest.mark.slow)
      for name in ("rotation", "translation", "particle_order")), "chain of points"])
def test_energy_is_invariant_and_forces_turn_back(name):
  symmetry, x = CASES[name]
  predict = lambda params, x: lennard_jones.answer(x)
  drawn = transforms.views(symmetry, 5)(jax.random.key(0), x)
  every = transforms.view_log_probs(predict, symmetry)(None, drawn, x)
  exact = lennard_jones.answer(x)
  np.testing.assert_allclose(every.energy, np.full(5, exact.energy), rtol=1e-3)
  scale = np.abs(exact.forces).max()
  np.testing.assert_allclose(every.forces / scale, [exact.forces / scale] * 5, atol=1e-3)
  if name != "translation":  # and would not, were they not aligned
    plain = symmetry._replace(align=lambda element, prediction: prediction)
    raw = transforms.view_log_probs(predict, plain)(None, drawn, x)
    assert np.abs(raw.forces - exact.forces).max() > 0.1 * scale


@pytest.mark.parametrize("name", ["particle_order", "mirror"])
def test_the_orbit_is_whole_and_closed(name):
  symmetry, x = CASES[name]
  size = int(symmetry.orbit_size(x))
  assert size == {"particle_order": 24, "mirror": 2}[name]
  row = lambda x: tuple(np.concatenate([np.ravel(a) for a in jax.tree.leaves(x)]).tolist())
  views = symmetry.orbit(x, size)
  members = {row(symmetry.act(element, x)) for element in views.elements}
  assert len(members) == size and row(x) in members
  assert symmetry.orbit(x, size - 1) is None
  np.testing.assert_allclose(np.exp(views.log_weights), 1 / size, rtol=1e-6)
  acted = symmetry.act(views.elements[-1], x)
  assert {row(symmetry.act(e, acted)) for e in views.elements} == members
  drawn = [tuple(np.ravel(e).tolist()) for e in _drawn(name, 200 * size)]
  counts = [drawn.count(tuple(np.ravel(e).tolist())) for e in views.elements]
  assert sum(counts) == 200 * size
  chi_square = sum((count - 200) ** 2 / 200 for count in counts)
  assert abs(chi_square - (size - 1)) < 4 * math.sqrt(2 * (size - 1))


def test_turns_are_uniform_and_keep_distances():
  symmetry, x = CASES["rotation"]
  assert symmetry.orbit_size(x) == math.inf and symmetry.orbit(x, 10**6) is None
  elements = _drawn("rotation", 4000)
  turned = np.asarray(jax.vmap(symmetry.act, (0, None))(elements, jnp.eye(3)))
  products = np.einsum("kij,klj->kil", turned, turned)
  np.testing.assert_allclose(products, np.tile(np.eye(3), (4000, 1, 1)), atol=1e-5)
  np.testing.assert_allclose(np.linalg.det(turned), 1, atol=1e-5)
  # By Haar's measure a turned axis is uniform on the sphere: means 0, mean squares 1/3.
  np.testing.assert_allclose(turned.mean(0), 0, atol=4 * math.sqrt(1 / 3 / 4000))
  np.testing.assert_allclose((turned**2).mean(0), 1 / 3, atol=4 * math.sqrt(4 / 45 / 4000))
  # The mean of the trace of R is 0, and of its square 1: the character of a vector.
  traces = turned.trace(axis1=1, axis2=2)
  assert abs(traces.mean()) < 4 / math.sqrt(4000)
  assert abs((traces**2).mean() - 1) < 4 * math.sqrt(2 / 4000)


def test_moves_fill_their_box():
  moved = _drawn("translation", 4000)
  assert -2 <= moved.min() < -1.99 and 1.99 < moved.max() <= 2
  assert np.abs(moved.mean(0)).max() < 4 * 2 / math.sqrt(3 * 4000)
  still = translation(0.0)
  np.testing.assert_array_equal(still.act(still.sample(jax.random.key(0), POINTS), POINTS), POINTS)


def test_the_mirror_has_a_gap_of_what_is_not_mirrored():
  symmetry, x = CASES["mirror"]
  views = symmetry.orbit(x, 2)
  gap = lambda predict: regression.estimate(
      transforms.view_log_probs(predict, symmetry)(None, views, x), views.log_weights, 2.0,
      predict(None, x))
  assert float(gap(lambda params, x: x["observation"]).pairwise_square) == 0
  # Of a constant 1, three numbers of four change their sign: half of the pairs differ by 3 * 2².
  assert float(gap(lambda params, x: jnp.ones(4)).pairwise_square) == 6


@pytest.mark.parametrize("make, message", [
    (lambda: rotation().identity(np.zeros((4, 2))), r"acts on points \[n, 3\], got an array"),
    (lambda: particle_order().orbit_size({"a": 1}), "got a dict"),
    (lambda: translation(-1.0), "shift must be >= 0, got -1"),
    (lambda: mirror((0, 1)), "the signs of observation must be a list of 1 and -1"),
    (lambda: mirror().identity(POINTS), "acts on an observation and an action, got a ndarray"),
    (lambda: mirror((1, -1)).identity(STEP), "has 2 signs for observation, which is of shape"),
])
def test_what_cannot_be_acted_on_is_refused(make, message):
  with pytest.raises(InputError, match=message):
    make()
