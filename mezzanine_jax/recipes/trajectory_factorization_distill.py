"""Distill a judge of plans, averaged over orders that mean the same, into one.

1. An agent's plans on a grid with tools; steps that have nothing to do with
   each other commute.
2. A small recurrent network learns, from half of the training plans, whether a
   plan gets what is asked. The label comes from the simulation.
3. The teacher is its mean belief over K orders of each plan of the other half,
   each a linear extension of the steps' partial order; a student learns it. No
   plan is taught by a model that was trained on it.
4. On test plans: how far base model, student and two controls move with the
   order of independent steps, and how far they are from the teacher.
   `trajectories.png` draws the plans that move most.

A language model is asked about the same plans, as text, by
`hf_llm_hiddenstate_order_distill` and `llm_order_gap` with
`--world grid_trajectories --symmetry factorization`.
"""

import dataclasses
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mezzanine_jax import (
    arrays,
    asking,
    base_distill,
    experiment,
    heads,
    moved,
    report,
    runs,
    students,
    trajectories,
)
from mezzanine_jax.base import Array
from mezzanine_jax.config import arguments_of, option
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.cnn import hidden_layer
from mezzanine_jax.models.gru import STEP_STUDENTS
from mezzanine_jax.settings import FolderFields, SymmetryFields, TrainingFields, WorldFields
from mezzanine_jax.symmetries import make_symmetry

NAME = "trajectory_factorization_distill"
WHO = "base model"  # what the baseline is called
SYMMETRY = "factorization"
_STUDENTS = heads.ANY_FEATURES | STEP_STUDENTS


@dataclasses.dataclass(frozen=True)
class Config(FolderFields, TrainingFields, SymmetryFields, WorldFields):
  """Every field of the recipe."""

  world: str = option(
      "grid_trajectories", "where examples come from; one with trajectories as arrays and labels")
  n_train: int = option(4000, "training plans, half of them for the base model", at_least=4)
  n_test: int = option(500, "test plans", at_least=1)
  symmetry: str = option(
      SYMMETRY, "the family of views: the orders that keep the steps' partial order",
      one_of=(SYMMETRY,))
  base: str = option("gru", "the base model", one_of=tuple(STEP_STUDENTS))
  student: str = option("gru", "the student", one_of=tuple(_STUDENTS))
  hidden: int = option(64, "width of the state, or of the mlp's hidden layers", at_least=1)
  depth: int = option(1, "mlp: hidden layers", at_least=1)
  student_views: str = option(
      "all", "what the student learns from: the plan as it is, or all views",
      one_of=base_distill.STUDENT_VIEWS)
  batch_views: int = option(1024, "views drawn at once", at_least=1, runtime=True)


@runs.in_folder(NAME)
def run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; its results."""
  started = time.monotonic()
  # Everything that can be wrong with the input shows before anything is written.
  asked = _ask(config)
  data = asked.data
  base, _ = _model(config, config.base, asked)
  student, settings = _model(config, config.student, asked)
  halves = base_distill.halves(config, data)
  folder, plan, filled = base_distill.view(
      config, folder, NAME, asked, arrays.renderer(asked.symmetry, _see))

  def shown(beliefs, test):
    return {"examples": moved.examples(
        asked, plan, beliefs, test, config.n_examples, lambda rows: _texts(data, plan, rows))}

  def draw(results, beliefs, features, test):
    del beliefs, features, test
    if data.world.draw is not None:
      data.world.draw(results, data.examples, folder.path)

  task = base_distill.Task(
      NAME, WHO, asked, plan, filled, base=base, student=student,
      meta={"settings": settings, "base": config.base},
      embed=hidden_layer(base), shown=shown, draw=draw)
  return base_distill.run(config, folder, task, halves, started)


def show(results: Mapping[str, Any], out: str | pathlib.Path) -> None:
  """Prints the results, and where the picture is."""
  report.show(results, out)
  pictures = sorted(p.name for p in pathlib.Path(out).glob("trajectories.png"))
  for name in pictures:
    print(f"{name} there draws the plans that move most")


def _see(plan: trajectories.Steps) -> Array:
  """float32[S F], what a model sees of a plan: its steps."""
  return plan.features.reshape(-1)


def _ask(config: Config) -> experiment.Asked:
  """Loads the data and looks whether it is of trajectories."""
  symmetry = make_symmetry(config.symmetry, **dataclasses.asdict(config))
  data = experiment.load_data(config)
  world = data.world
  if world.num_labels < 2:
    raise InputError(f"a judge needs two labels or more, the data has {world.num_labels}")
  prepared = trajectories.prepare(data.examples)
  names = [*world.label_names] or [str(label) for label in range(world.num_labels)]
  return experiment.Asked(data, None, symmetry, asking.Asking(None, None, names), prepared)


def _model(
    config: Config, name: str, asked: experiment.Asked
) -> tuple[students.Student, dict[str, Any]]:
  """A model of a name, and its settings."""
  given = dataclasses.asdict(config) | {"shape": list(asked.prepared.xs.features.shape[1:])}
  settings = arguments_of(_STUDENTS[name], given)
  return heads.make_student(
      name, factories=_STUDENTS, num_choices=len(asked.choices), **settings), settings


def _texts(data: experiment.Data, plan: arrays.Plan, rows: np.ndarray) -> list[str]:
  """The plans of some rows in their orders, a line a step; without words, the steps' numbers."""
  out = []
  for row in rows:
    order, x = plan.rows.elements[row], data.examples[plan.rows.example[row]].x
    moves = x["moves"]
    lines = x.get("facts") or [f"step {s}" for s in range(len(moves))]
    out.append("\n".join(lines[s] for s in order if moves[s]))
  return out
