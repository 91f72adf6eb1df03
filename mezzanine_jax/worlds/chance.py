"""Draws for generated worlds that stay the same in every version of Python.

Only `Random.random` is promised to.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

_T = TypeVar("_T")


def below(random: Random, bound: int) -> int:
  """A whole number from 0 to bound - 1."""
  return int(random.random() * bound)


def pick(random: Random, items: Sequence[_T]) -> _T:
  """One of the items."""
  return items[below(random, len(items))]


def shuffled(random: Random, items: Sequence[_T]) -> list[_T]:
  """The items in a uniformly random order."""
  result = list(items)
  for last in range(len(result) - 1, 0, -1):
    other = below(random, last + 1)
    result[last], result[other] = result[other], result[last]
  return result
