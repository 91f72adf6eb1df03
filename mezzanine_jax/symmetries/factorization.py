"""`factorization`: the order of facts or steps that carry the same information in any order."""

from mezzanine_jax.base import Symmetry
from mezzanine_jax.prompts import FACTS
from mezzanine_jax.symmetries.blocks import block_order


def factorization() -> Symmetry:
  """The orders of key-value facts: uniform over all n! of them, an invariance.

  p(facts) = Π p(fact | facts before it) holds in any order, so that the order in which a record
  is written down must not matter. The element is int32[S], the index of the segment that stands
  in each place.

  Returns:
    A `Symmetry` on `Prompt` and `Wordings`. n facts have an orbit of n! elements.

  Example:
    >>> from mezzanine_jax.prompts import make_prompt, pack
    >>> x = make_prompt([[9], [1], [2]], [0, 4, 4], [[7], [8]], [1, 1])
    >>> order = factorization()
    >>> [pack(order.act(e, x))[0].tolist() for e in order.orbit(x, 10).elements]
    [[9, 1, 2], [9, 2, 1]]
  """
  return block_order(FACTS)
