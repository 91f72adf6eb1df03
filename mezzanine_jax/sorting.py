"""Evidence that is sorted before it is read, so that every order of it is one text.

A student that reads sorted texts cannot depend on their order: see `prompts.sort_evidence`.
"""

from typing import Any

import numpy as np

from mezzanine_jax import language
from mezzanine_jax.base import Symmetry
from mezzanine_jax.errors import InputError

_CHECKED = 8  # examples of which every view is read


def check(config: Any, who: str, instead: str) -> None:
  """Whether the views of a configuration differ by the order of all of the evidence.

  Args:
    config: has the fields of `settings.SymmetryFields`.
    who: what reads the evidence sorted, for errors.
    instead: what may be used where this cannot.

  Raises:
    InputError: if not.
  """
  families = {name.strip() for name in config.symmetry.split(",")}
  if families != {"segment_order"}:
    raise InputError(f"{who} reads the evidence as a set, which only the symmetry segment_order"
                     f" asks for, got {config.symmetry!r}: use {instead}")
  if config.keep_first or config.keep_last:
    raise InputError(f"{who} reads all of the evidence as a set, but keep_first or keep_last leave"
                     f" some of it in place: use {instead}")


def check_exact(prepared: language.Prepared, who: str, instead: str) -> None:
  """Whether every prompt is known by its sentences, as one that is sorted has to be.

  Raises:
    InputError: if not.
  """
  if not all(made.exact for made in prepared.tokenized):
    raise InputError(f"{who} needs sentences that tokenize alone as they do in the whole text,"
                     f" which this tokenizer does not give for all examples: use {instead}")


def rows(plan: language.Plan, test: np.ndarray) -> np.ndarray:
  """int[n], rows that tell all: the canonical one of each example, and all views of a few.

  Args:
    plan: the rows of the run.
    test: int[N'], the examples.
  """
  movable = np.asarray(plan.views.orbit_size)[test] > 1
  views = plan.rows.row[test[movable][:_CHECKED]]
  return np.unique(np.concatenate([plan.rows.canonical_row[test], views[views >= 0]]))


def only(plan: language.Plan, rows: np.ndarray, symmetry: Symmetry, config: Any) -> language.Plan:
  """These rows with their evidence sorted, for a model that leaves it at that.

  Args:
    plan: the rows of the run.
    rows: int[n], in order.
    symmetry: the family of their views.
    config: has the fields of `settings.RunFields`.
  """
  return language.only_rows(
      language.apart(plan, symmetry, None), rows, config.batch_tokens, config.max_shapes)


def everywhere(
    plan: language.Plan, rows: np.ndarray, log_probs: np.ndarray, test: np.ndarray,
    others: np.ndarray,
) -> tuple[np.ndarray, dict[str, Any]]:
  """The answer to an example's sorted canonical row, on all of its rows; and whether that is so.

  Args:
    plan: the rows of the run.
    rows: int[n], from `rows`.
    log_probs: float32[n, C], what was answered to them, sorted.
    test: int[N'], their examples.
    others: float32[R, C], what stands on the rows of other examples.

  Returns:
    float32[R, C]; and `order_blind`, how far apart (TV) the answers to views of one example were.
  """
  example, canonical = plan.rows.example, plan.rows.canonical_row
  answer = np.zeros((len(canonical), log_probs.shape[1]), np.float32)
  answer[test] = log_probs[np.searchsorted(rows, canonical[test])]
  views = rows != canonical[example[rows]]
  apart = np.abs(np.exp(log_probs[views]) - np.exp(answer[example[rows[views]]])).sum(1) / 2
  is_test = np.isin(example, test)[:, None]
  return np.where(is_test, answer[example], others), {
      "views": int(views.sum()), "max_tv": float(apart.max(initial=0.0))}
