"""Figures of real-valued predictions: by hand, in their units, and what is chosen by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax import comparison, distill, distill_data, heads, regression, students, values
from mezzanine_jax.errors import InputError
from mezzanine_jax.evaluation import Beliefs

PARTS = (values.Part("energy", "J", 0, 1, shift=5.0, scale=2.0),
         values.Part("forces", "N", 1, 3, scale=10.0))
RNG = np.random.default_rng(0)
LABELS = RNG.normal(size=(30, 3)).astype(np.float32)
CLUSTERS = [f"c{n // 2}" for n in range(30)]


def predicted(noise, orbit_size=jnp.inf, num=4, offset=0.0):
  """Predictions that are off by noise on every view, and by an offset on all."""
  views = LABELS[:, None] + offset + noise * RNG.normal(size=(30, num, 3))
  canonical = views[:, 0] if np.isfinite(orbit_size) else (
      LABELS + offset + noise * RNG.normal(size=(30, 3)))
  return Beliefs(
      jnp.asarray(views, jnp.float32), jnp.full((30, num), -jnp.log(num)),
      jnp.full(30, orbit_size), jnp.asarray(canonical, jnp.float32), jnp.zeros((30, num), bool))


def test_an_exact_orbit_is_measured_by_hand():
  lm, student = predicted(0.5, 4.0), predicted(0.1, 4.0)
  measures = values.measures(PARTS)
  blocks = comparison.student_blocks(
      lm, {"student": student, "constant": predicted(0.0, 4.0, offset=9.0)}, LABELS, CLUSTERS, 0,
      "network", measures)
  views, mean = np.asarray(lm.log_probs), np.asarray(lm.log_probs).mean(1)
  pairs = ((views[:, :, None] - views[:, None]) ** 2).sum(-1).mean((1, 2))
  base = blocks["baseline"]
  np.testing.assert_allclose(base["gap"]["pairwise_square"], pairs.mean(), rtol=1e-5)
  np.testing.assert_allclose(base["gap"]["variance"], pairs.mean() / 2, rtol=1e-5)
  errors = np.asarray(lm.canonical) - LABELS
  np.testing.assert_allclose(base["rmse"], np.sqrt((errors**2).sum(1).mean()), rtol=1e-5)
  np.testing.assert_allclose(
      base["energy_rmse"], 2 * np.sqrt((errors[:, 0] ** 2).mean()), rtol=1e-5)
  np.testing.assert_allclose(
      base["forces_rmse"], 10 * np.sqrt((errors[:, 1:] ** 2).mean()), rtol=1e-5)
  np.testing.assert_allclose(
      blocks["teacher"]["squared_error"], ((mean - LABELS) ** 2).sum(1).mean(), rtol=1e-5)
  near = ((np.asarray(student.canonical) - mean) ** 2).sum(1).sum()
  far = ((np.asarray(lm.canonical) - mean) ** 2).sum(1).sum()
  np.testing.assert_allclose(blocks["student"]["fidelity"], np.sqrt(near / far), rtol=1e-5)
  assert [row["views"] for row in blocks["teacher_by_views"]] == [1, 2, 4]
  assert blocks["teacher_by_views"][-1]["fidelity"] == 0
  assert "fidelity" not in base and "accuracy" not in base
  checks = {check["check"]: check["answer"] for check in blocks["verdict"]}
  assert checks == {"gap_fell": "yes", "nearer_teacher_than_single_view": "yes",
                    "beats_constant": "yes", "error_kept": "yes"}
  assert "network" in blocks["verdict"][0]["meaning"] and blocks["who"] == "network"


def test_the_distance_to_the_teacher_is_free_of_the_draws():
  # Over many data sets of 2 draws each, the student's distance is that to the whole mean.
  population = np.array([[0.0], [1.0], [5.0]], np.float32)
  pairs = np.array([(a, b) for a in range(3) for b in range(3)])
  lm = Beliefs(jnp.asarray(population[pairs]), jnp.full((9, 2), -jnp.log(2)), jnp.full(9, jnp.inf),
               jnp.zeros((9, 1)), jnp.zeros((9, 2), bool))
  student = lm._replace(canonical=jnp.full((9, 1), 3.0))
  found = values.figures(student, lm, np.zeros((9, 1)), [values.Part("a", "", 0, 1)])
  np.testing.assert_allclose(found.squared_distance.mean(), 1.0, rtol=1e-5)  # (3 - 2)²
  np.testing.assert_allclose(found.squared_error, 9.0)


def test_each_part_has_its_share_of_the_variance():
  raw = RNG.normal(size=(500, 3)) * [3.0, 7.0, 7.0] + [100.0, 0.0, 0.0]
  plain = [part._replace(shift=0.0, scale=1.0, centred=part.name == "energy") for part in PARTS]
  parts = values.spread_units(raw, plain)
  spread = values.in_spread(raw, parts)
  np.testing.assert_allclose((spread[:, 0] ** 2).mean(), 0.5, rtol=1e-5)
  np.testing.assert_allclose((spread[:, 1:] ** 2).sum(1).mean(), 0.5, rtol=1e-5)
  assert parts[1].shift == 0
  back = np.concatenate([values.in_units(spread, part) for part in parts], 1)
  np.testing.assert_allclose(back, raw, rtol=1e-4, atol=1e-4)


def _data(num=40, **changes):
  """Numbers of two features, seen as they are or with their sign changed, and the answer, too."""
  features = RNG.normal(size=(2 * num, 2)).astype(np.float32)
  features[1::2] = -features[::2]
  teacher = features[::2] @ np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 3.0]], np.float32)
  found = distill_data.DistillData(
      features, np.zeros((2 * num, 3), np.float32), np.arange(2 * num).reshape(num, 2),
      np.full((num, 2), -np.log(2), np.float32), teacher, np.full(num, -1, np.int32),
      elements=np.arange(2 * num) % 2 == 1)
  return found._replace(**changes)


def test_a_student_learns_an_equivariance_from_all_views():
  align = lambda mirrored, answer: jnp.where(mirrored, -answer, answer)
  student = students.aligned(heads.mlp_values(3, depth=0), align)
  result = distill.train(
      student, _data(), _data(8), key=jax.random.key(0), steps=300, batch_size=32, eval_every=300,
      learning_rate=0.1, weight_decay=0.0, target="values")
  assert result.history[-1].valid_kl < 1e-3 < result.history[0].valid_kl
  np.testing.assert_allclose(
      result.params["params"]["out"]["kernel"], [[1.0, -2.0, 0.5], [0.0, 1.0, 3.0]], atol=0.05)


def test_the_best_constant_is_the_mean():
  data = _data()
  np.testing.assert_allclose(
      distill_data.mean_teacher(data, "values"), data.teacher_log_probs.mean(0), rtol=1e-5)
  views = jnp.array([[0.0, 2.0], [4.0, 0.0], [9.0, 9.0]])
  weights = jnp.log(jnp.array([0.25, 0.75, 0.0]))
  np.testing.assert_allclose(regression.mean(views, weights), [3.0, 0.5])


@pytest.mark.parametrize("changes, settings, message", [
    ({}, {"target": "numbers"}, "target must be one of beliefs, values, got 'numbers'"),
    ({}, {"target": "values", "hard_label_weight": 0.5},
     "hard_label_weight and temperature need choices"),
    ({"teacher_log_probs": np.full((40, 3), np.inf)}, {"target": "values"},
     "the teacher's values hold NaN or infinity"),
])
def test_what_cannot_be_learned_is_refused(changes, settings, message):
  with pytest.raises(InputError, match=message):
    distill.train(heads.mlp_values(3), _data(**changes), None, key=jax.random.key(0), steps=1,
                  **settings)
