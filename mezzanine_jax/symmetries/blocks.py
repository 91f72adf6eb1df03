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
from mezzanine_jax.symmetries import linear_extension as extensions


def block_order(group: int, keep_first: int = 0, keep_last: int = 0) -> Symmetry:
  """The orders of the blocks of one group: uniform over all allowed ones, an invariance.

  The element is int32[S], the index of the segment that stands in each place. Everything else
  keeps its order, and n blocks of any sizes take the n places where a block of the group stood.
  All n! orders are allowed, or with a partial order (`Prompt.before`) its linear extensions.
  A key draws the same order whatever the padding: each place has a random word of its own.

  Args:
    group: which segments may change places, see `Prompt.group`.
    keep_first: how many of the group's first blocks also stay.
    keep_last: how many of its last blocks also stay.

  Returns:
    A `Symmetry` on `Prompt` and `Wordings`. n movable blocks have an orbit of n! elements, or of
    as many as there are linear extensions.

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
    prompt = current(x)
    heads, item, begin = layout(prompt, jnp)
    place = jnp.arange(heads.shape[0], dtype=jnp.uint32)
    # Movable blocks first, in order; then the same blocks in the order that is drawn.
    slots = jnp.lexsort((place, ~heads))
    if prompt.before is None:
      words = place_words(key, heads.shape[0])
      drawn = jnp.lexsort((jnp.where(heads, words, place), ~heads))
    else:
      before = jnp.asarray(prompt.before)[slots][:, slots]
      drawn = slots[extensions.draw(key, before, heads.sum())]
    target = item.at[drawn].set(item[slots])
    return jnp.argsort(target[begin], stable=True).astype(jnp.int32)

  def act(order: Array, x: Prompt | Wordings) -> Prompt | Wordings:
    return reorder(order, x)

  def orbit_size(x: Prompt | Wordings) -> float:
    before = relation(x)
    if before is not None:
      return extensions.count(before)
    count = int(layout(current(x), np)[0].sum())
    return float(math.factorial(count)) if count <= 170 else math.inf  # float's largest is 170!

  def orbit(x: Prompt | Wordings, limit: int) -> Views | None:
    size, before = orbit_size(x), relation(x)
    if size > limit:
      return None
    every = lambda count: (
        np.array(list(itertools.permutations(range(count))), int) if before is None
        else extensions.extensions(before, limit))
    return extensions.uniform_views(placed(x, every))

  def orders(x: Prompt | Wordings, draw: Callable[[int], np.ndarray]) -> np.ndarray | None:
    return placed(x, draw) if relation(x) is None else None

  def relation(x: Prompt | Wordings) -> np.ndarray | None:
    """bool[n, n], the partial order of the movable blocks; None where there is none."""
    prompt = current(x)
    slots = np.flatnonzero(layout(prompt, np)[0])
    before = prompt.before
    before = None if before is None else np.asarray(before)[np.ix_(slots, slots)]
    return before if before is not None and before.any() else None

  def placed(x: Prompt | Wordings, draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """int32[K, S], the elements that put block `draw(n)[k, i]` in the i-th block's place."""
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
  on_host = all(isinstance(a, np.ndarray) for a in (order, *arrays))
  take = (lambda a: a[order]) if on_host else (lambda a: jnp.asarray(a)[order])
  starts, lengths, groups, blocks = map(take, arrays)
  before = None if prompt.before is None else take(take(prompt.before).T).T
  return with_current(
      x, prompt._replace(
          starts=starts, lengths=lengths, group=groups, block=blocks, before=before)
  )


def place_words(key: Array, count: int) -> Array:
  """uint32[count]: a random word for each place, the same ones however many places follow."""
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
  return jax.vmap(jax.random.bits)(keys)
