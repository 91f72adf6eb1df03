"""The verdict of a run: checks of the student, each a figure with a 95% interval and a bar."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax import clustered


class Check(NamedTuple):
  """A check of how good the student's answers are; see `verdict`."""

  name: str
  meaning: str
  figure: str
  keep: np.ndarray
  bar: float
  below: bool


def verdict(
    student: Any, lm: Any, constant: Any, block: Mapping[str, Any], movable: np.ndarray,
    clusters: Sequence[str], who: str, gap: str, distance: str, kept: Check,
) -> list[dict[str, Any]]:
  """The four checks, by the figures' names: see `evaluation.verdict` for what they ask.

  Args:
    student: figures, as for `evaluation.moved_block`, as are lm and constant.
    lm: the baseline's.
    constant: those of the constant control.
    block: the student's block.
    movable: bool[N].
    clusters: N names.
    who: what the baseline is called.
    gap: the figure that a smaller gap is judged by.
    distance: that of the distance to the teacher.
    kept: what must not get worse, the student's minus the baseline's.
  """
  paired = functools.partial(_paired, student, np.asarray(clusters))
  near = clustered.Estimate(block["fidelity"], block["fidelity_stderr"])
  return [
      paired("gap_fell", f"the student's gap minus the {who}'s is below 0", lm, gap, movable),
      check("nearer_teacher_than_single_view", "fidelity is below 1", near,
            block["fidelity_interval"], 1.0),
      beats("constant", "distance to the teacher minus a constant's is below 0", student, constant,
            movable, clusters, distance),
      paired(kept.name, kept.meaning, lm, kept.figure, kept.keep, kept.bar, kept.below),
  ]


def beats(
    name: str, meaning: str, student: Any, other: Any, movable: np.ndarray, clusters: Sequence[str],
    distance: str = "tv_to_teacher",
) -> dict[str, Any]:
  """Whether the student is nearer the teacher than another model, by a paired difference.

  Args:
    name: of the other model; the check is `beats_` and this.
    meaning: what it asks, in words.
    student: figures, as for `evaluation.moved_block`, as are other.
    other: the other model's.
    movable: bool[N].
    clusters: N names.
    distance: the figure.
  """
  return _paired(student, np.asarray(clusters), f"beats_{name}", meaning, other, distance, movable)


def _paired(
    student: Any, names: np.ndarray, name: str, meaning: str, other: Any, figure: str,
    keep: np.ndarray, bar: float = 0.0, below: bool = True,
) -> dict[str, Any]:
  """A check of the student's figure minus the other one's, on the examples to keep."""
  a, b = (np.asarray(getattr(model, figure))[keep] for model in (student, other))
  found = clustered.paired_difference(a, b, names[keep])
  return check(name, meaning, found, interval(found, names[keep]), bar, below)


def check(
    name: str, meaning: str, found: clustered.Estimate, interval: Sequence[float], bar: float,
    below: bool = True,
) -> dict[str, Any]:
  """One check: whether a 95% interval lies on the right side of a bar.

  Args:
    name: of the check.
    meaning: what it asks, in words.
    found: the figure.
    interval: (low, high).
    bar: the figure is to be below it.
    below: False: above it.
  """
  low, high = interval
  right, wrong = (high < bar, low > bar) if below else (low > bar, high < bar)
  answer = "yes" if right else "no" if wrong else "unsure"
  return {
      "check": name, "meaning": meaning, "answer": answer, "value": found.value,
      "stderr": found.stderr, "interval": [low, high], "bar": bar,
  }


def fidelity_interval(
    student_d2_N: np.ndarray, lm_d2_N: np.ndarray, clusters: np.ndarray, movable: np.ndarray
) -> list[float]:
  """The 95% interval of fidelity: the roots of that of the squared ratio.

  The root has no standard error at 0, and a student that near is the best there is.

  Args:
    student_d2_N: float[N], its squared distances to the teacher.
    lm_d2_N: float[N], the baseline's.
    clusters: N names.
    movable: bool[N], the examples that count.
  """
  names = np.asarray(clusters)[movable]
  squared = clustered.ratio_and_stderr(
      np.asarray(student_d2_N)[movable], np.asarray(lm_d2_N)[movable], names)
  return np.sqrt(np.maximum(interval(squared, names), 0.0)).tolist()


def interval(found: clustered.Estimate, clusters: np.ndarray) -> list[float]:
  """The 95% interval of an estimate, by Student's t with one degree less than clusters.

  Differences that are all alike say nothing of their spread: theirs is the rule of three, 3/G
  (Hanley and Lippman-Hand, JAMA 249, 1983).
  """
  number = len(np.unique(clusters))
  if found.stderr == 0:
    half = 3 / number
  else:
    from scipy import stats  # half a second to import, and needed at the end of a run only

    half = float(stats.t.ppf(0.975, max(number - 1, 1))) * found.stderr
  return [found.value - half, found.value + half]
