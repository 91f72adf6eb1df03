"""`mirror`: a plant seen in a mirror, with what it is told to do and what it does next."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array, Prediction, Symmetry, Views, X
from mezzanine_jax.errors import InputError


def mirror(
    observation: Sequence[int] = (-1, 1, -1, -1, -1), action: Sequence[int] = (-1,)
) -> Symmetry:
  """The group of two: as it is, and its mirror image; an equivariance.

  The element is bool[], whether it is mirrored: then every number of the observation and of the
  action is multiplied by its sign. `align` does the same to every array of a prediction whose
  last axis has as many entries as an observation (the next one), and returns others as they are.
  The signs are the plant's; those given here are the cart-pole's.

  Args:
    observation: 1 or -1 for every number of an observation.
    action: the same of an action.

  Returns:
    A `Symmetry` on mappings of `observation` float[D] and `action` float[A], with an orbit of 2.

  Raises:
    InputError: for signs that are none, or when it is applied to anything else.

  Example:
    >>> import jax.numpy as jnp
    >>> x = {"observation": jnp.array([1.0, 2.0]), "action": jnp.array([3.0])}
    >>> seen = mirror((-1, 1), (-1,)).act(jnp.array(True), x)
    >>> seen["observation"].tolist(), seen["action"].tolist()
    ([-1.0, 2.0], [-3.0])
  """
  signs = {"observation": np.asarray(observation, np.float32),
           "action": np.asarray(action, np.float32)}
  for name, own in signs.items():
    if own.ndim != 1 or not np.isin(own, (-1, 1)).all():
      raise InputError(f"the signs of {name} must be a list of 1 and -1, got {list(own)}")

  def check(x: X) -> None:
    if not isinstance(x, dict) or set(x) != set(signs):
      raise InputError(
          "the symmetry mirror acts on an observation and an action, got"
          f" {', '.join(x) if isinstance(x, dict) else f'a {type(x).__name__}'}: give those, or"
          " another symmetry")
    for name, own in signs.items():
      if jnp.shape(x[name]) != own.shape:
        raise InputError(f"the symmetry mirror has {len(own)} signs for {name}, which is of shape"
                         f" {list(jnp.shape(x[name]))}")

  def flipped(element: Array, own: np.ndarray, a: Array) -> Array:
    return jnp.where(element, own * jnp.asarray(a), a)

  def identity(x: X) -> Array:
    check(x)
    return jnp.array(False)

  def sample(key: Array, x: X) -> Array:
    check(x)
    return jax.random.bernoulli(key)

  def act(element: Array, x: X) -> X:
    check(x)
    return {name: flipped(element, signs[name], a) for name, a in x.items()}

  def align(element: Array, prediction: Prediction) -> Prediction:
    own = signs["observation"]
    return jax.tree.map(
        lambda a: flipped(element, own, a) if jnp.shape(a)[-1:] == own.shape else jnp.asarray(a),
        prediction)

  def orbit(x: X, limit: int) -> Views | None:
    check(x)
    both = np.array([False, True])
    return Views(both, np.full(2, -math.log(2), np.float32), np.float32(2)) if limit > 1 else None

  def orbit_size(x: X) -> float:
    check(x)
    return 2.0

  return Symmetry(identity, sample, act, align, orbit, orbit_size)
