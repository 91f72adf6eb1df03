"""What a student minimises: how far its answers are from the teacher's, and from each other."""

import math

import jax
import jax.numpy as jnp

from mezzanine_jax.base import Array
from mezzanine_jax.errors import InputError
from mezzanine_jax.targets import BELIEFS, TARGETS, VALUES


def distill_loss(
  log_probs: Array, teacher_log_probs: Array, label: Array, hard_label_weight: float = 0.0,
  temperature: float = 1.0, target: str = BELIEFS,
) -> tuple[Array, Array]:
  """The loss of one view: `(1 - w) T² KL(p_T^(1/T) || q^(1/T)) - w log q[label]`.

  The powers are normalised again; T² keeps the gradients' size (Hinton et al., Distilling the
  Knowledge in a Neural Network, 2015). w is 0 without a label.

  Args:
    log_probs: float32[C], the student's.
    teacher_log_probs: float32[C].
    label: int32[], -1 where unknown.
    hard_label_weight: w in [0, 1].
    temperature: T > 0.
    target: what the predictions are; of real values, the squared distance stands for the KL.

  Returns:
    (loss, KL at T = 1), float32[] in nats.

  Example:
    >>> import jax.numpy as jnp
    >>> half = jnp.log(jnp.array([0.5, 0.5]))
    >>> loss, kl = distill_loss(half, half, jnp.array(1), hard_label_weight=1.0)
    >>> round(float(loss), 4), float(kl)
    (0.6931, 0.0)
  """
  distance = TARGETS[target].distance
  to_teacher = soft = distance(teacher_log_probs, log_probs)
  if temperature != 1:
    soft = temperature**2 * distance(
        *(jax.nn.log_softmax(a / temperature) for a in (teacher_log_probs, log_probs)))
  if not hard_label_weight:
    return soft, to_teacher
  cross_entropy = -log_probs[jnp.maximum(label, 0)]
  mixed = (1 - hard_label_weight) * soft + hard_label_weight * cross_entropy
  return jnp.where(label >= 0, mixed, soft), to_teacher


def disagreement(log_probs_BxC: Array, target: str = BELIEFS) -> Array:
  """How far views of one example are apart: the mean `(KL(q || q') + KL(q' || q)) / 2` of pairs.

  Args:
    log_probs_BxC: float32[B, C], a student's on views of which numbers 2i and 2i + 1 are of the
      same example; B even.
    target: as for `distill_loss`.

  Returns:
    float32[], nats.

  Example:
    >>> import jax.numpy as jnp
    >>> float(disagreement(jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.5]]))))
    0.0
  """
  return _apart(log_probs_BxC, target).mean()


def _apart(log_probs_BxC: Array, target: str = BELIEFS) -> Array:
  """`disagreement` of each pair, float32[B / 2]."""
  first, second = log_probs_BxC[::2], log_probs_BxC[1::2]
  distance = TARGETS[target].distance
  return (distance(first, second) + distance(second, first)) / 2


def rows_loss(
  log_probs_RxC: Array, teacher_log_probs_RxC: Array, weight_R: Array, temperature: float = 1.0,
  consistency_weight: float = 0.0,
) -> Array:
  """Of rows without labels: `Σ_r w_r (distill_loss_r + consistency_weight · disagreement_r)`.

  The disagreement of a row is that of the pair that it belongs to.

  Args:
    log_probs_RxC: float32[R, C], a student's; with a `consistency_weight` rows 2i and 2i + 1 are of
      one example.
    teacher_log_probs_RxC: float32[R, C].
    weight_R: float32[R], w; 0 for rows that fill a batch. Alike within a pair.
    temperature: see `distill_loss`.
    consistency_weight: of `disagreement`, >= 0.

  Returns:
    float32[].

  Example:
    >>> half = jnp.log(jnp.full((2, 2), 0.5))
    >>> float(rows_loss(half, half, jnp.ones(2) / 2, consistency_weight=1.0))
    0.0
  """
  losses, _ = jax.vmap(lambda own, teacher: distill_loss(
      own, teacher, jnp.array(-1), temperature=temperature))(log_probs_RxC, teacher_log_probs_RxC)
  if consistency_weight:
    losses += consistency_weight * jnp.repeat(_apart(log_probs_RxC), 2)
  return (weight_R * losses).sum()


def check_pairs(consistency_weight: float, has_pairs: bool) -> None:
  """Raises for a consistency of examples that the student sees one view of only."""
  if consistency_weight and not has_pairs:
    raise InputError("consistency_weight > 0 needs two views of an example or more, but the student"
                     " learns from one: give student_views all and two training views or more, or"
                     " leave it at 0")


def check_objective(
  hard_label_weight: float, temperature: float, consistency_weight: float, target: str = BELIEFS
) -> None:
  """Raises for a weight or temperature out of range, or that such targets cannot have."""
  if target not in TARGETS:
    raise InputError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
  if target == VALUES and (hard_label_weight or temperature != 1):
    raise InputError("hard_label_weight and temperature need choices, but the targets are real"
                     " values: leave them at 0 and 1")
  if not 0 <= hard_label_weight <= 1:
    raise InputError(f"hard_label_weight must be between 0 and 1, got {hard_label_weight}")
  if not 0 < temperature < math.inf:
    raise InputError(f"temperature must be > 0 and finite, got {temperature}")
  if not 0 <= consistency_weight < math.inf:
    raise InputError(f"consistency_weight must be >= 0 and finite, got {consistency_weight}")
