"""Views of arrays: from examples to a filled row table, as `language` does for prompts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import designs, engine, hosts
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Array, Element, Params, Symmetry, Views, X

# Raise it when the same arrays and views give other rows than before.
RENDERER_VERSION = 1


class Prepared(NamedTuple):
  """Examples as arrays.

  Attributes:
    xs: pytree of arrays [N, ...].
    counts: what happened to them; most often nothing does.
  """

  xs: X
  counts: dict[str, int]


class Plan(NamedTuple):
  """What is to be run.

  Attributes:
    xs: pytree of arrays [N, ...].
    views: `Views` [N, K].
    rows: the distinct rows.
    batches: see `engine.plan_batches`; a view counts as one token.
  """

  xs: X
  views: Views
  rows: engine.Rows
  batches: list[engine.Batch]

  @property
  def lengths(self) -> np.ndarray:
    """int[R], what each row costs."""
    return np.ones(len(self.rows.example), int)


class Rendered(NamedTuple):
  """float32[B, D], what a model sees of some views."""

  features: Array


def plan(
    prepared: Prepared, symmetry: Symmetry, keys: Array, num_views: np.ndarray, *,
    batch_views: int, design: str | np.ndarray = "distinct",
) -> Plan:
  """Draws the views of every example and plans the distinct rows.

  Args:
    prepared: N examples.
    symmetry: the family.
    keys: typed key array [N], see `designs.example_keys`.
    num_views: int[N], K of each example.
    batch_views: views that are drawn at once.
    design: of all examples, or str[N]; see `designs.design_views`.
  """
  views = designs.design_parts(symmetry, prepared.xs, keys, num_views, design)
  identities = jax.tree.map(np.asarray, jax.vmap(symmetry.identity)(prepared.xs))
  rows = engine.distinct_rows(views, identities)
  return Plan(prepared.xs, views, rows, _batches(len(rows.example), batch_views, 1))


def only_rows(plan: Plan, which: np.ndarray, batch_views: int, max_shapes: int) -> Plan:
  """Some rows of a plan, batched anew: to be run, not to be looked up (the index is empty)."""
  none = np.empty(0, np.int32)
  elements = jax.tree.map(lambda a: a[which], plan.rows.elements)
  rows = engine.Rows(plan.rows.example[which], elements, none, none[:, None])
  return plan._replace(rows=rows, batches=_batches(len(which), batch_views, max_shapes))


def renderer(
    symmetry: Symmetry, see: Callable[[X], Array] = jnp.ravel, read: Callable[[X], X] = lambda x: x,
) -> Callable[[Params, Element, X], Rendered]:
  """`(params, elements, xs) -> Rendered`, the function of a batch; it has no parameters.

  Args:
    symmetry: the family of views.
    see: `x -> float32[D]`, what a model sees of a view.
    read: `x -> x`, what is done to an example before a view is made of it.
  """

  def render(params: Params, elements: Element, xs: X) -> Rendered:
    del params
    return Rendered(jax.vmap(lambda e, x: see(symmetry.act(e, read(x))))(elements, xs))

  return render


def score(
    plan: Plan, batch_fn: Callable[..., Any], params: Params, path: Any, fingerprint: str, *,
    ids: Sequence[str], about: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda rows: None,
    processes: hosts.Processes = hosts.ALONE,
) -> tuple[store_lib.Store, int]:
  """Runs the rows that the store in `path` does not hold yet; see `engine.fill`."""
  return engine.fill(
      batch_fn, params, lambda batch: batch_inputs(plan, batch), plan.batches, plan.rows,
      plan.views, path, fingerprint, ids=ids, about=about, progress=progress, processes=processes,
  )


def ready(params: Params) -> Params:
  """The parameters as `batch_fn` takes them."""
  return params


def batch_inputs(plan: Plan, batch: engine.Batch) -> tuple[Element, np.ndarray]:
  """The elements and the examples of a batch: what `batch_fn` takes behind the params."""
  filled = np.minimum(np.arange(batch.start, batch.start + batch.size), batch.stop - 1)
  elements = jax.tree.map(lambda a: a[filled], plan.rows.elements)
  return elements, jax.tree.map(lambda a: a[plan.rows.example[filled]], plan.xs)


def digest(plan: Plan) -> str:
  """SHA-256 over the examples, the views and the order of the rows."""
  return engine.digest((plan.xs, plan.rows, plan.views.log_weights, plan.views.orbit_size))


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
