"""Divergences: hand-computed values, SciPy, padding, gradients at probability 0."""

import jax
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
from jax.test_util import check_grads

from mezzanine_jax import divergences as dv


def random_log_probs(seed, *shape):
  logits = 2 * np.random.default_rng(seed).normal(size=shape)
  return scipy.special.log_softmax(logits, axis=-1).astype(np.float32)


def log(probs):
  with np.errstate(divide="ignore"):
    return np.log(np.asarray(probs, np.float32))


def test_hand_computed_values():
  p, q = log([0.5, 0.5, 0.0]), log([0.25, 0.25, 0.5])
  np.testing.assert_allclose(dv.tv(p, q), 0.5, atol=1e-6)
  np.testing.assert_allclose(dv.kl(p, q), np.log(2), atol=1e-6)
  np.testing.assert_allclose(dv.entropy(q), 1.5 * np.log(2), atol=1e-6)
  assert dv.kl(q, p) == np.inf
  views, weights = log(np.eye(2)), log([0.25, 0.75])
  np.testing.assert_allclose(np.exp(dv.mixture(views, weights)), [0.25, 0.75], atol=1e-6)
  # Disjoint predictions tell all about the view: JS is the entropy of the weights.
  np.testing.assert_allclose(
      dv.jensen_shannon(views, weights), scipy.stats.entropy([0.25, 0.75]), atol=1e-6
  )


def test_agrees_with_scipy():
  p, q = random_log_probs(0, 20, 5), random_log_probs(1, 20, 5)
  np.testing.assert_allclose(
      dv.kl(p, q), scipy.stats.entropy(np.exp(p), np.exp(q), axis=-1), rtol=1e-5
  )
  np.testing.assert_allclose(
      dv.entropy(p), scipy.stats.entropy(np.exp(p), axis=-1), rtol=1e-5
  )
  halves = np.full((20, 2), -np.log(2), np.float32)
  js = jax.jit(dv.jensen_shannon)(np.stack([p, q], axis=-2), halves)
  distance = scipy.spatial.distance.jensenshannon(np.exp(p), np.exp(q), axis=-1)
  np.testing.assert_allclose(js, distance**2, rtol=1e-4)


def test_leading_axes_equal_vmap():
  log_probs, weights = random_log_probs(2, 3, 2, 4, 5), random_log_probs(3, 3, 2, 4)
  for function in (dv.mixture, dv.jensen_shannon):
    mapped = jax.jit(jax.vmap(jax.vmap(function)))(log_probs, weights)
    whole = jax.jit(function)(log_probs, weights)
    np.testing.assert_allclose(whole, mapped, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("filler", [0.0, -np.inf, np.nan])
@pytest.mark.parametrize("function", [dv.mixture, dv.jensen_shannon])
def test_padding_does_not_matter(function, filler):
  log_probs, weights = random_log_probs(4, 3, 4), random_log_probs(5, 3)
  padded = np.concatenate([log_probs, np.full((2, 4), filler, np.float32)])
  padded_weights = np.append(weights, np.full(2, -np.inf, np.float32))
  total = jax.jit(jax.value_and_grad(lambda *args: function(*args).sum()))
  value, gradient = total(log_probs, weights)
  padded_value, padded_gradient = total(padded, padded_weights)
  np.testing.assert_allclose(padded_value, value, rtol=1e-6)
  np.testing.assert_allclose(padded_gradient[:3], gradient, rtol=1e-5, atol=1e-7)
  np.testing.assert_array_equal(padded_gradient[3:], 0.0)


def test_gradients_at_probability_zero_are_finite():
  p = log([[0.5, 0.5, 0.0, 0.0], [0.25, 0.0, 0.75, 0.0]])
  weights = log([0.5, 0.5])
  q = log([0.3, 0.3, 0.4, 0.0])

  @jax.jit
  def gradients(p, q):
    return (
        jax.grad(dv.entropy)(p[0]),
        jax.grad(dv.tv, argnums=(0, 1))(p[0], q),
        jax.grad(dv.kl, argnums=(0, 1))(p[0], q),
        jax.grad(dv.jensen_shannon)(p, weights),
        jax.grad(lambda p: dv.mixture(p, weights)[:3].sum())(p),
    )

  for gradient in jax.tree.leaves(gradients(p, q)):
    assert np.isfinite(gradient).all() and np.any(gradient)


def test_gradients_are_right():
  p, q, weights = random_log_probs(6, 4), random_log_probs(7, 3, 4), random_log_probs(8, 3)
  for function, args in [(dv.kl, (p, q[0])), (dv.jensen_shannon, (q, weights))]:
    check_grads(jax.jit(function), args, 1, ("rev",), 0.02, 0.02, 1e-2)
