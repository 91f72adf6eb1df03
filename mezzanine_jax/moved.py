"""What moves: the gap by the number of segments, and the examples whose answers move most."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mezzanine_jax import comparison, evaluation, experiment, language, view_texts


def blocks(
    asked: experiment.Asked, plan: language.Plan, beliefs: evaluation.Beliefs,
    which: np.ndarray, number: int,
) -> dict[str, Any]:
  """The blocks `gap_by_segments` and `examples` of the results.

  Args:
    asked: the examples; its model is not needed any more and may be None.
    plan: the rows of all N examples.
    beliefs: the measured model's, on n of them.
    which: int[n], the numbers of those examples among all N.
    number: how many of the examples that move most are kept with their views.

  Returns:
    `gap_by_segments`: see `comparison.gap_by_segments`. `examples`: a list of {id, label,
    pairwise_tv, views, beliefs}, the largest gap first, and `choices` where each has its own
    options; `views` holds {view, probabilities, text}
    of the two views that differ most, `beliefs` the probabilities of the canonical view and then
    of every other.
  """
  segments = view_texts.movable_segments(plan, asked.prepared, asked.symmetry)[which]
  clusters = [asked.data.clusters[n] for n in which]
  return {
      "gap_by_segments": comparison.gap_by_segments(beliefs, segments, clusters),
      "examples": _examples(asked, plan, beliefs, which, number),
  }


def _examples(
    asked: experiment.Asked, plan: language.Plan, beliefs: evaluation.Beliefs,
    which: np.ndarray, number: int,
) -> list[dict[str, Any]]:
  """The examples that move most, each with the texts of two views and the beliefs of all."""
  found = comparison.most_moved(beliefs, number)
  rows = []
  for entry in found:
    n = which[entry["example"]]
    rows += [plan.rows.canonical_row[n] if k == 0 else plan.rows.row[n, k - 1]
             for k in entry["views"]]
  texts = iter(view_texts.row_texts(plan, asked.prepared, asked.symmetry, np.array(rows, int)))
  out = []
  for entry in found:
    at = entry["example"]
    example = asked.data.examples[which[at]]
    # The canonical view first, as it is counted; the numbers of the others begin at 1.
    probs = np.exp(np.vstack([beliefs.canonical[at][None], beliefs.log_probs[at]]))
    real = np.isfinite(np.asarray(beliefs.log_weights[at]))
    out.append({
        "id": example.id, "label": example.label, "pairwise_tv": entry["pairwise_tv"],
        **_named(example.x, probs.shape[1]),
        "views": [{"view": k, "probabilities": probs[k].tolist(), "text": next(texts)}
                  for k in entry["views"]],
        "beliefs": probs[np.concatenate([[True], real])].tolist(),
    })
  return out


def _named(x: Any, num_choices: int) -> dict[str, list[str]]:
  """`choices`, the texts of an example's options: their letters differ from view to view."""
  options = x.get("options") if isinstance(x, Mapping) else None
  if not isinstance(options, list | tuple) or len(options) != num_choices:
    return {}
  return {"choices": [str(option) for option in options]}
