"""Plans on a grid: what they come to in every order that keeps their meaning, and in others."""

import itertools

import jax
import numpy as np
import pytest
from tiny import byte_level_bpe

from mezzanine_jax import language
from mezzanine_jax.designs import example_keys
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries import factorization
from mezzanine_jax.symmetries.linear_extension import count, extensions
from mezzanine_jax.trajectories import prepare
from mezzanine_jax.worlds import grid_trajectories as world_lib
from mezzanine_jax.worlds import grid_world as grid
from mezzanine_jax.worlds import load_world


@pytest.fixture(scope="module")
def world():
  return world_lib.load(n_train=240, n_test=16, seed=0)


def _reordered(examples, orders):
  """The examples' fields with their steps in other orders, to be simulated."""
  out = []
  for example, order in zip(examples, orders, strict=True):
    actions = example.x["actions"].copy()
    actions[: len(order)] = actions[list(order)]
    out.append(example.x | {"actions": actions})
  return out


def _asked(example):
  return [t in example.x["question"] for t in grid.THINGS].index(True)


def test_every_order_that_keeps_the_partial_order_comes_to_the_same(world):
  """Enumerated where they are few, on the simulator."""
  checked = 0
  for example in world.train[:60]:
    before = example.x["facts_before"]
    every = extensions(before, 150)
    if every is None:
      continue
    held = world_lib.outcomes(_reordered([example] * len(every), every))
    assert (held == held[0]).all() and held[0, _asked(example)] == example.label
    checked += len(every)
  assert checked > 500


def test_orders_that_break_it_come_to_something_else(world):
  rng = np.random.default_rng(0)
  examples = world.train
  orders = [rng.permutation(len(e.x["facts"])) for e in examples]
  held = world_lib.outcomes(_reordered(examples, orders))
  now = np.array([own[_asked(e)] for own, e in zip(held, examples, strict=True)])
  changed = now != np.array([e.label for e in examples])
  assert 0.2 < changed.mean() < 0.6


def _told(facts, asked):
  """Whether a reader of the words alone says that the agent has it: no grid, no numbers."""
  tools = dict(zip(grid.BARRIERS[1:], grid.TOOLS, strict=True))
  entered, bag = {"hall"}, set()
  for fact in facts:
    verb, rest = fact.rstrip(".").split(" the ", 1)
    if verb == "Take":
      thing, place = rest.split(" in the ")
      bag |= {thing} if place in entered else set()
    elif verb == "Give":
      bag -= {rest.split(" to the guard")[0]}
    else:
      way, place = rest.split(" to the ")
      barrier, source = way.split(" from the ")
      entered |= {place} if tools[barrier] in bag and source in entered else set()
  return asked in bag


def test_a_reader_of_the_text_agrees_with_the_simulation(world):
  for example in world.train + world.test:
    assert _told(example.x["facts"], grid.THINGS[_asked(example)]) == bool(example.label)


def test_answers_are_balanced_in_every_kind(world):
  kinds = {}
  for example in world.train:
    kinds.setdefault(example.id.rsplit("/", 1)[1], []).append(example.label)
  assert set(kinds) == set(world_lib.KINDS)
  assert all(len(own) == 60 and sum(own) == 30 for own in kinds.values())


def test_places_and_words_do_not_tell_the_answer(world):
  """No single step's presence, nor the place of the step that takes what is asked."""
  labels = np.array([e.label for e in world.train])
  place = np.array([int(np.argmax(e.x["steps"][:, 1])) / len(e.x["facts"]) for e in world.train])
  cuts = [((place > cut) == labels).mean() for cut in np.unique(place)]
  assert max(*cuts, 1 - min(cuts)) < 0.72  # it must stand behind what it needs, which tells a bit
  for present in np.array([e.x["steps"].any(0) for e in world.train]).T:
    if 20 < present.sum() < len(labels) - 20:
      assert abs(labels[present].mean() - 0.5) < 4 * 0.5 / np.sqrt(present.sum())


def test_the_partial_order_is_of_what_steps_need():
  take, way, give = (lambda what, verb=verb: grid.Step(verb, what) for verb in range(3))
  # The gem lies in the garden (4), behind the cave (5); the axe (3) lies in the cave.
  parents, where = [0, 0, 0, 0, 5, 0, 0], [0, 0, 0, 5, 0, 0, 4, 0, 0, 0]
  steps = [take(4), way(5), take(3), way(4), take(6), give(6), take(7)]
  before = grid.order(steps, parents, where)
  needs = [(0, 1), (1, 2), (1, 3), (1, 4), (2, 3), (3, 4), (4, 5)]
  assert sorted(zip(*np.nonzero(before), strict=True)) == needs
  assert count(before) == 7


def test_what_can_be_reached_is_what_the_map_shows(world):
  x = world.test[0].x
  own = grid.Map(*(x[name] for name in grid.Map._fields))
  state = grid.start(own)
  assert int(grid.reachable(own, state).sum()) == 11  # the hall
  opened = state._replace(open=state.open.at[:].set(True))
  assert int(grid.reachable(own, opened).sum()) == 11 + 6 * 9 + 6


def test_arrays_and_text_say_the_same(world):
  for example in world.test:
    x, size = example.x, len(example.x["facts"])
    np.testing.assert_array_equal(x["before"][:size, :size], x["facts_before"])
    assert not x["before"][size:].any() and not np.tril(x["before"]).any()
    assert x["moves"].tolist() == [s < size for s in range(world_lib.MOST_STEPS)]
    assert (x["steps"].any(1) == x["moves"]).all()
    assert x["steps"].shape == (world_lib.MOST_STEPS, world_lib.NUM_FEATURES)
    assert len(set(x["facts"])) == size


def test_its_prompts_keep_the_order_in_every_view(world):
  tokenizer = byte_level_bpe()
  examples = world.test[:4]
  prepared = language.prepare(
      examples, tokenizer, template=world.template, evidence=None, choices=world.choices,
      max_tokens=900)
  keys = example_keys(jax.random.key(0), [e.id for e in examples])
  plan = language.plan(prepared, tokenizer, factorization(), keys, np.full(4, 3),
                       batch_tokens=4096, max_shapes=1)
  for n, element in zip(plan.rows.example, plan.rows.elements, strict=True):
    before = examples[n].x["facts_before"]
    assert factorization().orbit_size(prepared.tokenized[n].prompt) == count(before)
    place = np.argsort(element)[1:]  # the first segment is what stands before the plan
    assert element[0] == 0
    assert all(place[i] < place[j] for i, j in zip(*np.nonzero(before), strict=True))
  assert len(plan.rows.example) in range(13, 17)  # three orders each, and the plan as it is


def test_fewer_are_the_beginning_of_more_and_it_is_fixed(world):
  fewer = world_lib.load(n_train=5, n_test=3, seed=0)
  for part in ("train", "test"):
    for a, b in itertools.zip_longest(getattr(fewer, part), getattr(world, part)[:5]):
      if a is not None:
        jax.tree.map(np.testing.assert_array_equal, a.x, b.x)
        assert a[2:] == b[2:]
  other = world_lib.load(n_train=5, n_test=3, seed=1)
  assert other.digests != fewer.digests
  assert fewer.digests == load_world("grid_trajectories", n_train=5, n_test=3, seed=0).digests
  assert not {e.id for e in world.train} & {e.id for e in world.test}


def test_what_cannot_be_used_is_refused():
  with pytest.raises(InputError, match="dataset must be 'grid_trajectories', got 'maze'"):
    world_lib.load("maze", n_train=1, n_test=1)
  with pytest.raises(InputError, match="n_test must be a whole number >= 1, got 0"):
    world_lib.load(n_train=1, n_test=0)
  with pytest.raises(InputError, match="the data has no trajectories, which are the arrays steps"):
    prepare(load_world("evidence_qa", n_train=1, n_test=1, seed=0).train)
