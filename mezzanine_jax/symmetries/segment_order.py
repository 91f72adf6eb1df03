"""`segment_order`: the order of the evidence of a prompt."""

from mezzanine_jax.base import Symmetry
from mezzanine_jax.prompts import EVIDENCE
from mezzanine_jax.symmetries.blocks import block_order


def segment_order(keep_first: int = 0, keep_last: int = 0, group: int = EVIDENCE) -> Symmetry:
  """The orders of the segments of one group: uniform over all n! of them, an invariance.

  The element is int32[S], the index of the segment that stands in each place. Segments of other
  groups stay where they are. What a segment is (a sentence, a paragraph, a document) was settled
  when the prompt was made.

  Args:
    keep_first: how many of the group's first segments also stay (a topic sentence).
    keep_last: how many of its last segments also stay.
    group: which segments may change places; the evidence unless told otherwise.

  Returns:
    A `Symmetry` on `Prompt` and `Wordings`. n movable segments have an orbit of n! elements.

  Raises:
    InputError: if `keep_first` or `keep_last` is negative or `group` is not positive.

  Example:
    >>> from mezzanine_jax.prompts import make_prompt, pack
    >>> x = make_prompt([[0], [1], [2, 3], [4]], [0, 1, 1, 0], [[7], [8]], [3, 2])
    >>> order = segment_order()
    >>> [pack(order.act(e, x))[0].tolist() for e in order.orbit(x, 10).elements]
    [[0, 1, 2, 3, 4], [0, 2, 3, 1, 4]]
  """
  return block_order(group, keep_first, keep_last)
