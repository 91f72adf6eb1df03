"""Distill energies and forces, averaged over turns, moves and orders of particles, into one pass.

1. Clusters of particles whose energies and forces are known exactly; turned, moved or listed in
   another order they have the same energy, and forces that turn and change places with them.
2. A small network, to which nothing of this is known, learns them from one half of the clusters.
3. The teacher is its mean over K views of each cluster of the other half, forces turned back; a
   student learns it, and never sees an exact answer.
4. On test clusters: how far base model, student and two controls move over the views, how far
   they are from the teacher, and all of them from what is exact. `turning.png` shows it.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mezzanine_jax import (
    arrays,
    asking,
    base_distill,
    experiment,
    point_figures,
    progress,
    report,
    runs,
    students,
    values,
)
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Array, Element
from mezzanine_jax.config import arguments_of, option
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.cnn import hidden_layer
from mezzanine_jax.settings import SymmetryFields, TrainingFields, WorldFields
from mezzanine_jax.symmetries import IMAGES, POINTS, TEXT, make_symmetry
from mezzanine_jax.worlds import lennard_jones as particles_lib

NAME = "physics_orbit_distill"
WHO = "base model"  # what the baseline is called
TURNING_PICTURE = "turning.png"
INPUTS = {"pairs": particles_lib.pairs, "positions": jnp.ravel}


@dataclasses.dataclass(frozen=True)
class Config(TrainingFields, SymmetryFields, WorldFields):
  """Every field of the recipe."""

  world: str = option("lennard_jones", "where examples come from; one with particles")
  n_train: int = option(2000, "training clusters, half of them for the base model", at_least=4)
  n_test: int = option(300, "test clusters", at_least=2)
  particles: int = option(4, "particles of a cluster", at_least=2, at_most=13)
  temperature: float = option(
      0.15, "of the clusters, in units of epsilon / k", at_least=1e-3, at_most=1.0)
  symmetry: str = option(
      "rotation,translation,particle_order",
      f"families of views, chained with commas: {', '.join(POINTS)}")
  shift: float = option(0.5, "translation: the farthest along an axis, in sigma", at_least=0.0)
  inputs: str = option(
      "pairs", "what the networks see of the particles, in their order: the vectors between every"
      " two, or their positions", one_of=tuple(INPUTS))
  student: str = option("mlp_values", "the student", one_of=tuple(students.VALUE_STUDENTS))
  hidden: int = option(256, "width of the hidden layers", at_least=1)
  depth: int = option(2, "hidden layers", at_least=0)
  steps: int = option(1500, "optimizer steps", at_least=1)
  learning_rate: float = option(2e-3, "highest learning rate", at_least=1e-9)
  student_views: str = option(
      "all", "what the student learns from: the cluster as it is, or all views",
      one_of=base_distill.STUDENT_VIEWS)
  batch_views: int = option(1024, "views drawn at once", at_least=1, runtime=True)


def run(config: Config, out: str | pathlib.Path) -> dict[str, Any]:
  """Runs the experiment, or continues it, or returns the results of a finished one.

  Args:
    config: see `Config`.
    out: the run's folder.

  Returns:
    What `results.json` holds.

  Raises:
    InputError: for input that cannot be used; nothing is written then, but for a loss that turns
      out not to be finite.
  """
  with runs.opened(out, NAME, config) as folder:
    return _run(config, folder) if folder.results is None else folder.results


def _run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; its results."""
  started = time.monotonic()
  # Everything that can be wrong with the input shows before anything is written.
  asked = _ask(config)
  halves = base_distill.halves(config, asked.data)
  parts = values.spread_units(
      asked.data.labels[halves[0]], particles_lib.parts(asked.data.labels.shape[1]))
  exact = asked.data.labels
  data = asked.data._replace(labels=values.in_spread(exact, parts))
  asked = asked._replace(data=data)
  given = dataclasses.asdict(config) | {"num_choices": data.labels.shape[1]}
  settings = arguments_of(students.VALUE_STUDENTS[config.student], given)
  student = students.make_student(
      config.student, factories=students.VALUE_STUDENTS, **settings)
  del settings["num_choices"]  # the student's own, beside its settings
  with progress.bar("drawing the views"):
    plan = arrays.plan(asked.prepared, asked.symmetry, batch_views=config.batch_views,
                       **experiment.drawn(config, data))
  fingerprint = runs.fingerprint(
      NAME, config, data=data.world.digests, rows=arrays.digest(plan))
  rows_fingerprint = store_lib.fingerprint({
      "renderer": arrays.RENDERER_VERSION, "rows": arrays.digest(plan),
      "symmetry": config.symmetry, "inputs": config.inputs,
  })
  folder = runs.begin(folder, fingerprint, {runs.STORE: rows_fingerprint})
  see = INPUTS[config.inputs]
  filled = experiment.fill(
      folder, plan, arrays.renderer(asked.symmetry, see), {}, [e.id for e in data.examples],
      kind=arrays)

  def more(models):
    point_figures.turning(
        models, see, asked.prepared.xs[np.flatnonzero(data.is_test)[0]], asked.symmetry, parts,
        config, folder.path / TURNING_PICTURE)
    return {}

  task = base_distill.Task(
      NAME, WHO, asked, plan, filled, base=student, student=student,
      meta={"settings": settings, "base": config.student,
            "parts": [part._asdict() for part in parts]},
      embed=hidden_layer(student), shown=lambda predicted, test: {},
      measures=values.measures(parts), align=_aligner(asked.symmetry.align), more=more)
  return base_distill.run(config, folder, task, halves, started)


def show(results: Mapping[str, Any], out: str | pathlib.Path) -> None:
  """Prints the results, and where the picture is."""
  report.show(results, out)
  print(f"{TURNING_PICTURE} there shows one cluster's energy and forces while it is turned")


def _ask(config: Config) -> experiment.Asked:
  """Makes the clusters and looks whether the symmetry is of points."""
  for name in (n.strip() for n in config.symmetry.split(",")):
    if name in TEXT + IMAGES:
      raise InputError(f"the symmetry {name} is not of points; of points there are"
                       f" {', '.join(POINTS)}")
  symmetry = make_symmetry(config.symmetry, **dataclasses.asdict(config))
  data = experiment.load_data(config)
  if any(particles_lib.PARTICLES not in e.x for e in data.examples):
    raise InputError(
        "the data has no particles: choose the world lennard_jones, or one with that field")
  xs = np.stack([e.x[particles_lib.PARTICLES] for e in data.examples])
  symmetry.identity(xs[0])  # whether it can act on such points
  return experiment.Asked(
      data, None, symmetry, asking.Asking(None, None, ["energy", "forces"]),
      arrays.Prepared(xs, {}))


def _aligner(align: Callable[..., Any]) -> Callable[[Element, Array], Array]:
  """A symmetry's `align` of the numbers of an answer; units do not matter to it."""

  def aligned(element: Element, numbers: Array) -> Array:
    return particles_lib.flat(align(element, particles_lib.unflat(numbers)))

  return aligned
