"""Laws that every symmetry obeys, each family by the laws it claims."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_prompt

from mezzanine_jax import prompts, transforms
from mezzanine_jax.base import Symmetry
from mezzanine_jax.prompts import DEMONSTRATIONS, EVIDENCE, FACTS, FIXED, OPTIONS, current, pack
from mezzanine_jax.symmetries import (
  chain,
  demonstration_order,
  dihedral,
  factorization,
  option_order,
  paraphrase,
  segment_order,
  view,
)
from mezzanine_jax.trajectories import Steps


def _flip() -> Symmetry:
  """A reader's own symmetry with nothing but the three functions."""
  return Symmetry(
      identity=lambda x: jnp.array(False),
      sample=lambda key, x: jax.random.bernoulli(key),
      act=lambda element, x: jnp.where(element, x[::-1], x),
  )


def _roll() -> Symmetry:
  """An equivariance: the input and the prediction turn together."""
  return Symmetry(
      identity=lambda x: jnp.array(0),
      sample=lambda key, x: jax.random.randint(key, (), 0, x.shape[0]),
      act=lambda element, x: jnp.roll(x, element),
      align=lambda element, prediction: jnp.roll(prediction, -element),
  )


def _prompt(groups, blocks=None, num_choices=5, first=1):
  """A prompt whose segment s is `1 + s % 3` tokens, none of which occurs twice."""
  sizes = [1 + s % 3 for s in range(len(groups))]
  ends = np.cumsum(sizes) + first
  segments = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
  choices = [[90 + c] for c in range(num_choices)]
  return prompts.make_prompt(segments, groups, choices, [1] * num_choices, blocks)


PROMPT = random_prompt(np.random.default_rng(0), sentences=4)
OPTIONS_OF_4 = _prompt([FIXED, *[FIXED, OPTIONS] * 4, FIXED], num_choices=4)
OPTIONS_OF_3 = _prompt([FIXED, *[FIXED, OPTIONS] * 3, FIXED], num_choices=5)  # two are padding
# Demonstrations of 1, 2 and 3 segments, with a segment between two of them that stays.
SHOTS = _prompt([FIXED, *[DEMONSTRATIONS] * 3, FIXED, *[DEMONSTRATIONS] * 3, FIXED],
                [0, 1, 1, 2, 3, 4, 4, 4, 5])
RECORD = _prompt([FIXED, *[FACTS] * 4, FIXED])
# Of the four facts the first stays before the third, and the second before the fourth.
BEFORE = np.zeros((6, 6), bool)
BEFORE[[1, 2], [3, 4]] = True
PLAN = RECORD._replace(before=BEFORE)
STEPS = Steps(np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6) % 5 > 0, BEFORE)
EVERYTHING = _prompt(
    [FIXED, *[DEMONSTRATIONS] * 3, EVIDENCE, EVIDENCE, EVIDENCE, *[FIXED, OPTIONS] * 3, FIXED],
    [0, 1, 1, 2, *range(3, 13)], num_choices=3)
WORDINGS = prompts.make_wordings(
    [_prompt([FIXED, *[EVIDENCE] * n, FIXED], first=1 + 9 * n) for n in (3, 2, 0, 3)],
    [1.0, 2.0, 0.0, 5.0])
EVEN = prompts.make_wordings(
    [EVERYTHING, EVERYTHING._replace(tokens=EVERYTHING.tokens + 100)])
IMAGE = (np.random.default_rng(0).permutation(75).reshape(5, 5, 3) / 75).astype(np.float32)
CASES = {
    "segment_order": (segment_order(), PROMPT),
    "segment_order, keep_first": (segment_order(keep_first=1), PROMPT),
    "segment_order, keep_last": (segment_order(keep_first=1, keep_last=1), PROMPT),
    "segment_order of wordings": (segment_order(), WORDINGS),
    "option_order": (option_order(), OPTIONS_OF_4),
    "option_order, padded": (option_order(), OPTIONS_OF_3),
    "option_order, cyclic": (option_order("cyclic"), OPTIONS_OF_3),
    "demonstration_order": (demonstration_order(), SHOTS),
    "factorization": (factorization(), RECORD),
    "factorization, ordered": (factorization(), PLAN),
    "factorization of steps": (factorization(), STEPS),
    "paraphrase": (paraphrase(), WORDINGS),
    "chain of two orders": (chain(segment_order(keep_first=2), segment_order()), PROMPT),
    "chain of three": (chain(demonstration_order(), segment_order(), option_order()), EVERYTHING),
    "chain with wordings": (chain(paraphrase(), option_order(), segment_order()), EVEN),
    "dihedral": (dihedral(), IMAGE),
    "dihedral, grey": (dihedral(), IMAGE[..., 0]),
    "view": (view(crop=0.3, flip=0.5, rotation=30.0, brightness=0.4), IMAGE),
    "chain of images": (chain(view(), dihedral()), IMAGE),
    "own flip": (_flip(), jnp.arange(5.0)),
    "own roll": (_roll(), jnp.arange(5.0)),
    "chain of own": (chain(_roll(), _flip()), jnp.arange(5.0)),
}
FINITE_GROUPS = {
    "segment_order": 24,
    "segment_order, keep_first": 6,
    "segment_order, keep_last": 2,
    "segment_order of wordings": 6,
    "option_order": 24,
    "option_order, padded": 6,
    "option_order, cyclic": 3,
    "demonstration_order": 6,
    "factorization": 24,
    "factorization, ordered": 6,
    "factorization of steps": 6,
    "chain of three": 2 * 6 * 6,
    "dihedral": 8,
    "dihedral, grey": 8,
}
# Of bounded continuous families: drawn anew, so neither whole contents nor the last bit are kept.
CONTINUOUS = ("view", "chain of images")
IMAGES = (*CONTINUOUS, "dihedral", "dihedral, grey")


@pytest.fixture(params=CASES)
def case(request):
  return CASES[request.param]


@pytest.fixture(params=[name for name in CASES if name not in CONTINUOUS])
def exact_case(request):
  return CASES[request.param]


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def _close(a, b):
  """The same whole numbers, and pixels and ranges up to rounding."""
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), a, b)


def _content(x):
  """What must be preserved: the multiset of the tokens, or of the values."""
  if isinstance(x, prompts.Wordings):
    return _packed(x.all), x.log_weights  # the current wording is one of these, re-ordered
  return np.sort(np.asarray(_row(x)))


@jax.jit
def _packed(many):
  """The sorted tokens of many prompts."""
  return jnp.sort(jax.vmap(pack)(many)[0], axis=1)


def _row(x):
  """An example's tokens, or its values."""
  if isinstance(x, Steps):
    return x.features.reshape(-1)
  return pack(x)[0] if hasattr(x, "starts") or isinstance(x, prompts.Wordings) else x.reshape(-1)


def drawn(symmetry, x, draws, seed=0):
  """Many draws, stacked."""
  keys = jax.random.split(jax.random.key(seed), draws)
  return jax.tree.map(np.asarray, jax.jit(jax.vmap(symmetry.sample, (0, None)))(keys, x))


def seen(symmetry, elements, x):
  """The token rows, or the values, that elements make of an example."""
  acted = jax.jit(jax.vmap(lambda e, x: _row(symmetry.act(e, x)), (0, None)))(elements, x)
  return [tuple(row) for row in np.asarray(acted).tolist()]


def test_identity_acts_trivially(case):
  symmetry, x = case
  same(symmetry.act(symmetry.identity(x), x), x)


def test_identity_aligns_trivially(case):
  symmetry, x = case
  prediction = jnp.arange(5.0)
  same(symmetry.align(symmetry.identity(x), prediction), prediction)


def test_content_is_preserved(exact_case):
  symmetry, x = exact_case
  for seed in range(8):
    element = symmetry.sample(jax.random.key(seed), x)
    same(_content(symmetry.act(element, x)), _content(x))


def test_shapes_are_kept(case):
  symmetry, x = case
  acted = symmetry.act(symmetry.sample(jax.random.key(0), x), x)
  assert jax.tree.map(jnp.shape, acted) == jax.tree.map(jnp.shape, x)


def test_jit_equals_plain(case):
  symmetry, x = case
  key = jax.random.key(3)
  element = symmetry.sample(key, x)
  _close(jax.jit(symmetry.sample)(key, x), element)
  _close(jax.jit(symmetry.act)(element, x), symmetry.act(element, x))
  prediction = jnp.arange(5.0)
  same(jax.jit(symmetry.align)(element, prediction), symmetry.align(element, prediction))


def test_an_invariant_predictor_has_no_gap(case):
  symmetry, x = case
  predict = lambda params, x: jnp.log(jnp.full(5, 0.2))
  gap = transforms.warrant_gap(predict, symmetry, 6)(None, jax.random.key(0), x)
  np.testing.assert_allclose(np.array(gap), 0.0, atol=1e-6)


def test_samples_are_of_the_identitys_type(case):
  symmetry, x = case
  kind = lambda element: jax.tree.map(lambda a: (jnp.shape(a), jnp.asarray(a).dtype), element)
  assert kind(symmetry.sample(jax.random.key(0), x)) == kind(symmetry.identity(x))


def test_an_equivariant_predictor_has_no_gap_after_align():
  predict = lambda params, x: jax.nn.log_softmax(x)
  symmetry, x = CASES["own roll"]
  gap = transforms.warrant_gap(predict, symmetry, 6)(None, jax.random.key(0), x)
  np.testing.assert_allclose(gap.pairwise_tv, 0.0, atol=1e-6)
  unaligned = symmetry._replace(align=lambda element, prediction: prediction)
  moved = transforms.warrant_gap(predict, unaligned, 6)(None, jax.random.key(0), x)
  assert moved.pairwise_tv > 0.1


@pytest.mark.parametrize("name", FINITE_GROUPS)
def test_the_orbit_is_closed(name):
  symmetry, x = CASES[name]
  size = FINITE_GROUPS[name]
  views = symmetry.orbit(x, size)
  members = set(seen(symmetry, views.elements, x))
  assert len(members) == len(views.log_weights) == symmetry.orbit_size(x) == size
  assert tuple(_row(x).tolist()) in members
  # Acting once more on what a member made gives the same family.
  for m in range(0, size, 5):
    acted = symmetry.act(jax.tree.map(lambda a, m=m: a[m], views.elements), x)
    assert set(seen(symmetry, symmetry.orbit(acted, size).elements, acted)) == members
  np.testing.assert_allclose(np.exp(views.log_weights), 1 / size, rtol=1e-6)


@pytest.mark.parametrize("name", FINITE_GROUPS)
def test_samples_are_uniform_over_the_orbit(name):
  symmetry, x = CASES[name]
  members = seen(symmetry, symmetry.orbit(x, FINITE_GROUPS[name]).elements, x)
  draws = 200 * len(members)
  sampled = seen(symmetry, drawn(symmetry, x, draws), x)
  counts = np.array([sampled.count(m) for m in members])
  assert counts.sum() == draws  # nothing outside the orbit
  chi_square = ((counts - 200) ** 2 / 200).sum()
  degrees = len(members) - 1
  assert abs(chi_square - degrees) < 4 * math.sqrt(2 * degrees)


def test_wordings_are_drawn_by_their_weights():
  symmetry = paraphrase()
  counts = np.bincount(drawn(symmetry, WORDINGS, 8000), minlength=4)
  assert counts[2] == 0
  np.testing.assert_allclose(counts, [1000, 2000, 0, 5000], atol=4 * math.sqrt(2000))
  views = symmetry.orbit(WORDINGS, 3)
  assert views.elements.tolist() == [0, 1, 3] and symmetry.orbit(WORDINGS, 2) is None
  np.testing.assert_allclose(np.exp(views.log_weights), [1 / 8, 2 / 8, 5 / 8], rtol=1e-6)
  assert symmetry.orbit_size(WORDINGS) == math.inf and symmetry.orbit_size(EVEN) == 2


def test_a_wording_brings_its_own_tokens_and_answers():
  one = _prompt([FIXED, EVIDENCE])
  two = _prompt([FIXED, EVIDENCE, EVIDENCE], first=40)._replace(choices=np.arange(10).reshape(5, 2))
  both = prompts.make_wordings([one, two])
  chosen = paraphrase().act(jnp.array(1), both)
  tokens, length = pack(chosen)
  assert tokens[: int(length)].tolist() == two.tokens.tolist()
  same(current(chosen).choices, two.choices)
  same(chosen.all, both.all)


def test_orders_of_uneven_wordings_are_weighted_not_counted():
  both = chain(paraphrase(), segment_order())
  even = prompts.make_wordings([_prompt([EVIDENCE] * n) for n in (3, 2)])
  assert both.orbit_size(even) == math.inf  # 6 + 2 views, which are not equally likely
  views = both.orbit(even, 8)
  np.testing.assert_allclose(np.exp(views.log_weights), [1 / 12] * 6 + [1 / 4] * 2, rtol=1e-6)
  alike = prompts.make_wordings([_prompt([EVIDENCE] * 3), _prompt([EVIDENCE] * 3, first=50)])
  assert both.orbit_size(alike) == 12


def _by_option(table):
  """A predictor that looks at the option's first token only, wherever it stands."""

  def predict(params, x):
    x = current(x)
    is_option = x.group == OPTIONS
    first = jnp.asarray(x.tokens)[jnp.asarray(x.starts)]
    slots = jnp.argsort(~is_option, stable=True)[: x.choices.shape[0]]
    return jax.nn.log_softmax(jnp.where(is_option[slots], table[first[slots] % 100], -1e9))

  return predict


@pytest.mark.parametrize(
    "name", ["option_order", "option_order, padded", "option_order, cyclic", "chain of three",
             "chain with wordings"])
def test_an_option_content_predictor_is_constant_after_align(name):
  symmetry, x = CASES[name]
  predict = _by_option(jax.random.normal(jax.random.key(1), (100,)))
  views = transforms.views(symmetry, 8)(jax.random.key(0), x)
  aligned = transforms.view_log_probs(predict, symmetry)(None, views, x)
  expected = np.tile(predict(None, x), (8, 1))
  np.testing.assert_allclose(aligned, expected, atol=1e-5)
  raw = transforms.view_log_probs(predict, symmetry._replace(align=lambda e, p: p))(None, views, x)
  assert np.ptp(np.exp(raw), axis=0).max() > 0.05


def test_align_takes_any_prediction():
  element = jnp.array([2, 0, 1])
  prediction = {"by_label": jnp.array([[1.0, 2.0, 3.0]]), "mass": jnp.array(0.5), "d": jnp.ones(7)}
  aligned = option_order().align(element, prediction)
  assert aligned["by_label"].tolist() == [[2.0, 3.0, 1.0]]  # label 0 showed option 2
  same({k: aligned[k] for k in ("mass", "d")}, {k: prediction[k] for k in ("mass", "d")})


def _padded(x, segments, choices):
  """The same example beside a larger one, as a data set stacks them."""
  before = None if current(x).before is None else np.zeros((segments, segments), bool)
  larger = prompts.make_prompt(
      [[1]] * segments, [0] * segments, [[1]] * choices, [1] * choices, before=before)
  if isinstance(x, prompts.Wordings):
    larger = prompts.make_wordings([larger] * 7)
  return jax.tree.map(lambda a: a[0], prompts.stack([x, larger]))


@pytest.mark.parametrize("name", [
    n for n in CASES if "own" not in n and n not in (*IMAGES, "factorization of steps")])
def test_draws_do_not_depend_on_the_padding(name):
  symmetry, x = CASES[name]
  longer = _padded(x, segments=23, choices=9)
  assert symmetry.orbit_size(x) == symmetry.orbit_size(longer)
  plain = seen(symmetry, drawn(symmetry, x, 20), x)
  padded = seen(symmetry, drawn(symmetry, longer, 20), longer)
  assert [row[: len(plain[0])] for row in padded] == plain
  assert not any(any(row[len(plain[0]) :]) for row in padded)


@pytest.mark.parametrize(("keep_first", "keep_last"), [(0, 0), (1, 0), (3, 0), (0, 2), (1, 1)])
def test_immovable_segments_stay(keep_first, keep_last):
  symmetry = segment_order(keep_first=keep_first, keep_last=keep_last)
  fixed = [0, *range(1, 1 + keep_first), *range(5 - keep_last, 6)]
  orders = drawn(symmetry, PROMPT, 10)
  np.testing.assert_array_equal(orders[:, fixed], np.tile(fixed, (10, 1)))


@pytest.mark.parametrize("name", [
    "option_order", "demonstration_order", "factorization", "factorization, ordered"])
def test_segments_of_other_groups_keep_their_order(name):
  symmetry, x = CASES[name]
  moving = x.group[np.flatnonzero(x.group)[0]]
  for element in symmetry.orbit(x, 24).elements:
    acted = symmetry.act(element, x)
    same(acted.starts[acted.group != moving], x.starts[x.group != moving])


def test_a_block_moves_as_one():
  pieces = {(1, 2), (3,), (5, 6, 7)}  # places of the blocks of SHOTS
  orders = demonstration_order().orbit(SHOTS, 6).elements
  assert len({tuple(order) for order in orders.tolist()}) == 6
  for order in orders.tolist():
    assert (order[0], order[-1]) == (0, 8)
    assert order.index(4) in (4, 5, 6)  # two blocks before it, of 3, 4 or 5 segments
    joined = [s for s in order if s not in (0, 4, 8)]
    for piece in pieces:
      at = joined.index(piece[0])
      assert tuple(joined[at : at + len(piece)]) == piece


def test_number_segments_shows_which_segment_of_which_wording_stands_where():
  symmetry = chain(paraphrase(), segment_order())
  element = (jnp.array(1), jnp.array([0, 2, 1, 3, 4]))
  acted = symmetry.act(element, prompts.number_segments(WORDINGS))
  segments = WORDINGS.all.starts.shape[1]
  assert current(acted).starts.tolist() == [segments + s for s in (0, 2, 1, 3, 4)]
  assert prompts.number_segments(PROMPT).starts.tolist() == list(range(6))


def test_an_orbit_over_the_limit_is_none():
  symmetry, x = CASES["segment_order"]
  assert symmetry.orbit(x, 23) is None and symmetry.orbit_size(x) == 24
  assert CASES["own flip"][0].orbit(jnp.arange(3.0), 10) is None
