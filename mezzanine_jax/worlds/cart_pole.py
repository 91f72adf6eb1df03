"""A cart with a pole that swings under it, pushed left and right: simulated with MuJoCo."""

from typing import NamedTuple

import numpy as np

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.values import Part
from mezzanine_jax.worlds.world import World, check_counts, digest

OBSERVATION, ACTION = "observation", "action"  # the fields of an example
SECONDS = 0.3  # that an action is held
_PER_ACTION = 30  # steps of the simulation

# A rail without ends; at angle 0 the pole stands upright.
_MODEL = """
<mujoco model="cart_pole">
  <option timestep="0.01" integrator="RK4"><flag contact="disable"/></option>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0" damping="0.5"/>
      <geom type="box" size="0.2 0.1 0.1" mass="1"/>
      <body name="pole">
        <joint name="hinge" type="hinge" axis="0 1 0" damping="0.01"/>
        <geom type="capsule" fromto="0 0 0 0 0 0.6" size="0.03" mass="0.3"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="slide" gear="12" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


class Signs(NamedTuple):
  """What the mirror image left to right does to each number: 1, or -1."""

  observation: tuple[int, ...] = (-1, 1, -1, -1, -1)
  action: tuple[int, ...] = (-1,)


# Position, cosine and sine of the pole's angle, velocity, angular velocity.
PARTS = (
  Part("position", "m", 0, 1), Part("angle", "", 1, 3), Part("velocity", "m / s", 3, 4),
  Part("angular_velocity", "rad / s", 4, 5),
)


def load(
  dataset: str | None = None,
  *,
  n_train: int,
  n_test: int,
  seed: int = 0,
  episode: int = 10,
) -> World:
  """Simulates episodes of a cart-pole that is pushed at random.

  An episode begins at rest or not, anywhere, the pole at any angle; every 0.3 s the cart is
  pushed by another force, from U(-12, 12) newtons. Each step of it is an example.

  Args:
    dataset: nothing to choose; must be None.
    n_train: training steps, >= 1.
    n_test: test steps, >= 1, of other episodes.
    seed: fixes all of them.
    episode: steps of an episode, >= 1; the last one may be cut short.

  Returns:
    A `World` whose examples have the fields `observation`, float32[5] (position of the cart,
    cosine and sine of the pole's angle, velocity, angular velocity), and `action`, float32[1] in
    [-1, 1]; the label is the next observation, float32[5]. Episodes are the clusters.

  Raises:
    InputError: MuJoCo is not installed, or an argument is out of range.

  Source: E. Todorov, T. Erez and Y. Tassa, MuJoCo, IROS 2012.
  """
  check_counts(n_train, n_test)
  if dataset is not None:
    raise InputError(f"the world cart_pole has no datasets, got {dataset!r}: leave it out")
  if episode < 1:
    raise InputError(f"episode must be >= 1, got {episode}")
  try:
    import mujoco
  except ImportError as error:
    raise InputError(
      "the world cart_pole is simulated with MuJoCo: pip install 'mezzanine_jax[robotics]'"
    ) from error
  model = mujoco.MjModel.from_xml_string(_MODEL)
  data = mujoco.MjData(model)

  def run(rng: np.random.Generator, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    mujoco.mj_resetData(model, data)
    data.qpos[:] = rng.uniform([-1, -np.pi], [1, np.pi])
    data.qvel[:] = rng.normal(size=2) * [1.0, 3.0]
    out = []
    for action in rng.uniform(-1, 1, steps):
      before = observed(data.qpos, data.qvel)
      data.ctrl[:] = action
      mujoco.mj_step(model, data, _PER_ACTION)
      out.append((before, np.array([action], np.float32)))
    return [*out, (observed(data.qpos, data.qvel), None)]

  parts = {}
  for number, (part, count) in enumerate((("train", n_train), ("test", n_test))):
    parts[part] = []
    for e in range(-(-count // episode)):
      steps = run(np.random.default_rng([seed, number, e]), min(episode, count - e * episode))
      name = f"{part}:{e}"
      parts[part] += [
        Example(f"{name}:{t}", {OBSERVATION: now, ACTION: action}, after, name)
        for t, ((now, action), (after, _)) in enumerate(zip(steps, steps[1:], strict=False))]
  used = {part: len(examples) for part, examples in parts.items()}
  notes = {"cluster": "episode", "asked": used, "used": used, "seconds_a_step": SECONDS}
  digests = {part: digest(examples) for part, examples in parts.items()}
  return World(parts["train"], parts["test"], 0, notes, digests)


def observed(positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
  """float32[5] of the cart's position and the pole's angle, and of their velocities.

  Example:
    >>> observed([0.5, 0.0], [1.0, -2.0]).tolist()
    [0.5, 1.0, 0.0, 1.0, -2.0]
  """
  (cart, angle), (velocity, turning) = positions, velocities
  return np.array([cart, np.cos(angle), np.sin(angle), velocity, turning], np.float32)
