"""Distillation: a student learns to give the marginal teacher's answer from any single view."""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mezzanine_jax import checkpoints, optimizers, preemption
from mezzanine_jax.base import Array, Params
from mezzanine_jax.distill_data import Batch, DistillData, compact, draw_batch, table
from mezzanine_jax.errors import InputError
from mezzanine_jax.objectives import check_objective, check_pairs, disagreement, distill_loss
from mezzanine_jax.students import Inputs, Student, predict_rows
from mezzanine_jax.targets import BELIEFS, TARGETS


class TrainState(NamedTuple):
  """What training carries from step to step: int32[] step, the params, the optimizer's state."""

  step: Array
  params: Params
  opt_state: Any


class Info(NamedTuple):
  """What a step only reports: float32[] loss and KL to the teacher (nats), means over the batch."""

  loss: Array
  kl: Array


class Distiller(NamedTuple):
  """Training as a pair of pure functions.

  Attributes:
    init: `(key, inputs of one view) -> TrainState`.
    step: `(state, batch) -> (state, info)`.
  """

  init: Callable[[Array, Inputs], TrainState]
  step: Callable[[TrainState, Batch], tuple[TrainState, Info]]


class Point(NamedTuple):
  """One evaluation: after how many steps, mean training loss since the last one, validation KL.

  Of real values, loss and `valid_kl` are squared distances.
  """

  step: int
  train_loss: float | None
  valid_kl: float | None


class TrainResult(NamedTuple):
  """A trained student.

  Attributes:
    params: of the chosen step.
    best_step: how many steps they have behind them; 0 is the untrained student.
    history: one `Point` per evaluation, the start (step 0) first.
    chosen_by: "validation", or "last step" where there was no validation part.
    penalty: the one chosen by `ridge.solve`; None for a training, or for none.
  """

  params: Params
  best_step: int
  history: tuple[Point, ...]
  chosen_by: str
  penalty: float | None = None


def distiller(
  student: Student,
  optimizer: optax.GradientTransformation,
  *,
  hard_label_weight: float = 0.0,
  temperature: float = 1.0,
  consistency_weight: float = 0.0,
  target: str = BELIEFS,
) -> Distiller:
  """Minimises the mean `distill_loss` over a batch of views, plus the weighted `disagreement`.

  Only `params["params"]` is trained; other collections (the standardisation) stay as they are.

  Args:
    student: what is trained.
    optimizer: any optax transformation.
    hard_label_weight: share of the labels' cross-entropy in the loss, in [0, 1].
    temperature: see `distill_loss`.
    consistency_weight: of `disagreement`, >= 0; above 0 the batch holds pairs of views, see
      `distill_data.draw_batch`.
    target: what the predictions are, one of `targets.TARGETS`.

  Returns:
    The two functions; jit and scan them at will.

  Raises:
    InputError: a weight or temperature out of range.
  """
  check_objective(hard_label_weight, temperature, consistency_weight, target)

  def init(key: Array, inputs: Inputs) -> TrainState:
    params = student.init(key, inputs)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params["params"]))

  def loss_fn(trained: Params, fixed: Params, batch: Batch) -> tuple[Array, Array]:
    params = {**fixed, "params": trained}
    log_probs = jax.vmap(student.apply, (None, 0))(params, batch.inputs)
    loss = functools.partial(
        distill_loss, hard_label_weight=hard_label_weight, temperature=temperature,
        target=target)
    loss, to_teacher = jax.vmap(loss)(log_probs, batch.teacher_log_probs, batch.labels)
    apart = consistency_weight * disagreement(log_probs, target) if consistency_weight else 0.0
    return loss.mean() + apart, to_teacher.mean()

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Info]:
    trained = state.params["params"]
    fixed = {name: value for name, value in state.params.items() if name != "params"}
    (loss, to_teacher), grads = jax.value_and_grad(loss_fn, has_aux=True)(trained, fixed, batch)
    updates, opt_state = optimizer.update(grads, state.opt_state, trained)
    params = {**fixed, "params": optax.apply_updates(trained, updates)}
    return TrainState(state.step + 1, params, opt_state), Info(loss, to_teacher)

  return Distiller(init, step)


def mean_kl(
  apply: Callable[[Params, Inputs], Array], params: Params, data: DistillData,
  target: str = BELIEFS,
) -> Array:
  """`E_example E_view KL(p_T || q(view))` over all views by weight, float32[] in nats.

  Args:
    apply: `Student.apply`.
    params: the student's.
    data: the examples, as jax arrays.
    target: see `distill_loss`.

  Returns:
    The mean; 0 for a student that gives the teacher's answer on every view.
  """
  log_probs_RxC = predict_rows(apply, params, table(data))
  kl_NxK = TARGETS[target].distance(data.teacher_log_probs[:, None], log_probs_RxC[data.row])
  return mean_of_views(kl_NxK, data)


def mean_of_views(figure_NxK: Array, data: DistillData) -> Array:
  """`E_example E_view figure` by the views' weights, float32[]; what stands at padding is ignored.

  Args:
    figure_NxK: float32[N, K], of every view.
    data: the examples, as jax arrays.
  """
  weight_NxK = jnp.exp(data.log_weights)
  return jnp.sum(jnp.where(weight_NxK > 0, weight_NxK * figure_NxK, 0.0)) / data.row.shape[0]


def train(
  student: Student,
  data_train: DistillData,
  data_valid: DistillData | None,
  *,
  key: Array,
  steps: int = 800,
  batch_size: int = 256,
  learning_rate: float = 1e-3,
  weight_decay: float = 1e-2,
  hard_label_weight: float = 0.0,
  temperature: float = 1.0,
  consistency_weight: float = 0.0,
  eval_every: int = 50,
  target: str = BELIEFS,
  checkpoint_dir: str | None = None,
  checkpoint_seconds: float = 10.0,
  resume: bool = True,
  progress: Callable[[Point], None] | None = None,
  stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
  """Trains a student and keeps the step that is nearest the teacher on the validation part.

  Step s draws its batch with `fold_in(key, s)`, so a training that was interrupted and goes on
  from its checkpoint ends in the same bits as one that was not.

  Args:
    student: what is trained; see `students.standardize`.
    data_train: all training views.
    data_valid: all validation views, of other clusters. None (or no examples): the last step is
      taken, and the result says so.
    key: PRNG key; consumed.
    steps: optimizer steps.
    batch_size: views a step.
    learning_rate: the highest, see `optimizers.warmup_cosine_adamw`.
    weight_decay: see there.
    hard_label_weight: see `objectives.distill_loss`. The step is chosen by KL to the teacher in
      any case.
    temperature: see there.
    consistency_weight: see `distiller`.
    eval_every: steps between two evaluations.
    target: what the predictions are, one of `targets.TARGETS`.
    checkpoint_dir: where `last/` (while training) and `best/` (at the end) go; None: nowhere.
    checkpoint_seconds: least time between two writes of `last`; does not change the result.
    resume: go on from `last/` where there is one; False: start over.
    progress: called with every new `Point`.
    stop: asked after every evaluation; True saves the state and ends the process's work.

  Returns:
    The chosen params, their step, and the history, whole even after an interruption.

  Raises:
    InputError: data or settings that cannot be used, a loss that is not finite, or a
      `checkpoint_dir` that holds another training.
    Terminated: once `stop` says so.
  """
  plan = _Plan(steps, batch_size, learning_rate, weight_decay, hard_label_weight, temperature,
               consistency_weight, eval_every, target)
  _check_plan(plan)
  data = compact(data_train, "training", target)
  check_pairs(consistency_weight, data.row.shape[1] > 1)
  valid = None
  if data_valid is not None and len(data_valid.row):
    valid = compact(data_valid, "validation", target)
  if hard_label_weight and (data.labels < 0).all():
    raise InputError("hard_label_weight > 0 needs labels, but no training example has one")

  init_key, draw_key = jax.random.split(key)
  one_view = jax.tree.map(lambda array: array[0], table(data))
  loop = _start(init_key, one_view, student=student, plan=plan)
  if checkpoint_dir is not None:
    inputs = (jax.random.key_data(draw_key), loop.state.params, data, valid)
    fingerprint = checkpoints.fingerprint(repr(plan), inputs)
    if not resume:
      checkpoints.clear_last(checkpoint_dir)
    restored = checkpoints.restore_last(checkpoint_dir, fingerprint, loop)
    loop = loop if restored is None else restored
  data, valid = jax.device_put((data, valid))

  done, saved = int(loop.state.step), time.monotonic()
  while done < steps or int(loop.points) == 0:
    length = min(eval_every, steps - done) if int(loop.points) else 0  # a look at the start
    loop = _advance(loop, data, valid, draw_key, length, apply=student.apply, plan=plan)
    _report(loop, plan, valid is not None, progress)
    done += length
    stopped = stop()
    due = done and (stopped or time.monotonic() - saved >= checkpoint_seconds)
    if checkpoint_dir is not None and (due or done == steps):
      checkpoints.save_last(checkpoint_dir, fingerprint, done, loop)
      saved = time.monotonic()
    if stopped:
      raise preemption.Terminated
  if checkpoint_dir is not None:
    checkpoints.save_best(checkpoint_dir, loop.best_params)
  history = tuple(
    point_at(loop, i, steps, eval_every, valid is not None) for i in range(int(loop.points)))
  chosen_by = "last step" if valid is None else "validation"
  return TrainResult(loop.best_params, int(loop.best_step), history, chosen_by)


@dataclass(frozen=True)
class _Plan:
  """The settings that decide a training's numbers; hashable, so a static argument of jit."""

  steps: int
  batch_size: int
  learning_rate: float
  weight_decay: float
  hard_label_weight: float
  temperature: float
  consistency_weight: float
  eval_every: int
  target: str = field(default=BELIEFS, repr=False)  # data of beliefs are never data of values


class _Loop(NamedTuple):
  """All that the loop carries, and so all that `last/` holds."""

  state: TrainState
  best_params: Params
  best_step: Array  # int32[]
  best_kl: Array  # float32[]
  points: Array  # int32[], how many evaluations are behind it
  train_loss: Array  # float32[E]
  valid_kl: Array  # float32[E]


def _check_plan(plan: _Plan) -> None:
  """Raises for a setting that makes no sense."""
  counts = {name: getattr(plan, name) for name in ("steps", "batch_size", "eval_every")}
  optimizers.check_optimization(plan.learning_rate, plan.weight_decay, **counts)
  check_objective(plan.hard_label_weight, plan.temperature, plan.consistency_weight, plan.target)
  if plan.consistency_weight and plan.batch_size % 2:
    raise InputError(f"batch_size must be even for pairs of views, got {plan.batch_size}")


def _distiller(student: Student, plan: _Plan) -> Distiller:
  """The distiller of a plan."""
  optimizer = optimizers.warmup_cosine_adamw(plan.learning_rate, plan.steps, plan.weight_decay)
  return distiller(
      student, optimizer, hard_label_weight=plan.hard_label_weight,
      temperature=plan.temperature, consistency_weight=plan.consistency_weight, target=plan.target)


@functools.partial(jax.jit, static_argnames=("student", "plan"))
def _start(key: Array, one_view: Inputs, *, student: Student, plan: _Plan) -> _Loop:
  """The loop before its first evaluation; no buffer twice, as all of them are donated."""
  state = _distiller(student, plan).init(key, one_view)
  size = 1 + math.ceil(plan.steps / plan.eval_every)
  return _Loop(
    state=state,
    best_params=jax.tree.map(jnp.copy, state.params),
    best_step=jnp.zeros((), jnp.int32),
    best_kl=jnp.array(jnp.inf, jnp.float32),
    points=jnp.zeros((), jnp.int32),
    train_loss=jnp.zeros(size, jnp.float32),
    valid_kl=jnp.zeros(size, jnp.float32),
  )


@functools.partial(jax.jit, static_argnames=("apply", "plan"), donate_argnames="loop")
def _advance(
  loop: _Loop, data: DistillData, valid: DistillData | None, key: Array, length: Array, *,
  apply: Callable, plan: _Plan,
) -> _Loop:
  """`length` steps, then an evaluation: one program, whatever the length is."""
  # Only `apply` is static: students that differ in their constants share what was compiled.
  step = _distiller(Student(None, apply), plan).step

  def body(_: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
    state, total = carry
    batch = draw_batch(data, jax.random.fold_in(key, state.step), plan.batch_size,
                       pairs=plan.consistency_weight > 0)
    state, info = step(state, batch)
    return state, total + info.loss

  state, total = jax.lax.fori_loop(0, length, body, (loop.state, jnp.float32(0)))
  loss = total / jnp.maximum(length, 1)
  return _evaluate(loop._replace(state=state), loss, valid, apply, plan.target)


def _evaluate(
  loop: _Loop, loss: Array, valid: DistillData | None, apply: Callable, target: str
) -> _Loop:
  """Records the training loss and the validation KL; keeps the params if they are the best."""
  state = loop.state
  if valid is None:
    valid_kl, better = jnp.float32(0), jnp.array(True)
  else:
    valid_kl = mean_kl(apply, state.params, valid, target)
    better = valid_kl < loop.best_kl
  return _Loop(
    state=state,
    best_params=jax.tree.map(functools.partial(jnp.where, better), state.params, loop.best_params),
    best_step=jnp.where(better, state.step, loop.best_step),
    best_kl=jnp.where(better, valid_kl, loop.best_kl),
    points=loop.points + 1,
    train_loss=loop.train_loss.at[loop.points].set(loss),
    valid_kl=loop.valid_kl.at[loop.points].set(valid_kl),
  )


def point_at(
  loop: Any, index: int, steps: int, eval_every: int, validated: bool = True
) -> Point:
  """The evaluation of that index, out of the `train_loss` and `valid_kl` of a training's state."""
  return Point(
    step=min(index * eval_every, steps),
    # Indexed as NumPy's: every index of a jax array would be a program to compile.
    train_loss=float(np.asarray(loop.train_loss)[index]) if index else None,
    valid_kl=float(np.asarray(loop.valid_kl)[index]) if validated else None,
  )


def _report(
  loop: _Loop, plan: _Plan, validated: bool, progress: Callable[[Point], None] | None
) -> None:
  """Checks the newest evaluation, then shows it."""
  point = point_at(loop, int(loop.points) - 1, plan.steps, plan.eval_every, validated)
  for name, value in (("training loss", point.train_loss), ("validation KL", point.valid_kl)):
    if value is not None and not math.isfinite(value):
      raise InputError(
        f"the {name} is {value} at step {point.step}: lower learning_rate "
        f"(got {plan.learning_rate}) or check the features"
      )
  if progress is not None:
    progress(point)
