"""Estimators against exact values: every subset of small orbits, or many seeded draws."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from mezzanine_jax import gap

CHOICES = 3
NUM_DRAWS = 20_000


@functools.cache
def orbit(size):
  """Log-probs of the members [M, C] (the canonical one first) and of a student's [C]."""
  log_probs = random_views(size, size + 1)
  return log_probs[:size], log_probs[size]


def exact_figures(size):
  """The population's figures, by their definitions, in float64."""
  p = np.exp(orbit(size)[0].astype(np.float64))
  mean = p.mean(0)
  return gap.WarrantGap(
      pairwise_tv=np.mean([0.5 * np.abs(a - b).sum() for a in p for b in p]),
      tv_to_mean=0.5 * np.abs(p - mean).sum(-1).mean(),
      tv_to_mean_plugin=0.5 * np.abs(p - mean).sum(-1).mean(),
      jensen_shannon=(p * np.log(p / mean)).sum(-1).mean(),
      flip_rate=(p.argmax(-1) != p[0].argmax()).mean(),
      any_flip=len(set(p.argmax(-1))) > 1,
  )


def subsets(size, num_views):
  """All K-subsets of the orbit in a random order of draws, or many of them."""
  rng = np.random.default_rng(size + num_views)
  if size <= 6:
    return rng.permuted(list(itertools.combinations(range(size), num_views)), axis=1)
  return rng.permuted(np.tile(np.arange(size), (NUM_DRAWS, 1)), axis=1)[:, :num_views]


def log(probs):
  with np.errstate(divide="ignore"):
    return np.log(np.asarray(probs, np.float32))


def uniform(num_views):
  return np.full(num_views, -np.log(num_views), np.float32)


@jax.jit
def _estimates(log_probs_DxKxC, canonical_C, orbit_size):
  def one(log_probs_KxC):
    weights_K = uniform(len(log_probs_KxC))
    return gap.estimate(log_probs_KxC, weights_K, orbit_size, canonical_C)

  return jax.vmap(one)(log_probs_DxKxC)


def estimates(size, draws_DxK, orbit_size):
  log_probs_MxC, _ = orbit(size)
  figures = _estimates(log_probs_MxC[draws_DxK], log_probs_MxC[0], orbit_size)
  return gap.WarrantGap(*(np.asarray(f, np.float64) for f in figures))


# Compiled once a shape: running op by op is what takes long.
jitted_estimate = jax.jit(gap.estimate)
jitted_teacher = jax.jit(gap.teacher_without)


def assert_mean(values, exact, size):
  """The mean is the exact value: to rounding over all subsets, else within 4 standard errors."""
  error = 4 * values.std() / np.sqrt(len(values)) if size > 6 else 0.0
  np.testing.assert_allclose(values.mean(), exact, rtol=0, atol=error + 1e-6)


def random_views(seed, num_views, num_choices=CHOICES):
  logits = np.random.default_rng(seed).normal(size=(num_views, num_choices))
  return scipy.special.log_softmax(logits, axis=-1).astype(np.float32)


def test_hand_computed_gap():
  log_probs = log([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
  figures = jitted_estimate(log_probs, uniform(3), 3.0, log_probs[0])
  # Distances ½, ½ and 1 in six of nine pairs; a tie's answer is the first choice.
  np.testing.assert_allclose(figures.pairwise_tv, 4 / 9, atol=1e-6)
  np.testing.assert_allclose(figures.tv_to_mean, 1 / 3, atol=1e-6)
  np.testing.assert_allclose(figures.jensen_shannon, 2 / 3 * np.log(2), atol=1e-6)
  np.testing.assert_allclose(figures.flip_rate, 1 / 3, atol=1e-6)
  assert figures.any_flip == 1
  # The U-statistic alone: no diagonal.
  unbounded = jitted_estimate(log_probs, uniform(3), np.inf, log_probs[0])
  np.testing.assert_allclose(unbounded.pairwise_tv, 2 / 3, atol=1e-6)
  between = jitted_estimate(log_probs, uniform(3), 4.0, log_probs[0])
  np.testing.assert_allclose(between.pairwise_tv, 2 / 3 * 3 / 4, atol=1e-6)


@pytest.mark.parametrize("size", [2, 6, 24])
def test_whole_orbits_are_exact(size):
  figures = estimates(size, np.arange(size)[None], float(size))
  for figure, exact in zip(figures, exact_figures(size), strict=True):
    np.testing.assert_allclose(figure, exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size, num_views", [(6, 3), (6, 5), (24, 2), (24, 8)])
def test_unbiased_figures_without_repeats(size, num_views):
  figures, exact = estimates(size, subsets(size, num_views), float(size)), exact_figures(size)
  assert_mean(figures.pairwise_tv, exact.pairwise_tv, size)
  assert_mean(figures.flip_rate, exact.flip_rate, size)


@pytest.mark.parametrize("num_views", [2, 8])
def test_unbiased_figures_of_independent_draws(num_views):
  draws = np.random.default_rng(num_views).integers(0, 24, (NUM_DRAWS, num_views))
  figures, exact = estimates(24, draws, np.inf), exact_figures(24)
  assert_mean(figures.pairwise_tv, exact.pairwise_tv, 24)
  assert_mean(figures.flip_rate, exact.flip_rate, 24)


@pytest.mark.parametrize("orbit_size", [24.0, np.inf])
def test_bias_is_reduced(orbit_size):
  if orbit_size == 24:
    draws = subsets(24, 8)
  else:
    draws = np.random.default_rng(8).integers(0, 24, (NUM_DRAWS, 8))
  figures, exact = estimates(24, draws, orbit_size), exact_figures(24)
  p = np.exp(orbit(24)[0][draws].astype(np.float64))
  plug_in_js = (p * np.log(p / p.mean(1, keepdims=True))).sum(-1).mean(-1)
  for reduced, plug_in, truth in [
      (figures.tv_to_mean, figures.tv_to_mean_plugin, exact.tv_to_mean),
      (figures.jensen_shannon, plug_in_js, exact.jensen_shannon),
  ]:
    left, before = reduced.mean() / truth - 1, plug_in.mean() / truth - 1
    assert before < -0.03
    assert abs(left) < 0.02 and abs(left) < abs(before) / 3


def test_jackknife_against_a_loop():
  p = np.exp(np.asarray(random_views(3, 5), np.float64))

  def plug_in(p):
    return (p * np.log(p / p.mean(0))).sum(-1).mean()

  others = np.mean([plug_in(np.delete(p, i, 0)) for i in range(5)])
  for orbit_size in (7.0, np.inf):
    expected = plug_in(p) + 4 * (1 - 5 / orbit_size) * (plug_in(p) - others)
    views = random_views(3, 5)
    figures = jitted_estimate(views, uniform(5), orbit_size, views[0])
    np.testing.assert_allclose(figures.jensen_shannon, expected, rtol=1e-4)


def test_weighted_whole_sets_are_exact():
  p, w = np.exp(random_views(4, 4)), np.array([0.4, 0.3, 0.2, 0.1], np.float32)
  figures = jitted_estimate(np.log(p), np.log(w), 4.0, np.log(p[0]))
  pairs = [w[i] * w[j] * 0.5 * np.abs(p[i] - p[j]).sum() for i in range(4) for j in range(4)]
  np.testing.assert_allclose(figures.pairwise_tv, np.sum(pairs), rtol=1e-5)
  np.testing.assert_allclose(figures.tv_to_mean, 0.5 * w @ np.abs(p - w @ p).sum(-1), rtol=1e-5)
  compared = np.array([False, True, False, False])
  teacher = jitted_teacher(np.log(p), np.log(w), 4.0, compared, np.log(p[1]))
  np.testing.assert_allclose(np.exp(teacher), w @ p, rtol=1e-5)


def test_one_view():
  one = random_views(5, 1)
  still = jitted_estimate(one, np.zeros(1, np.float32), 1.0, one[0])
  assert all(float(figure) == 0 for figure in still)
  unknown = jitted_estimate(one, np.zeros(1, np.float32), 6.0, one[0])
  assert all(np.isnan(f) for f in (unknown.pairwise_tv, unknown.tv_to_mean, unknown.any_flip))
  np.testing.assert_allclose(unknown.tv_to_mean_plugin, 0, atol=1e-6)
  none_left = jitted_teacher(one, np.zeros(1, np.float32), 6.0, np.array([True]), one[0])
  assert np.isnan(none_left).all()


@jax.jit
def everything(log_probs_KxC, log_weights_K, orbit_size, canonical_C, is_canonical_K):
  views = (log_probs_KxC, log_weights_K, orbit_size, is_canonical_K)
  return (
      gap.estimate(log_probs_KxC, log_weights_K, orbit_size, canonical_C),
      gap.teacher_without(*views, canonical_C),
      gap.distance_to_teacher(canonical_C, *views, canonical_C),
      gap.squared_distance_to_teacher(canonical_C, *views, canonical_C),
      gap.kl_to_teacher(canonical_C, *views, canonical_C),
      gap.teacher_noise(*views),
  )


@pytest.mark.parametrize("orbit_size", [5.0, 9.0, np.inf])
def test_padding_changes_nothing(orbit_size):
  log_probs, weights = random_views(6, 5), uniform(5)
  is_canonical = np.arange(5) == 2
  plain = everything(log_probs, weights, orbit_size, log_probs[2], is_canonical)
  places = [1, 2, 3, 5, 6]
  padded, padded_weights = np.full((7, CHOICES), np.nan, np.float32), np.full(7, -np.inf)
  padded[places], padded_weights[places] = log_probs, weights
  # Padding may claim to be the canonical view: it must not count.
  claims = np.full(7, True)
  claims[places] = is_canonical
  of_padded = everything(padded, padded_weights, orbit_size, log_probs[2], claims)
  for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(of_padded), strict=True):
    assert np.isfinite(a).all()
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


def test_orbit_size_is_traced_and_vmaps():
  log_probs = np.stack([random_views(seed, 4) for seed in range(3)])
  weights = np.array([uniform(4), uniform(4), [0.0, *[-np.inf] * 3]], np.float32)
  sizes = np.array([4.0, np.inf, 1.0])
  figures = jax.jit(jax.vmap(gap.estimate))(log_probs, weights, sizes, log_probs[:, 0])
  for n in range(3):
    one = jitted_estimate(log_probs[n], weights[n], float(sizes[n]), log_probs[n, 0])
    for a, b in zip(figures, one, strict=True):
      np.testing.assert_allclose(a[n], b, rtol=1e-4, atol=1e-6)


def test_jit_agrees_with_plain():
  log_probs = random_views(7, 4)
  args = (log_probs, uniform(4), 9.0)
  figures = jitted_estimate(*args, log_probs[0])
  np.testing.assert_allclose(gap.pairwise_tv(*args), figures.pairwise_tv, rtol=1e-5)
  args = (*args, np.arange(4) == 1, log_probs[1])
  plain, jitted = gap.teacher_without(*args), jitted_teacher(*args)
  np.testing.assert_allclose(plain, jitted, rtol=1e-5)


@pytest.mark.parametrize("orbit_size", [1.0, 4.0, 9.0, np.inf])
def test_gradients_are_finite(orbit_size):
  # Equal views, a choice without probability, and padding: where gradients go wrong.
  probs = [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.3, 0.5, 0], [0, 0, 1, 0]]
  log_probs = np.concatenate([log(probs), np.full((2, 4), -np.inf, np.float32)])
  num = 1 if orbit_size == 1 else 4
  weights = np.append(uniform(num), np.full(6 - num, -np.inf, np.float32))

  def total(log_probs, orbit_size):
    figures = gap.estimate(log_probs, weights, orbit_size, log_probs[0])
    return figures.pairwise_tv + figures.jensen_shannon + figures.tv_to_mean

  gradient = jax.jit(jax.grad(total))(log_probs, orbit_size)
  assert np.isfinite(gradient).all()
  assert (gradient[num:] == 0).all()
  assert (orbit_size == 1) == bool((gradient == 0).all())


def test_gradient_of_the_gap_is_right():
  log_probs = random_views(8, 4)
  for function in (gap.pairwise_tv, gap.jensen_shannon):
    value = jax.jit(lambda p, function=function: function(p, uniform(4), 9.0))
    direction = random_views(9, 4)
    slope = (value(log_probs + 1e-2 * direction) - value(log_probs - 1e-2 * direction)) / 2e-2
    gradient = jax.jit(jax.grad(value))(log_probs)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=0.01)


# The teacher and the distances to it


@jax.jit
def _distances(log_probs_DxKxC, compared_DxK, log_q_and_p0_2xC, orbit_size):
  log_q, p0 = log_q_and_p0_2xC

  def one(log_probs, compared):
    views = (log_probs, uniform(len(compared)), orbit_size, compared)
    teacher = jnp.exp(gap.teacher_without(*views, p0))
    squared = gap.squared_distance_to_teacher(log_q, *views, p0)
    of_p0 = gap.squared_distance_to_teacher(p0, *views, p0)
    return teacher, squared, of_p0, gap.teacher_noise(*views)

  return jax.vmap(one)(log_probs_DxKxC, compared_DxK)


def distances(size, draws_DxK, orbit_size):
  """Teacher [D, C], student's and LM's squared distances [D], noise [D], of many draws."""
  log_probs, log_q = orbit(size)
  # Independent draws may repeat the canonical view; they are not left out for it.
  compared = (draws_DxK == 0) & np.isfinite(orbit_size)
  both = np.stack([log_q, log_probs[0]])
  out = _distances(log_probs[draws_DxK], compared, both, orbit_size)
  return [np.asarray(a, np.float64) for a in out]


@pytest.mark.parametrize("size, num_views", [(2, 1), (6, 3), (6, 5), (6, 6), (24, 8)])
def test_teacher_and_squared_distance_are_unbiased(size, num_views):
  draws = subsets(size, num_views)
  teacher, squared, of_p0, _ = distances(size, draws, float(size))
  probs, q = np.exp(orbit(size)[0]), np.exp(orbit(size)[1])
  mean = probs.mean(0)
  has_canonical = (draws == 0).any(-1)
  for group in (has_canonical, ~has_canonical):
    if not group.any() or (num_views == 1 and group is has_canonical):
      continue  # with no other view there is no estimate
    for c in range(CHOICES):
      assert_mean(teacher[group, c], mean[c], size)
    assert_mean(squared[group], ((q - mean) ** 2).sum(), size)
    assert_mean(of_p0[group], ((probs[0] - mean) ** 2).sum(), size)
  assert np.isnan(squared).any() == (num_views == 1)


def test_teacher_and_squared_distance_of_independent_draws():
  draws = np.random.default_rng(0).integers(0, 24, (NUM_DRAWS, 4))
  teacher, squared, of_p0, _ = distances(24, draws, np.inf)
  probs, q = np.exp(orbit(24)[0]), np.exp(orbit(24)[1])
  mean = probs.mean(0)
  for c in range(CHOICES):
    assert_mean(teacher[:, c], mean[c], 24)
  assert_mean(squared, ((q - mean) ** 2).sum(), 24)
  assert_mean(of_p0, ((probs[0] - mean) ** 2).sum(), 24)


@pytest.mark.parametrize("orbit_size", [6.0, np.inf])
def test_leave_one_out_teacher_of_every_view(orbit_size):
  log_probs = random_views(10, 4)
  teachers = jax.jit(jax.vmap(gap.teacher_without, (None, None, None, 0, 0)))(
      log_probs, uniform(4), orbit_size, np.eye(4, dtype=bool), log_probs
  )
  p = np.exp(log_probs)
  for k in range(4):
    others = np.delete(p, k, 0).mean(0)
    expected = p[k] / orbit_size + (1 - 1 / orbit_size) * others
    np.testing.assert_allclose(np.exp(teachers[k]), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "orbit_size, with_canonical", [(10.0, True), (10.0, False), (np.inf, False)]
)
def test_squared_distance_is_the_average_over_half_splits(orbit_size, with_canonical):
  others, p0, q = random_views(11, 6), random_views(12, 1), random_views(13, 1)[0]
  log_probs = np.concatenate([p0, others]) if with_canonical else others
  compared = (np.arange(len(log_probs)) == 0) & with_canonical
  squared = jax.jit(gap.squared_distance_to_teacher)(
      q, log_probs, uniform(len(log_probs)), orbit_size, compared, p0[0]
  )
  p, p0, q = (np.exp(np.asarray(a, np.float64)) for a in (others, p0[0], q))
  keep = 1 - 1 / orbit_size
  products = []
  for half in itertools.combinations(range(6), 3):
    a, b = p[list(half)].mean(0), np.delete(p, half, 0).mean(0)
    teachers = [p0 / orbit_size + keep * half_mean for half_mean in (a, b)]
    products.append((q - teachers[0]) @ (q - teachers[1]))
  covariance = -(keep**2) * p.var(0, ddof=1).sum() / (orbit_size - 1)
  np.testing.assert_allclose(squared, np.mean(products) - covariance, rtol=1e-4)


@pytest.mark.parametrize("num_views, orbit_size", [(8, 24.0), (5, 24.0), (7, np.inf)])
def test_noise_floor_is_what_a_perfect_student_scores(num_views, orbit_size):
  if np.isinf(orbit_size):
    draws = np.random.default_rng(0).integers(0, 24, (NUM_DRAWS, num_views))
  else:
    draws = subsets(24, num_views)
  teacher, _, _, noise = distances(24, draws, orbit_size)
  scored = 0.5 * np.abs(teacher - np.exp(orbit(24)[0]).mean(0)).sum(-1)
  np.testing.assert_allclose(noise.mean(), scored.mean(), rtol=0.03)


def test_any_flip_asks_the_views_alone():
  agree = log([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
  weights = np.array([-np.log(2), -np.log(2), -np.inf], np.float32)
  # Neither padding nor the canonical view is one of the two.
  figures = jitted_estimate(agree, weights, 6.0, agree[2])
  assert figures.any_flip == 0 and figures.flip_rate == 1
  assert jitted_estimate(agree, uniform(3), 6.0, agree[0]).any_flip == 1


def test_noise_of_a_whole_orbit_is_zero():
  *_, noise = distances(6, np.arange(6)[None], 6.0)
  assert noise.tolist() == [0.0]
  # All but the canonical view is as good as all.
  *_, squared, noise = distances(6, np.arange(1, 6)[None], 6.0)
  assert noise.tolist() == [0.0]


def test_distance_to_teacher_is_a_tv():
  log_probs, compared = random_views(14, 4), np.arange(4) == 1
  args = (log_probs, uniform(4), 9.0, compared, log_probs[1])
  q = random_views(15, 1)[0]
  expected = 0.5 * np.abs(np.exp(q) - np.exp(jitted_teacher(*args))).sum()
  distance = jax.jit(gap.distance_to_teacher)(q, *args)
  np.testing.assert_allclose(distance, expected, rtol=1e-5)
