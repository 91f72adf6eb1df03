"""Students: standardisation, the constant one, rows in blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import inputs_of, randomized

from mezzanine_jax import heads, students
from mezzanine_jax.errors import InputError

KEY = jax.random.key(0)


def test_standardised_student_sees_z_scores_whatever_wrapped_it():
  plain = heads.linear_head(3)
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
  student = students.standardize(heads.linear_head(3), np.array([mean, 0]), np.array([std, 1]))
  params = randomized(student.init(KEY, inputs_of(np.zeros(2, np.float32))))
  usual = student.apply(params, inputs_of(np.array([mean, 0.7], np.float32)))
  other = student.apply(params, inputs_of(np.array([mean + 5, 0.7], np.float32)))
  assert np.isfinite(usual).all()
  np.testing.assert_array_equal(usual, other)


def test_standardisation_of_bfloat16_features():
  student = students.standardize(heads.linear_head(3), np.array([0.1]), np.array([3.0]))
  x = jnp.array([1.7], jnp.bfloat16)
  params = randomized(student.init(KEY, inputs_of(x)))
  expected = student.apply(params, inputs_of(x.astype(jnp.float32)))
  np.testing.assert_array_equal(student.apply(params, inputs_of(x)), expected)


@pytest.mark.parametrize("mean, std", [(np.nan, 1.0), (0.0, np.inf), (0.0, -1.0)])
def test_broken_moments_are_refused(mean, std):
  with pytest.raises(InputError, match="finite"):
    students.standardize(heads.linear_head(2), np.array([mean]), np.array([std]))


def test_constant_student_ignores_its_inputs():
  answer = np.log(np.array([0.2, 0.8], np.float32))
  student = students.constant_student(answer)
  params = student.init(KEY, {})
  assert not jax.tree.leaves(params["params"])
  for x in (np.zeros(2), np.full(2, np.nan)):
    np.testing.assert_array_equal(student.apply(params, inputs_of(x)), answer)


def test_rows_in_blocks_are_rows_alone():
  student = heads.mlp_head(3, hidden=4)
  table = np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32)
  params = randomized(jax.jit(student.init)(KEY, inputs_of(table[0])))
  log_probs = students.predict_rows(student.apply, params, {"features": table}, block=4)
  alone = [student.apply(params, inputs_of(row)) for row in table]
  np.testing.assert_allclose(log_probs, np.stack(alone), rtol=1e-5, atol=1e-6)
