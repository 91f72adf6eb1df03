"""Evidence that is read as a set, so that every order of it says the same.

It is sorted, and attention is averaged over some orders of it: see `language.as_set`.
"""

from typing import Any

import numpy as np

from mezzanine_jax import distill_data, language
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Symmetry
from mezzanine_jax.errors import InputError

CHECKED = 8  # examples of which every view is read


def why_not(config: Any) -> str | None:
  """Why the views of a configuration are not orders of one set.

  Args:
    config: has the fields of `settings.SymmetryFields`.
  """
  families = {name.strip() for name in config.symmetry.split(",")}
  if families != {"segment_order"}:
    return f"only the views of the symmetry segment_order are one set, got {config.symmetry!r}"
  if config.keep_first or config.keep_last:
    return "keep_first or keep_last leave some of the evidence in place"
  return None


def why_no_head(config: Any) -> str | None:
  """Why a head of a configuration cannot read sets, each of which is one row.

  Args:
    config: has the fields of `settings.SymmetryFields` and `TrainingFields`.
  """
  if why := why_not(config):
    return why
  if config.consistency_weight:
    return "consistency_weight is above 0, and a set has one view"
  return None


def why_not_these(prepared: language.Prepared) -> str | None:
  """Why some prompts cannot be read as sets: they have to be known by their sentences."""
  inexact = sum(not made.exact for made in prepared.tokenized)
  if inexact:
    return (f"sentences of {inexact} of {len(prepared.tokenized)} texts do not tokenize alone as"
            " they do in the whole text")
  return None


def check(config: Any, prepared: language.Prepared, who: str, instead: str) -> None:
  """Raises where a student would read sets that are none.

  Args:
    config: see `why_not`.
    prepared: the prompts.
    who: what reads the evidence as a set, for errors.
    instead: what may be used where this cannot.

  Raises:
    InputError: saying why.
  """
  if why := why_not(config) or why_not_these(prepared):
    raise InputError(f"{who} reads the evidence as a set, but {why}: use {instead}")


def rows(plan: language.Plan, which: np.ndarray, test: np.ndarray) -> np.ndarray:
  """int[n], rows that tell all: the canonical one of each example, and all views of a few.

  Args:
    plan: the rows of the run.
    which: int[N''], the examples.
    test: int[N'], those of them in the test part, of which the few are.
  """
  movable = np.asarray(plan.views.orbit_size)[test] > 1
  views = plan.rows.row[test[movable][:CHECKED]]
  return np.unique(np.concatenate([plan.rows.canonical_row[which], views[views >= 0]]))


def only(plan: language.Plan, rows: np.ndarray, symmetry: Symmetry, config: Any) -> language.Plan:
  """These rows, each read as a set in `set_orders` orders.

  Args:
    plan: the rows of the run.
    rows: int[n], in order.
    symmetry: the family of their views.
    config: has the fields of `settings.RunFields`, and `set_orders`.
  """
  own = language.as_set(plan, symmetry, config.set_orders)
  return language.only_rows(own, rows, config.batch_tokens, config.max_shapes)


def data(
    read: distill_data.DistillData, store: store_lib.Store, rows: np.ndarray, plan: language.Plan
) -> distill_data.DistillData:
  """Examples with one row each, what was found where they were read as sets.

  Args:
    read: the examples, with what was found on their views.
    store: of the sets.
    rows: int[n], from `rows`, of all examples.
    plan: the rows of the run.
  """
  row = np.searchsorted(rows, plan.rows.canonical_row)[:, None]
  return read._replace(
      features=store_lib.read(store, "features"), log_probs=store_lib.read(store, "log_probs"),
      row=row, log_weights=np.zeros(row.shape, np.float32))


def everywhere(
    plan: language.Plan, rows: np.ndarray, log_probs: np.ndarray, test: np.ndarray,
    others: np.ndarray,
) -> tuple[np.ndarray, dict[str, Any]]:
  """The answer to an example's canonical row as a set, on all of its rows; and whether that is so.

  Args:
    plan: the rows of the run.
    rows: int[n], from `rows`.
    log_probs: float32[n, C], what was answered to them, read as sets.
    test: int[N'], their examples.
    others: float32[R, C], what stands on the rows of other examples.

  Returns:
    float32[R, C]; and `order_blind`, how far apart (TV) the answers to views of one example were.
  """
  example, canonical = plan.rows.example, plan.rows.canonical_row
  answer = np.zeros((len(canonical), log_probs.shape[1]), np.float32)
  answer[test] = log_probs[np.searchsorted(rows, canonical[test])]
  views = (rows != canonical[example[rows]]) & np.isin(example[rows], test)
  apart = np.abs(np.exp(log_probs[views]) - np.exp(answer[example[rows[views]]])).sum(1) / 2
  is_test = np.isin(example, test)[:, None]
  return np.where(is_test, answer[example], others), {
      "views": int(views.sum()), "max_tv": float(apart.max(initial=0.0))}
