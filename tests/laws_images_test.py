"""Symmetries of images beyond `laws_test`: ranges, what a view does, what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws_test import CASES, CONTINUOUS, IMAGE, PROMPT, drawn, same, seen

from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries import dihedral, view


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_continuous_family_has_no_orbit_and_keeps_its_range(name):
  symmetry, x = CASES[name]
  assert symmetry.orbit(x, 10**6) is None and symmetry.orbit_size(x) == math.inf
  acted = np.array(seen(symmetry, drawn(symmetry, x, 200), x))
  assert acted.min() >= 0 and acted.max() <= 1
  assert len({tuple(row) for row in acted.tolist()}) == 200


def test_views_are_drawn_from_the_stated_ranges():
  symmetry, x = CASES["view"]
  found = drawn(symmetry, x, 4000)
  ends = {"scale": (0.7, 1.0), "angle": (-30.0, 30.0), "brightness": (0.6, 1.4)}
  for name, (low, high) in ends.items():
    values, wide = getattr(found, name), high - low
    assert low - 1e-6 <= values.min() < low + 0.01 * wide
    assert high - 0.01 * wide < values.max() <= high + 1e-6
    assert abs(values.mean() - (low + high) / 2) < 4 * wide / math.sqrt(12 * 4000)
  assert abs(found.mirrored.mean() - 0.5) < 4 * 0.5 / math.sqrt(4000)
  # The window stays within the image, and reaches its edges.
  over = np.abs(found.shift) + found.scale[:, None] / 2
  assert over.max() <= 0.5 + 1e-6 and over.max() > 0.499


def test_a_range_of_zero_leaves_the_image_as_it_is():
  symmetry = view(crop=0.0, flip=0.0, rotation=0.0, brightness=0.0)
  element = symmetry.sample(jax.random.key(0), IMAGE)
  same(symmetry.act(element, IMAGE), IMAGE)


def test_a_view_turns_mirrors_crops_and_lights_as_it_says():
  symmetry, one = view(), view().identity(IMAGE)
  act = lambda **changes: np.asarray(symmetry.act(one._replace(**changes), IMAGE))
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
  close(act(angle=jnp.float32(90)), np.rot90(IMAGE))
  close(act(angle=jnp.float32(-180)), np.rot90(IMAGE, 2))
  close(act(mirrored=jnp.array(True)), IMAGE[:, ::-1])
  close(act(brightness=jnp.float32(0.5)), IMAGE / 2)
  close(act(brightness=jnp.float32(9)), np.minimum(9 * IMAGE, 1))
  # A window of a fifth is the middle pixel; one place to the right is its neighbour.
  window = act(scale=jnp.float32(0.2))
  close(window[2, 2], IMAGE[2, 2])
  close(act(shift=jnp.array([0.0, 0.2]))[:, :4], IMAGE[:, 1:])
  close(act(shift=jnp.array([-0.2, 0.0]))[1:], IMAGE[:4])


def test_the_turns_of_a_square_are_a_group():
  symmetry = dihedral()
  table = {row: e for e, row in enumerate(seen(symmetry, jnp.arange(8), IMAGE))}
  after = lambda a, b: symmetry.act(b, symmetry.act(a, IMAGE)).reshape(-1)
  twice = jax.vmap(jax.vmap(after, (None, 0)), (0, None))(jnp.arange(8), jnp.arange(8))
  products = np.array([[table[tuple(row)] for row in part] for part in twice.tolist()])
  for own in (products, products.T):  # every element once in every row and column
    assert (np.sort(own) == np.arange(8)).all()
  assert (products != products.T).any()  # it is not commutative


@pytest.mark.parametrize("make, message", [
    (lambda: dihedral().orbit_size(IMAGE[:4]), "must be square, got 4 x 5"),
    (lambda: view().sample(jax.random.key(0), PROMPT), r"acts on images .* got a Prompt"),
    (lambda: dihedral().identity(np.zeros(5)), r"an array of shape \[5\]"),
    (lambda: view(crop=1.0), "crop must be between 0 and 0.9, got 1"),
    (lambda: view(rotation=-1.0), "rotation must be between 0 and 180"),
])
def test_what_no_image_can_be_is_refused(make, message):
  with pytest.raises(InputError, match=message):
    make()
