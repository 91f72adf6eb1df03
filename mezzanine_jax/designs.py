"""Which views to draw for a whole data set: whole orbits, without repeats, balanced, or any."""

import functools
import hashlib
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import williams
from mezzanine_jax.base import Array, Element, SampleFn, Symmetry, Views, X
from mezzanine_jax.errors import InputError

DESIGNS = ("auto", "exact", "iid", "distinct", "balanced")
_MAX_CHUNK = 512  # examples drawn in one call; one compiled shape for any data set above it
_MAX_SIZE = float(np.finfo(np.float32).max)  # 34! is below it
_MAX_ROUNDS = 200  # rounds of K draws each before `orbit_size` is held to be wrong


def example_keys(key: Array, ids: Sequence[str]) -> Array:
  """One key an example, whatever stands before or after it: fold_in(key, sha256(id) mod 2³²).

  Args:
    key: typed PRNG key.
    ids: the names of N examples.

  Returns:
    Typed key array [N].

  Example:
    >>> import jax
    >>> keys = example_keys(jax.random.key(0), ["a", "b"])
    >>> bool(keys[1] == example_keys(jax.random.key(0), ["b"])[0])
    True
  """
  digests = (hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest() for name in ids)
  words = np.array([int.from_bytes(d[:4], "little") for d in digests], np.uint32)
  return jax.vmap(jax.random.fold_in, (None, 0))(key, words)


def for_gaps(design: str) -> str:
  """The design of views that a gap is estimated from, where the teacher's may be any.

  The estimators know whole orbits, draws without repeats and independent draws. Balanced views
  resemble each other less than draws do, so every one of them would call their gap too large.

  Args:
    design: one of `DESIGNS`.

  Example:
    >>> for_gaps("auto"), for_gaps("balanced"), for_gaps("iid")
    ('distinct', 'distinct', 'iid')
  """
  return "distinct" if design in ("auto", "balanced") else design


def design_views(
    symmetry: Symmetry, xs: X, keys: Array, num_views: int, design: str = "distinct"
) -> Views:
  """K views for each of N examples: as many distinct ones as the orbit has, unless `iid`.

  An orbit of at most K members is taken whole, with its weights (the exact orbit), padded to K
  with copies of log-weight -inf. What is done with a larger one is the design:

  - `distinct`: K draws without repeats. Draw k uses `fold_in(key_n, k)`; repeats are thrown away
    in order until K distinct elements are left, so that every K-subset is equally likely.
  - `balanced`: K distinct orders from randomly relabelled Williams squares, see
    `williams.orders`. Each view is uniform, so that their mean has no bias; but views are not
    drawn independently of each other, so that no gap may be estimated from them.
  - `auto`: for a mean that nothing else is estimated from: balanced where the symmetry has such
    designs, else distinct.
  - `exact`: it is refused.
  - `iid`: K independent draws, repeats kept, also where the orbit has K members or fewer, but
    for one.

  Where there is no finite orbit (or it is too large for float32), `distinct` draws independently.

  The views of an example depend on its key and on itself, as it is padded, and on no other
  example.

  Args:
    symmetry: the family; `orbit` and `orbit_size` are called on the host.
    xs: pytree with a leading axis N, the stacked examples, all padded alike.
    keys: typed key array [N], most often `example_keys(key, ids)`.
    num_views: K >= 1.
    design: one of `DESIGNS`.

  Returns:
    Views of numpy arrays: elements [N, K, ...], log_weights float32[N, K] and orbit_size
    float32[N] (M, the number of real views where the orbit is exact; inf for independent
    draws). The canonical view is not forced among them.

  Raises:
    InputError: if `num_views` is below 1, `design` is none or cannot be had of this symmetry, or
      `orbit_size` claims more distinct elements than `sample` gives.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> turn = Symmetry(
    ...     identity=lambda x: jnp.array(0),
    ...     sample=lambda key, x: jax.random.randint(key, (), 0, x.size),
    ...     act=lambda element, x: jnp.roll(x, element),
    ...     orbit_size=lambda x: x.size)
    >>> keys = example_keys(jax.random.key(0), ["a", "b"])
    >>> views = design_views(turn, np.zeros((2, 6)), keys, 4)
    >>> [len(set(elements)) for elements in views.elements.tolist()]
    [4, 4]
  """
  if num_views < 1:
    raise InputError(f"num_views must be >= 1, got {num_views}")
  if design not in DESIGNS:
    raise InputError(f"design must be one of {', '.join(DESIGNS)}, got {design!r}")
  xs = jax.tree.map(np.asarray, xs)
  num_examples, num_keys = len(jax.tree.leaves(xs)[0]), len(keys)
  if num_keys != num_examples:
    raise InputError(f"keys must hold one key an example, got {num_keys} for {num_examples}")

  out = _empty_elements(symmetry.sample, xs, num_examples, num_views)
  sizes = np.empty(num_examples, np.float32)
  log_weights = np.full((num_examples, num_views), -np.inf, np.float32)
  wanted = np.zeros(num_examples, int)  # how many views are still to be drawn
  seeds = np.asarray(jax.random.key_data(keys)).reshape(num_examples, -1).tolist()
  for n in range(num_examples):
    x = jax.tree.map(lambda a, n=n: a[n], xs)
    size = float(symmetry.orbit_size(x))
    independent = size >= _MAX_SIZE or (design == "iid" and size > 1)
    sizes[n] = math.inf if independent else size
    # A weighted set has no orbit_size (it is not drawn uniformly), but may have an orbit.
    small = (size <= num_views or math.isinf(size)) and (design != "iid" or size == 1)
    members, chosen = symmetry.orbit(x, num_views) if small else None, None
    if members is not None:
      count = len(members.log_weights)
      log_weights[n, :count] = members.log_weights
      sizes[n], chosen = np.isfinite(log_weights[n]).sum(), members.elements
    else:
      count = int(min(num_views, sizes[n]))
      log_weights[n, :count] = -math.log(count)
      if size > num_views and design in ("auto", "balanced"):
        chosen = _balanced(symmetry, x, seeds[n], num_views, design)
    if chosen is None:
      wanted[n] = count
    else:
      jax.tree.map(lambda o, e, n=n: _fill(o[n], np.asarray(e)), out, chosen)

  if design == "exact" and (large := sizes > num_views).any():
    raise InputError(
        f"design 'exact' takes whole orbits, but {large.sum()} of {num_examples} examples have"
        f" more than {num_views} views, up to {sizes.max():g}: give that many views, or another"
        " design"
    )
  _draw_distinct(symmetry.sample, xs, keys, out, wanted, sizes)
  return Views(out, log_weights, sizes)


def design_parts(
    symmetry: Symmetry, xs: X, keys: Array, num_views: np.ndarray, design: str | np.ndarray
) -> Views:
  """`design_views` with a K and a design for every example, padded to the largest K.

  Args:
    symmetry: the family.
    xs: pytree with a leading axis N.
    keys: typed key array [N].
    num_views: int[N], K of each example.
    design: of all examples, or str[N].
  """
  design = np.broadcast_to(design, num_views.shape)
  most, parts, where = int(num_views.max()), [], []
  for k, how in sorted(set(zip(num_views.tolist(), design.tolist(), strict=True))):
    at = np.flatnonzero((num_views == k) & (design == how))
    part = jax.tree.map(lambda a, at=at: a[at], xs)
    drawn = design_views(symmetry, part, keys[at], k, how)
    copies = np.minimum(np.arange(most), k - 1)
    elements = jax.tree.map(lambda a, copies=copies: a[:, copies], drawn.elements)
    log_weights = np.pad(drawn.log_weights, ((0, 0), (0, most - k)), constant_values=-np.inf)
    parts.append(Views(elements, log_weights, drawn.orbit_size))
    where.append(at)
  back = np.argsort(np.concatenate(where))
  return jax.tree.map(lambda *a: np.concatenate(a)[back], *parts)


def _balanced(
    symmetry: Symmetry, x: X, seed: list[int], num_views: int, design: str
) -> Element | None:
  """K balanced members of an orbit that has more; None where `auto` has to do without."""
  rng = np.random.default_rng(seed)
  elements = symmetry.orders(x, lambda count: williams.orders(rng, count, num_views))
  if elements is None and design == "balanced":
    raise InputError(
        "design 'balanced' needs one family of orders (segment_order, demonstration_order,"
        " factorization, or option_order with its full orbit), neither a chain nor another: give"
        " design 'auto', which draws from these without repeats"
    )
  return elements


def _empty_elements(sample: SampleFn, xs: X, num_examples: int, num_views: int) -> Element:
  """Arrays [N, K, ...] for the elements, without drawing one."""
  x = jax.eval_shape(lambda xs: jax.tree.map(lambda a: a[0], xs), xs)
  element = jax.eval_shape(sample, jax.eval_shape(lambda: jax.random.key(0)), x)
  return jax.tree.map(
      lambda a: np.empty((num_examples, num_views, *a.shape), a.dtype), element
  )


def _fill(out_K: np.ndarray, elements: np.ndarray) -> None:
  """Writes the members of an orbit and pads with copies of the first one."""
  out_K[: len(elements)] = elements
  out_K[len(elements) :] = elements[0]


@functools.partial(jax.jit, static_argnums=0)
def _draw(sample: SampleFn, keys: Array, first: Array, ks: Array, xs: X) -> Element:
  """Draws number first + ks of every example: elements [B, K, ...]."""

  def one(key, x):
    return jax.vmap(lambda k: sample(jax.random.fold_in(key, first + k), x))(ks)

  return jax.vmap(one)(keys, xs)


def _draw_distinct(
    sample: SampleFn, xs: X, keys: Array, out: Element, wanted: np.ndarray, sizes: np.ndarray
) -> None:
  """Fills `out` in rounds of K draws; who has enough distinct ones leaves."""
  num_views = jax.tree.leaves(out)[0].shape[1]
  short = np.flatnonzero(wanted)
  # One shape for all rounds and, above 512 examples, for all data sets.
  chunk = min(_MAX_CHUNK, 1 << max(len(short) - 1, 0).bit_length())
  seen = {n: set() for n in short}
  filled = np.zeros(len(wanted), int)
  for first in range(0, _MAX_ROUNDS * num_views, num_views):
    if not len(short):
      break
    for start in range(0, len(short), chunk):
      batch = short[start : start + chunk]
      rows = np.concatenate([batch, np.full(chunk - len(batch), batch[0])])
      drawn = _draw(
          sample, keys[rows], jnp.uint32(first), jnp.arange(num_views, dtype=jnp.uint32),
          jax.tree.map(lambda a, rows=rows: a[rows], xs),
      )
      _keep_new(out, jax.tree.map(np.asarray, drawn), batch, wanted, sizes, seen, filled)
    short = short[filled[short] < wanted[short]]
  if len(short):
    n = short[0]
    raise InputError(
        f"orbit_size is {sizes[n]:g} for example {n}, but {_MAX_ROUNDS * num_views} draws gave "
        f"only {filled[n]} distinct elements: make it the number of elements that sample draws "
        "from uniformly, or math.inf"
    )
  for n in np.flatnonzero((wanted > 0) & (wanted < num_views)):
    jax.tree.map(lambda o, n=n: _fill(o[n], o[n, : wanted[n]].copy()), out)


def _keep_new(out, drawn, batch, wanted, sizes, seen, filled) -> None:
  """Copies the draws that are not repeats to the next free places of their examples."""
  texts = _bytes(drawn)
  places = []  # (example, place, row of the batch, draw)
  for b, n in enumerate(batch.tolist()):  # the rows behind them only fill up the shape
    independent = math.isinf(sizes[n])
    for k, text in enumerate(texts[b]):
      if filled[n] == wanted[n]:
        break
      if independent or text not in seen[n]:
        seen[n].add(text)
        places.append((n, filled[n], b, k))
        filled[n] += 1
  if places:
    n, place, b, k = np.array(places).T
    for o, d in zip(jax.tree.leaves(out), jax.tree.leaves(drawn), strict=True):
      o[n, place] = d[b, k]


def _bytes(elements: Element) -> list[list[bytes]]:
  """The bytes of each element of [B, K, ...] arrays, to tell repeats."""
  leaves = [np.ascontiguousarray(a) for a in jax.tree.leaves(elements)]
  flat = [a.reshape(*a.shape[:2], -1).view(np.uint8) for a in leaves]
  joined = np.ascontiguousarray(np.concatenate(flat, -1))
  rows = joined.view(f"V{joined.shape[-1]}")[..., 0]
  return rows.tolist()
