"""Orders of the blocks of a prompt: what several families of views have in common."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array, Symmetry, Views
from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import Prompt, Wordings, current, with_current


def block_order(group: int, keep_first: int = 0, keep_last: int = 0) -> Symmetry:
  """The orders of the blocks of one group: uniform over all n! of them, an invariance.

  The element is int32[S], the index of the segment that stands in each place. Everything else
  keeps its order, and n blocks of any sizes take the n places where a block of the group stood.
  A key draws the same order whatever the padding: each place has a random word of its own.

  Args:
    group: which segments may change places, see `Prompt.group`.
    keep_first: how many of the group's first blocks also stay.
    keep_last: how many of its last blocks also stay.

  Returns:
    A `Symmetry` on `Prompt` and `Wordings`. n movable blocks have an orbit of n! elements.

  Raises:
    InputError: if `keep_first` or `keep_last` is negative or `group` is not positive.

  Example:
    >>> from mezzanine_jax.prompts import make_prompt, pack
    >>> x = make_prompt([[0], [1], [2], [3]], [3, 3, 0, 3], [[7], [8]], [1, 1], [0, 0, 1, 2])
    >>> order = block_order(3)
    >>> [pack(order.act(e, x))[0].tolist() for e in order.orbit(x, 10).elements]
    [[0, 1, 2, 3], [3, 2, 0, 1]]
  """
  for name, value in (("keep_first", keep_first), ("keep_last", keep_last)):
    if value < 0:
      raise InputError(f"{name} must be >= 0, got {value}")
  if group < 1:
    raise InputError(f"group must be >= 1 (0 stays where it is), got {group}")

  def layout(prompt: Prompt, xp: Any) -> tuple[Array, Array, Array]:
    """Per segment: is it the first of a movable block, what item is it of, where that begins."""
    inside, block = xp.asarray(prompt.group) == group, xp.asarray(prompt.block)
    continues = inside[1:] & inside[:-1] & (block[1:] == block[:-1])
    first = inside & ~xp.concatenate([xp.zeros(1, bool), continues])
    rank = xp.cumsum(first)
    moves = inside & (rank > keep_first) & (rank <= rank[-1] - keep_last)
    begins = first | ~moves  # an item is a movable block or a segment that stays
    item = xp.cumsum(begins)
    begin = xp.searchsorted(item, item)  # item ascends: the first place of the same item
    return first & moves, item, begin

  def identity(x: Prompt | Wordings) -> Array:
    return jnp.arange(current(x).starts.shape[0], dtype=jnp.int32)

  def sample(key: Array, x: Prompt | Wordings) -> Array:
    heads, item, begin = layout(current(x), jnp)
    place = jnp.arange(heads.shape[0], dtype=jnp.uint32)
    words = place_words(key, heads.shape[0])
    # Movable blocks first, in order; then the same blocks in the order of their words.
    slots = jnp.lexsort((place, ~heads))
    drawn = jnp.lexsort((jnp.where(heads, words, place), ~heads))
    target = item.at[drawn].set(item[slots])
    return jnp.argsort(target[begin], stable=True).astype(jnp.int32)

  def act(order: Array, x: Prompt | Wordings) -> Prompt | Wordings:
    return reorder(order, x)

  def orbit_size(x: Prompt | Wordings) -> float:
    count = int(layout(current(x), np)[0].sum())
    return float(math.factorial(count)) if count <= 170 else math.inf  # float's largest is 170!

  def orbit(x: Prompt | Wordings, limit: int) -> Views | None:
    size = orbit_size(x)
    if size > limit:
      return None
    every = orders(x, lambda count: np.array(list(itertools.permutations(range(count))), int))
    return Views(every, np.full(len(every), -math.log(size), np.float32), np.float32(size))

  def orders(x: Prompt | Wordings, draw: Callable[[int], np.ndarray]) -> np.ndarray:
    heads, item, begin = layout(current(x), np)
    slots = np.flatnonzero(heads)
    drawn = slots[draw(len(slots))]
    target = np.tile(item, (len(drawn), 1))
    np.put_along_axis(target, drawn, item[slots][None], 1)
    return np.argsort(target[:, begin], axis=1, kind="stable").astype(np.int32)

  return Symmetry(identity, sample, act, orbit=orbit, orbit_size=orbit_size, orders=orders)


def reorder(order: Array, x: Prompt | Wordings) -> Prompt | Wordings:
  """`x` with segment `order[i]` in place i; int32[S]. NumPy stays NumPy.

  Args:
    order: int32[S], which segment stands in each place.
    x: one prompt, or wordings, of which the current one is re-ordered.
  """
  prompt = current(x)
  arrays = (prompt.starts, prompt.lengths, prompt.group, prompt.block)
  if not all(isinstance(a, np.ndarray) for a in (order, *arrays)):
    arrays = map(jnp.asarray, arrays)
  starts, lengths, groups, blocks = (a[order] for a in arrays)
  return with_current(
      x, prompt._replace(starts=starts, lengths=lengths, group=groups, block=blocks)
  )


def place_words(key: Array, count: int) -> Array:
  """uint32[count]: a random word for each place, the same ones however many places follow."""
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
  return jax.vmap(jax.random.bits)(keys)
