"""`diagnostics.png` of real-valued predictions."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mezzanine_jax import figures, report
from mezzanine_jax.clustered import Z95
from mezzanine_jax.evaluation import Beliefs

_TEACHER = "#54a24b"


def diagnostics(
    results: Mapping[str, Any], models: Mapping[str, Beliefs], labels: np.ndarray,
    path: str | pathlib.Path,
) -> None:
  """Draws gap and distance to the teacher of every model; their error; their answers.

  The error panel has the mean of K views against K, between the lines of base model and student.
  The last one has every number of every test example, predicted against exact.

  Args:
    results: what `results.json` will hold.
    models: `baseline` and `student` among them, on the test part, in units of their spread.
    labels: float32[N, D], what is exact.
    path: where the picture goes.
  """
  figure, (_, ax_error, ax_scatter) = figures.four_panels(
      results, ("pairwise_square", "Gap: squared distance of two views, share of variance"),
      ("square_to_teacher_movable", "Squared distance of the one pass to the teacher"))
  _errors(ax_error, results)
  _scatter(ax_scatter, results, models, labels)
  figures.save(figure, results, path)


def _errors(ax: Any, results: Mapping[str, Any]) -> None:
  """Squared error of the mean of K views, and of one pass of base model and student."""
  rows = results["teacher_by_views"]
  views = [row["views"] for row in rows]
  ax.errorbar(views, [row["squared_error"] for row in rows],
              yerr=[Z95 * row["squared_error_stderr"] for row in rows], fmt="o-", capsize=3,
              markersize=4, color=_TEACHER, label="mean of K views (teacher)")
  for model in ("baseline", "student"):
    block, colour = results[model], figures.COLOURS[model]
    value, error = block["squared_error"], Z95 * block["squared_error_stderr"]
    who = report.model_name(results, model)
    ax.axhline(value, color=colour, linewidth=1.2, label=f"{who}, one pass")
    ax.axhspan(value - error, value + error, color=colour, alpha=0.15, linewidth=0)
  ax.set_xscale("log", base=2)
  ax.set_xticks(views, [str(v) for v in views])
  ax.set_ylim(bottom=0)
  ax.set_xlabel("views K")
  ax.set_title("Squared error against what is exact, share of variance")
  ax.legend(frameon=False, fontsize=9)


def _scatter(
    ax: Any, results: Mapping[str, Any], models: Mapping[str, Beliefs], labels: np.ndarray
) -> None:
  """Every number of every test example, predicted against exact, in units of its spread."""
  exact = np.asarray(labels)
  scale = np.maximum(exact.std(0), 1e-9)
  for model in ("baseline", "student"):
    predicted = np.asarray(models[model].canonical) / scale
    ax.plot((exact / scale).ravel(), predicted.ravel(), ".", markersize=2, alpha=0.5,
            color=figures.COLOURS[model], label=report.model_name(results, model))
  low, high = (exact / scale).min(), (exact / scale).max()
  ax.plot([low, high], [low, high], color="black", linewidth=0.8)
  ax.set_xlabel("exact, in standard deviations")
  ax.set_ylabel("predicted in one pass")
  ax.set_title("Every number of every test example")
  ax.legend(frameon=False, fontsize=9, markerscale=5)
