"""`option_order`: the order of the options of a multiple-choice question, under fixed labels."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.allowed import ORBITS
from mezzanine_jax.base import Array, Prediction, Symmetry, Views, no_orders
from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import OPTIONS, Prompt, Wordings, current
from mezzanine_jax.symmetries.blocks import place_words, reorder


def option_order(orbit: str = "full") -> Symmetry:
  """The orders of a question's options under their labels (A, B, C, …): an equivariance.

  The texts of the options (segments of group OPTIONS, one an option) change places; the labels
  in front of them stay, and the answers that are scored are the labels, in their order. The
  element is int32[C]: which option stands under each label. `align` turns log-probs by label
  into log-probs by option:

    aligned[..., element[label]] = log_probs[..., label].

  It does so for every array of a prediction whose last axis has C entries, and returns others
  (features, scalars) as they are. Where a prompt has n < C options, answers from n on are padding
  and stay.

  Args:
    orbit: `full` (uniform over all n! orders) or `cyclic` (over the n rotations, in which every
      option stands under every label once).

  Returns:
    A `Symmetry` on `Prompt` and `Wordings`.

  Raises:
    InputError: for another `orbit`.

  Example:
    >>> import jax.numpy as jnp
    >>> from mezzanine_jax.prompts import make_prompt, pack
    >>> x = make_prompt([[1], [2], [1], [3]], [0, 2, 0, 2], [[7], [8]], [1, 1])
    >>> order = option_order()
    >>> swap = order.orbit(x, 2).elements[1]
    >>> pack(order.act(swap, x))[0].tolist(), order.align(swap, jnp.array([0.5, 2.0])).tolist()
    ([1, 3, 1, 2], [2.0, 0.5])
  """
  if orbit not in ORBITS:
    raise InputError(f"orbit must be one of {', '.join(ORBITS)}, got {orbit!r}")
  full = orbit == "full"

  def count_of(prompt: Prompt, xp: Any) -> Array:
    return (xp.asarray(prompt.group) == OPTIONS).sum()

  def identity(x: Prompt | Wordings) -> Array:
    return jnp.arange(current(x).choices.shape[0], dtype=jnp.int32)

  def sample(key: Array, x: Prompt | Wordings) -> Array:
    label, count = identity(x), count_of(current(x), jnp)
    if full:
      words = place_words(key, label.shape[0])
      drawn = jnp.lexsort((jnp.where(label < count, words, label), label >= count))
    else:
      turn = jax.random.randint(key, (), 0, jnp.maximum(count, 1))
      drawn = jnp.where(label < count, (label + turn) % jnp.maximum(count, 1), label)
    return drawn.astype(jnp.int32)

  def act(element: Array, x: Prompt | Wordings) -> Prompt | Wordings:
    arrays = (element, current(x).group)
    xp = np if all(isinstance(a, np.ndarray) for a in arrays) else jnp
    element, inside = xp.asarray(element), xp.asarray(current(x).group) == OPTIONS
    place = xp.arange(inside.shape[0])
    slots = xp.argsort(~inside, stable=True)  # the options' places first
    number = xp.minimum(xp.cumsum(inside) - inside, element.shape[0] - 1)
    return reorder(xp.where(inside, slots[element[number]], place), x)

  def align(element: Array, prediction: Prediction) -> Prediction:
    label_of = jnp.argsort(jnp.asarray(element))

    def by_option(a: Array) -> Array:
      a = jnp.asarray(a)
      return a[..., label_of] if a.ndim and a.shape[-1] == label_of.shape[0] else a

    return jax.tree.map(by_option, prediction)

  def orbit_size(x: Prompt | Wordings) -> float:
    count = int(count_of(current(x), np))
    if not full:
      return float(max(count, 1))
    return float(math.factorial(count)) if count <= 170 else math.inf  # float's largest is 170!

  def members(x: Prompt | Wordings, limit: int) -> Views | None:
    size = orbit_size(x)
    if size > limit:
      return None
    elements = elements_of(x, lambda count: np.array(list(
        itertools.permutations(range(count)) if full else
        ([(i + turn) % count for i in range(count)] for turn in range(count))
    ), np.int32).reshape(-1, count))
    return Views(elements, np.full(len(elements), -math.log(size), np.float32), np.float32(size))

  def elements_of(x: Prompt | Wordings, draw: Callable[[int], np.ndarray]) -> np.ndarray:
    label, count = np.arange(current(x).choices.shape[0]), int(count_of(current(x), np))
    drawn = draw(count)
    elements = np.tile(label, (len(drawn), 1)).astype(np.int32)
    elements[:, :count] = drawn
    return elements

  orders = elements_of if full else no_orders  # the rotations hold no other balanced part
  return Symmetry(identity, sample, act, align, members, orbit_size, orders)
