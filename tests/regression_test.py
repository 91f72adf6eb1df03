"""Gaps of real-valued predictions: by hand, without bias, and under an equivariance."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax import regression, transforms
from mezzanine_jax.base import Symmetry
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries import dihedral, view

VALUES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)  # of a whole orbit
CANONICAL = VALUES[0]


def by_hand(values, canonical):
  """The three figures of a whole orbit, over all pairs."""
  pairs = [((a - b) ** 2).sum() for a in values for b in values]
  mean = values.mean(0)
  return np.mean(pairs), ((values - mean) ** 2).sum(1).mean(), ((canonical - mean) ** 2).sum()


def uniform(num):
  return jnp.full(num, -jnp.log(num))


def test_an_exact_orbit_is_the_sum_over_all_pairs():
  found = regression.estimate(VALUES, uniform(6), 6.0, CANONICAL)
  np.testing.assert_allclose(found, by_hand(VALUES, CANONICAL), rtol=1e-5)
  padded = np.concatenate([VALUES, np.full((2, 3), 1e3, np.float32)])
  weights = jnp.concatenate([uniform(6), jnp.full(2, -jnp.inf)])
  np.testing.assert_allclose(regression.estimate(padded, weights, 6.0, CANONICAL), found, rtol=1e-6)


def test_draws_estimate_the_orbits_figures_without_bias():
  exact = by_hand(VALUES, CANONICAL)
  subsets = np.array(list(itertools.combinations(range(6), 3)))
  tuples = np.array(list(itertools.product(range(6), repeat=3)))
  for drawn, size in ((subsets, 6.0), (tuples, jnp.inf)):  # every possible draw, once
    every = jax.vmap(regression.estimate, (0, None, None, None))(
        VALUES[drawn], uniform(3), size, CANONICAL)
    np.testing.assert_allclose([a.mean() for a in every], exact, rtol=1e-4)
  assert np.isnan(regression.estimate(VALUES[:1], uniform(1), 6.0, CANONICAL).variance)


def test_the_transformations_agree_with_the_whole_orbit():
  image = np.random.default_rng(1).random((3, 3)).astype(np.float32)
  symmetry = dihedral()
  predict = lambda w, x: w * x[0, :2]
  views = symmetry.orbit(image, 8)
  whole = transforms.view_log_probs(predict, symmetry)(2.0, views, image)
  exact = regression.estimate(whole, views.log_weights, views.orbit_size, predict(2.0, image))
  key = jax.random.key(0)
  gap = jax.jit(regression.warrant_gap(predict, symmetry, 4000))(2.0, key, image)
  np.testing.assert_allclose(gap, exact, rtol=0.1)
  teacher = jax.jit(regression.marginalize(predict, symmetry, 4000))(2.0, key, image)
  np.testing.assert_allclose(teacher, np.mean(whole, 0), atol=0.05)
  # Squared units: the gradient of the gap of w f is twice the gap over w.
  slope = jax.grad(lambda w: regression.warrant_gap(predict, symmetry, 50)(w, key, image)[0])(2.0)
  own = regression.warrant_gap(predict, symmetry, 50)(2.0, key, image).pairwise_square
  np.testing.assert_allclose(slope, own, rtol=1e-4)


def test_an_equivariant_prediction_has_no_gap_once_it_is_aligned():
  turn = Symmetry(  # of points in the plane; what is predicted turns with them
      identity=lambda x: jnp.float32(0),
      sample=lambda key, x: jax.random.uniform(key, (), maxval=6.28),
      act=lambda angle, x: x @ _matrix(angle).T,
      align=lambda angle, prediction: prediction @ _matrix(angle))
  points = jax.random.normal(jax.random.key(1), (5, 2))
  predict = lambda params, x: x.mean(0)
  key = jax.random.key(0)
  aligned = regression.warrant_gap(predict, turn, 16)(None, key, points)
  np.testing.assert_allclose(aligned, 0, atol=1e-5)
  np.testing.assert_allclose(
      regression.marginalize(predict, turn, 16)(None, key, points), points.mean(0), atol=1e-5)
  raw = regression.warrant_gap(predict, turn._replace(align=lambda a, p: p), 16)(None, key, points)
  assert raw.pairwise_square > 0.1


def _matrix(angle):
  return jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])


def test_numbers_and_fields_are_predictions_too():
  image = jax.random.uniform(jax.random.key(2), (4, 4))
  for predict in (lambda params, x: x.mean(), lambda params, x: x):
    teacher = regression.marginalize(predict, view(), 3)(None, jax.random.key(0), image)
    assert teacher.shape == predict(None, image).shape
    gap = regression.warrant_gap(predict, view(), 3)(None, jax.random.key(0), image)
    assert gap.pairwise_square > 0 and gap.pairwise_square == 2 * gap.variance


def test_too_few_views_are_refused():
  with pytest.raises(InputError, match="num_views must be >= 2"):
    regression.warrant_gap(lambda p, x: x, view(), 1)
  with pytest.raises(InputError, match="num_views must be >= 1"):
    regression.marginalize(lambda p, x: x, view(), 0)
