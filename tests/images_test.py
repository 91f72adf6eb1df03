"""Rows of images: which view of which image each holds, in whatever batches."""

import jax
import numpy as np
import pytest

from mezzanine_jax import arrays, designs, images, noise
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries import dihedral, view

EXAMPLES = [
    Example(f"e{n}", {"image": np.random.default_rng(n).integers(0, 256, (4, 4, 3), np.uint8)},
            None, f"c{n}") for n in range(5)]
NUM_VIEWS = np.array([2, 2, 8, 8, 3])


def made(symmetry, batch_views=7):
  keys = designs.example_keys(jax.random.key(0), [e.id for e in EXAMPLES])
  return arrays.plan(images.prepare(EXAMPLES), symmetry, keys, NUM_VIEWS, batch_views=batch_views)


def filled(plan, symmetry, path):
  store, ran = arrays.score(plan, images.renderer(symmetry), {}, path, "name", ids=list("abcde"))
  return store_lib.read(store, "features"), ran


@pytest.mark.parametrize("symmetry", [dihedral(), view(0.3, 0.5, 20.0, 0.2)])
def test_a_row_is_its_view_of_its_image(symmetry, tmp_path):
  plan = made(symmetry)
  features, ran = filled(plan, symmetry, tmp_path / "rows")
  assert ran == len(features) == arrays.cost(plan)["rows"]
  for n, e in enumerate(EXAMPLES):
    image = e.x["image"].astype(np.float32) / 255
    np.testing.assert_allclose(
        features[plan.rows.canonical_row[n]], image.ravel(), atol=1e-6)
    assert (plan.rows.row[n] >= 0).sum() == NUM_VIEWS[n]
    for k in range(NUM_VIEWS[n]):
      element = jax.tree.map(lambda a, n=n, k=k: a[n, k], plan.views.elements)
      np.testing.assert_allclose(
          features[plan.rows.row[n, k]], symmetry.act(element, image).ravel(), atol=1e-5)


def test_batches_do_not_change_rows_and_nothing_is_run_twice(tmp_path):
  symmetry = view()
  one, again = made(symmetry, batch_views=3), made(symmetry, batch_views=100)
  assert arrays.digest(one) == arrays.digest(again) and len(one.batches) > len(again.batches)
  first, _ = filled(one, symmetry, tmp_path / "one")
  second, _ = filled(again, symmetry, tmp_path / "two")
  np.testing.assert_allclose(first, second, atol=1e-6)
  assert filled(one, symmetry, tmp_path / "one")[1] == 0
  twice = noise.rescore(one, images.renderer(symmetry), {}, arrays)
  np.testing.assert_allclose(twice.values.features, first[twice.rows], atol=1e-6)


def test_what_a_picture_shows_is_what_a_frozen_model_reads():
  plan = made(view())
  look = images.looker(plan, view())
  row = int(plan.rows.row[2, 3])
  element, image = jax.tree.map(lambda a: a[2, 3], plan.views.elements), EXAMPLES[2].x["image"]
  expected = view().act(element, image.astype(np.float32) / 255)
  np.testing.assert_allclose(look(row), expected, atol=1e-5)
  doubled = images.renderer(view(), lambda params, views: params * views.sum((1, 2)))
  elements = jax.tree.map(lambda a: a[2, 3:5], plan.views.elements)
  found = doubled(2.0, elements, np.stack([image, image])).features
  np.testing.assert_allclose(found[0], 2 * expected.sum((0, 1)), rtol=1e-5)


def test_examples_without_images_are_refused():
  with pytest.raises(InputError, match="the data has no images"):
    images.prepare([Example("a", {"text": "no"}, 0, "c")])
