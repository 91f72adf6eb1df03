"""How well predictions find what came of it among what came of others: ranks and recall."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mezzanine_jax import clustered

AT = 10


def ranks(predicted_NxD: np.ndarray, true_NxD: np.ndarray) -> np.ndarray:
  """float[N]: 1 + how many of the N true values are nearer a prediction than its own is.

  Ties count half each.

  Args:
    predicted_NxD: float[N, D].
    true_NxD: float[N, D], of the same examples.

  Example:
    >>> ranks(np.array([[0.0], [0.2], [9.0]]), np.array([[0.0], [1.0], [2.0]])).tolist()
    [1.0, 2.0, 1.0]
  """
  predicted, true = (np.asarray(a, np.float64) for a in (predicted_NxD, true_NxD))
  apart_NxN = ((predicted[:, None] - true[None]) ** 2).sum(-1)
  own_N = np.diag(apart_NxN)[:, None]
  return 1 + (apart_NxN < own_N).sum(1) + ((apart_NxN == own_N).sum(1) - 1) / 2


def block(ranks_N: np.ndarray, clusters: Sequence[str]) -> dict[str, Any]:
  """`recall_at_10`, `reciprocal_rank` and their errors, and the `median_rank`, for the results.

  Args:
    ranks_N: from `ranks`.
    clusters: N names.
  """
  shown = {f"recall_at_{AT}": (ranks_N <= AT).astype(float), "reciprocal_rank": 1 / ranks_N}
  return clustered.block(shown, clusters) | {"median_rank": float(np.median(ranks_N))}
