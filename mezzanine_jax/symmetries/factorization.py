"""`factorization`: the order of facts or steps that carry the same information in any order."""

from mezzanine_jax.base import Symmetry, X
from mezzanine_jax.symmetries.linear_extension import linear_extension
from mezzanine_jax.trajectories import Steps


def factorization() -> Symmetry:
  """The orders of facts or steps that keep their meaning: uniform over them, an invariance.

  p(facts) = Π p(fact | facts before it) holds in any order, so that the order in which a record
  is written down must not matter. Of steps some need others before them: then the orders are the
  linear extensions of that partial order (`Prompt.before`, `Steps.before`; without one, all n!).
  The element is int32[S], the index of the segment, or of the step, that stands in each place.

  Returns:
    A `Symmetry` on `Prompt` and `Wordings`, whose facts change places, and on `Steps`. n facts
    have an orbit of n! elements, steps one of as many as there are linear extensions.

  Example:
    >>> from mezzanine_jax.prompts import make_prompt, pack
    >>> x = make_prompt([[9], [1], [2]], [0, 4, 4], [[7], [8]], [1, 1])
    >>> order = factorization()
    >>> [pack(order.act(e, x))[0].tolist() for e in order.orbit(x, 10).elements]
    [[9, 1, 2], [9, 2, 1]]
  """

  def family(x: X) -> Symmetry:
    if isinstance(x, Steps):
      return linear_extension()
    from mezzanine_jax.prompts import FACTS  # arrays need nothing of texts
    from mezzanine_jax.symmetries.blocks import block_order

    return block_order(FACTS)

  return Symmetry(
      identity=lambda x: family(x).identity(x),
      sample=lambda key, x: family(x).sample(key, x),
      act=lambda element, x: family(x).act(element, x),
      orbit=lambda x, limit: family(x).orbit(x, limit),
      orbit_size=lambda x: family(x).orbit_size(x),
      orders=lambda x, draw: family(x).orders(x, draw),
  )
