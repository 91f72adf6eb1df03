"""The same-input noise floor: the same views scored twice, in other batches, should not differ.

What differs is rounding. A gap that is not far above it is not a gap.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax import engine
from mezzanine_jax.base import Params

_ROWS = 32


class Again(NamedTuple):
  """Some rows that were run a second time.

  Attributes:
    rows: int[n], which.
    values: NamedTuple of arrays [n, ...], what they gave.
  """

  rows: np.ndarray
  values: Any


def rescore(
    plan: Any, batch_fn: Callable[..., Any], params: Params, kind: ModuleType | None = None
) -> Again:
  """Runs up to 32 rows of a plan again, beside other rows and in batches of another size.

  Nothing is read from or written to the store, and the batches do not depend on those of the
  plan: a run that continues gives the same.

  Args:
    plan: the rows; no two neighbours are taken where there are enough.
    batch_fn: as for `language.score`.
    params: of the model.
    kind: the module that the plan is of: `language`, which is the default, or `arrays`.
  """
  if kind is None:
    from mezzanine_jax import language as kind
  number = len(plan.rows.example)
  # Rows share tokens with their neighbours: without these, each is computed in another way.
  which = np.unique(np.linspace(0, number - 1, min(_ROWS, (number + 1) // 2)).round().astype(int))
  part = kind.only_rows(plan, which, int(plan.lengths[which].sum()) // 4 + 1, max_shapes=1)
  return Again(which, engine.outputs(
      batch_fn, kind.ready(params), lambda batch: kind.batch_inputs(part, batch), part.batches))


def values_block(values_NxC: np.ndarray, again_NxC: np.ndarray) -> dict[str, float]:
  """Mean and largest distance between the two predictions of each row, where they are real values.

  Args:
    values_NxC: float[n, C], as the run has them.
    again_NxC: float[n, C], of the second time.

  Returns:
    `{"rows": n, "mean_distance": ..., "max_distance": ...}`, in units of the values' spread.

  Example:
    >>> values_block(np.array([[3.0, 0.0]]), np.array([[0.0, 4.0]]))["max_distance"]
    5.0
  """
  apart = np.asarray(values_NxC, np.float64) - np.asarray(again_NxC, np.float64)
  distance_N = np.sqrt((apart**2).sum(1))
  return {"rows": len(distance_N), "mean_distance": float(distance_N.mean()),
          "max_distance": float(distance_N.max())}


def noise_block(log_probs_NxC: np.ndarray, again_NxC: np.ndarray) -> dict[str, float]:
  """Mean and largest TV between the two predictions of each row.

  Args:
    log_probs_NxC: float[n, C], as the run has them.
    again_NxC: float[n, C], of the second time.

  Returns:
    `{"rows": n, "mean_tv": ..., "max_tv": ...}`, probabilities.

  Example:
    >>> block = noise_block(np.log([[0.5, 0.5], [0.5, 0.5]]), np.log([[0.5, 0.5], [0.25, 0.75]]))
    >>> block["rows"], round(block["mean_tv"], 4), round(block["max_tv"], 4)
    (2, 0.125, 0.25)
  """
  first, second = (np.exp(np.asarray(a, np.float64)) for a in (log_probs_NxC, again_NxC))
  tv_N = np.abs(first - second).sum(1) / 2
  return {"rows": len(tv_N), "mean_tv": float(tv_N.mean()), "max_tv": float(tv_N.max())}
