"""Models side by side, on the same views of the same examples: the blocks of the results."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import clustered, evaluation
from mezzanine_jax.evaluation import Beliefs


def gap_blocks(
    lm: Beliefs, labels: np.ndarray, clusters: Sequence[str], seed: int
) -> dict[str, Any]:
  """The blocks of a run without a student: `baseline`, `teacher` and `gap_by_views`.

  Args:
    lm: the model's beliefs on N test examples.
    labels: int32[N], -1 where unknown.
    clusters: N names.
    seed: see `evaluation.gap_by_views`.
  """
  own = _figures(lm, lm, labels)
  noise, movable = evaluation.teacher_noise(lm), np.asarray(lm.orbit_size) > 1
  return {
      "baseline": evaluation.model_block(own, own, noise, movable, clusters),
      "teacher": evaluation.teacher_block(lm, labels, clusters),
      "gap_by_views": evaluation.gap_by_views(lm, clusters, seed),
  }


def student_blocks(
    lm: Beliefs, models: Mapping[str, Beliefs], labels: np.ndarray, clusters: Sequence[str],
    seed: int,
) -> dict[str, Any]:
  """The blocks of a run with a student: those of `gap_blocks`, `student`, `controls`, `verdict`.

  Args:
    lm: the beliefs of what the teacher is the mean of, on N test examples.
    models: `student` and `constant` among them; all others are controls too.
    labels: int32[N], -1 where unknown.
    clusters: N names.
    seed: see `evaluation.gap_by_views`.
  """
  results = gap_blocks(lm, labels, clusters, seed)
  noise, movable = evaluation.teacher_noise(lm), np.asarray(lm.orbit_size) > 1
  baseline = _figures(lm, lm, labels)
  figures = {name: _figures(beliefs, lm, labels) for name, beliefs in models.items()}
  blocks = {
      name: evaluation.model_block(own, baseline, noise, movable, clusters)
      for name, own in figures.items()
  }
  student = blocks.pop("student")
  verdict = evaluation.verdict(
      figures["student"], baseline, figures["constant"], student, movable, clusters
  )
  return results | {"student": student, "controls": blocks, "verdict": verdict}


def choice_mass_block(mass: np.ndarray, clusters: Sequence[str]) -> dict[str, float]:
  """How much of the model's belief in its whole vocabulary the choices hold, float[N] of it."""
  mean, stderr = clustered.mean_and_stderr(mass, clusters)
  return {"choice_mass": mean, "choice_mass_stderr": stderr}


def _figures(model: Beliefs, lm: Beliefs, labels: np.ndarray) -> evaluation.Figures:
  """Every figure of every example, on the host."""
  return jax.tree.map(np.asarray, evaluation.figures(model, lm, jnp.asarray(labels)))
