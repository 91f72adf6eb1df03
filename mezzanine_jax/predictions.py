"""What was believed of every test example, on disk; and how far such beliefs can be relied on."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mezzanine_jax import clustered, comparison, evaluation, runs, targets
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.metrics import NUM_BINS
from mezzanine_jax.untrusted import parse_json, shown

_DIGITS = 6  # of a probability
_KINDS = {"label": int, "movable": bool, "lowest": float, "highest": float}


def write(
    path: str | pathlib.Path, examples: Sequence[Example],
    models: Mapping[str, evaluation.Beliefs], measures: comparison.Measures = comparison.BELIEFS,
) -> None:
  """Writes `predictions.json`: one entry an example in every list.

  Args:
    path: the file.
    examples: n test examples; an unknown label is written as -1.
    models: name -> beliefs, `baseline` among them, whose mean over the views is the `teacher`.
      `probabilities` holds each model's on the canonical view; `lowest` and `highest` the least
      and the most that any view of the baseline gives a choice.
    measures: of the kind of predictions. Of real values there are `values` for `probabilities`,
      and no labels.
  """
  real_values = measures.target == targets.VALUES
  plain = _plain_values if real_values else _plain
  lm = models["baseline"]
  views = np.concatenate([lm.canonical[:, None], lm.log_probs], 1)
  real = np.isfinite(np.asarray(lm.log_weights))
  real = np.concatenate([np.ones((len(real), 1), bool), real], 1)[..., None]
  shown = {name: np.asarray(own.canonical) for name, own in models.items()}
  shown["teacher"] = np.asarray(measures.teacher(lm))
  found = {
      "id": [e.id for e in examples],
      "label": [-1 if e.label is None or real_values else e.label for e in examples],
      "cluster": [e.cluster for e in examples],
      "movable": (np.asarray(lm.orbit_size) > 1).tolist(),
      "values" if real_values else "probabilities": {
          name: plain(own) for name, own in shown.items()},
      "lowest": plain(np.where(real, views, np.inf).min(1)),
      "highest": plain(np.where(real, views, -np.inf).max(1)),
  }
  store_lib.write_text(path, json.dumps(runs.plain(found), allow_nan=False) + "\n")


def read(path: str | pathlib.Path) -> dict[str, Any] | None:
  """What `write` wrote of beliefs, its numbers as arrays; None where there is no such file.

  Raises:
    InputError: if the file is damaged.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    return None
  try:
    found = parse_json(path.read_bytes())
    if "values" in found:
      return None
    arrays = {name: np.array(found[name], kind) for name, kind in _KINDS.items()}
    probs = {name: np.array(own, float) for name, own in found["probabilities"].items()}
    for name in ("id", "cluster"):
      if not isinstance(found[name], list) or not all(isinstance(n, str) for n in found[name]):
        raise ValueError(f"{name} is no list of texts")
    sizes = {len(a) for a in (*arrays.values(), *probs.values(), found["id"], found["cluster"])}
    if len(sizes) != 1 or not {"baseline", "teacher"} <= set(probs):
      raise ValueError(f"lists of {sorted(sizes)} entries")
    beliefs = [arrays["lowest"], arrays["highest"], *probs.values()]
    shapes = {a.shape for a in beliefs}
    if len(shapes) != 1 or beliefs[0].ndim != 2 or beliefs[0].shape[1] < 1:
      raise ValueError(f"beliefs of the shapes {sorted(shapes)}")
    if any(a.ndim != 1 for a in (arrays["label"], arrays["movable"])):
      raise ValueError("labels that are lists")
    if not all(((a >= 0) & (a <= 1)).all() for a in beliefs):
      raise ValueError("a belief that is no probability")
  except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
    raise InputError(
        f"{path} is damaged ({shown(error, 200)}); delete it to report without it") from error
  return found | arrays | {"probabilities": probs}


def reliability(
    probs_NxC: np.ndarray, labels_N: np.ndarray, clusters_N: Sequence[str], bins: int = NUM_BINS
) -> list[dict[str, float]]:
  """How often answers of like confidence are right, by bins of equal width.

  Confidence is the probability of the answer that is given, max_c p_c.

  Args:
    probs_NxC: float[N, C], probabilities.
    labels_N: int[N]; examples of unknown label (-1) are left out.
    clusters_N: N names.
    bins: of confidence, between 0 and 1; empty ones are left out.

  Returns:
    A list of {examples, confidence, accuracy, accuracy_stderr, accuracy_interval}, the least
    confident first.

  Example:
    >>> found = reliability(np.array([[0.95, 0.05], [0.8, 0.2], [0.75, 0.25]]),
    ...                     np.array([0, 0, 1]), ["a", "b", "c"])
    >>> [(row["examples"], round(row["confidence"], 3), row["accuracy"]) for row in found]
    [(2, 0.775, 0.5), (1, 0.95, 1.0)]

  Source: M. H. DeGroot and S. E. Fienberg, The Statistician 32 (1983).
  """
  known = np.asarray(labels_N) >= 0
  probs, labels = np.asarray(probs_NxC)[known], np.asarray(labels_N)[known]
  clusters = np.asarray(clusters_N)[known]
  confidence, right = probs.max(1, initial=0), probs.argmax(1) == labels
  # The bins are closed on the right, as those of the expected calibration error are.
  which = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1).astype(int)
  out = []
  for at in np.unique(which):
    chosen = which == at
    row = {"examples": int(chosen.sum()), "confidence": float(confidence[chosen].mean())}
    out.append(row | clustered.block({"accuracy": right[chosen]}, clusters[chosen]))
  return out


def _plain_values(values: np.ndarray) -> list[list[float]]:
  """Real values as short numbers."""
  return np.asarray(values, np.float64).round(_DIGITS).tolist()


def _plain(log_probs: np.ndarray) -> list[list[float]]:
  """Probabilities as short numbers."""
  return np.exp(np.asarray(log_probs, np.float64)).round(_DIGITS).tolist()
