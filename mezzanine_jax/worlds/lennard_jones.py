"""Clusters of particles that attract and repel each other: energies and forces known exactly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.spatial.transform import Rotation

from mezzanine_jax.base import Array, Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.values import Part
from mezzanine_jax.worlds.world import World, check_counts, digest

PARTICLES = "particles"  # the field of an example
_STEPS, _STEP = 600, 0.01  # of the simulation, in units of sigma sqrt(mass / epsilon)
_FRICTION = 2.0
_BLOCK = 256  # clusters at once: one shape for any number of them


class Answer(NamedTuple):
  """What is asked of a cluster.

  Attributes:
    energy: float32[], in units of epsilon.
    forces: float32[n, 3], on each particle, in epsilon / sigma.
  """

  energy: Array
  forces: Array


def load(
  dataset: str | None = None,
  *,
  n_train: int,
  n_test: int,
  seed: int = 0,
  particles: int = 4,
  heat: float = 0.15,
) -> World:
  """Simulates clusters that are at a temperature, each for itself.

  The energy is that of J. E. Lennard-Jones (1924), U = 4 epsilon Σ_{i<j} (sigma/r)¹² - (sigma/r)⁶,
  the force on a particle -∂U/∂x. A cluster starts dense and moves by Langevin's equation (the
  integrator BAOAB); its last state, put at its centre, turned and its particles named at random,
  is an example. All are independent.

  Args:
    dataset: nothing to choose; must be None.
    n_train: training clusters, >= 1.
    n_test: test clusters, >= 1.
    seed: fixes all of them.
    particles: how many a cluster has, 2 to 13.
    heat: the temperature, in units of epsilon / k, above 0 and at most 1; clusters come apart
      above 0.3.

  Returns:
    A `World` whose examples have the field `particles`, float32[n, 3] in units of sigma, and as
    label float32[1 + 3 n]: the energy, then the forces, as `flat` has them.

  Raises:
    InputError: an argument that is out of range.

  Example:
    >>> world = load(n_train=2, n_test=1, particles=2)
    >>> world.train[0].x["particles"].shape, world.train[0].label.shape
    ((2, 3), (7,))

  Source: B. Leimkuhler and C. Matthews, Applied Mathematics Research eXpress 2013 (BAOAB).
  """
  check_counts(n_train, n_test)
  if dataset is not None:
    raise InputError(f"the world lennard_jones has no datasets, got {dataset!r}: leave it out")
  if not 2 <= particles <= 13:
    raise InputError(f"particles must be between 2 and 13, got {particles}")
  if not 0 < heat <= 1:
    raise InputError(f"heat must be above 0 and at most 1, got {heat}")
  parts = {}
  for number, (part, count) in enumerate((("train", n_train), ("test", n_test))):
    key = jax.random.fold_in(jax.random.key(seed), number)
    blocks = [jax.device_get(
      _simulate(jax.random.fold_in(key, block), _dense(particles), heat))
      for block in range(-(-count // _BLOCK))]
    positions, labels = (np.concatenate(own)[:count] for own in zip(*blocks, strict=True))
    names = (f"{part}:{i}" for i in range(count))
    parts[part] = [Example(name, {PARTICLES: x}, label, name)
                   for name, x, label in zip(names, positions, labels, strict=True)]
  notes = {
    "cluster": "cluster",
    "asked": {"train": n_train, "test": n_test}, "used": {"train": n_train, "test": n_test},
    "particles": particles, "heat": heat,
  }
  digests = {part: digest(examples) for part, examples in parts.items()}
  return World(parts["train"], parts["test"], 0, notes, digests)


def energy(positions: Array) -> Array:
  """float[], the potential energy of float[n, 3], in units of epsilon and sigma.

  Example:
    >>> float(energy(jnp.array([[0.0, 0.0, 0.0], [2 ** (1 / 6), 0.0, 0.0]])))  # the least there is
    -1.0
  """
  # Every pair twice: the gradient of a table is quicker than that of a choice of pairs.
  itself = np.eye(positions.shape[0], dtype=bool)
  squares = ((positions[:, None] - positions[None]) ** 2).sum(-1)
  inverse_6 = jnp.where(itself, 0.0, jnp.where(itself, 1.0, squares) ** -3)
  return 2 * (inverse_6**2 - inverse_6).sum()


def answer(positions: Array) -> Answer:
  """Energy and forces of float[n, 3], exactly."""
  value, slope = jax.value_and_grad(energy)(positions)
  return Answer(value, -slope)


def flat(found: Answer) -> Array:
  """float[1 + 3 n], the energy and then the forces."""
  return jnp.concatenate([found.energy[None], found.forces.reshape(-1)])


def unflat(numbers: Array) -> Answer:
  """What `flat` made of an answer, as it was."""
  return Answer(numbers[0], numbers[1:].reshape(-1, 3))


def parts(particles: int) -> tuple[Part, ...]:
  """What the numbers of a flat answer are, of a cluster of so many particles."""
  return (Part("energy", "epsilon", 0, 1, centred=True),
          Part("forces", "epsilon / sigma", 1, 1 + 3 * particles))


def pairs(positions: Array) -> Array:
  """float[2 n (n - 1)]: of every two particles, in their order, x_i - x_j and (sigma/r)⁶.

  A network sees what matters, but neither that turning the cluster turns its forces nor that
  its particles have no order.
  """
  i, j = np.triu_indices(positions.shape[0], 1)
  apart = positions[i] - positions[j]
  inverse_6 = (apart**2).sum(-1) ** -3
  return jnp.concatenate([apart.reshape(-1), inverse_6])


@jax.jit
def _simulate(key: Array, start: Array, heat: float) -> tuple[Array, Array]:
  """float32[block, n, 3], the last states, centred, turned and in random order; their answers."""
  forces = jax.vmap(jax.grad(lambda x: -energy(x)))
  shape, speed = (_BLOCK, *start.shape), jnp.sqrt(heat)
  start = jnp.broadcast_to(start, shape)
  keys = jax.random.split(key, 4)
  kept = jnp.exp(-_FRICTION * _STEP)

  def step(state: tuple[Array, Array, Array], key: Array) -> tuple[tuple, None]:
    x, v, f = state
    x = x + _STEP / 2 * (v + _STEP / 2 * f)
    noise = jax.random.normal(key, shape)
    v = kept * (v + _STEP / 2 * f) + jnp.sqrt(1 - kept**2) * speed * noise
    x = x + _STEP / 2 * v
    f = forces(x)
    return (x, v + _STEP / 2 * f, f), None

  state = (start, speed * jax.random.normal(keys[0], shape), forces(start))
  x = jax.lax.scan(step, state, jax.random.split(keys[1], _STEPS))[0][0]
  x = x - x.mean(1, keepdims=True)
  turns = Rotation.from_quat(jax.random.normal(keys[2], (_BLOCK, 4))).as_matrix()
  x = jnp.einsum("nij,npj->npi", turns, x)
  x = jax.vmap(jax.random.permutation)(jax.random.split(keys[3], _BLOCK), x)
  return x, jax.vmap(lambda x: flat(answer(x)))(x)


def _dense(particles: int) -> np.ndarray:
  """float32[n, 3]: the points of a face-centred cubic lattice that are nearest one place."""
  grid = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
  points = grid[grid.sum(1) % 2 == 0] / np.sqrt(2) * 2 ** (1 / 6)
  # Between four neighbours, a little off, so that no two are as near.
  place = np.array([0.41, 0.39, 0.43])
  order = np.argsort(((points - place) ** 2).sum(1), kind="stable")
  return points[order[:particles]].astype(np.float32)
