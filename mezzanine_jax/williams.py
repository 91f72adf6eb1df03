"""Williams squares: few orders of n things that are balanced by position and by neighbour."""

import math
from collections.abc import Callable

import numpy as np

from mezzanine_jax.errors import InputError


def block(count: int) -> np.ndarray:
  """The orders of one Williams design: a square for even n, a square and its reverse for odd n.

    row c = (0, 1, n-1, 2, n-2, ...) + c  mod n.

  Every thing stands in every place equally often and directly follows every other one equally
  often: once for even n, twice for odd n. Each row is followed by its reverse.

  Args:
    count: n >= 2 things.

  Returns:
    int[n, n] for even n, int[2 n, n] for odd n: which thing stands in each place.

  Raises:
    InputError: for fewer than two things.

  Example:
    >>> block(4).tolist()
    [[0, 1, 3, 2], [2, 3, 1, 0], [1, 2, 0, 3], [3, 0, 2, 1]]

  Source: E. J. Williams, "Experimental designs balanced for the estimation of residual effects of
  treatments", Australian Journal of Scientific Research A 2 (1949).
  """
  if count < 2:
    raise InputError(f"a Williams square needs 2 things or more, got {count}")
  step = np.arange(count)
  first = np.where(step % 2, (step + 1) // 2, -(step // 2)) % count
  # The square of an even n holds the reverse of each of its rows, half the square away.
  turns = np.arange(count if count % 2 else count // 2)
  rows = (first + turns[:, None]) % count
  return np.stack([rows, rows[:, ::-1]], 1).reshape(-1, count)


def part(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
  """Numbers of some rows of a block: pairs of an order and its reverse, and one more for odd size.

  Args:
    rng: consumed.
    count: n things.
    size: how many rows, at most those of the block.

  Returns:
    int[size].

  Example:
    >>> rows = part(np.random.default_rng(0), 6, 2)
    >>> block(6)[rows[0]].tolist() == block(6)[rows[1]][::-1].tolist()
    True
  """
  pairs = rng.permutation(count if count % 2 else count // 2)
  return (2 * pairs[:, None] + np.arange(2)).reshape(-1)[:size]


def orders(
    rng: np.random.Generator,
    count: int,
    size: int,
    relabel: Callable[[np.random.Generator, int], np.ndarray] = np.random.Generator.permutation,
) -> np.ndarray:
  """Distinct orders of n things from whole blocks with random names, and a part of one more.

  The names make each order uniform over all n!, so that a mean over the orders is unbiased. The
  blocks are the cosets of a group (the rotations of the names; with the reflections for odd n):
  two are the same or have no order in common, and whoever draws them without repeats draws orders
  without repeats. n! orders are the whole orbit. Two orders are an order and its reverse.

  Args:
    rng: consumed.
    count: n >= 2 things.
    size: K orders, 1 to n!.
    relabel: `(rng, n) -> int[n]`, the names of a block's things; uniform unless told otherwise.

  Returns:
    int[K, n]: which thing stands in each place.

  Raises:
    InputError: for fewer than two things or more orders than there are.

  Example:
    >>> drawn = orders(np.random.default_rng(0), 4, 6)
    >>> [np.bincount(place[:4]).tolist() for place in drawn.T]  # the first block
    [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    >>> len({tuple(order) for order in drawn.tolist()})
    6
  """
  rows = block(count)
  if not 1 <= size <= math.factorial(count):
    raise InputError(f"{count} things have 1 to {math.factorial(count)} orders, got {size}")
  whole, rest = divmod(size, len(rows))
  seen, blocks = set(), []
  while len(blocks) < whole + (rest > 0):
    named = relabel(rng, count)[rows]
    if named[0].tobytes() not in seen:
      seen.update(row.tobytes() for row in named)
      blocks.append(named)
  if rest:
    blocks[-1] = blocks[-1][part(rng, count, rest)]
  return np.concatenate(blocks)
