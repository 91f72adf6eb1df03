"""What predictions are, as a student learns them: beliefs over choices, or real values.

Everything that carries predictions carries float[C] an example. Beliefs are log-probs over C
choices; values are C real numbers, and stand in the same fields (`log_probs` and the like).
"""

from collections.abc import Callable
from typing import NamedTuple

from mezzanine_jax import divergences, regression
from mezzanine_jax.base import Array


class Target(NamedTuple):
  """How predictions of a kind are averaged, and how far one is from another.

  Attributes:
    mean: `(predictions[K, C], log_weights[K]) -> [C]`, the teacher.
    distance: `(teacher[..., C], prediction[..., C]) -> [...]`, what a student minimises: least
      where it is the mean of what the teachers say.
  """

  mean: Callable[[Array, Array], Array]
  distance: Callable[[Array, Array], Array]


BELIEFS, VALUES = "beliefs", "values"
TARGETS = {
    BELIEFS: Target(divergences.mixture, divergences.kl),
    VALUES: Target(regression.mean, regression.squared_distance),
}
