"""Linear extensions: the orders that keep a partial order; counted, listed and drawn uniformly.

A partial order of n things is bool[n, n]: `before[i, j]` says that thing i stays before thing j.
It need not be transitive, but the order 0, 1, …, n-1 must satisfy it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array, Symmetry, Views
from mezzanine_jax.trajectories import Steps

_MOST_SETS = 1 << 14  # down-sets that are looked at; 14 things without any order have as many
_WORDS = 32  # rounds for which random words are drawn at once
_DISTANCE = 1e-4  # the most, in total variation, by which the law of a draw differs from uniform


def count(before: np.ndarray) -> float:
  """How many linear extensions there are: exactly, by dynamic programming over the down-sets.

  e(D) = Σ e(D ∪ {j}) over the j whose predecessors are all in D; e(everything) = 1; n has e(∅).

  Args:
    before: bool[n, n].

  Returns:
    Their number; inf where there are too many down-sets to look at.

  Example:
    >>> two_pairs = np.zeros((4, 4), bool)
    >>> two_pairs[[0, 2], [1, 3]] = True
    >>> count(two_pairs)
    6.0
  """
  ways = _ways(_needs(before))
  return math.inf if ways is None else float(ways[0])


def nth(before: np.ndarray, number: int) -> list[int]:
  """The linear extension of a number, in the order of a dictionary.

  Args:
    before: bool[n, n], of a finite `count`.
    number: from 0 to count - 1; a uniform one makes a uniform draw.

  Returns:
    Which thing stands in each place.

  Example:
    >>> nth(np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], bool), 1)
    [0, 2, 1]
  """
  needs = _needs(before)
  return _nth(needs, _ways(needs), number)


def extensions(before: np.ndarray, limit: int) -> np.ndarray | None:
  """int[M, n], all linear extensions in the order of a dictionary; None for more than `limit`.

  Example:
    >>> extensions(np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], bool), 3).tolist()
    [[0, 1, 2], [0, 2, 1], [2, 0, 1]]
  """
  needs = _needs(before)
  ways = _ways(needs)
  if ways is None or ways[0] > limit:
    return None
  every = [_nth(needs, ways, number) for number in range(ways[0])]
  return np.array(every, int).reshape(len(every), len(needs))


def rounds(number: int, distance: float = _DISTANCE) -> int:
  """How often `draw` tries to swap neighbours: ⌈(n³ - n)/6 · ln(n(n-1)/2 / ε)⌉.

  That many rounds bring the chain within ε of the uniform law in total variation, from any
  start and for any partial order: coupled chains that differ by a swap come nearer by a factor
  1 - 6/(n³ - n) a round, and any two orders are at most n(n-1)/2 swaps of neighbours apart.

  Args:
    number: n.
    distance: ε.

  Source: R. Bubley and M. Dyer, Faster random generation of linear extensions, Discrete
  Mathematics 201 (1999); the chain with uniform places is A. Karzanov and L. Khachiyan's, On the
  conductance of order Markov chains, Order 8 (1991), with a bound of order n⁵ log n.

  Example:
    >>> [rounds(n) for n in (1, 2, 3, 8)]
    [0, 10, 42, 1054]
  """
  if number < 2:
    return 0
  pairs = number * (number - 1) / 2
  return math.ceil((number**3 - number) / 6 * math.log(pairs / distance))


def draw(key: Array, before: Array, number: Array | int) -> Array:
  """One linear extension, uniform up to a total variation of 1e-4: Bubley and Dyer's chain.

  A round takes places p, p+1 with a probability in proportion to p (n - p) and swaps what
  stands there with probability 1/2, unless that breaks the order; see `rounds`. (Taking, place
  by place, any thing whose predecessors stand already is quicker, but not uniform.)

  Args:
    key: typed PRNG key, consumed.
    before: bool[S, S], S >= n; what stands behind the first n is padding, and changes no draw.
    number: int[], n.

  Returns:
    int32[S], which thing stands in each place; the padding stays.

  Example:
    >>> import jax
    >>> chain = np.triu(np.ones((3, 3), bool), 1)
    >>> draw(jax.random.key(0), chain, 3).tolist()
    [0, 1, 2]
  """
  if before.shape[0] < 2:
    return jnp.arange(before.shape[0], dtype=jnp.int32)
  return _chain(key, jnp.asarray(before), jnp.asarray(number, jnp.int32))


@jax.jit  # a loop outside of a jitted function would be compiled at every call
def _chain(key: Array, before: Array, number: Array) -> Array:
  """The chain of `draw`, for two places or more."""
  size = before.shape[0]
  place = jnp.arange(size, dtype=jnp.int32)
  ends = jnp.cumsum(jnp.maximum(place * (number - place), 0))  # place p stands for p-1 and p

  total = jnp.maximum(ends[-1], 1).astype(jnp.uint32)

  def one(order: Array, word: Array) -> tuple[Array, None]:
    # The remainder of a word prefers no place by more than total / 2^31.
    at = (ends <= ((word >> 1) % total).astype(jnp.int32)).sum().clip(max=size - 1)
    swaps = (word & 1 == 1) & ~before[order[at - 1], order[at]]
    step = jnp.where(place == at, -1, jnp.where(place == at - 1, 1, 0))
    return order[place + jnp.where(swaps, step, 0)], None

  def some(i: Array, order: Array) -> Array:
    words = jax.random.bits(jax.random.fold_in(key, i), (_WORDS,))
    return jax.lax.scan(one, order, words)[0]

  needed = jnp.array([-(-rounds(n) // _WORDS) for n in range(size + 1)], jnp.int32)
  return jax.lax.fori_loop(0, needed[number], some, place)


def linear_extension() -> Symmetry:
  """The orders of a trajectory's steps that keep their partial order: uniform, an invariance.

  The element is int32[S], the step that stands in each place. Steps that do not move keep
  their places; a key draws the same order whatever the padding.

  Returns:
    A `Symmetry` on `Steps`. Its orbit is every linear extension once.

  Example:
    >>> before = np.zeros((3, 3), bool)
    >>> before[0, 2] = True
    >>> x = Steps(np.array([[4.0], [5.0], [6.0]], np.float32), np.ones(3, bool), before)
    >>> order = linear_extension()
    >>> [order.act(e, x).features[:, 0].tolist() for e in order.orbit(x, 3).elements]
    [[4.0, 5.0, 6.0], [4.0, 6.0, 5.0], [5.0, 4.0, 6.0]]
  """

  def identity(x: Steps) -> Array:
    return jnp.arange(x.moves.shape[0], dtype=jnp.int32)

  def sample(key: Array, x: Steps) -> Array:
    slots = jnp.argsort(~jnp.asarray(x.moves), stable=True).astype(jnp.int32)
    before = jnp.asarray(x.before)[slots][:, slots]
    order = draw(key, before, jnp.sum(x.moves))
    return jnp.zeros_like(slots).at[slots].set(slots[order])

  def act(order: Array, x: Steps) -> Steps:
    if not all(isinstance(a, np.ndarray) for a in (order, *x)):
      x = Steps(*map(jnp.asarray, x))
    return Steps(x.features[order], x.moves[order], x.before[order][:, order])

  def relation(x: Steps) -> tuple[np.ndarray, np.ndarray]:
    slots = np.flatnonzero(x.moves)
    return slots, np.asarray(x.before)[np.ix_(slots, slots)]

  def orbit_size(x: Steps) -> float:
    return count(relation(x)[1])

  def orbit(x: Steps, limit: int) -> Views | None:
    slots, before = relation(x)
    every = extensions(before, limit)
    if every is None:
      return None
    elements = np.tile(np.arange(len(x.moves), dtype=np.int32), (len(every), 1))
    elements[:, slots] = slots[every]
    return uniform_views(elements)

  return Symmetry(identity, sample, act, orbit=orbit, orbit_size=orbit_size)


def uniform_views(elements: np.ndarray) -> Views:
  """A whole orbit [M, ...], every member of equal weight."""
  size = len(elements)
  return Views(elements, np.full(size, -math.log(size), np.float32), np.float32(size))


def _needs(before: np.ndarray) -> list[int]:
  """For each thing the set of those that stay before it, as bits."""
  return [sum(1 << int(i) for i in np.flatnonzero(column)) for column in np.asarray(before).T]


def _next(needs: list[int], placed: int) -> list[int]:
  """The things that may stand behind a down-set."""
  return [j for j, own in enumerate(needs) if not placed >> j & 1 and not own & ~placed]


def _ways(needs: list[int]) -> dict[int, int] | None:
  """In how many orders the rest may follow each down-set; None for too many down-sets."""
  levels, seen = [{0}], 1
  for _ in needs:
    levels.append({placed | 1 << j for placed in levels[-1] for j in _next(needs, placed)})
    seen += len(levels[-1])
    if seen > _MOST_SETS:
      return None
  ways = dict.fromkeys(levels[-1], 1)
  for level in levels[-2::-1]:
    for placed in level:
      ways[placed] = sum(ways[placed | 1 << j] for j in _next(needs, placed))
  return ways


def _nth(needs: list[int], ways: dict[int, int], number: int) -> list[int]:
  """The extension before which `number` others stand in the dictionary."""
  order, placed = [], 0
  for _ in needs:
    for j in _next(needs, placed):
      behind = ways[placed | 1 << j]
      if number < behind:
        break
      number -= behind
    order.append(j)
    placed |= 1 << j
  return order
