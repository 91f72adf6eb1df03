"""Evidence that is sorted before it is read, so that every order of it is one text.

A student that reads sorted texts cannot depend on their order: see `prompts.sort_evidence`.
"""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from mezzanine_jax import experiment, language, scoring
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Params
from mezzanine_jax.errors import InputError


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


def scores(
    config: Any, asked: experiment.Asked, plan: language.Plan, batch_fn: Callable[..., Any],
    params: Params, examples: np.ndarray, path: pathlib.Path, **facts: Any,
) -> scoring.Scores:
  """What a model says of some examples whose evidence is sorted, one row each; kept on disk.

  Args:
    config: has the fields of `settings.RunFields` and `settings.SymmetryFields`.
    asked: the data, the model and the symmetry.
    plan: the rows of the run.
    batch_fn: `(params, elements, rows) -> Scores`.
    params: the model's.
    examples: int[n], which ones, without repeats.
    path: the folder of the store; rows that it holds are not run again.
    **facts: what else `batch_fn` depends on.

  Returns:
    `Scores` of arrays [n, ...], in the order of `examples`.
  """
  rows = plan.rows.canonical_row[examples]
  part = language.only_rows(
      language.apart(plan, asked.symmetry, None), rows, config.batch_tokens, config.max_shapes)
  fingerprint = experiment.rows_fingerprint(config, asked, part, **facts)
  ids = [e.id for e in asked.data.examples]
  path.parent.mkdir(parents=True, exist_ok=True)
  with experiment.row_bar("scoring sorted texts", len(rows)) as written:
    store, _ = language.score(
        part, batch_fn, params, path, fingerprint, ids=ids, progress=written)
  place = np.searchsorted(np.sort(rows), rows)
  return scoring.Scores(*(store_lib.read(store, name)[place] for name in scoring.Scores._fields))
