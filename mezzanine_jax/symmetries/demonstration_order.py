"""`demonstration_order`: the order of the worked examples in a few-shot prompt."""

from mezzanine_jax.base import Symmetry
from mezzanine_jax.prompts import DEMONSTRATIONS
from mezzanine_jax.symmetries.blocks import block_order


def demonstration_order() -> Symmetry:
  """The orders of the demonstrations: uniform over all n! of them, an invariance.

  A demonstration is a block of segments that moves as one. The element is int32[S], the index
  of the segment that stands in each place.

  Returns:
    A `Symmetry` on `Prompt` and `Wordings`. n demonstrations have an orbit of n! elements.

  Example:
    >>> from mezzanine_jax.prompts import make_prompt, pack
    >>> x = make_prompt([[1], [2], [3], [9]], [3, 3, 3, 0], [[7], [8]], [1, 1], [0, 0, 1, 2])
    >>> order = demonstration_order()
    >>> [pack(order.act(e, x))[0].tolist() for e in order.orbit(x, 10).elements]
    [[1, 2, 3, 9], [3, 1, 2, 9]]
  """
  return block_order(DEMONSTRATIONS)
