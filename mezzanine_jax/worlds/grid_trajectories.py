"""A generated world: an agent's plan on a grid with tools, and whether it gets what is asked.

Every plan has an opposite, and a fair coin chooses between them: which of two treasures lies
where the way is opened (`place`), whose tool is taken (`tool`), whose steps are in an order that
cannot work (`order`), which treasure is given away (`give`). The words of both are the same or
alike, and the answer comes from the simulation.

Steps that have nothing to do with each other commute: the partial order of the others is part of
an example, and the order as it is, is a uniform draw from those that keep it.
"""

from random import Random
from typing import Any, NamedTuple

import jax
import numpy as np

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries.linear_extension import count, nth
from mezzanine_jax.worlds import grid_world as grid
from mezzanine_jax.worlds.chance import below, pick, shuffled
from mezzanine_jax.worlds.world import World, check_counts, digest

VERSION = 1
NAME = "grid_trajectories"
MOST_STEPS = 9
KINDS = ("place", "tool", "order", "give")
NUM_FEATURES = 2 + 3 + 2 * len(grid.PLACES) + len(grid.THINGS)
TEMPLATE = (
    "An agent starts in the hall with nothing and follows a plan. A door opens with the key of its"
    " colour, the thicket with the axe, the boulder with the crowbar, the trapdoor with the hook."
    " A place can be entered when its way is open. A step that cannot be done is skipped.\n"
    "Plan:\n{facts}\nQuestion: {question}\nAnswer:")
_OPENS = {4: "Cut", 5: "Move", 6: "Lift"}  # how other ways than doors are opened
_CHUNK = 256  # plans that are simulated at once


class _Plan(NamedTuple):
  """A plan in an order of its own, and where things are."""

  steps: list[grid.Step]
  parents: list[int]  # of every place
  where: list[int]  # the place of every thing
  slots: list[int]  # the room of every place but the hall
  asked: int  # the treasure


def load(dataset: str = NAME, *, n_train: int, n_test: int, seed: int = 0) -> World:
  """Generates a world of plans of 5 to 9 steps, as text and as arrays.

  The examples are fixed for ever by `VERSION`, the seed, the part (train or test) and their
  position: fewer examples are the beginning of more. Each part has as many yes as no answers
  (within one), also among the plans of one kind.

  Args:
    dataset: must be `grid_trajectories`; there is nothing to choose.
    n_train: number of training examples, >= 1.
    n_test: number of test examples, >= 1.
    seed: another seed gives other examples.

  Returns:
    A `World` whose examples have, as text, `facts` (a line a step), `facts_before` (bool[n, n],
    their partial order) and `question`; as arrays, padded to S = 9 steps, what
    `trajectories.Steps` is made of: `steps` float32[S, F], `moves`, `before`; and for whoever
    simulates or draws them `actions` int32[S, 2] and the parts of `grid_world.Map`. Label 0 is
    no, label 1 is yes.

  Raises:
    InputError: a number is not a whole number >= 1, or another dataset is asked for.

  Example:
    >>> world = load(n_train=2, n_test=1, seed=0)
    >>> sorted(example.label for example in world.train)
    [0, 1]
    >>> world.test[0].x["question"]
    'Does the agent have the ring at the end?'
  """
  if dataset != NAME:
    raise InputError(
        f"the world {NAME} generates its own data: dataset must be {NAME!r}, got {dataset!r}")
  check_counts(n_train, n_test)
  if isinstance(seed, bool) or not isinstance(seed, int):
    raise InputError(f"seed must be a whole number, got {seed!r}")
  parts = {"train": _part("train", n_train, seed), "test": _part("test", n_test, seed)}
  notes = {"dataset": NAME, "version": VERSION, "dropped": {}, "messages": [],
           "cluster": "trajectory"}
  for part, examples in parts.items():
    used, yes = len(examples), sum(example.label for example in examples)
    # There is any number of them: available is null.
    notes[part] = {"asked": used, "available": None, "used": used,
                   "labels": {"0": used - yes, "1": yes}}
  digests = {part: digest(examples) for part, examples in parts.items()}
  return World(
      parts["train"], parts["test"], 2, notes, digests, template=TEMPLATE, choices=(" no", " yes"),
      label_names=("no", "yes"), draw=_draw)


def outcomes(examples: list[dict[str, Any]]) -> np.ndarray:
  """bool[N, 10], which things the agent has at the end of each plan: the simulation."""
  names = ("actions", "ground", "barriers", "things")
  parts = []
  for at in range(0, len(examples), _CHUNK):
    some = examples[at : at + _CHUNK]
    filled = some + [some[-1]] * (_CHUNK - len(some))  # one compiled shape
    actions, *world = (np.stack([x[name] for x in filled]) for name in names)
    parts.append(np.asarray(_held(grid.Map(*world), actions))[: len(some)])
  return np.concatenate(parts)


_held = jax.jit(jax.vmap(lambda world, actions: grid.simulate(world, actions)[0].held))


def _part(part: str, number: int, seed: int) -> list[Example]:
  """The first examples of a part."""
  root = f"{NAME}/{VERSION}/{seed}/{part}"
  names, plans = [], []
  for block in range(-(-number // (2 * len(KINDS)))):
    # A block holds every kind in a pair: once with the answer yes, once with no.
    random = Random(f"{root}/block/{block}")
    for kind in shuffled(random, KINDS):
      for yes in shuffled(random, [False, True]):
        name = f"{root}/{len(names)}/{kind}"
        names.append(name)
        plans.append((Random(name), kind, yes))
  names, plans = names[:number], plans[:number]
  xs, asked = [], []
  for random, kind, yes in plans:
    plan = _plan(random, kind, yes)
    xs.append(_fields(random, plan))
    asked.append(plan.asked)
  labels = outcomes(xs)[np.arange(number), asked]
  return [Example(name, x, int(label), name)
          for name, x, label in zip(names, xs, labels, strict=True)]


def _plan(random: Random, kind: str, yes: bool) -> _Plan:
  """A plan that is meant to end in this answer."""
  own, other, outer = shuffled(random, range(1, len(grid.PLACES)))[:3]
  parents, where = [0] * len(grid.PLACES), [0] * len(grid.THINGS)
  slots = shuffled(random, range(6))
  nested = below(random, 2) == 0
  if nested:  # the place lies behind another one, which is the room beside it
    row, column = divmod(slots[own - 1], 3)
    beside = 3 * row + (1 if column != 1 else 2 * below(random, 2))
    at = slots.index(beside)
    slots[at], slots[outer - 1] = slots[outer - 1], beside
    parents[own] = outer
    if below(random, 2) == 0:
      where[own - 1] = outer
  treasure, rival, spare, _ = (
      grid.THINGS.index(t) for t in shuffled(random, grid.TREASURES))
  take = lambda thing: grid.Step(grid.TAKE, thing)
  way = lambda place: grid.Step(grid.OPEN, place)
  first = [take(outer - 1), way(outer)] if nested else []
  if kind == "place":  # the other place stays closed
    where[treasure], where[rival] = (own, other) if yes else (other, own)
    steps = [take(own - 1), way(own), take(other - 1), take(treasure), take(rival)]
  elif kind == "tool":  # only one tool is taken
    where[treasure], where[rival] = own, other
    steps = [take((own if yes else other) - 1), way(own), way(other), take(treasure), take(rival)]
  else:
    where[treasure], where[rival] = own, other
    chains = [[take(place - 1), way(place), take(thing)]
              for place, thing in ((own, treasure), (other, rival))]
    if kind == "order":  # in one of the two, a step stands before what it needs
      wrong, at = chains[int(yes)], below(random, 2)
      wrong[at], wrong[at + 1] = wrong[at + 1], wrong[at]
    steps = chains[0] + chains[1]
    if kind == "give":  # one of the two is given away
      steps.append(grid.Step(grid.GIVE, rival if yes else treasure))
  steps = first + steps
  unused = [t for t in range(len(grid.TOOLS)) if take(t) not in steps and not where[t]]
  more = shuffled(random, [take(spare), take(pick(random, unused))])
  steps += more[: min(below(random, 3), MOST_STEPS - len(steps))]
  return _Plan(steps, parents, where, slots, treasure)


def _fields(random: Random, plan: _Plan) -> dict[str, Any]:
  """A plan as text and as arrays, in a random one of the orders that mean the same."""
  before = grid.order(plan.steps, plan.parents, plan.where)
  order = nth(before, below(random, int(count(before))))
  steps, before = [plan.steps[i] for i in order], before[order][:, order]
  world = grid.make_map(
      plan.slots, plan.parents, plan.where, lambda numbers: shuffled(random, numbers))
  size = len(steps)
  pad = lambda a, value=0: np.pad(
      a, [(0, MOST_STEPS - size)] + [(0, 0)] * (a.ndim - 1), constant_values=value)
  return {
      "facts": [_sentence(step, plan) for step in steps],
      "facts_before": before,
      "question": f"Does the agent have the {grid.THINGS[plan.asked]} at the end?",
      "steps": pad(np.stack([_features(step, plan) for step in steps])),
      "moves": pad(np.ones(size, bool)),
      "before": np.pad(before, (0, MOST_STEPS - size)),
      "actions": pad(np.array(steps, np.int32), -1),
      **world._asdict(),
  }


def _sentence(step: grid.Step, plan: _Plan) -> str:
  """A step in words."""
  if step.verb == grid.OPEN:
    way = grid.PLACES[plan.parents[step.what]]
    verb = _OPENS.get(step.what, "Unlock")
    return f"{verb} the {grid.BARRIERS[step.what]} from the {way} to the {grid.PLACES[step.what]}."
  thing = grid.THINGS[step.what]
  if step.verb == grid.GIVE:
    return f"Give the {thing} to the guard in the hall."
  return f"Take the {thing} in the {grid.PLACES[plan.where[step.what]]}."


def _features(step: grid.Step, plan: _Plan) -> np.ndarray:
  """float32[F]: there is a step, is it about what is asked, verb, place, from where, thing."""
  opens = step.verb == grid.OPEN
  places, things = len(grid.PLACES), len(grid.THINGS)
  place = step.what if opens else plan.where[step.what] if step.verb == grid.TAKE else 0
  return np.concatenate([
      [1, not opens and step.what == plan.asked], np.eye(3)[step.verb], np.eye(places)[place],
      np.eye(places)[plan.parents[step.what]] if opens else np.zeros(places),
      np.zeros(things) if opens else np.eye(things)[step.what],
  ]).astype(np.float32)


def _draw(*arguments: Any) -> None:
  """See `trajectory_figures.worst_moved`, which is imported where a picture is drawn."""
  from mezzanine_jax.trajectory_figures import worst_moved

  worst_moved(*arguments)
