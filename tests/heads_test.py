"""Heads: shapes, starts, formulas, names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import inputs_of, randomized

from mezzanine_jax import heads
from mezzanine_jax.errors import InputError

KEY = jax.random.key(0)


@pytest.mark.parametrize(
  "student", [heads.linear_head(3), heads.mlp_head(3, hidden=8, depth=2)]
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
  student = heads.attention(3, width=4, layers=2, hidden=8, heads=2)
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
    heads.attention(3, **settings).init(KEY, inputs_of(np.ones(size, np.float32)))


def test_mlp_is_the_formula():
  student = heads.mlp_head(3, hidden=4)
  x = np.array([0.5, -1.0], np.float32)
  params = randomized(jax.jit(student.init)(KEY, inputs_of(x)))
  p = jax.tree.map(np.asarray, params["params"])
  z = x @ p["hidden_0"]["kernel"] + p["hidden_0"]["bias"]
  z = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
  logits = z @ p["out"]["kernel"] + p["out"]["bias"]
  expected = logits - np.log(np.exp(logits).sum())
  np.testing.assert_allclose(student.apply(params, inputs_of(x)), expected, rtol=1e-5, atol=1e-5)


def test_make_student_is_the_factory():
  inputs = inputs_of(np.zeros(2, np.float32))
  made = heads.make_student("mlp", num_choices=3, hidden=7).init(KEY, inputs)
  by_hand = heads.mlp_head(3, hidden=7).init(KEY, inputs)
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
    heads.make_student(name, **settings)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_residual_starts_at_the_model_and_adds_a_head_to_it(depth):
  student = heads.residual(3, hidden=4, depth=depth)
  inputs = inputs_of(np.array([0.5, -1.0], np.float32))
  params = jax.jit(student.init)(KEY, inputs)
  np.testing.assert_allclose(student.apply(params, inputs), inputs["log_probs"], atol=1e-6)
  params = randomized(params)
  head = heads.mlp_head(3, hidden=4) if depth else heads.linear_head(3)
  same = {**params, "params": {k: v for k, v in params["params"].items() if k != "sharpness"}}
  logits = params["params"]["sharpness"] * inputs["log_probs"] + head.apply(same, inputs)
  np.testing.assert_allclose(
    student.apply(params, inputs), jax.nn.log_softmax(logits), rtol=1e-5, atol=1e-5)


def test_a_residual_has_finite_gradients_where_the_model_rules_a_choice_out():
  student = heads.residual(3, depth=0)
  inputs = {"features": jnp.ones(2), "log_probs": jnp.log(jnp.array([0.0, 0.25, 0.75]))}
  params = student.init(KEY, inputs)
  loss = lambda p: -student.apply({**params, "params": p}, inputs)[2]
  value, grads = jax.value_and_grad(loss)(params["params"])
  assert np.isfinite(value) and all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  np.testing.assert_allclose(jnp.exp(student.apply(params, inputs)), [0, 0.25, 0.75], atol=1e-6)
