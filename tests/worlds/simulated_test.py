"""Simulated worlds: their physics, and that the same seed is the same world."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds import cart_pole, lennard_jones, world


def test_a_pair_of_particles_by_hand():
  apart = 1.5
  x = jnp.array([[0.0, 0.0, 0.0], [0.0, apart, 0.0]])
  found = lennard_jones.answer(x)
  six = apart**-6
  np.testing.assert_allclose(found.energy, 4 * (six**2 - six), rtol=1e-5)
  pull = 24 * (six - 2 * six**2) / apart  # towards each other, at this distance
  np.testing.assert_allclose(found.forces, [[0, pull, 0], [0, -pull, 0]], rtol=1e-5, atol=1e-6)


def test_forces_are_slopes_of_the_energy():
  x = np.asarray(lennard_jones._dense(5)) + np.random.default_rng(0).normal(0, 0.05, (5, 3))
  forces, small = np.asarray(lennard_jones.answer(jnp.asarray(x)).forces), 1e-5
  i, j = np.triu_indices(5, 1)

  def energy(x):  # an independent one, in float64
    r = np.linalg.norm(x[i] - x[j], axis=1)
    return (4 * (r**-12 - r**-6)).sum()

  for n, k in ((0, 0), (3, 2)):
    step = np.zeros((5, 3))
    step[n, k] = small
    slope = (energy(x + step) - energy(x - step)) / (2 * small)
    np.testing.assert_allclose(forces[n, k], -slope, rtol=2e-3, atol=1e-3)


@pytest.mark.slow
def test_clusters_are_dense_centred_and_at_their_temperature():
  made = lennard_jones.load(n_train=250, n_test=3, particles=3, heat=0.1)
  again = lennard_jones.load(n_train=5, n_test=3, particles=3, heat=0.1)
  assert again.digests["train"] == world.digest(made.train[:5]) and not made.num_labels
  x = np.stack([e.x["particles"] for e in made.train])
  np.testing.assert_allclose(x.mean(1), 0, atol=1e-5)
  energies = np.array([e.label[0] for e in made.train])
  # Three vibrations and half a temperature in each, in the harmonic limit: -3 + 3/2 kT.
  assert abs(energies.mean() - (-3 + 1.5 * 0.1)) < 0.06
  assert made.train[0].label.dtype == np.float32 and made.train[0].label.shape == (10,)
  answers = jax.vmap(lambda x: lennard_jones.flat(lennard_jones.answer(x)))(x)
  np.testing.assert_allclose(answers, [e.label for e in made.train], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("settings, message", [
    (dict(particles=1), "particles must be between 2 and 13, got 1"),
    (dict(heat=0.0), "heat must be above 0 and at most 1, got 0.0"),
    (dict(n_test=0), "n_test must be a whole number >= 1"),
])
def test_what_is_no_cluster_is_refused(settings, message):
  with pytest.raises(InputError, match=message):
    lennard_jones.load(**{"n_train": 2, "n_test": 2, **settings})


def test_the_plant_and_its_mirror_image():
  pytest.importorskip("mujoco")
  made = cart_pole.load(n_train=25, n_test=5, episode=10)
  assert [len(made.train), len(made.test)] == [25, 5]
  assert [e.cluster for e in made.train[9:11]] == ["train:0", "train:1"]
  # Within an episode a step begins where the one before it ended.
  np.testing.assert_array_equal(made.train[0].label, made.train[1].x["observation"])
  assert made.digests == cart_pole.load(n_train=25, n_test=5, episode=10).digests
  angle = np.array([e.label[1:3] for e in made.train])
  np.testing.assert_allclose((angle**2).sum(1), 1, rtol=1e-5)


def test_mujoco_obeys_the_mirror():
  mujoco = pytest.importorskip("mujoco")
  model = mujoco.MjModel.from_xml_string(cart_pole._MODEL)

  def after(sign):
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = sign * np.array([0.3, 0.7]), sign * np.array([0.1, -0.4])
    data.ctrl[:] = sign * 0.5
    mujoco.mj_step(model, data, 30)
    return cart_pole.observed(data.qpos, data.qvel)

  signs = np.array(cart_pole.Signs().observation)
  np.testing.assert_allclose(after(-1.0), signs * after(1.0), atol=1e-6)
  assert abs(after(1.0)[0] - 0.3) > 0.05  # it moved
