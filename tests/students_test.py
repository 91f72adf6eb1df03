"""Students: shapes, starts, standardisation, names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax import students
from mezzanine_jax.errors import InputError

KEY = jax.random.key(0)


def inputs_of(features):
  return {"features": jnp.asarray(features), "log_probs": jnp.log(jnp.array([0.2, 0.3, 0.5]))}


def randomized(params):
  """The same params with every trained array drawn at random."""
  rng = np.random.default_rng(0)
  drawn = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params["params"])
  return {**params, "params": drawn}


@pytest.mark.parametrize(
  "student", [students.linear_head(3), students.mlp_head(3, hidden=8, depth=2)]
)
def test_heads_start_uniform_and_stay_normalised(student):
  inputs = inputs_of(np.arange(5.0, dtype=np.float32))
  params = jax.jit(student.init)(KEY, inputs)
  np.testing.assert_allclose(jnp.exp(student.apply(params, inputs)), 1 / 3, rtol=1e-6)
  log_probs = student.apply(randomized(params), inputs)
  assert log_probs.shape == (3,) and log_probs.dtype == jnp.float32
  assert np.ptp(log_probs) > 0.1
  np.testing.assert_allclose(jnp.exp(log_probs).sum(), 1, rtol=1e-5)


def test_attention_reads_every_segment_in_its_place_and_no_padding():
  student = students.attention(3, width=4, layers=2, hidden=8, heads=2)
  states = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
  states[:, 5:] = 0  # a segment that is padding
  inputs = inputs_of(states.reshape(-1))
  params = jax.jit(student.init)(KEY, inputs)
  np.testing.assert_allclose(student.apply(params, inputs), inputs["log_probs"], rtol=1e-5)
  params = randomized(params)
  log_probs = student.apply(params, inputs)
  np.testing.assert_allclose(jnp.exp(log_probs).sum(), 1, rtol=1e-5)
  other = student.apply(params, inputs_of(states[:, [0, 1, 3, 2, 4, 5]].reshape(-1)))
  assert np.abs(other - log_probs).max() > 1e-3
  # The place of what is padding has no say.
  places = params["params"]["places"].at[5].add(7.0)
  changed = {**params, "params": {**params["params"], "places": places}}
  np.testing.assert_allclose(student.apply(changed, inputs), log_probs, rtol=1e-5)
  grads = jax.grad(lambda p: student.apply(p, inputs)[0])(params)["params"]
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads)) and grads["mix"].any()


@pytest.mark.parametrize(("settings", "size", "says"), [
  ({"width": 4, "hidden": 6}, 12, "hidden must be a multiple of heads, got 6 and 4"),
  ({"width": 0}, 12, "width must be an integer >= 1, got 0"),
  ({"width": 4}, 13, "needs the states of a prompt's segments.*got 13 numbers: give embed_mode"),
  ({"width": 4}, 8, "got 8 numbers"),
])
def test_attention_refuses_what_it_cannot_read(settings, size, says):
  with pytest.raises(InputError, match=says):
    students.attention(3, **settings).init(KEY, inputs_of(np.ones(size, np.float32)))


def test_mlp_is_the_formula():
  student = students.mlp_head(3, hidden=4)
  x = np.array([0.5, -1.0], np.float32)
  params = randomized(jax.jit(student.init)(KEY, inputs_of(x)))
  p = jax.tree.map(np.asarray, params["params"])
  z = x @ p["hidden_0"]["kernel"] + p["hidden_0"]["bias"]
  z = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
  logits = z @ p["out"]["kernel"] + p["out"]["bias"]
  expected = logits - np.log(np.exp(logits).sum())
  np.testing.assert_allclose(student.apply(params, inputs_of(x)), expected, rtol=1e-5, atol=1e-5)


def test_standardised_student_sees_z_scores_whatever_wrapped_it():
  plain = students.linear_head(3)
  mean, std = np.array([10.0, -3.0]), np.array([2.0, 0.5])
  wrapped = students.standardize(plain, mean, std)
  x = np.array([12.0, -3.5], np.float32)
  z = ((x - mean) / std).astype(np.float32)
  unit = randomized(plain.init(KEY, inputs_of(z)))
  params = randomized(wrapped.init(KEY, inputs_of(x)))
  expected = plain.apply(unit, inputs_of(z))
  np.testing.assert_allclose(wrapped.apply(params, inputs_of(x)), expected, rtol=1e-5)
  # The constants travel in the params: the unwrapped student gives the same.
  np.testing.assert_allclose(plain.apply(params, inputs_of(x)), expected, rtol=1e-5)


@pytest.mark.parametrize("mean, std", [(0.0, 0.0), (3.0, 0.0), (1000.0, 1e-5), (0.0, 1e-40)])
def test_dead_feature_is_switched_off(mean, std):
  student = students.standardize(students.linear_head(3), np.array([mean, 0]), np.array([std, 1]))
  params = randomized(student.init(KEY, inputs_of(np.zeros(2, np.float32))))
  usual = student.apply(params, inputs_of(np.array([mean, 0.7], np.float32)))
  other = student.apply(params, inputs_of(np.array([mean + 5, 0.7], np.float32)))
  assert np.isfinite(usual).all()
  np.testing.assert_array_equal(usual, other)


def test_standardisation_of_bfloat16_features():
  student = students.standardize(students.linear_head(3), np.array([0.1]), np.array([3.0]))
  x = jnp.array([1.7], jnp.bfloat16)
  params = randomized(student.init(KEY, inputs_of(x)))
  expected = student.apply(params, inputs_of(x.astype(jnp.float32)))
  np.testing.assert_array_equal(student.apply(params, inputs_of(x)), expected)


@pytest.mark.parametrize("mean, std", [(np.nan, 1.0), (0.0, np.inf), (0.0, -1.0)])
def test_broken_moments_are_refused(mean, std):
  with pytest.raises(InputError, match="finite"):
    students.standardize(students.linear_head(2), np.array([mean]), np.array([std]))


def test_constant_student_ignores_its_inputs():
  answer = np.log(np.array([0.2, 0.8], np.float32))
  student = students.constant_student(answer)
  params = student.init(KEY, {})
  assert not jax.tree.leaves(params["params"])
  for x in (np.zeros(2), np.full(2, np.nan)):
    np.testing.assert_array_equal(student.apply(params, inputs_of(x)), answer)


def test_rows_in_blocks_are_rows_alone():
  student = students.mlp_head(3, hidden=4)
  table = np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32)
  params = randomized(jax.jit(student.init)(KEY, inputs_of(table[0])))
  log_probs = students.predict_rows(student.apply, params, {"features": table}, block=4)
  alone = [student.apply(params, inputs_of(row)) for row in table]
  np.testing.assert_allclose(log_probs, np.stack(alone), rtol=1e-5, atol=1e-6)


def test_make_student_is_the_factory():
  inputs = inputs_of(np.zeros(2, np.float32))
  made = students.make_student("mlp", num_choices=3, hidden=7).init(KEY, inputs)
  by_hand = students.mlp_head(3, hidden=7).init(KEY, inputs)
  jax.tree.map(np.testing.assert_array_equal, made, by_hand)


@pytest.mark.parametrize(
  "name, settings, message",
  [
    ("mpl", {"num_choices": 2}, "did you mean 'mlp'"),
    ("transformer", {"num_choices": 2}, "linear, mlp"),
    ("mlp", {"num_choices": 2, "hiden": 3}, "did you mean 'hidden'"),
    ("mlp", {}, "needs num_choices"),
    ("mlp", {"num_choices": 2, "hidden": 0}, "hidden must be an integer >= 1, got 0"),
    ("mlp", {"num_choices": 2, "depth": 0}, "depth must be"),
    ("mlp", {"num_choices": 2, "hidden": 2.5}, "got 2.5"),
    ("linear", {"num_choices": 1}, "num_choices must be an integer >= 2, got 1"),
  ],
)
def test_wrong_settings_are_named(name, settings, message):
  with pytest.raises(InputError, match=message):
    students.make_student(name, **settings)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_residual_starts_at_the_model_and_adds_a_head_to_it(depth):
  student = students.residual(3, hidden=4, depth=depth)
  inputs = inputs_of(np.array([0.5, -1.0], np.float32))
  params = jax.jit(student.init)(KEY, inputs)
  np.testing.assert_allclose(student.apply(params, inputs), inputs["log_probs"], atol=1e-6)
  params = randomized(params)
  head = students.mlp_head(3, hidden=4) if depth else students.linear_head(3)
  same = {**params, "params": {k: v for k, v in params["params"].items() if k != "sharpness"}}
  logits = params["params"]["sharpness"] * inputs["log_probs"] + head.apply(same, inputs)
  np.testing.assert_allclose(
    student.apply(params, inputs), jax.nn.log_softmax(logits), rtol=1e-5, atol=1e-5)


def test_a_residual_has_finite_gradients_where_the_model_rules_a_choice_out():
  student = students.residual(3, depth=0)
  inputs = {"features": jnp.ones(2), "log_probs": jnp.log(jnp.array([0.0, 0.25, 0.75]))}
  params = student.init(KEY, inputs)
  loss = lambda p: -student.apply({**params, "params": p}, inputs)[2]
  value, grads = jax.value_and_grad(loss)(params["params"])
  assert np.isfinite(value) and all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  np.testing.assert_allclose(jnp.exp(student.apply(params, inputs)), [0, 0.25, 0.75], atol=1e-6)
