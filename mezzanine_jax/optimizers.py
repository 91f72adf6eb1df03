"""The optimizer of students and adapters, and what its settings may be."""

import functools
import math

import jax
import optax

from mezzanine_jax.errors import InputError


def warmup_cosine_adamw(
  learning_rate: float, steps: int, weight_decay: float = 0.0
) -> optax.GradientTransformation:
  """AdamW; the rate rises linearly over a tenth of the steps (at most 100), then falls by cosine.

  Args:
    learning_rate: the highest rate, > 0.
    steps: length of the whole training.
    weight_decay: on weights of rank 2 and more, not on biases.

  Returns:
    The optax transformation.
  """
  warmup = min(steps // 10, 100)
  schedule = optax.warmup_cosine_decay_schedule(
    learning_rate / (warmup + 1), learning_rate, warmup, steps
  )
  is_matrix = functools.partial(jax.tree.map, lambda p: p.ndim > 1)
  return optax.adamw(schedule, weight_decay=weight_decay, mask=is_matrix)


def check_optimization(learning_rate: float, weight_decay: float, **counts: int) -> None:
  """Raises `InputError` for an optimizer's settings, or counts of steps and rows, out of range."""
  for name, value in counts.items():
    if value < 1:
      raise InputError(f"{name} must be >= 1, got {value}")
  if not 0 < learning_rate < math.inf:
    raise InputError(f"learning_rate must be > 0 and finite, got {learning_rate}")
  if not 0 <= weight_decay < math.inf:
    raise InputError(f"weight_decay must be >= 0 and finite, got {weight_decay}")
