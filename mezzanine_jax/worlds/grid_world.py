"""A grid world with tools: a hall, six closed places around it, and what their ways need.

An agent walks on open cells. It takes things that it can reach, opens the way into a place with
the right tool in hand, and gives things to the guard in the hall. A step that cannot be done
changes nothing. No way is ever closed again, so that what can be reached only grows, and steps
that touch different things and ways commute.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array

# Place 0 is the hall; place p > 0 lies behind barrier p, which needs tool p - 1.
PLACES = ("hall", "red room", "blue room", "green room", "garden", "cave", "cellar")
BARRIERS = ("", "red door", "blue door", "green door", "thicket", "boulder", "trapdoor")
TOOLS = ("red key", "blue key", "green key", "axe", "crowbar", "hook")
TREASURES = ("gem", "ring", "coin", "crown")
THINGS = TOOLS + TREASURES
TAKE, OPEN, GIVE = range(3)
HEIGHT, WIDTH = 11, 13
WALL = -1
START, GUARD = (5, 1), (5, 11)
HALL_CELLS = tuple((5, column) for column in range(2, 11))  # where things lie


class Map(NamedTuple):
  """Where everything is at the start.

  Attributes:
    ground: int8[H, W]: `WALL`, 0 for an open cell, p > 0 for the barrier of place p.
    barriers: int32[7, 2], row and column of every barrier; of the hall, where the agent starts.
    things: int32[10, 2], row and column of every thing.
  """

  ground: Array
  barriers: Array
  things: Array


class State(NamedTuple):
  """What changes: `agent` int32[2]; `open` bool[7], `held` and `given` bool[10]."""

  agent: Array
  open: Array
  held: Array
  given: Array


class Step(NamedTuple):
  """One step: `TAKE` or `GIVE` a thing, or `OPEN` the way into a place; `what` is its number."""

  verb: int
  what: int


def start(world: Map) -> State:
  """The agent in the hall with nothing, every way closed."""
  return State(
      jnp.asarray(world.barriers[0]), jnp.arange(len(PLACES)) == 0,
      jnp.zeros(len(THINGS), bool), jnp.zeros(len(THINGS), bool))


def reachable(world: Map, state: State) -> Array:
  """bool[H, W], the cells that the agent can walk to."""
  ground = jnp.asarray(world.ground)
  walkable = (ground != WALL) & state.open[jnp.maximum(ground, 0)]
  here = jnp.zeros(ground.shape, bool).at[state.agent[0], state.agent[1]].set(True)
  grown = lambda cells: (cells | _beside(cells)) & walkable
  more = lambda both: (both[0] != both[1]).any()
  return jax.lax.while_loop(more, lambda both: (both[1], grown(both[1])), (here, grown(here)))[1]


def step(world: Map, state: State, action: Array) -> tuple[State, Array]:
  """The state after one step, and whether it could be done.

  Args:
    world: the map.
    state: before it.
    action: int32[2], verb and what, see `Step`; a verb of -1 is padding.
  """
  verb, what = action[0], action[1]
  reach = reachable(world, state)
  beside = reach | _beside(reach)  # a barrier is opened from the cell before it
  thing, place = jnp.clip(what, 0, len(THINGS) - 1), jnp.clip(what, 1, len(PLACES) - 1)
  cells = jnp.stack([
      jnp.asarray(world.things)[thing], jnp.asarray(world.barriers)[place], jnp.array(GUARD)])
  near = [reach, beside, reach]
  free = ~state.held[thing] & ~state.given[thing]
  can = jnp.stack([free, state.held[place - 1] & ~state.open[place], state.held[thing]])
  can &= jnp.stack([seen[cell[0], cell[1]] for seen, cell in zip(near, cells, strict=True)])
  done = (verb >= 0) & can[verb]
  is_thing, is_place = jnp.arange(len(THINGS)) == thing, jnp.arange(len(PLACES)) == place
  after = State(
      jnp.where(done, cells[verb], state.agent),
      state.open | (is_place & done & (verb == OPEN)),
      jnp.where(is_thing & done & (verb != OPEN), verb == TAKE, state.held),
      state.given | (is_thing & done & (verb == GIVE)))
  return after, done


def simulate(world: Map, actions: Array) -> tuple[State, tuple[Array, Array]]:
  """What a trajectory comes to.

  Args:
    world: the map.
    actions: int32[S, 2], in order; rows of -1 are padding.

  Returns:
    The last state, and for every step whether it could be done (bool[S]) and where the agent
    stood after it (int32[S, 2]).
  """

  def one(state: State, action: Array) -> tuple[State, tuple[Array, Array]]:
    state, done = step(world, state, action)
    return state, (done, state.agent)

  return jax.lax.scan(one, start(world), jnp.asarray(actions))


def order(steps: Sequence[Step], parents: Sequence[int], where: Sequence[int]) -> np.ndarray:
  """bool[S, S], the partial order of steps: those stay in order of which one writes what the
  other one reads or writes.

  A step reads the ways on its own way, the tool that it needs and the thing that it touches; it
  writes the thing that it takes or gives, or the way that it opens. Every order that keeps this
  one comes to the same, since any two orders are joined by swaps of neighbours that share nothing.

  Args:
    steps: in an order of their own.
    parents: for every place the one that its way leads from.
    where: for every thing the place where it lies.

  Source: A. Mazurkiewicz, Concurrent program schemes and their interpretations (1977): traces.

  Example:
    >>> steps = [Step(TAKE, 0), Step(TAKE, 6), Step(OPEN, 1)]
    >>> order(steps, [0] * 7, [0] * 10).astype(int).tolist()
    [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
  """

  def ways(place: int) -> set[tuple[str, int]]:
    return set() if place == 0 else {("way", place)} | ways(parents[place])

  reads, writes = [], []
  for verb, what in steps:
    if verb == OPEN:
      reads.append({("thing", what - 1)} | ways(what))
      writes.append({("way", what)})
    else:
      reads.append({("thing", what)} | (ways(where[what]) if verb == TAKE else set()))
      writes.append({("thing", what)})
  before = np.zeros((len(steps), len(steps)), bool)
  for i in range(len(steps)):
    for j in range(i + 1, len(steps)):
      before[i, j] = bool(writes[i] & (reads[j] | writes[j]) or reads[i] & writes[j])
  return before


def make_map(
    slots: Sequence[int], parents: Sequence[int], where: Sequence[int],
    shuffle: Callable[[Sequence[int]], list[int]],
) -> Map:
  """A map: three places above the hall and three below, and everything in its place.

  Args:
    slots: for every place but the hall which of the six rooms it is, 0 to 2 above, 3 to 5 below.
    parents: for every place the one that its way leads from: the hall, or the room beside it.
    where: for every thing the place where it lies.
    shuffle: a random order of numbers; things lie on the first free cell of one.
  """
  ground = np.full((HEIGHT, WIDTH), WALL, np.int8)
  ground[5, 1 : WIDTH - 1] = 0
  barriers, free = np.zeros((len(PLACES), 2), np.int32), {0: list(HALL_CELLS)}
  barriers[0] = START
  for place, slot in enumerate(slots, 1):
    top, left = 1 + 6 * (slot // 3), 1 + 4 * (slot % 3)
    ground[top : top + 3, left : left + 3] = 0
    free[place] = [(r, c) for r in range(top, top + 3) for c in range(left, left + 3)]
    if parents[place]:
      right = slots[parents[place] - 1] > slot
      barriers[place] = top + 1, left + 3 if right else left - 1
    else:
      barriers[place] = 4 if slot < 3 else 6, left + 1
    ground[tuple(barriers[place])] = place
  cells = {place: [own[i] for i in shuffle(range(len(own)))] for place, own in free.items()}
  things = np.array([cells[place].pop() for place in where], np.int32)
  return Map(ground, barriers, things)


def _beside(cells: Array) -> Array:
  """The cells that have one of these above, below, left or right of them."""
  padded = jnp.pad(cells, 1)
  return padded[2:, 1:-1] | padded[:-2, 1:-1] | padded[1:-1, 2:] | padded[1:-1, :-2]
