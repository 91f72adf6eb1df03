"""Distill energies and forces, averaged over a cluster's views, into one pass.

1. Clusters of particles whose energies and forces are known exactly; turned,
   moved or listed in another order they have the same energy, and forces that
   turn and change places with them.
2. A small network, to which nothing of this is known, learns them from one
   half of the clusters.
3. The teacher is its mean over K views of each cluster of the other half,
   forces turned back; a student learns it, and never sees an exact answer.
4. On test clusters: how far base model, student and two controls move over the
   views, how far they are from the teacher, and all of them from what is
   exact. `turning.png` shows it.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mezzanine_jax import arrays, asking, experiment, point_figures, report, runs, value_distill
from mezzanine_jax.base import AlignFn, Array, Element
from mezzanine_jax.config import option
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries import POINTS, SYMMETRIES, make_symmetry
from mezzanine_jax.worlds import lennard_jones as particles_lib

NAME = "physics_orbit_distill"
TURNING_PICTURE = "turning.png"
INPUTS = {"pairs": particles_lib.pairs, "positions": jnp.ravel}


@dataclasses.dataclass(frozen=True)
class Config(value_distill.ValueFields):
  """Every field of the recipe."""

  world: str = option("lennard_jones", "where examples come from; one with particles")
  particles: int = option(4, "particles of a cluster", at_least=2, at_most=13)
  heat: float = option(
      0.15, "temperature of the clusters, in units of epsilon / k", at_least=1e-3, at_most=1.0)
  symmetry: str = option(
      "rotation,translation,particle_order",
      f"families of views, chained with commas: {', '.join(POINTS)}")
  shift: float = option(0.5, "translation: the farthest along an axis, in sigma", at_least=0.0)
  inputs: str = option(
      "pairs", "what the networks see of the particles, in their order: the vectors between every"
      " two, or their positions", one_of=tuple(INPUTS))


@runs.in_folder(NAME)
def run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; its results."""
  symmetry, see = _symmetry(config), INPUTS[config.inputs]

  def more(found: value_distill.Outcome) -> dict[str, Any]:
    positions = found.data.examples[found.test[0]].x[particles_lib.PARTICLES]
    point_figures.turning(found.models, see, positions, symmetry, found.parts, config,
                          found.path / TURNING_PICTURE)
    return {}

  return value_distill.run(
      config, folder, NAME, lambda: _ask(config, symmetry), particles_lib.parts(config.particles),
      see, _of_numbers(symmetry.align), more, inputs=config.inputs)


def show(results: Mapping[str, Any], out: str | pathlib.Path) -> None:
  """Prints the results, and where the picture is."""
  report.show(results, out)
  print(f"{TURNING_PICTURE} there shows one cluster's energy and forces while it is turned")


def _symmetry(config: Config) -> Any:
  """The symmetry, if it is of points."""
  for name in (n.strip() for n in config.symmetry.split(",")):
    if name in SYMMETRIES and name not in POINTS:
      raise InputError(
          f"the symmetry {name} is not of points; of points there are {', '.join(POINTS)}")
  return make_symmetry(config.symmetry, **dataclasses.asdict(config))


def _ask(config: Config, symmetry: Any) -> experiment.Asked:
  """Makes the clusters and looks whether the symmetry can act on them."""
  data = experiment.load_data(config)
  if any(particles_lib.PARTICLES not in e.x for e in data.examples):
    raise InputError(
        "the data has no particles: choose the world lennard_jones, or one with that field")
  xs = np.stack([e.x[particles_lib.PARTICLES] for e in data.examples])
  symmetry.identity(xs[0])
  names = [part.name for part in particles_lib.parts(config.particles)]
  return experiment.Asked(
      data, None, symmetry, asking.Asking(None, None, names), arrays.Prepared(xs, {}))


def _of_numbers(align: AlignFn) -> AlignFn:
  """A symmetry's `align` of an answer's numbers; their units do not matter to it."""

  def aligned(element: Element, numbers: Array) -> Array:
    return particles_lib.flat(align(element, particles_lib.unflat(numbers)))

  return aligned
