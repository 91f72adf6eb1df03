"""Views of images: from examples to a filled row table, as `language` does for prompts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import designs, engine
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Array, Element, Example, Params, Symmetry, Views
from mezzanine_jax.errors import InputError

# Raise it when the same images and views give other rows than before.
RENDERER_VERSION = 1


class Prepared(NamedTuple):
  """Images as arrays.

  Attributes:
    images: uint8[N, H, W, channels].
    counts: what happened to them; nothing does.
  """

  images: np.ndarray
  counts: dict[str, int]


class Plan(NamedTuple):
  """What is to be run.

  Attributes:
    images: uint8[N, H, W, channels].
    views: `Views` [N, K].
    rows: the distinct rows.
    batches: see `engine.plan_batches`; a view counts as one token.
  """

  images: np.ndarray
  views: Views
  rows: engine.Rows
  batches: list[engine.Batch]

  @property
  def lengths(self) -> np.ndarray:
    """int[R], what each row costs."""
    return np.ones(len(self.rows.example), int)


class Rendered(NamedTuple):
  """float32[B, H * W * channels], the pixels of some views in [0, 1]."""

  features: Array


def prepare(examples: Sequence[Example]) -> Prepared:
  """The images of examples whose `x` has the field `image`.

  Raises:
    InputError: they have none.
  """
  if any("image" not in e.x for e in examples):
    raise InputError("the data has no images: choose the world images, or one with that field")
  return Prepared(np.stack([e.x["image"] for e in examples]), {})


def plan(
    prepared: Prepared, symmetry: Symmetry, keys: Array, num_views: np.ndarray, *,
    batch_views: int, design: str | np.ndarray = "distinct",
) -> Plan:
  """Draws the views of every image and plans the distinct rows.

  Args:
    prepared: N images.
    symmetry: the family.
    keys: typed key array [N], see `designs.example_keys`.
    num_views: int[N], K of each image.
    batch_views: views that are drawn at once.
    design: of all images, or str[N]; see `designs.design_views`.
  """
  views = designs.design_parts(symmetry, prepared.images, keys, num_views, design)
  identities = jax.tree.map(np.asarray, jax.vmap(symmetry.identity)(prepared.images))
  rows = engine.distinct_rows(views, identities)
  return Plan(prepared.images, views, rows, _batches(len(rows.example), batch_views, 1))


def only_rows(plan: Plan, which: np.ndarray, batch_views: int, max_shapes: int) -> Plan:
  """Some rows of a plan, batched anew: to be run, not to be looked up (the index is empty)."""
  none = np.empty(0, np.int32)
  elements = jax.tree.map(lambda a: a[which], plan.rows.elements)
  rows = engine.Rows(plan.rows.example[which], elements, none, none[:, None])
  return plan._replace(rows=rows, batches=_batches(len(which), batch_views, max_shapes))


def renderer(symmetry: Symmetry) -> Callable[[Params, Element, Array], Rendered]:
  """`(params, elements, images) -> Rendered`, the function of a batch; it has no parameters."""

  def render(params: Params, elements: Element, images: Array) -> Rendered:
    del params
    seen = jax.vmap(symmetry.act)(elements, images.astype(jnp.float32) / 255)
    return Rendered(seen.reshape(len(images), -1))

  return render


def score(
    plan: Plan, batch_fn: Callable[..., Any], params: Params, path: Any, fingerprint: str, *,
    ids: Sequence[str], about: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> tuple[store_lib.Store, int]:
  """Runs the rows that the store in `path` does not hold yet; see `engine.fill`."""
  return engine.fill(
      batch_fn, params, lambda batch: batch_inputs(plan, batch), plan.batches, plan.rows,
      plan.views, path, fingerprint, ids=ids, about=about, progress=progress,
  )


def ready(params: Params) -> Params:
  """The parameters as `batch_fn` takes them."""
  return params


def batch_inputs(plan: Plan, batch: engine.Batch) -> tuple[Element, np.ndarray]:
  """The elements and the images of a batch: what `batch_fn` takes behind the params."""
  filled = np.minimum(np.arange(batch.start, batch.start + batch.size), batch.stop - 1)
  elements = jax.tree.map(lambda a: a[filled], plan.rows.elements)
  return elements, jax.tree.map(lambda a: a[plan.rows.example[filled]], plan.images)


def digest(plan: Plan) -> str:
  """SHA-256 over the images, the views and the order of the rows."""
  return engine.digest((plan.images, plan.rows, plan.views.log_weights, plan.views.orbit_size))


def cost(plan: Plan) -> dict[str, int]:
  """Views, distinct rows and compiled shapes."""
  return {
      "views": int(np.isfinite(plan.views.log_weights).sum() + len(plan.rows.canonical_row)),
      "rows": len(plan.rows.example),
      "compiled_shapes": len({b[2:] for b in plan.batches}),
  }


def _batches(rows: int, batch_views: int, max_shapes: int) -> list[engine.Batch]:
  """Batches of about so many views."""
  return engine.plan_batches(np.ones(rows, int), batch_views, max_shapes)
