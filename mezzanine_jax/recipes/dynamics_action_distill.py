"""Distill what a plant does next, averaged over its mirror image, into one pass.

1. Steps of a simulated cart-pole: an observation, an action, the next
   observation. Seen in a mirror, with the action the other way round, the
   plant does the mirror image of what it did.
2. A small network, to which nothing of this is known, learns (z_t, a_t) →
   z_{t+1} from one half of the episodes. Its state z is the observation, in
   units of its spread.
3. The teacher is the mean of what it says of each step of the other half and
   of its mirror image, mirrored back; a student learns it, and never sees what
   the plant really did.
4. On test episodes: how far base model, student and two controls move, and how
   far off they are; and whether what they predict finds the step's own next
   observation among all, with its action, with none, and with another step's,
   which must hurt. `plant.png` shows it.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import (
    arrays,
    asking,
    checks,
    clustered,
    controls,
    experiment,
    plant_figures,
    report,
    retrieval,
    runs,
    value_distill,
)
from mezzanine_jax.base import Array, X
from mezzanine_jax.config import option
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries import PLANTS, SYMMETRIES, make_symmetry
from mezzanine_jax.worlds import cart_pole as plant_lib

NAME = "dynamics_action_distill"
PLANT_PICTURE = "plant.png"
# What is done to the actions of the test part before the models predict.
ACTIONS = {"with": None, "without": controls.no_action(), "shuffled": controls.action_shuffle()}


@dataclasses.dataclass(frozen=True)
class Config(value_distill.ValueFields):
  """Every field of the recipe."""

  world: str = option(
      "cart_pole", "where examples come from; one with observations and actions")
  episode: int = option(10, "steps of an episode", at_least=1)
  symmetry: str = option("mirror", f"families of views: {', '.join(PLANTS)}")
  k_train: int = option(2, "views of a training example", at_least=1)
  n_train: int = option(400, "training steps, half of them for the base model", at_least=4)
  k_test: int = option(2, "views of a test example", at_least=2)


@runs.in_folder(NAME)
def run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; `retrieval` and the check `actions_matter` are its own."""
  symmetry = _symmetry(config)

  def more(found: value_distill.Outcome) -> dict[str, Any]:
    test = [found.data.examples[n] for n in found.test]
    steps = jax.tree.map(lambda *a: np.stack(a), *[e.x for e in test])
    key = jax.random.fold_in(jax.random.key(config.seed), 3)
    ranks = {name: _ranks(model, steps, found.data.labels[found.test], key)
             for name, model in found.models.items()}
    clusters = [e.cluster for e in test]
    blocks = {name: {how: retrieval.block(own, clusters) for how, own in rows.items()}
              for name, rows in ranks.items()}
    plant_figures.plant(found.models, see, test, symmetry, found.parts, blocks,
                        found.path / PLANT_PICTURE)
    matter = _actions_matter(ranks["student"], np.asarray(clusters))
    return {"retrieval": {"candidates": len(test), **blocks},
            "verdict": [*found.blocks["verdict"], matter]}

  return value_distill.run(
      config, folder, NAME, lambda: _ask(config, symmetry), plant_lib.PARTS, see, symmetry.align,
      more)


def see(x: X) -> Array:
  """float32[D + A], what the networks see of a step: the observation, and the action."""
  return jnp.concatenate([x[plant_lib.OBSERVATION], x[plant_lib.ACTION]])


def show(results: Mapping[str, Any], out: str | pathlib.Path) -> None:
  """Prints the results, retrieval, and where the picture is."""
  report.show(results, out)
  found = results["retrieval"]
  print(f"\nthe step's own next observation among {found['candidates']}: R@{retrieval.AT}, and the"
        " median of its rank")
  for name in ("baseline", "student"):
    shown = ", ".join(
        f"{how} action {report.pm(own, f'recall_at_{retrieval.AT}')} ({own['median_rank']:g})"
        for how, own in found[name].items())
    print(f"  {report.model_name(results, name)}: {shown}")
  print(f"{PLANT_PICTURE} there shows what the models make of an episode")


def _symmetry(config: Config) -> Any:
  """The symmetry, if it is of plants."""
  for name in (n.strip() for n in config.symmetry.split(",")):
    if name in SYMMETRIES and name not in PLANTS:
      raise InputError(
          f"the symmetry {name} is not of plants; of plants there is {', '.join(PLANTS)}")
  signs = plant_lib.Signs()
  return make_symmetry(config.symmetry, **dataclasses.asdict(config), **signs._asdict())


def _ask(config: Config, symmetry: Any) -> experiment.Asked:
  """Simulates the episodes and looks whether the symmetry can act on them."""
  data = experiment.load_data(config)
  fields = (plant_lib.OBSERVATION, plant_lib.ACTION)
  if any(field not in e.x for e in data.examples for field in fields):
    raise InputError("the data has no observations and actions: choose the world cart_pole, or one"
                     " with those fields")
  xs = {field: np.stack([e.x[field] for e in data.examples]) for field in fields}
  symmetry.identity(data.examples[0].x)
  names = [part.name for part in plant_lib.PARTS]
  return experiment.Asked(
      data, None, symmetry, asking.Asking(None, None, names), arrays.Prepared(xs, {}))


def _ranks(
    model: Callable[[Array], Array], steps: X, true: np.ndarray, key: Array
) -> dict[str, np.ndarray]:
  """The rank of every step's own next observation, by what is done to the actions."""
  predict = jax.jit(jax.vmap(lambda x: model(see(x))))
  out = {}
  for how, control in ACTIONS.items():
    seen = steps if control is None else control.act(control.sample(key, steps), steps)
    out[how] = retrieval.ranks(predict(seen), true)
  return out


def _actions_matter(ranks: Mapping[str, np.ndarray], clusters: np.ndarray) -> dict[str, Any]:
  """The check that shuffling the actions hurts."""
  found = clustered.paired_difference(
      ranks["shuffled"] <= retrieval.AT, ranks["with"] <= retrieval.AT, clusters)
  return checks.check(
      "actions_matter", f"the student's R@{retrieval.AT} with shuffled actions minus with their"
      " own is below 0", found, checks.interval(found, clusters), 0.0)
