"""Rows of views: their tokens, sizes and order."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import engine, packing, prompts
from mezzanine_jax.base import Symmetry

CHUNK = 128  # rows whose tokens are looked up in one call; and examples, when rows are sorted


def texts_of(
    symmetry: Symmetry, xs: prompts.Prompt, rows: engine.Rows, source: np.ndarray,
    orders: int = 1, is_sorted: bool = False,
) -> Callable[[np.ndarray], packing.Texts]:
  """A function from rows to the tokens of their views, and to how they are read."""

  @jax.jit
  def read(elements, xs):
    def one(element, x):
      x = prompts.current(symmetry.act(element, x))
      x = prompts.sort_evidence(x) if is_sorted else x
      return packing.Texts(*prompts.pack(x), x.choices, x.choice_lengths, x.choice_chars,
                           jnp.cumsum(jnp.asarray(x.lengths)),
                           prompts.set_places(x, orders) if orders > 1 else None)

    return jax.vmap(one)(elements, xs)

  def texts_of(which: np.ndarray) -> packing.Texts:
    parts = []
    with jax.default_device(jax.local_devices(backend="cpu")[0]):  # the host's work
      for start in range(0, len(which), CHUNK):
        part = which[start : start + CHUNK]
        filled = np.pad(part, (0, CHUNK - len(part)), mode="edge")  # one compiled shape
        take = source[filled]
        out = read(jax.tree.map(lambda a, filled=filled: a[filled], rows.elements),
                   jax.tree.map(lambda a, take=take: a[take], xs))
        parts.append(jax.tree.map(lambda a, part=part: np.asarray(a)[: len(part)], out))
    return jax.tree.map(lambda *a: np.concatenate(a), *parts)

  return texts_of


def sizes(texts_of: Callable, number: int) -> tuple[np.ndarray, np.ndarray]:
  """int32[R] each: tokens of every row, and of its longest answer but for the last."""
  lengths, answers = np.empty(number, np.int32), np.empty(number, np.int32)
  for start in range(0, number, CHUNK):
    part = np.arange(start, min(start + CHUNK, number))
    texts = texts_of(part)
    lengths[part] = texts.lengths
    answers[part] = texts.choice_lengths.max(1, initial=1) - 1
  return lengths, answers


def order(
    texts_of: Callable, example: np.ndarray, lengths: np.ndarray, share: bool
) -> tuple[np.ndarray, np.ndarray]:
  """The order of the rows, and how many tokens each has in common with the one before it.

  Examples stand by length, so that batches need few shapes; the rows of an example stand as in a
  dictionary, so that they share the most.
  """
  reach = np.zeros(example.max() + 1, int)
  np.maximum.at(reach, example, lengths)
  order = np.lexsort((example, reach[example]))
  shared = np.zeros(len(order), np.int32)
  if not share:
    return order, shared
  firsts = np.flatnonzero(np.diff(example[order], prepend=-1))
  for start, stop in itertools.pairwise([*firsts[::CHUNK], len(order)]):
    texts = texts_of(order[start:stop])
    groups = np.searchsorted(firsts, np.arange(start, stop), side="right")
    within, shared[start:stop] = packing.sort_rows(texts.tokens, texts.lengths, groups)
    order[start:stop] = order[start:stop][within]
  return order, shared


def segment_orders(
    symmetry: Symmetry, rows: engine.Rows, which: np.ndarray, xs: prompts.Prompt
) -> np.ndarray:
  """int32[len(which), S]: which segment each place of these rows holds."""
  taken = jax.tree.map(lambda a: a[rows.example[which]], prompts.number_segments(xs))
  elements = jax.tree.map(lambda a: a[which], rows.elements)
  return np.asarray(prompts.current(jax.vmap(symmetry.act)(elements, taken)).starts)
