"""Distillation: the loss against numpy, optima known in closed form, choice of the step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mezzanine_jax import distill, distill_data, heads, objectives, optimizers, students
from mezzanine_jax.errors import InputError

KEY = jax.random.key(0)
LINEAR = heads.linear_head(2)


def log_softmax(logits):
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def make_data(features_NxKxD, teacher_NxC, labels=None):
  """Data with one table row per view, all views of equal weight."""
  n, k, d = features_NxKxD.shape
  teacher = np.asarray(teacher_NxC, np.float32)
  return distill_data.DistillData(
    features=features_NxKxD.reshape(n * k, d).astype(np.float32),
    log_probs=np.repeat(teacher, k, axis=0),
    row=np.arange(n * k, dtype=np.int32).reshape(n, k),
    log_weights=np.full((n, k), -np.log(k), np.float32),
    teacher_log_probs=teacher,
    labels=np.full(n, -1, np.int32) if labels is None else np.asarray(labels, np.int32),
  )


def linear_world(seed, n=128, k=2, d=4, noise=0.0):
  """A teacher that is log-linear in features that `noise` blurs from view to view."""
  rng = np.random.default_rng(seed)
  weights = np.random.default_rng(99).normal(size=(d, 2))
  clean = rng.normal(size=(n, 1, d))
  features = clean + noise * rng.normal(size=(n, k, d))
  return make_data(features, log_softmax(clean[:, 0] @ weights))


def random_batch(labels):
  rng = np.random.default_rng(3)
  size = len(labels)
  return distill_data.Batch(
    inputs={"features": jnp.asarray(rng.normal(size=(size, 4)), jnp.float32)},
    teacher_log_probs=jnp.asarray(log_softmax(rng.normal(size=(size, 2))), jnp.float32),
    labels=jnp.asarray(labels, jnp.int32),
  )


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_loss_and_gradient_are_the_formula(weight):
  batch = random_batch([0, 1, -1, 1, -1, 0])
  made = distill.distiller(LINEAR, optax.sgd(1.0), hard_label_weight=weight)
  state = jax.jit(made.init)(KEY, {"features": batch.inputs["features"][0]})
  kernel, bias = np.random.default_rng(4).normal(size=(4, 2)), np.array([0.3, -0.2])
  out = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
  state = state._replace(params={**state.params, "params": {"out": out}})
  after, info = jax.jit(made.step)(state, batch)

  x, p = np.asarray(batch.inputs["features"], np.float64), np.exp(batch.teacher_log_probs)
  labels = np.asarray(batch.labels)
  log_q = log_softmax(x @ kernel + bias)
  q, onehot = np.exp(log_q), np.eye(2)[np.maximum(labels, 0)]
  w = np.where(labels >= 0, weight, 0.0)[:, None]
  kl = (p * (np.asarray(batch.teacher_log_probs) - log_q)).sum(-1, keepdims=True)
  loss = (1 - w) * kl - w * (onehot * log_q).sum(-1, keepdims=True)
  np.testing.assert_allclose(info.loss, loss.mean(), rtol=1e-5)
  np.testing.assert_allclose(info.kl, kl.mean(), rtol=1e-5)
  slope = ((1 - w) * (q - p) + w * (q - onehot)) / len(labels)
  moved = after.params["params"]["out"]
  np.testing.assert_allclose(kernel - moved["kernel"], x.T @ slope, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(bias - moved["bias"], slope.sum(0), rtol=1e-4, atol=1e-6)
  assert int(after.step) == 1


def test_teacher_without_doubt_has_finite_loss_and_gradient():
  teacher = jnp.array([0.0, -jnp.inf])
  loss = lambda logits: objectives.distill_loss(jax.nn.log_softmax(logits), teacher, -1)[0]  # noqa: E731
  value, grad = jax.value_and_grad(loss)(jnp.zeros(2))
  np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
  np.testing.assert_allclose(grad, [-0.5, 0.5], rtol=1e-6)


def test_temperature_and_disagreement_are_their_formulas():
  rng = np.random.default_rng(0)
  log_q, log_p = (log_softmax(rng.normal(size=(4, 3))) for _ in range(2))
  loss, kl = objectives.distill_loss(
      jnp.asarray(log_q[0]), jnp.asarray(log_p[0]), jnp.array(-1), temperature=2.0)
  p, q = (np.sqrt(np.exp(a)) / np.sqrt(np.exp(a)).sum() for a in (log_p[0], log_q[0]))
  np.testing.assert_allclose(loss, 4 * (p * np.log(p / q)).sum(), rtol=1e-4)
  np.testing.assert_allclose(kl, (np.exp(log_p[0]) * (log_p[0] - log_q[0])).sum(), rtol=1e-4)
  a, b = log_q[::2], log_q[1::2]
  expected = ((np.exp(a) - np.exp(b)) * (a - b)).sum() / 2 / 2  # Jeffreys' divergence, two pairs
  np.testing.assert_allclose(objectives.disagreement(jnp.asarray(log_q)), expected, rtol=1e-4)


def test_consistency_is_added_to_the_loss():
  batch = random_batch([0, 1, -1, 0])
  plain, tied = (
    distill.distiller(LINEAR, optax.sgd(0.5), consistency_weight=w) for w in (0.0, 3.0))
  state = jax.jit(plain.init)(KEY, {"features": batch.inputs["features"][0]})
  out = jax.tree.map(lambda a: a + 0.3 * jnp.arange(a.size).reshape(a.shape),
                     state.params["params"])
  state = state._replace(params={**state.params, "params": out})
  log_q = jax.vmap(LINEAR.apply, (None, 0))(state.params, batch.inputs)
  added = tied.step(state, batch)[1].loss - plain.step(state, batch)[1].loss
  assert float(added) > 1e-3
  np.testing.assert_allclose(added, 3 * objectives.disagreement(log_q), rtol=1e-3)


@pytest.mark.parametrize(("settings", "says"), [
  ({"temperature": 0.0}, "temperature must be > 0 and finite, got 0.0"),
  ({"consistency_weight": -1.0}, "consistency_weight must be >= 0 and finite, got -1.0"),
])
def test_objectives_that_make_no_sense_are_refused(settings, says):
  with pytest.raises(InputError, match=says):
    distill.distiller(LINEAR, optax.sgd(0.5), **settings)


def test_jit_equals_plain():
  made = distill.distiller(LINEAR, optax.sgd(0.5), hard_label_weight=0.3)
  batch = random_batch([0, 1, -1])
  state = jax.jit(made.init)(KEY, {"features": batch.inputs["features"][0]})
  plain, jitted = made.step(state, batch), jax.jit(made.step)(state, batch)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), plain, jitted)


@pytest.mark.parametrize("steps", [1, 5, 40, 5000])
def test_learning_rate_rises_and_falls(steps):
  optimizer = optimizers.warmup_cosine_adamw(0.5, steps)
  # After the first step Adam moves by exactly the rate where the gradient is constant.
  params, grads = jnp.zeros(1), jnp.ones(1)
  state = optimizer.init(params)
  rates = []
  for _ in range(min(steps, 120)):
    updates, state = optimizer.update(grads, state, params)
    rates.append(-float(updates[0]))
  warmup = min(steps // 10, 100)
  np.testing.assert_allclose(rates[0], 0.5 / (warmup + 1), rtol=1e-3)
  np.testing.assert_allclose(max(rates), 0.5, rtol=1e-3)
  assert np.argmax(rates) == warmup


def test_linear_student_recovers_a_linear_teacher_and_leaves_the_constants_alone():
  data, valid = linear_world(0), linear_world(1)
  mean, std = distill_data.feature_moments(data)
  student = students.standardize(LINEAR, mean, std)
  plan = {"steps": 200, "batch_size": 64, "learning_rate": 0.1, "eval_every": 100}
  result = distill.train(student, data, valid, key=KEY, **plan)
  assert result.history[0].valid_kl > 0.1
  assert result.history[-1].train_loss < 1e-3
  device = jax.tree.map(jnp.asarray, valid)
  assert float(distill.mean_kl(student.apply, result.params, device)) < 1e-3
  np.testing.assert_array_equal(result.params["constants"]["shift"], mean.astype(np.float32))
  np.testing.assert_array_equal(result.params["constants"]["scale"], (1 / std).astype(np.float32))


@pytest.mark.parametrize("weight", [0.0, 0.6])
def test_without_information_the_optimum_is_the_mean_target(weight):
  p = np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.4, 0.6]])
  labels = np.array([1, 1, -1, -1])
  data = make_data(np.full((4, 2, 4), 7.0), np.log(p), labels)
  student = students.standardize(LINEAR, *distill_data.feature_moments(data))
  plan = {"steps": 200, "batch_size": 1024, "learning_rate": 0.05, "eval_every": 200}
  result = distill.train(student, data, None, key=KEY, hard_label_weight=weight, **plan)
  target = p.copy()
  target[:2] = (1 - weight) * p[:2] + weight * np.array([0.0, 1.0])
  answer = jnp.exp(student.apply(result.params, {"features": jnp.full(4, 7.0)}))
  np.testing.assert_allclose(answer, target.mean(axis=0), atol=0.015)
  if weight == 0:
    np.testing.assert_allclose(answer, np.exp(distill_data.mean_teacher(data)), atol=0.015)


def test_mean_kl_weighs_views_and_skips_padding():
  teacher = np.log(np.array([[0.5, 0.5], [0.2, 0.8]], np.float32))
  data = make_data(np.zeros((2, 2, 4)), teacher)
  data.row[1, 1], data.log_weights[1] = -1, [0.0, -np.inf]
  data.log_weights[0] = np.log([0.25, 0.75])
  data.features[:, 0] = [0, 1, 2, np.nan]
  answers = np.log(np.array([[0.5, 0.5], [0.9, 0.1], [0.3, 0.7]]))
  apply = lambda params, inputs: jnp.asarray(answers)[inputs["features"][0].astype(int)]  # noqa: E731
  kl = lambda p, q: (np.exp(p) * (p - q)).sum()  # noqa: E731
  expected = (0.75 * kl(teacher[0], answers[1]) + kl(teacher[1], answers[2])) / 2
  got = distill.mean_kl(apply, {}, jax.tree.map(jnp.asarray, data))
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_best_step_is_chosen_on_validation():
  # Sixteen examples of random targets in 32 dimensions: whatever is learnt is wrong elsewhere.
  rng = np.random.default_rng(5)
  data, valid = (
    make_data(rng.normal(size=(16, 1, 32)), log_softmax(3 * rng.normal(size=(16, 2))))
    for _ in range(2)
  )
  plan = {"key": KEY, "steps": 50, "batch_size": 16, "learning_rate": 0.1, "eval_every": 10}
  result = distill.train(LINEAR, data, valid, **plan)
  curve = [point.valid_kl for point in result.history]
  assert [point.step for point in result.history] == [0, 10, 20, 30, 40, 50]
  assert result.chosen_by == "validation"
  assert result.best_step == 10 * int(np.argmin(curve)) < 50
  chosen = distill.mean_kl(LINEAR.apply, result.params, jax.tree.map(jnp.asarray, valid))
  np.testing.assert_allclose(chosen, min(curve), rtol=1e-5)
  assert curve[-1] > 1.2 * min(curve)
  assert result.history[-1].train_loss < result.history[1].train_loss

  last = distill.train(LINEAR, data, None, **plan)
  assert (last.best_step, last.chosen_by) == (50, "last step")
  assert all(point.valid_kl is None for point in last.history)
  kernel = last.params["params"]["out"]["kernel"]
  assert np.abs(kernel - result.params["params"]["out"]["kernel"]).max() > 0.01
  # The validation part decides which step is kept, not how training goes.
  assert [p.train_loss for p in last.history] == [p.train_loss for p in result.history]


def test_student_of_shuffled_targets_knows_the_constant_only():
  # Enough examples that no rule fits shuffled targets by chance.
  data, valid = (linear_world(seed, n=2048, noise=0.3) for seed in (6, 7))
  student = students.standardize(LINEAR, *distill_data.feature_moments(data))
  plan = {"key": KEY, "steps": 60, "batch_size": 64, "learning_rate": 0.1, "eval_every": 10}
  device = jax.tree.map(jnp.asarray, valid)
  learnt = distill.train(student, data, valid, **plan)
  keys = jax.random.split(jax.random.key(8))
  shuffled = map(distill_data.shuffled_targets, keys, (data, valid))
  control = distill.train(student, *shuffled, **plan)
  constant = students.constant_student(distill_data.mean_teacher(data))
  kl_learnt, kl_control, kl_constant = (
    float(distill.mean_kl(s.apply, params, device))
    for s, params in (
      (student, learnt.params),
      (student, control.params),
      (constant, constant.init(KEY, {})),
    )
  )
  assert kl_learnt < 0.5 * kl_constant
  assert kl_control > 0.9 * kl_constant


def test_odd_last_chunk_and_the_history_it_leaves():
  seen = []
  data = linear_world(0)
  plan = {"key": KEY, "steps": 7, "batch_size": 8, "eval_every": 5}
  result = distill.train(LINEAR, data, data, progress=seen.append, **plan)
  assert [point.step for point in result.history] == [0, 5, 7]
  assert result.history == tuple(seen)
  assert result.history[0].train_loss is None


@pytest.mark.parametrize(
  "settings, message",
  [
    ({"steps": 0}, "steps must be >= 1, got 0"),
    ({"batch_size": 0}, "batch_size must be >= 1"),
    ({"eval_every": 0}, "eval_every must be >= 1"),
    ({"learning_rate": 0.0}, "learning_rate must be > 0"),
    ({"weight_decay": -1.0}, "weight_decay must be >= 0"),
    ({"hard_label_weight": 1.5}, "hard_label_weight must be between 0 and 1, got 1.5"),
    ({"hard_label_weight": 0.5}, "no training example has one"),
  ],
)
def test_wrong_settings_are_named(settings, message):
  with pytest.raises(InputError, match=message):
    distill.train(LINEAR, linear_world(0), None, key=KEY, **settings)


def test_broken_features_are_refused_before_anything_is_written(tmp_path):
  data, valid = linear_world(0), linear_world(1)
  valid.features[3, 1] = np.nan
  with pytest.raises(InputError, match="the validation data cannot be used: its features hold NaN"):
    distill.train(LINEAR, data, valid, key=KEY, checkpoint_dir=tmp_path / "student")
  assert not (tmp_path / "student").exists()


def test_a_loss_that_blows_up_is_one_sentence():
  data = linear_world(0)
  data.features[:] *= 1e10
  with pytest.raises(InputError, match="training loss is (nan|inf) at step 5: lower learning_rate"):
    distill.train(LINEAR, data, None, key=KEY, steps=5, eval_every=5, learning_rate=1e30)
