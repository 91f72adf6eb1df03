"""`segment_order`: the order of the evidence sentences of a prompt."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array, Symmetry, Views
from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import EVIDENCE, Prompt


def segment_order(keep_first: int = 0, group: int = EVIDENCE) -> Symmetry:
  """The orders of the segments of one group: uniform over all n! of them, an invariance.

  The element is int32[S], the index of the segment that stands in each place. Segments of
  other groups stay where they are. Which order a key draws depends on S, padding included.

  Args:
    keep_first: how many of the group's first segments also stay (a topic sentence).
    group: which segments may change places; the evidence unless told otherwise.

  Returns:
    A `Symmetry` on `Prompt`. A prompt with n movable segments has an orbit of n! elements.

  Raises:
    InputError: if `keep_first` is negative or `group` is not positive.

  Example:
    >>> import jax, numpy as np
    >>> from mezzanine_jax.prompts import Prompt, pack
    >>> x = Prompt(tokens=np.arange(5), starts=np.array([0, 1, 2, 4]),
    ...            lengths=np.array([1, 1, 2, 1]), group=np.array([0, 1, 1, 0]),
    ...            choices=np.array([[7], [8]]), choice_lengths=np.array([1, 1]),
    ...            choice_chars=np.array([3, 2]))
    >>> order = segment_order()
    >>> [pack(order.act(e, x))[0].tolist() for e in order.orbit(x, 10).elements]
    [[0, 1, 2, 3, 4], [0, 2, 3, 1, 4]]
  """
  if keep_first < 0:
    raise InputError(f"keep_first must be >= 0, got {keep_first}")
  if group < 1:
    raise InputError(f"group must be >= 1 (0 stays where it is), got {group}")

  def movable(x: Prompt) -> Array:
    inside = x.group == group
    return inside & (inside.cumsum() > keep_first)

  def identity(x: Prompt) -> Array:
    return jnp.arange(x.starts.shape[0], dtype=jnp.int32)

  def sample(key: Array, x: Prompt) -> Array:
    moves, places = movable(x), identity(x)
    shuffled = jax.random.permutation(key, places)
    # Movable places first, in order; then the same places in the order of the shuffle.
    slots = jnp.lexsort((places, ~moves))
    filled = jnp.lexsort((jnp.where(moves, shuffled, places), ~moves))
    return places.at[slots].set(filled.astype(jnp.int32))

  def act(order: Array, x: Prompt) -> Prompt:
    starts, lengths, groups = (jnp.asarray(a)[order] for a in (x.starts, x.lengths, x.group))
    return x._replace(starts=starts, lengths=lengths, group=groups)

  def orbit_size(x: Prompt) -> float:
    count = int(movable(x).sum())
    return float(math.factorial(count)) if count <= 170 else math.inf  # float's largest is 170!

  def orbit(x: Prompt, limit: int) -> Views | None:
    size = orbit_size(x)
    if size > limit:
      return None
    slots = np.flatnonzero(movable(x))
    orders = np.tile(np.arange(x.starts.shape[0], dtype=np.int32), (int(size), 1))
    orders[:, slots] = list(itertools.permutations(slots))
    return Views(orders, np.full(len(orders), -math.log(size), np.float32), np.float32(size))

  return Symmetry(identity, sample, act, orbit=orbit, orbit_size=orbit_size)
