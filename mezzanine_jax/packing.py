"""Rows of tokens as one stream: rows with the same beginning share its tokens."""

from typing import NamedTuple

import jax
import numpy as np

from mezzanine_jax.models.attention import Stream
from mezzanine_jax.scoring import PackedRows


def sort_rows(
    tokens: np.ndarray, lengths: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """An order in which a row shares as many first tokens as it can with the row before it.

  Args:
    tokens: int32[R, P], 0 behind a row's tokens.
    lengths: int32[R], tokens of each row.
    groups: int[R]; rows of one group (of one example) stay together, groups in their order.

  Returns:
    `(order int[R], shared int32[R])`: rows by group, then as in a dictionary, and how many first
    tokens row `order[i]` has in common with row `order[i - 1]`; 0 where their groups differ.

  Example:
    >>> order, shared = sort_rows(np.array([[5, 1, 2], [5, 3, 0], [5, 1, 4]], np.int32),
    ...                           np.array([3, 2, 3]), np.zeros(3, int))
    >>> order.tolist(), shared.tolist()
    ([0, 2, 1], [0, 2, 1])
  """
  texts = np.ascontiguousarray(tokens.astype(">i4")).view(f"S{4 * tokens.shape[1]}")[:, 0]
  # Bytes do not tell a token 0 at the end from padding: the lengths do.
  order = np.lexsort((lengths, texts, groups))
  ahead, behind = order[:-1], order[1:]
  differ = tokens[ahead] != tokens[behind]
  common = np.where(differ.any(1), differ.argmax(1), tokens.shape[1])
  common = np.minimum(common, np.minimum(lengths[ahead], lengths[behind]))
  common = np.where(groups[ahead] == groups[behind], common, 0)
  return order, np.concatenate([[0], common]).astype(np.int32)


class Texts(NamedTuple):
  """Rows before they are packed, on the host.

  Attributes:
    tokens: int32[R, P'], 0 behind a row's tokens.
    lengths: int32[R], tokens of each row, >= 1.
    choices: int32[R, C, Tc].
    choice_lengths: int32[R, C].
    choice_chars: int32[R, C].
    ends: int32[R, S], as in `PackedRows`, or None.
    orders: int32[R, K, P'], the places of a row's tokens in K orders, see `Stream`; None where
      every row is read as it stands.
  """

  tokens: np.ndarray
  lengths: np.ndarray
  choices: np.ndarray
  choice_lengths: np.ndarray
  choice_chars: np.ndarray
  ends: np.ndarray | None = None
  orders: np.ndarray | None = None


def pack_rows(
    texts: Texts, shared: np.ndarray, *, num_tokens: int, num_rows: int, length: int
) -> PackedRows:
  """One stream of `num_tokens` tokens for at most `num_rows` rows of at most `length` tokens.

  Args:
    texts: R <= `num_rows` rows.
    shared: int[R], how many first tokens a row has in common with the row before it; that of
      the first row does not count.
    num_tokens: T, tokens of the stream; what is not needed is padding.
    num_rows: rows of the result; those behind the R are copies of the first.
    length: P, places of a row for its prompt.

  Returns:
    NumPy arrays, see `scoring.PackedRows`.

  Example:
    >>> texts = Texts(np.array([[5, 1, 2], [5, 1, 4]], np.int32), np.array([3, 3]),
    ...               *(np.ones(s, np.int32) for s in ((2, 2, 1), (2, 2), (2, 2))))
    >>> packed = pack_rows(texts, np.array([0, 2]), num_tokens=6, num_rows=2, length=3)
    >>> packed.stream.tokens.tolist(), packed.stream.rows.tolist()
    ([5, 1, 2, 4, 0, 0], [[0, 1, 2], [0, 1, 3]])
  """
  count, num_choices, width = texts.choices.shape
  extra = width - 1
  wide = length + num_choices * extra
  tokens, positions, home = (np.zeros(num_tokens, np.int32) for _ in range(3))
  rows = np.zeros((num_rows, wide), np.int32)
  orders = None if texts.orders is None else (
      np.zeros((texts.orders.shape[1], num_tokens), np.int32))
  in_order = not extra and orders is None
  segments = None if in_order else np.zeros((num_rows, wide), np.int32)
  continuation = length + np.arange(num_choices * extra)
  ahead, which = np.tile(np.arange(extra), num_choices), np.repeat(np.arange(num_choices), extra)
  used = 0
  for r in range(count):
    own, size = int(shared[r]) if r else 0, int(texts.lengths[r])
    rows[r, :own] = rows[r - 1, :own]
    new = slice(used, used + size - own)
    used = new.stop
    rows[r, own:size] = np.arange(new.start, new.stop)
    tokens[new] = texts.tokens[r, own:size]
    positions[new] = np.arange(own, size)
    home[new] = r * wide + positions[new]
    if not in_order:
      segments[r, :size] = 1
    if orders is not None:
      orders[:, new] = texts.orders[r, :, own:size]
    if extra:
      new = slice(used, used + len(continuation))
      used = new.stop
      rows[r, length:] = np.arange(new.start, new.stop)
      tokens[new] = texts.choices[r, :, :extra].reshape(-1)
      positions[new] = size + ahead
      if orders is not None:
        orders[:, new] = positions[new]
      home[new] = r * wide + continuation
      inside = ahead < texts.choice_lengths[r][which] - 1
      segments[r, length:] = np.where(inside, which + 2, 0)
  filled = np.arange(num_rows) * (np.arange(num_rows) < count)
  rows = rows[filled]
  segments = None if in_order else segments[filled]
  stream = Stream(tokens, positions, rows, home, segments, orders)
  return PackedRows(stream, *jax.tree.map(lambda a: np.asarray(a)[filled], texts[1:6]))
