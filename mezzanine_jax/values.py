"""What a model predicts over the views of a data set where predictions are real values.

The figures and blocks of `evaluation`, by the same names where they mean the same: a gap is the
squared distance of two views' predictions (`regression`), and what is right is an array of exact
values. Values are in units of their own spread over training examples, so that squares are shares
of a variance. Parts say what the units were.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import checks, clustered, evaluation, regression, targets, variances
from mezzanine_jax.base import Array
from mezzanine_jax.comparison import Measures
from mezzanine_jax.evaluation import Beliefs

GAP_FIGURES = regression.SquaredGap._fields


class Part(NamedTuple):
  """Some of the D numbers of a prediction, which are one quantity.

  Attributes:
    name: such as `energy`.
    unit: such as `epsilon`; empty for numbers without one.
    start: its first number.
    stop: one behind its last.
    shift: in its own unit, what 0 stands for.
    scale: in its own unit, what 1 stands for.
    centred: whether 0 is to stand for the mean; not where a symmetry turns or mirrors it.
  """

  name: str
  unit: str
  start: int
  stop: int
  shift: float = 0.0
  scale: float = 1.0
  centred: bool = False


class Figures(NamedTuple):
  """Per-example figures of one model, float32[N] each; see `figures`."""

  squared_error: Array
  part_errors: Array  # float32[N, P], mean squared error of the numbers of each part
  pairwise_square: Array
  variance: Array
  canonical_square: Array
  spread: variances.Spread
  square_to_teacher: Array
  squared_distance: Array


def spread_units(values_NxD: np.ndarray, parts: Sequence[Part]) -> tuple[Part, ...]:
  """The parts with shifts and scales by which each has a share of 1/P of a variance of 1.

  Args:
    values_NxD: float[N, D], in their own units: of training examples.
    parts: P parts, which hold all D numbers.

  Example:
    >>> part, = spread_units(np.array([[1.0], [5.0]]), [Part("energy", "J", 0, 1, centred=True)])
    >>> part.shift, part.scale
    (3.0, 2.0)
  """
  out = []
  for part in parts:
    own = np.asarray(values_NxD, np.float64)[:, part.start : part.stop]
    shift = float(own.mean()) if part.centred else 0.0
    variance = ((own - shift) ** 2).sum(1).mean() * len(parts)
    out.append(part._replace(shift=shift, scale=float(np.sqrt(variance)) or 1.0))
  return tuple(out)


def in_spread(values_NxD: np.ndarray, parts: Sequence[Part]) -> np.ndarray:
  """float32[N, D]: values of their own units in those of the parts' spread."""
  out = np.array(values_NxD, np.float64)
  for part in parts:
    out[:, part.start : part.stop] -= part.shift
    out[:, part.start : part.stop] /= part.scale
  return out.astype(np.float32)


def in_units(values: Array, part: Part) -> Array:
  """float[..., d]: a part of values [..., D], in its own unit."""
  return values[..., part.start : part.stop] * part.scale + part.shift


def measures(parts: Sequence[Part]) -> Measures:
  """The figures of real values, as `comparison.student_blocks` and `base_distill` take them.

  Args:
    parts: of the D numbers of a prediction.
  """
  parts = tuple(parts)

  def model_block(own, lm, noise, movable, clusters):
    del noise
    return _errors(own, parts, clusters) | evaluation.moved_block(
        own, lm, movable, clusters, GAP_FIGURES, ("square_to_teacher",))

  def teacher_block(lm, labels, clusters):
    return _answers(np.asarray(teacher(lm)), labels, parts, clusters)

  def verdict(student, lm, constant, block, movable, clusters, who="LM"):
    everywhere = np.ones(len(movable), bool)
    kept = checks.Check(
        "error_kept", f"the student's squared error minus the {who}'s is below 0.02",
        "squared_error", everywhere, 0.02, below=True)
    return checks.verdict(student, lm, constant, block, movable, clusters, who,
                          "pairwise_square", "square_to_teacher", kept)

  def gap_by_views(lm, clusters, seed):
    return evaluation.gap_by_views(
        lm, clusters, seed, regression.estimate, ("pairwise_square", "canonical_square"))

  def teacher_by_views(lm, own, labels, clusters, seed):
    answers = lambda values: _answers(values, labels, parts, clusters)
    return evaluation.by_views(lm, own, np.asarray(clusters), seed, teacher, answers)

  return Measures(
      targets.VALUES, teacher,
      lambda model, lm, labels: figures(model, lm, labels, parts),
      lambda lm: np.zeros(len(lm.orbit_size)), model_block, teacher_block, verdict, gap_by_views,
      teacher_by_views)


@jax.jit
def teacher(lm: Beliefs) -> Array:
  """float32[N, D]: the weighted mean prediction over the views that were drawn."""
  return jax.vmap(regression.mean)(lm.log_probs, lm.log_weights)


def figures(model: Beliefs, lm: Beliefs, labels: Array, parts: Sequence[Part]) -> Figures:
  """Every figure of every example.

  The squared distance to the teacher is |q - p̄|² less the noise of the draws in p̄, without
  bias as long as q does not depend on the draws (`regression.estimate`).

  Args:
    model: whose figures, its values in the fields of beliefs: the base model, a student or a
      control, on the same views.
    lm: the predictions whose mean is the teacher.
    labels: float32[N, D], the exact values.
    parts: of the D numbers.
  """
  return _figures(model, lm, jnp.asarray(labels), tuple((p.start, p.stop) for p in parts))


@functools.partial(jax.jit, static_argnames="ranges")
def _figures(model: Beliefs, lm: Beliefs, labels: Array, ranges: tuple) -> Figures:
  """`figures`, of ranges that can be hashed."""

  def one(model: Beliefs, lm: Beliefs, label: Array) -> Figures:
    moved = regression.estimate(
        model.log_probs, model.log_weights, model.orbit_size, model.canonical)
    far = regression.estimate(
        lm.log_probs, lm.log_weights, lm.orbit_size, model.canonical).canonical_square
    squares = (model.canonical - label) ** 2
    return Figures(
        squares.sum(), jnp.stack([squares[start:stop].mean() for start, stop in ranges]), *moved,
        variances.spread(model.log_probs, model.log_weights, model.orbit_size), far, far)

  return jax.vmap(one)(model, lm, labels)


def _errors(own: Any, parts: Sequence[Part], clusters: Sequence[str]) -> dict[str, float]:
  """`squared_error` and `rmse`, and the RMSE of each part in its own unit."""
  block = clustered.block({"squared_error": own.squared_error}, clusters)
  named = {"rmse": (own.squared_error, 1.0)}
  named |= {f"{part.name}_rmse": (own.part_errors[:, i], part.scale)
            for i, part in enumerate(parts)}
  for name, (squares, scale) in named.items():
    squares = np.asarray(squares, np.float64) * scale**2
    found = clustered.fidelity(squares, np.ones_like(squares), clusters)  # √ of a mean
    block |= {name: found.value, f"{name}_stderr": found.stderr}
  return block


def _answers(
    values_NxD: np.ndarray, labels_NxD: np.ndarray, parts: Sequence[Part], clusters: Sequence[str]
) -> dict[str, float]:
  """The errors of one prediction an example."""
  squares = (values_NxD - labels_NxD) ** 2
  errors = np.stack([squares[:, part.start : part.stop].mean(1) for part in parts], 1)
  return _errors(_Errors(squares.sum(1), errors), parts, clusters)


class _Errors(NamedTuple):
  """The part of `Figures` that needs one prediction an example only."""

  squared_error: np.ndarray
  part_errors: np.ndarray
