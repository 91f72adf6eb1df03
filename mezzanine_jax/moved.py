"""What moves: the gap by the number of segments, and the examples whose answers move most."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mezzanine_jax import comparison, evaluation, experiment

if TYPE_CHECKING:
  from mezzanine_jax import arrays, language


def blocks(
    asked: experiment.Asked, plan: "language.Plan", beliefs: evaluation.Beliefs,
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
    `gap_by_segments`: see `comparison.gap_by_segments`. `examples`: see that function.
  """
  from mezzanine_jax import view_texts

  segments = view_texts.movable_segments(plan, asked.prepared, asked.symmetry)[which]
  clusters = [asked.data.clusters[n] for n in which]
  return {
      "gap_by_segments": comparison.gap_by_segments(beliefs, segments, clusters),
      "examples": examples(
          asked, plan, beliefs, which, number,
          lambda rows: view_texts.row_texts(plan, asked.prepared, asked.symmetry, rows)),
  }


def examples(
    asked: experiment.Asked, plan: "language.Plan | arrays.Plan", beliefs: evaluation.Beliefs,
    which: np.ndarray, number: int, texts_of: Callable[[np.ndarray], Sequence[str]],
) -> list[dict[str, Any]]:
  """The examples that move most, each with the texts of two views and the beliefs of all.

  Args:
    asked: as for `blocks`, as are plan, beliefs, which and number.
    plan: the rows.
    beliefs: of n examples.
    which: int[n].
    number: how many are kept.
    texts_of: int[m], numbers of rows -> m texts that say what the rows are.

  Returns:
    A list of {id, label, pairwise_tv, views, beliefs}, the largest gap first, and `choices` where
    each has its own options; `views` holds {view, probabilities, text} of the two views that
    differ most, `beliefs` the probabilities of the canonical view and then of every other.
  """
  found = comparison.most_moved(beliefs, number)
  rows = []
  for entry in found:
    n = which[entry["example"]]
    rows += [plan.rows.canonical_row[n] if k == 0 else plan.rows.row[n, k - 1]
             for k in entry["views"]]
  texts = iter(texts_of(np.array(rows, int)))
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
