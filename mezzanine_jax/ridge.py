"""Students that are linear in their weights, found at once: penalised, on all views together.

The objective is convex: the mean `distill_loss` over all examples and their views, plus a penalty
on the weights that read features. L-BFGS goes to its minimum for one penalty after the other, from
strong to weak, until the validation part is farther from the teacher again.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from mezzanine_jax.base import Array, Params
from mezzanine_jax.distill import Point, TrainResult, mean_kl, mean_of_views
from mezzanine_jax.distill_data import DistillData, compact, table
from mezzanine_jax.errors import InputError
from mezzanine_jax.objectives import check_objective, distill_loss
from mezzanine_jax.students import Inputs, Student, predict_rows

PENALTIES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
TYPICAL_STEPS = 400  # of L-BFGS, for all of them, on 11,200 examples of 3,456 features
_MOST_STEPS = 500  # for one penalty
_LEAST_LOG_PROB = -1e4  # a choice that the model rules out; -inf has no slope


def solve(
    student: Student,
    data_train: DistillData,
    data_valid: DistillData,
    *,
    hard_label_weight: float = 0.0,
    temperature: float = 1.0,
    penalties: tuple[float, ...] = PENALTIES,
    progress: Callable[[Point], None] | None = None,
) -> TrainResult:
  """The weights of a student that is linear in them, the penalty chosen on the validation part.

  Nothing is drawn: the same data give the same weights, and no step size or number of steps has to
  be chosen. The untrained student is one of those that are compared.

  Args:
    student: `heads.ridge`, standardised.
    data_train: all training views.
    data_valid: all validation views, of other clusters.
    hard_label_weight: see `distill_loss`.
    temperature: see there.
    penalties: those tried, from strong to weak: λ adds λ D |W|² / (2 N) to the mean loss of N
      examples, W the weights of D standardised features. It is the precision of each logit's
      correction before anything is learned.
    progress: called with every new `Point`; its steps are those of L-BFGS so far.

  Returns:
    The chosen weights; `penalty` is None where the untrained student is nearest.

  Raises:
    InputError: data or settings that cannot be used, no validation example, or a loss that is not
      finite.

  Example:
    >>> from mezzanine_jax import heads
    >>> log_probs = np.log(np.full((4, 2), 0.5, np.float32))
    >>> teacher = np.log(np.array([[0.2, 0.8], [0.8, 0.2], [0.2, 0.8], [0.8, 0.2]], np.float32))
    >>> data = DistillData(np.array([[1.0], [-1.0], [1.0], [-1.0]], np.float32), log_probs,
    ...     np.arange(4)[:, None], np.zeros((4, 1), np.float32), teacher, np.full(4, -1))
    >>> found = solve(heads.ridge(2), data, data)
    >>> round(found.history[-1].valid_kl, 3), found.penalty
    (0.0, 0.01)
  """
  check_objective(hard_label_weight, temperature, 0.0)
  if not len(data_valid.row):
    raise InputError("the penalty of the student 'ridge' is chosen on validation examples, but"
                     " there are none: give more training examples, or take the student"
                     " 'residual'")
  data, valid = compact(data_train, "training"), compact(data_valid, "validation")
  if hard_label_weight and (data.labels < 0).all():
    raise InputError("hard_label_weight > 0 needs labels, but no training example has one")
  data, valid = jax.device_put(tuple(
      part._replace(log_probs=np.maximum(part.log_probs, _LEAST_LOG_PROB))
      for part in (data, valid)))
  params = student.init(jax.random.key(0), jax.tree.map(lambda array: array[0], table(data)))
  flat, unravel = jax.flatten_util.ravel_pytree(params["params"])

  def at(weights: np.ndarray) -> Params:
    return {**params, "params": unravel(jnp.asarray(weights, flat.dtype))}

  def loss(weights: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    value, slopes = _compiled(
        at(weights), jnp.float32(penalty), data, apply=student.apply,
        hard_label_weight=hard_label_weight, temperature=temperature)
    return float(value), np.asarray(jax.flatten_util.ravel_pytree(slopes)[0], np.float64)

  def look(steps: int, train_loss: float | None, own: Params) -> Point:
    point = Point(steps, train_loss, float(mean_kl(student.apply, own, valid)))
    for name, value in (("training loss", train_loss), ("validation KL", point.valid_kl)):
      if value is not None and not math.isfinite(value):
        raise InputError(f"the {name} of the student 'ridge' is {value}: check the features")
    if progress is not None:
      progress(point)
    return point

  # Where a product of float32 is one of bfloat16 by default, no line search finds its way.
  with jax.default_matmul_precision("highest"):
    points, weights = [look(0, None, params)], np.asarray(flat, np.float64)
    best, chosen = (points[0], params), None
    for penalty in penalties:
      found = scipy.optimize.minimize(
          loss, weights, (penalty,), jac=True, method="L-BFGS-B",
          options={"maxiter": _MOST_STEPS, "maxcor": 20, "ftol": 1e-8, "gtol": 1e-9})
      weights, own = found.x, at(found.x)
      points.append(look(points[-1].step + found.nit, loss(weights, 0.0)[0], own))
      if points[-1].valid_kl < best[0].valid_kl:
        best, chosen = (points[-1], own), penalty
      elif len(points) > 2 and points[-1].valid_kl > points[-2].valid_kl:
        break  # weaker penalties only fit the training part nearer
  return TrainResult(best[1], best[0].step, tuple(points), "validation", chosen)


def penalised_loss(
    apply: Callable[[Params, Inputs], Array], params: Params, data: DistillData, penalty: Array,
    hard_label_weight: float = 0.0, temperature: float = 1.0,
) -> Array:
  """`E_example E_view distill_loss + λ D |W|² / (2 N)`, float32[]; W are the leaves `kernel`.

  Args:
    apply: `Student.apply`.
    params: the student's.
    data: the examples, as jax arrays.
    penalty: λ.
    hard_label_weight: see `distill_loss`.
    temperature: see there.
  """
  log_probs_RxC = predict_rows(apply, params, table(data))
  loss = functools.partial(
      distill_loss, hard_label_weight=hard_label_weight, temperature=temperature)
  of_view = jax.vmap(jax.vmap(loss, (0, None, None)))
  loss_NxK, _ = of_view(log_probs_RxC[data.row], data.teacher_log_probs, data.labels)
  kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params["params"])
             if path[-1].key == "kernel"]
  size = sum(kernel.shape[0] * (kernel**2).sum() for kernel in kernels)
  return mean_of_views(loss_NxK, data) + penalty * size / (2 * len(data.row))


def loss_and_slope(
    params: Params, penalty: Array, data: DistillData, *, apply: Callable[[Params, Inputs], Array],
    hard_label_weight: float = 0.0, temperature: float = 1.0,
) -> tuple[Array, Params]:
  """`penalised_loss`, see there, and its gradient with respect to `params["params"]`."""
  fixed = {name: own for name, own in params.items() if name != "params"}
  return jax.value_and_grad(lambda trained: penalised_loss(
      apply, {**fixed, "params": trained}, data, penalty, hard_label_weight, temperature))(
          params["params"])


_compiled = jax.jit(
    loss_and_slope, static_argnames=("apply", "hard_label_weight", "temperature"))
