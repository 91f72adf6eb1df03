"""Views, teacher and gap of any predict function over any pytree; nothing here is text."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from mezzanine_jax import transforms
from mezzanine_jax.base import Symmetry
from mezzanine_jax.errors import InputError


def _turn(element, x):
  turned = jnp.roll(x["signal"], element["shift"])
  return x | {"signal": jnp.where(element["mirror"], turned[::-1], turned)}


def _sample(key, x):
  a, b = jax.random.split(key)
  return {"shift": jax.random.randint(a, (), 0, 3), "mirror": jax.random.bernoulli(b)}


# The six symmetries of a triangle, on a dict, with a dict for an element.
TRIANGLE = Symmetry(
    identity=lambda x: {"shift": jnp.array(0), "mirror": jnp.array(False)},
    sample=_sample,
    act=_turn,
)
# The prediction turns with the input.
WHEEL = Symmetry(
    identity=lambda x: jnp.array(0),
    sample=lambda key, x: jax.random.randint(key, (), 0, 3),
    act=lambda element, x: x | {"signal": jnp.roll(x["signal"], element)},
    align=lambda element, prediction: jnp.roll(prediction, -element),
)
PARAMS = {"w": jnp.array([[1.0, -0.5, 0.2], [0.3, 0.8, -1.1], [-0.7, 0.4, 0.6]]),
          "b": jnp.array([0.1, -0.2, 0.0])}
X = {"signal": jnp.array([1.3, -0.4, 0.9]), "scale": jnp.array(0.7)}
KEY = jax.random.key(5)


def _predict(params, x):
  return jax.nn.log_softmax(x["scale"] * (x["signal"] @ params["w"]) + params["b"])


def _probs(signal):
  """The same prediction in NumPy."""
  logits = 0.7 * np.asarray(signal) @ np.asarray(PARAMS["w"]) + np.asarray(PARAMS["b"])
  return np.exp(logits) / np.exp(logits).sum()


def _tv(p, q):
  return 0.5 * np.abs(p - q).sum()


def _belief(shift, mirror):
  """The belief on one view, in NumPy."""
  turned = np.roll(X["signal"], shift)
  return _probs(turned[::-1] if mirror else turned)


def _beliefs(elements):
  """The beliefs on some views."""
  return list(map(_belief, elements["shift"].tolist(), elements["mirror"].tolist()))


def test_the_teacher_is_the_mean_belief_over_the_views_drawn():
  drawn = transforms.views(TRIANGLE, 5)(KEY, X).elements
  beliefs = _beliefs(drawn)
  assert len({tuple(b) for b in beliefs}) > 1
  teacher = jax.jit(transforms.marginalize(_predict, TRIANGLE, 5))(PARAMS, KEY, X)
  np.testing.assert_allclose(np.exp(teacher), np.mean(beliefs, 0), atol=1e-6)


def test_predictions_are_aligned_before_they_are_averaged():
  views = transforms.views(WHEEL, 4)(KEY, X)
  got = transforms.view_log_probs(_predict, WHEEL)(PARAMS, views, X)
  expected = [np.roll(_probs(np.roll(X["signal"], e)), -e) for e in views.elements.tolist()]
  np.testing.assert_allclose(np.exp(got), expected, atol=1e-6)
  teacher = jax.jit(transforms.marginalize(_predict, WHEEL, 4))(PARAMS, KEY, X)
  np.testing.assert_allclose(np.exp(teacher), np.mean(expected, 0), atol=1e-6)


def test_views_weigh_the_same_and_are_independent():
  views = transforms.views(TRIANGLE, 7)(KEY, X)
  np.testing.assert_allclose(np.exp(views.log_weights), 1 / 7, rtol=1e-6)
  assert np.isinf(views.orbit_size)


def test_the_first_views_of_a_larger_k_are_those_of_a_smaller():
  few, many = (jax.jit(transforms.views(TRIANGLE, k))(KEY, X).elements for k in (3, 8))
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:3]), few, many)


def test_jit_changes_nothing():
  teacher = transforms.marginalize(_predict, TRIANGLE, 4)
  plain = teacher(PARAMS, KEY, X)
  np.testing.assert_allclose(jax.jit(teacher)(PARAMS, KEY, X), plain, atol=1e-6)


def test_vmap_over_examples_changes_nothing():
  teacher = transforms.marginalize(_predict, TRIANGLE, 4)
  gap = transforms.warrant_gap(_predict, TRIANGLE, 4)
  both = lambda params, key, x: (teacher(params, key, x), gap(params, key, x))
  xs = {"signal": jax.random.normal(KEY, (3, 3)), "scale": jnp.array([0.5, 1.0, 2.0])}
  keys = jax.random.split(KEY, 3)
  batch = jax.jit(jax.vmap(both, (None, 0, 0)))(PARAMS, keys, xs)
  one = jax.jit(both)
  for n in range(3):
    alone = one(PARAMS, keys[n], jax.tree.map(lambda a, n=n: a[n], xs))
    jax.tree.map(lambda a, b, n=n: np.testing.assert_allclose(a, b[n], atol=1e-6), alone, batch)


@pytest.mark.parametrize("figure", ["teacher", "gap"])
def test_gradients_equal_finite_differences(figure):
  if figure == "teacher":
    teacher = transforms.marginalize(_predict, TRIANGLE, 5)
    value = lambda params: -teacher(params, KEY, X)[1]
  else:
    gap = transforms.warrant_gap(_predict, TRIANGLE, 5)
    value = lambda params: gap(params, KEY, X).pairwise_tv
  flat, restore = ravel_pytree(PARAMS)
  steps = 0.01 * np.eye(flat.size)

  @jax.jit
  def both(flat):
    values = jax.vmap(lambda flat: value(restore(flat)))
    slopes = jax.grad(lambda flat: value(restore(flat)))(flat)
    return slopes, (values(flat + steps) - values(flat - steps)) / 0.02

  slopes, differences = both(flat)
  assert np.isfinite(slopes).all() and np.abs(slopes).max() > 0.01
  np.testing.assert_allclose(slopes, differences, atol=2e-4)


def test_the_gap_is_unbiased_over_keys():
  members = [_belief(*element) for element in itertools.product(range(3), (False, True))]
  exact = np.mean([_tv(p, q) for p, q in itertools.product(members, repeat=2)])
  gap = jax.jit(jax.vmap(transforms.warrant_gap(_predict, TRIANGLE, 3), (None, 0, None)))
  estimates = np.asarray(gap(PARAMS, jax.random.split(KEY, 4000), X).pairwise_tv)
  error = estimates.std() / np.sqrt(len(estimates))
  assert abs(estimates.mean() - exact) < 4 * error < 0.05 * exact


def test_gap_by_hand():
  drawn = transforms.views(TRIANGLE, 6)(KEY, X).elements
  beliefs = _beliefs(drawn)
  gap = jax.jit(transforms.warrant_gap(_predict, TRIANGLE, 6))(PARAMS, KEY, X)
  pairs = [_tv(p, q) for p, q in itertools.combinations(beliefs, 2)]
  np.testing.assert_allclose(gap.pairwise_tv, np.mean(pairs), atol=1e-6)
  to_mean = [_tv(p, np.mean(beliefs, 0)) for p in beliefs]
  np.testing.assert_allclose(gap.tv_to_mean_plugin, np.mean(to_mean), atol=1e-6)
  # The canonical view is predicted apart; it need not be among the draws.
  flips = np.mean(np.argmax(beliefs, 1) != _belief(0, False).argmax())
  assert 0 < flips < 1
  np.testing.assert_allclose(gap.flip_rate, flips, rtol=1e-6)


def test_too_few_views_are_refused():
  with pytest.raises(InputError, match="num_views must be >= 1, got 0"):
    transforms.views(TRIANGLE, 0)
  with pytest.raises(InputError, match="num_views must be >= 1, got -2"):
    transforms.marginalize(_predict, TRIANGLE, -2)
  with pytest.raises(InputError, match="num_views must be >= 2 to estimate a gap, got 1"):
    transforms.warrant_gap(_predict, TRIANGLE, 1)
