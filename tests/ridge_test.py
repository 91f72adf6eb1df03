"""The student found at once: weights are another library's, the penalty is the best unseen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mezzanine_jax import distill_data, heads, ridge, students
from mezzanine_jax.errors import InputError


def made(number, views=2, size=3, choices=3):
  """Examples whose teacher is the corrected answer to their one view; of several, no answer's."""
  rng = np.random.default_rng(number)  # another number, other examples
  features = rng.normal(size=(number * views, size)).astype(np.float32)
  log_probs = np.log(rng.dirichlet(np.full(choices, 4.0), number * views)).astype(np.float32)
  if views == 1:
    weights = np.linspace(-0.5, 0.5, size * choices).reshape(size, choices)
    logits = 0.8 * log_probs + features @ weights
  else:
    logits = rng.normal(size=(number, choices))
  teacher = np.asarray(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)))
  return distill_data.DistillData(
      features, log_probs, np.arange(number * views, dtype=np.int32).reshape(number, views),
      np.full((number, views), -np.log(views), np.float32), teacher,
      np.full(number, -1, np.int32))


def standardised(data):
  return students.standardize(heads.ridge(data.log_probs.shape[1]),
                              *distill_data.feature_moments(data))


def test_it_finds_the_correction_that_made_the_teachers():
  train, valid = made(200, views=1), made(50, views=1)
  found = ridge.solve(standardised(train), train, valid)
  assert found.penalty == ridge.PENALTIES[-1] and found.chosen_by == "validation"
  assert found.history[-1].valid_kl < 0.01 * found.history[0].valid_kl
  assert found.params["params"]["sharpness"] == pytest.approx(0.8, abs=0.02)
  assert [p.step for p in found.history] == sorted(p.step for p in found.history)
  assert found.best_step == found.history[-1].step > 0


def test_weights_are_those_of_an_independent_minimiser():
  # Binary, sharpness and answer of the model switched off by an answer of one half: what is left
  # is logistic regression on soft labels, here as two weighted hard ones.
  data = made(40, views=1, choices=2)
  data = data._replace(log_probs=np.full((40, 2), np.log(0.5), np.float32))
  student, penalty = standardised(data), 0.7
  found = ridge.solve(student, data, data, penalties=(penalty,))
  z = (data.features - data.features.mean(0)) / data.features.std(0)
  p = np.exp(data.teacher_log_probs)
  # Two columns w and -w: |W|² is half the square of their difference.
  other = LogisticRegression(C=2 / (penalty * z.shape[1]), tol=1e-10, max_iter=1000).fit(
      np.concatenate([z, z]), np.repeat([0, 1], 40), np.concatenate([p[:, 0], p[:, 1]]))
  kernel = np.asarray(found.params["params"]["out"]["kernel"])
  np.testing.assert_allclose(kernel[:, 1] - kernel[:, 0], other.coef_[0], rtol=0.02, atol=1e-3)
  answers = students.predict_rows(student.apply, found.params, distill_data.table(data))
  np.testing.assert_allclose(np.exp(answers), other.predict_proba(z), atol=2e-3)


def test_noise_is_not_learned():
  train, valid = made(30, size=60), made(300, size=60)
  agreed = valid._replace(teacher_log_probs=valid.log_probs[valid.row[:, 0]])
  found = ridge.solve(standardised(train), train, distill_data.select(agreed, range(300))._replace(
      row=agreed.row[:, :1], log_weights=np.zeros((300, 1), np.float32)))
  assert found.best_step == 0 and found.penalty is None and len(found.history) > 1
  assert not found.params["params"]["out"]["kernel"].any()
  found = ridge.solve(standardised(train), train, valid)
  assert len(found.history) < len(ridge.PENALTIES)  # weaker penalties were not tried
  assert min(p.valid_kl for p in found.history) < found.history[-1].valid_kl


def test_the_loss_weighs_views_and_their_padding_counts_for_nothing():
  data = made(5, views=3)
  row, weights = data.row.copy(), np.log(np.array([[0.5, 0.3, 0.2]] * 5, np.float32))
  row[0, 2], weights[0] = -1, [np.log(0.5), np.log(0.5), -np.inf]
  data = jax.tree.map(jnp.asarray, data._replace(row=row, log_weights=weights))
  student = standardised(data)
  params = student.init(jax.random.key(0), {"features": data.features[0],
                                            "log_probs": data.log_probs[0]})
  params["params"]["out"]["kernel"] += 0.1 * jnp.arange(9.0).reshape(3, 3)
  total = 0.0
  for n in range(5):
    for k in range(3):
      if row[n, k] >= 0:
        own = {"features": data.features[row[n, k]], "log_probs": data.log_probs[row[n, k]]}
        t = np.asarray(data.teacher_log_probs[n])
        total += np.exp(weights[n, k]) * (
            np.exp(t) * (t - np.asarray(student.apply(params, own)))).sum() / 5
  size = 3 * float((params["params"]["out"]["kernel"] ** 2).sum())
  loss = ridge.penalised_loss(student.apply, params, data, jnp.float32(2.0))
  assert float(loss) == pytest.approx(total + 2 * size / 10, rel=1e-5)


def test_what_cannot_be_used_is_said():
  data = made(6, views=1)
  with pytest.raises(InputError, match="chosen on validation examples, but there are none"):
    ridge.solve(standardised(data), data, distill_data.select(data, []))
  with pytest.raises(InputError, match="no training example has one"):
    ridge.solve(standardised(data), data, data, hard_label_weight=0.5)
  broken = data._replace(features=np.full_like(data.features, np.nan))
  with pytest.raises(InputError, match="features hold NaN"):
    ridge.solve(heads.ridge(3), broken, data)


def test_a_choice_that_the_model_rules_out_stays_so():
  data = made(40, views=1)
  log_probs, teacher = (np.array(own) for own in (data.log_probs, data.teacher_log_probs))
  for own in (log_probs, teacher):
    own[::4, 0] = -np.inf
    own -= np.logaddexp.reduce(own, 1, keepdims=True)
  data = data._replace(log_probs=log_probs, teacher_log_probs=teacher / 2 - np.logaddexp.reduce(
      teacher / 2, 1, keepdims=True))
  student = standardised(data)
  found = ridge.solve(student, data, data)
  assert found.history[-1].valid_kl < found.history[0].valid_kl
  answers = np.asarray(students.predict_rows(student.apply, found.params, distill_data.table(data)))
  assert np.isfinite(answers[1::4]).all() and (np.exp(answers[::4, 0]) == 0).all()


def test_the_strongest_penalty_may_be_worse_than_none():
  # There is much to learn, and one choice has more of the training part than of the other.
  train, valid = (part._replace(teacher_log_probs=np.asarray(jax.nn.log_softmax(
      part.log_probs + part.features @ np.diag([1.0, -1.0, 0.5]) + np.array([lift, 0, 0]))))
      for part, lift in ((made(300, views=1), 1.0), (made(200, views=1), -0.3)))
  found = ridge.solve(standardised(train), train, valid, penalties=(1e6, 1.0, 0.01))
  assert found.history[1].valid_kl > found.history[0].valid_kl > found.history[2].valid_kl
  assert found.penalty is not None
