"""The data of a distillation: splits, moments, draws, controls, checks."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from mezzanine_jax import distill_data
from mezzanine_jax.errors import InputError

LOG_HALF = np.log(0.5)


def two_examples(**changes):
  """Two examples of two choices; the second has one view; row 0 belongs to nobody."""
  data = distill_data.DistillData(
    features=np.array([[np.nan, np.nan], [1, 10], [2, 20], [4, 40]], np.float32),
    log_probs=np.full((4, 2), LOG_HALF, np.float32),
    row=np.array([[1, 2], [3, -1]], np.int32),
    log_weights=np.log(np.array([[0.25, 0.75], [1.0, 1e-45]], np.float32)),
    teacher_log_probs=np.log(np.array([[0.5, 0.5], [0.1, 0.9]], np.float32)),
    labels=np.array([0, -1], np.int32),
  )
  data.log_weights[1, 1] = -np.inf
  return data._replace(**changes)


@hypothesis.settings(deadline=None, derandomize=True)
@hypothesis.given(
  st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40),
  st.floats(0.01, 0.99),
  st.integers(0, 3),
)
def test_split_keeps_clusters_whole(clusters, fraction, seed):
  train, valid = distill_data.split_by_cluster(clusters, fraction, seed)
  assert sorted([*train, *valid]) == list(range(len(clusters)))
  sides = [{clusters[i] for i in part} for part in (train, valid)]
  assert not sides[0] & sides[1]
  num_clusters = len(set(clusters))
  assert sides[0]
  if num_clusters >= 2:
    assert len(sides[1]) == min(max(round(fraction * num_clusters), 1), num_clusters - 1)
  else:
    assert not sides[1]


def test_split_depends_on_names_and_seed_only():
  clusters = [f"passage {i % 20}" for i in range(60)]
  _, valid = distill_data.split_by_cluster(clusters, 0.3, seed=1)
  _, backwards = distill_data.split_by_cluster(clusters[::-1], 0.3, seed=1)
  held_out = {clusters[i] for i in valid}
  assert held_out == {clusters[::-1][i] for i in backwards}
  _, other = distill_data.split_by_cluster(clusters, 0.3, seed=2)
  assert held_out != {clusters[i] for i in other}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, np.nan])
def test_split_refuses_a_fraction_that_is_none(fraction):
  with pytest.raises(InputError, match="fraction"):
    distill_data.split_by_cluster(["a", "b"], fraction)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_moments_count_each_view_by_its_weight(dtype):
  data = two_examples()
  data = data._replace(features=data.features.astype(dtype))
  mean, std = distill_data.feature_moments(data)
  weights, values = np.array([0.125, 0.375, 0.5]), np.array([1.0, 2.0, 4.0])
  expected = weights @ values
  deviation = np.sqrt(weights @ (values - expected) ** 2)
  np.testing.assert_allclose(mean, [expected, 10 * expected], rtol=1e-6)
  np.testing.assert_allclose(std, [deviation, 10 * deviation], rtol=1e-6)


def test_moments_keep_their_digits_beside_a_large_mean():
  rng = np.random.default_rng(0)
  features = (1e4 + rng.normal(size=(9000, 1))).astype(np.float32)
  row = np.arange(9000, dtype=np.int32)[:, None]
  data = two_examples(features=features, row=row, log_weights=np.zeros((9000, 1), np.float32))
  mean, std = distill_data.feature_moments(data)
  np.testing.assert_allclose(mean, features.astype(np.float64).mean(0), rtol=1e-9)
  np.testing.assert_allclose(std, features.astype(np.float64).std(0), rtol=1e-6)


def test_mean_teacher_averages_probabilities():
  np.testing.assert_allclose(
    np.exp(distill_data.mean_teacher(two_examples())), [0.3, 0.7], rtol=1e-6
  )


def test_draws_follow_the_weights_and_leave_padding_alone():
  data = jax.tree.map(jnp.asarray, two_examples())
  batch = distill_data.draw_batch(data, jax.random.key(0), 8000)
  first = np.asarray(batch.inputs["features"][:, 0])
  share = [(first == value).mean() for value in (1, 2, 4)]
  np.testing.assert_allclose(share, [0.125, 0.375, 0.5], atol=0.02)
  assert sum(share) == 1
  # Targets stay with their views.
  is_first = first < 3
  np.testing.assert_array_equal(batch.labels, np.where(is_first, 0, -1))
  np.testing.assert_allclose(
    np.exp(batch.teacher_log_probs[:, 0]), np.where(is_first, 0.5, 0.1), rtol=1e-5
  )


def test_pairs_are_two_views_of_one_example():
  data = jax.tree.map(jnp.asarray, two_examples())
  batch = distill_data.draw_batch(data, jax.random.key(1), 4000, pairs=True)
  first = np.asarray(batch.inputs["features"][:, 0])
  owner = first < 3
  np.testing.assert_array_equal(owner[::2], owner[1::2])
  assert (first[::2] != first[1::2]).any()  # each drawn for itself
  np.testing.assert_allclose((first == 1).mean(), 0.125, atol=0.02)


def test_shuffling_moves_targets_together_and_inputs_not_at_all():
  rng = np.random.default_rng(0)
  p = rng.uniform(size=50).astype(np.float32)
  data = distill_data.DistillData(
    features=rng.normal(size=(50, 2)).astype(np.float32),
    log_probs=np.full((50, 2), LOG_HALF, np.float32),
    row=np.arange(50, dtype=np.int32)[:, None],
    log_weights=np.zeros((50, 1), np.float32),
    teacher_log_probs=np.log(np.stack([p, 1 - p], axis=1)),
    labels=(p > 0.5).astype(np.int32),
  )
  shuffled = distill_data.shuffled_targets(jax.random.key(1), data)
  q = np.exp(shuffled.teacher_log_probs[:, 0])
  np.testing.assert_allclose(np.sort(q), np.sort(p), rtol=1e-5)
  assert (np.abs(q - p) > 1e-4).mean() > 0.8
  np.testing.assert_array_equal(shuffled.labels, q > 0.5)
  for field in ("features", "log_probs", "row", "log_weights"):
    assert getattr(shuffled, field) is getattr(data, field)


def test_select_keeps_the_table():
  data = two_examples()
  one = distill_data.select(data, [1])
  assert one.features is data.features
  assert one.row.tolist() == [[3, -1]] and one.labels.tolist() == [-1]


def test_compact_drops_unused_rows_and_keeps_every_view():
  data = two_examples()
  small = distill_data.compact(data, "training")
  assert small.features.shape == (3, 2)
  is_view = data.row >= 0
  np.testing.assert_array_equal(small.row >= 0, is_view)
  np.testing.assert_array_equal(
    small.features[small.row[is_view]], data.features[data.row[is_view]]
  )


@pytest.mark.parametrize(
  "field, index, value, message",
  [
    ("features", (2, 0), np.nan, "features hold NaN"),
    ("features", (3, 1), np.inf, "features hold NaN or infinity"),
    ("log_probs", (1, 0), np.nan, "log_probs hold NaN"),
    ("row", (0, 0), 4, "out of range"),
    ("row", (0, 0), -1, "row -1 has a weight"),
    ("log_weights", (0, 0), 0.0, "weights of an example's views do not sum to 1"),
    ("log_weights", (1, 0), -np.inf, "do not sum to 1"),
    ("teacher_log_probs", (0, 0), np.nan, "teacher_log_probs hold NaN"),
    ("teacher_log_probs", (0, 0), 0.0, "do not sum to 1"),
    ("labels", 0, 2, "labels must be -1"),
  ],
)
def test_compact_refuses_broken_data(field, index, value, message):
  data = two_examples()
  getattr(data, field)[index] = value
  with pytest.raises(InputError, match=f"the training data cannot be used: .*{message}"):
    distill_data.compact(data, "training")


def test_compact_refuses_shapes_that_do_not_fit_and_empty_data():
  with pytest.raises(InputError, match=r"got \[\[4, 2\], \[4, 2\], \[2, 2\], .* \[3\]\]"):
    distill_data.compact(two_examples(labels=np.zeros(3, np.int32)), "training")
  with pytest.raises(InputError, match="no examples"):
    distill_data.compact(distill_data.select(two_examples(), []), "training")
  huge = two_examples(features=np.full((4, 2), 1e39))
  with pytest.raises(InputError, match="infinity"):
    distill_data.compact(huge, "training")
