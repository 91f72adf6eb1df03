"""What every recipe does whose examples are arrays and whose answers are exact real values."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax import arrays, base_distill, experiment, heads, runs, students, values
from mezzanine_jax.base import AlignFn, Array, X
from mezzanine_jax.config import arguments_of, option
from mezzanine_jax.models.cnn import hidden_layer
from mezzanine_jax.settings import FolderFields, SymmetryFields, TrainingFields, WorldFields

WHO = "base model"  # what the baseline is called


@dataclasses.dataclass(frozen=True)
class ValueFields(FolderFields, TrainingFields, SymmetryFields, WorldFields):
  """Fields of such a recipe."""

  n_train: int = option(2000, "training examples, half of them for the base model", at_least=4)
  n_test: int = option(500, "test examples", at_least=3)
  base: str = option("mlp_values", "the base model", one_of=tuple(heads.VALUE_STUDENTS))
  student: str = option("mlp_values", "the student", one_of=tuple(heads.VALUE_STUDENTS))
  hidden: int = option(256, "width of the hidden layers", at_least=1)
  depth: int = option(2, "hidden layers", at_least=0)
  steps: int = option(1500, "optimizer steps", at_least=1)
  learning_rate: float = option(2e-3, "highest learning rate", at_least=1e-9)
  student_views: str = option(
      "all", "what the student learns from: the example as it is, or all views",
      one_of=base_distill.STUDENT_VIEWS)
  batch_views: int = option(1024, "views drawn at once", at_least=1, runtime=True)


class Outcome(NamedTuple):
  """What a recipe may look at, once its models are trained.

  Attributes:
    models: `baseline` and `student`, each `features[D] -> values[C]` of one view, not aligned.
    blocks: of the results that there are.
    parts: of the values, whose units are those of their spread.
    test: int[n], the numbers of the test examples.
    data: all examples, labels in those units.
    path: the run's folder.
  """

  models: Mapping[str, Callable[[Array], Array]]
  blocks: Mapping[str, Any]
  parts: Sequence[values.Part]
  test: np.ndarray
  data: experiment.Data
  path: pathlib.Path


def run(
    config: Any, folder: runs.Folder, recipe: str, ask: Callable[[], experiment.Asked],
    parts: Sequence[values.Part], see: Callable[[X], Array], align: AlignFn,
    more: Callable[[Outcome], dict[str, Any]], **facts: Any,
) -> dict[str, Any]:
  """Draws views, trains base model, student and control, compares them, and writes the results.

  Labels, predictions and figures are in units of the labels' spread over the base model's half.

  Args:
    config: has `ValueFields`.
    folder: the run's, open.
    recipe: its name.
    ask: loads the examples; their labels are float32[N, C], in their own units.
    parts: of the C numbers.
    see: `x -> float32[D]`, what the models see of a view.
    align: the symmetry's, on predictions float[C] in units of their spread.
    more: gives more blocks of the results, and draws.
    **facts: what else the rows depend on, see `store.fingerprint`.

  Returns:
    What `results.json` holds.
  """
  started = time.monotonic()
  # Everything that can be wrong with the input shows before anything is written.
  asked = ask()
  halves = base_distill.halves(config, asked.data)
  parts = values.spread_units(asked.data.labels[halves[0]], parts)
  data = asked.data._replace(labels=values.in_spread(asked.data.labels, parts))
  asked = asked._replace(data=data)
  base, _ = _model(config, config.base, data.labels.shape[1])
  student, settings = _model(config, config.student, data.labels.shape[1])
  folder, plan, filled = base_distill.view(
      config, folder, recipe, asked, arrays.renderer(asked.symmetry, see), **facts)
  task = base_distill.Task(
      recipe, WHO, asked, plan, filled, base=base, student=student,
      meta={"settings": settings, "base": config.base,
            "parts": [part._asdict() for part in parts]},
      embed=hidden_layer(base), shown=lambda predicted, test: {},
      measures=values.measures(parts), align=align,
      more=lambda models, blocks: more(Outcome(
          models, blocks, parts, np.flatnonzero(data.is_test), data, folder.path)))
  return base_distill.run(config, folder, task, halves, started)


def _model(config: Any, name: str, numbers: int) -> tuple[students.Student, dict[str, Any]]:
  """A model of a name that answers with so many numbers, and its settings."""
  factory = heads.VALUE_STUDENTS[name]
  settings = arguments_of(factory, dataclasses.asdict(config))
  return factory(num_choices=numbers, **settings), settings
