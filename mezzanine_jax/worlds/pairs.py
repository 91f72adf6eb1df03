"""Other questions asked of the same evidence: examples for a teacher, which needs no labels."""

from collections.abc import Sequence

import numpy as np

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError


def other_questions(
  examples: Sequence[Example], evidence: str, number: int, seed: int = 0
) -> list[Example]:
  """Each example's evidence with all other fields of some examples of other clusters.

  Examples without evidence are left out, and none is made twice.

  Args:
    examples: whose `x` is a dict of fields; the evidence decides the cluster.
    evidence: the field that stays.
    number: how many others each is given, >= 0; fewer where there are not as many.
    seed: fixes which.

  Returns:
    Examples without labels, in the clusters of their evidence.

  Raises:
    InputError: if examples have no field but the evidence.

  Example:
    >>> asked = [Example(n, {"passage": p, "question": q}, 1, n)
    ...          for n, p, q in [("a", "It rains.", "Wet?"), ("b", "It snows.", "Cold?")]]
    >>> other_questions(asked, "passage", 1)[0]
    Example(id='a+b', x={'passage': 'It rains.', 'question': 'Cold?'}, label=None, cluster='a')
  """
  if examples and set(examples[0].x) <= {evidence}:
    raise InputError("other questions need a field beside the evidence, but the data has"
                     f" {evidence!r} only: leave extra_questions at 0")
  made, count, seen = [], len(examples), set()
  # Rounds pair every example with the one so many places further on in a mixed order: each
  # question is asked as often as every other.
  rng = np.random.default_rng([seed, count])
  order = rng.permutation(count)
  steps = rng.permutation(np.arange(1, count))
  for place, n in enumerate(order):
    own, missing = examples[n], number
    for step in steps if own.x[evidence] else ():
      if not missing:
        break
      other = examples[order[(place + step) % count]]
      x = {**other.x, evidence: own.x[evidence]}
      if other.cluster != own.cluster and repr(x) not in seen:
        seen.add(repr(x))
        made.append(Example(f"{own.id}+{other.id}", x, None, own.cluster))
        missing -= 1
  return made
