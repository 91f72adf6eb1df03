"""`chain`: several symmetries, one after the other."""

import math

import jax
import numpy as np

from mezzanine_jax.base import Array, Element, Prediction, Symmetry, Views, X
from mezzanine_jax.errors import InputError

_FEW = 64  # members of the first family for each of which the others' orbits are counted


def chain(*symmetries: Symmetry) -> Symmetry:
  """The symmetry that applies the given ones in order.

  Each part samples on the input as the parts before it left it; predictions are aligned in
  reverse. The element is a tuple with one element a part. Exact orbits multiply.

  Args:
    *symmetries: at least one.

  Returns:
    A `Symmetry`; its orbit is None as soon as one part's is. Its `orbit_size` is the product of
    the parts', and inf where a later part's depends on what an earlier one did.

  Raises:
    InputError: without a symmetry.

  Example:
    >>> import jax.numpy as jnp, mezzanine_jax as mz
    >>> flip = mz.Symmetry(
    ...     identity=lambda x: jnp.array(False),
    ...     sample=lambda key, x: jax.random.bernoulli(key),
    ...     act=lambda element, x: jnp.where(element, x[::-1], x))
    >>> mz.chain(flip, flip).act((jnp.array(True), jnp.array(True)), jnp.arange(3)).tolist()
    [0, 1, 2]
  """
  if not symmetries:
    raise InputError("chain needs at least one symmetry, got none")

  def identity(x: X) -> Element:
    return tuple(s.identity(x) for s in symmetries)

  def sample(key: Array, x: X) -> Element:
    elements = []
    for i, s in enumerate(symmetries):
      elements.append(s.sample(jax.random.fold_in(key, i), x))
      x = s.act(elements[-1], x)
    return tuple(elements)

  def act(elements: Element, x: X) -> X:
    for s, element in zip(symmetries, elements, strict=True):
      x = s.act(element, x)
    return x

  def align(elements: Element, prediction: Prediction) -> Prediction:
    for s, element in reversed(list(zip(symmetries, elements, strict=True))):
      prediction = s.align(element, prediction)
    return prediction

  def orbit_size(x: X) -> float:
    first, *rest = symmetries
    size = first.orbit_size(x)
    if not rest:
      return size
    others = chain(*rest).orbit_size
    # Wordings may have different numbers of parts: then their orders are not equally likely.
    # Few members are looked at, on the host; an order has many, but changes no other's size.
    head = first.orbit(x, _FEW)
    members = () if head is None else _each(head.elements, len(head.log_weights))
    sizes = {others(first.act(element, x)) for element in members} or {others(x)}
    return size * sizes.pop() if len(sizes) == 1 else math.inf

  def orbit(x: X, limit: int) -> Views | None:
    first, *rest = symmetries
    head = first.orbit(x, limit)
    if head is None:
      return None
    parts = []  # for each member of the first family: the orbit of the others on what it made
    members = _each(head.elements, len(head.log_weights))
    for element, log_weight in zip(members, np.asarray(head.log_weights), strict=True):
      tail = chain(*rest).orbit(first.act(element, x), limit) if rest else None
      if rest and tail is None:
        return None
      size = len(tail.log_weights) if rest else 1
      repeated = jax.tree.map(lambda a, size=size: np.repeat(a[None], size, 0), element)
      log_weights = log_weight + (np.asarray(tail.log_weights) if rest else np.zeros(1))
      parts.append(((repeated, *(tail.elements if rest else ())), log_weights))
    log_weights = np.concatenate([w for _, w in parts]).astype(np.float32)
    if len(log_weights) > limit:
      return None
    elements = jax.tree.map(lambda *a: np.concatenate(a), *[e for e, _ in parts])
    return Views(elements, log_weights, np.float32(len(log_weights)))

  return Symmetry(identity, sample, act, align, orbit, orbit_size)


def _each(elements: Element, count: int) -> list[Element]:
  """The members of a stacked element, on the host."""
  return [jax.tree.map(lambda a, m=m: np.asarray(a)[m], elements) for m in range(count)]
