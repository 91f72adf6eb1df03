"""The texts behind a plan's rows: which pieces a view holds, and in which order."""

from collections.abc import Sequence

import numpy as np

from mezzanine_jax import language, view_rows
from mezzanine_jax.base import Symmetry
from mezzanine_jax.prompts import FIXED
from mezzanine_jax.templates import Piece


def row_pieces(
    plan: language.Plan, prepared: language.Prepared, symmetry: Symmetry, which: np.ndarray
) -> list[list[Piece]]:
  """The pieces of text of some rows, in the order in which the model reads them.

  Args:
    plan: the rows.
    prepared: the prompts that they were planned from.
    symmetry: the family the views were drawn from.
    which: int[n], numbers of rows.

  Returns:
    One list a row; joined, its texts are the prompt without special tokens.
  """
  if not len(which):
    return []
  orders = view_rows.segment_orders(symmetry, plan.rows, np.asarray(which), plan.xs)
  size = orders.shape[1]
  out = []
  for row, order in zip(which, orders, strict=True):
    texts = prepared.tokenized[plan.rows.example[row]].texts
    pieces = texts[int(order.min()) // size].pieces
    out.append([pieces[s] for s in order % size if s < len(pieces)])
  return out


def row_texts(
    plan: language.Plan, prepared: language.Prepared, symmetry: Symmetry, which: np.ndarray
) -> list[str]:
  """The same rows as whole texts."""
  pieces = row_pieces(plan, prepared, symmetry, which)
  return ["".join(piece.text for piece in row) for row in pieces]


def movable_segments(
    plan: language.Plan, prepared: language.Prepared, symmetry: Symmetry
) -> np.ndarray:
  """int[N]: how many pieces each example has of the kinds that change places in any example.

  Sentences for `segment_order`, options for `option_order`, sentences and options for both.
  """
  rows = np.arange(len(plan.rows.example))
  orders = view_rows.segment_orders(symmetry, plan.rows, rows, plan.xs)
  size = orders.shape[1]
  groups = set()
  for row, order in zip(rows, orders, strict=True):
    pieces = prepared.tokenized[plan.rows.example[row]].texts[int(order.min()) // size].pieces
    moved = np.flatnonzero(order % size != np.arange(size))
    groups |= {pieces[s].group for s in moved if s < len(pieces)}
  return np.array([
      count_in(t.texts[0].pieces, groups - {FIXED}) for t in prepared.tokenized
  ])


def count_in(pieces: Sequence[Piece], groups: set[int]) -> int:
  """How many pieces are of one of the groups.

  Example:
    >>> count_in([Piece("Read:"), Piece(" One.", 1), Piece(" Two.", 1)], {1})
    2
  """
  return sum(piece.group in groups for piece in pieces)
