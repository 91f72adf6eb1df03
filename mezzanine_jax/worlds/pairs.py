"""Other questions asked of the same evidence: examples for a teacher, which needs no labels."""

from collections.abc import Sequence

import numpy as np

from mezzanine_jax.base import Example


def other_questions(
  examples: Sequence[Example], evidence: str, number: int, seed: int = 0
) -> list[Example]:
  """Each example's evidence with all other fields of some examples of other clusters.

  Args:
    examples: whose `x` is a dict of fields; the evidence decides the cluster.
    evidence: the field that stays.
    number: how many others each is given, >= 0; fewer where there are not as many.
    seed: fixes which.

  Returns:
    Examples without labels, in the clusters of their evidence.

  Example:
    >>> asked = [Example(n, {"passage": p, "question": q}, 1, n)
    ...          for n, p, q in [("a", "It rains.", "Wet?"), ("b", "It snows.", "Cold?")]]
    >>> other_questions(asked, "passage", 1)[0]
    Example(id='a+b', x={'passage': 'It rains.', 'question': 'Cold?'}, label=None, cluster='a')
  """
  made, count = [], len(examples)
  # Rounds pair every example with the one so many places further on in a mixed order: each
  # question is asked as often as every other.
  rng = np.random.default_rng([seed, count])
  order = rng.permutation(count)
  steps = rng.permutation(np.arange(1, count))[:number]
  for place, n in enumerate(order):
    own = examples[n]
    for step in steps:
      other = examples[order[(place + step) % count]]
      if other.cluster != own.cluster:
        made.append(Example(f"{own.id}+{other.id}", {**other.x, evidence: own.x[evidence]}, None,
                            own.cluster))
  return made
