"""Distillation into the language model itself: low-rank adapters trained to give the teacher."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mezzanine_jax import checkpoints, engine, language, lora, objectives, optimizers, preemption
from mezzanine_jax import mesh as mesh_lib
from mezzanine_jax.base import Array, Params
from mezzanine_jax.distill import Point, point_at
from mezzanine_jax.divergences import kl
from mezzanine_jax.errors import InputError

Objective = Callable[[Array, Array, Array], Array]  # (answers, teachers, share of a row) -> loss
BatchFn = Callable[..., Any]  # (params, elements, rows) -> has log_probs[R, C], aligned
_BUCKETS = 4  # shapes that are compiled: rows of a batch are of about one length


class Target(NamedTuple):
  """Rows to learn from.

  Attributes:
    row: int32[n], numbers of rows of a plan.
    weight: float64[n], how often each is drawn; sums to 1.
    teacher_log_probs: float32[n, C], what the model should say there.
    example: int32[n], whose row it is.
  """

  row: np.ndarray
  weight: np.ndarray
  teacher_log_probs: np.ndarray
  example: np.ndarray


class Finetuned(NamedTuple):
  """Trained adapters.

  Attributes:
    adapters: of the step that is nearest the teacher on the validation rows.
    best_step: that step; 0 is the language model as it was.
    history: one `Point` per evaluation.
    chosen_by: what chose the step.
  """

  adapters: Any
  best_step: int
  history: tuple[Point, ...]
  chosen_by: str = "validation"


class State(NamedTuple):
  """What training carries, and so what a checkpoint holds; see `Finetuned`."""

  step: Array
  adapters: Any
  opt_state: Any
  best: Any
  best_step: Array
  best_kl: Array
  points: Array
  losses: Array  # the sum of those since the last look
  train_loss: Array
  valid_kl: Array


def targets(
    plan: language.Plan, teacher_log_probs: np.ndarray, examples: np.ndarray, views: str
) -> Target:
  """The rows of some examples, with the teacher of each.

  Args:
    plan: the rows.
    teacher_log_probs: float32[N, C], of every example.
    examples: int[n], which ones.
    views: `canonical`, one row an example; or `all`, its drawn views by their weights.
  """
  examples = np.asarray(examples)
  if views == "canonical":
    row = plan.rows.canonical_row[examples]
    return Target(row, np.full(len(row), 1 / len(row)), teacher_log_probs[examples], examples)
  row = plan.rows.row[examples]
  weight = np.exp(np.asarray(plan.views.log_weights, np.float64)[examples])
  owner = np.broadcast_to(examples[:, None], row.shape)[weight > 0]
  distinct, first, inverse = np.unique(row[weight > 0], return_index=True, return_inverse=True)
  total = np.bincount(inverse, weight[weight > 0])
  owner = owner[first]
  return Target(distinct.astype(np.int32), total / total.sum(), teacher_log_probs[owner], owner)


def finetune(
    plan: language.Plan,
    batch_fn: BatchFn,
    score_fn: BatchFn,
    params: Params,
    adapters: Any,
    train: Target,
    valid: Target,
    *,
    alpha: float = 16.0,
    steps: int = 300,
    batch_tokens: int = 2560,
    learning_rate: float = 5e-4,
    weight_decay: float = 0.0,
    temperature: float = 1.0,
    consistency_weight: float = 0.0,
    seed: int = 0,
    eval_every: int = 50,
    valid_plan: language.Plan | None = None,
    checkpoint_dir: Any = None,
    checkpoint_seconds: float = 60.0,
    facts: Any = None,
    progress: Callable[[Point], None] | None = None,
    advance: Callable[[int], None] = lambda steps: None,
    stop: Callable[[], bool] = lambda: False,
) -> Finetuned:
  """Trains adapters by `objectives.rows_loss`: KL(p_T || p_θ(row)) of single rows, and its terms.

  Step s draws its rows with a generator seeded by (seed, s); rows of a batch are of about one
  length, and weights make up for batches of long rows being smaller. Where the parameters lie on a
  mesh, the rows of a step are divided over its axis `data`; which rows these are does not depend
  on it.

  Args:
    plan: the rows, as scored.
    batch_fn: see `scoring.view_rows_scorer`; made with `remat=True` it needs far less memory.
    score_fn: the same, by which the validation rows are looked at.
    params: the language model's, frozen.
    adapters: the start, see `lora.init_adapters`.
    train: rows to learn from.
    valid: rows that choose the step.
    alpha: see `lora.merge`.
    steps: optimizer steps; with 0 there is one look at the validation rows.
    batch_tokens: tokens a step, about, on all devices together.
    learning_rate: the highest, see `optimizers.warmup_cosine_adamw`.
    weight_decay: see there.
    temperature: see `objectives.rows_loss`.
    consistency_weight: see there; above 0 the rows of a step are pairs of views.
    seed: of the rows' order.
    eval_every: steps between two looks at the validation rows.
    valid_plan: the same rows in another reading, in which the validation rows are looked at; the
      one that is learned from by default.
    checkpoint_dir: where a stopped training goes on from; None: nowhere.
    checkpoint_seconds: least time between two checkpoints; does not change the result.
    facts: what else the result depends on, such as the dtype of `batch_fn`: the checkpoint of a
      training with other ones is refused.
    progress: called with every new `Point`.
    advance: called with the number of steps done.
    stop: asked after every step; True saves the state and ends the process's work.

  Returns:
    The adapters of the best step, and the history.

  Raises:
    InputError: a setting out of range, a loss that is not finite, or a checkpoint of another
      training.
    Terminated: once `stop` says so.
  """
  optimizers.check_optimization(
      learning_rate, weight_decay, eval_every=eval_every, batch_tokens=batch_tokens)
  if steps < 0:
    raise InputError(f"steps must be >= 0, got {steps}")
  objectives.check_objective(0.0, temperature, consistency_weight)
  objectives.check_pairs(consistency_weight, len(np.unique(train.example)) < len(train.row))
  valid_plan = plan if valid_plan is None else valid_plan
  optimizer = optimizers.warmup_cosine_adamw(learning_rate, max(steps, 1), weight_decay)
  objective = functools.partial(
      objectives.rows_loss, temperature=temperature, consistency_weight=consistency_weight)
  mesh, in_pairs = mesh_lib.mesh_of(params), consistency_weight > 0
  run_fn = batch_fn if mesh is None else mesh_lib.spread(batch_fn, mesh, params)
  step_fn = jax.jit(functools.partial(step, optimizer, run_fn, alpha, objective), donate_argnums=0)
  buckets = _buckets(plan.lengths[train.row], train.weight, batch_tokens, in_pairs)

  looks = 1 + math.ceil(steps / eval_every)
  state = start(optimizer, adapters, looks)
  if checkpoint_dir is not None:
    settings = repr((alpha, steps, batch_tokens, learning_rate, weight_decay, temperature,
                     consistency_weight, seed, eval_every, facts,
                     language.digest(plan), language.digest(valid_plan)))
    fingerprint = checkpoints.fingerprint(settings, (adapters, tuple(train), tuple(valid)))
    restored = checkpoints.restore_last(checkpoint_dir, fingerprint, state)
    if restored is not None:  # of no device yet, as the start is: the parameters' will be taken
      state = jax.tree.map(jnp.asarray, jax.device_get(restored))
    advance(int(state.step))

  saved = time.monotonic()
  while True:
    done = int(state.step)
    due = -(-done // eval_every)
    if int(state.points) == due and (done % eval_every == 0 or done == steps):
      since = max(done - eval_every * (due - 1), 1)
      state = _look(state, valid_plan, score_fn, params, alpha, valid, batch_tokens, since)
      point = point_at(state, due, steps, eval_every)
      if not all(math.isfinite(v) for v in (point.valid_kl, point.train_loss or 0.0)):
        raise InputError(f"the loss is not finite at step {done}: lower learning_rate "
                         f"(got {learning_rate})")
      if progress is not None:
        progress(point)
    stopped = stop()
    if checkpoint_dir is not None and (
        done == steps or stopped or time.monotonic() - saved > checkpoint_seconds):
      checkpoints.save_last(checkpoint_dir, fingerprint, done, state)
      saved = time.monotonic()
    if stopped:
      raise preemption.Terminated
    if done == steps:
      break
    rng = np.random.default_rng([seed, done])
    chosen, length, share = _draw(rng, buckets, train, in_pairs)
    each = rows_a_device(len(chosen), mesh, in_pairs)
    filled, weight = _filled(chosen, each, mesh, share)
    inputs = _inputs(plan, train.row[filled], each, length, mesh)
    state = step_fn(state, params, inputs, train.teacher_log_probs[filled], weight)
    advance(1)
  history = tuple(point_at(state, i, steps, eval_every) for i in range(int(state.points)))
  return Finetuned(jax.device_get(state.best), int(state.best_step), history)


def start(optimizer: optax.GradientTransformation, adapters: Any, looks: int) -> State:
  """The state before the first step.

  Args:
    optimizer: of the adapters.
    adapters: the start; copied, as all buffers of the state are donated.
    looks: how often the validation rows will be looked at.
  """
  return State(
      jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, adapters), optimizer.init(adapters),
      jax.tree.map(jnp.copy, adapters), jnp.zeros((), jnp.int32), jnp.array(jnp.inf, jnp.float32),
      jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32), jnp.zeros(looks, jnp.float32),
      jnp.zeros(looks, jnp.float32))


def step(
    optimizer: optax.GradientTransformation, batch_fn: BatchFn, alpha: float, objective: Objective,
    state: State, params: Params, inputs: Any, teacher_log_probs: Array, weight: Array,
) -> State:
  """One optimizer step.

  Args:
    optimizer: of the adapters.
    batch_fn: as for `finetune`; or what `mesh.spread` makes of it.
    alpha: see `lora.merge`.
    objective: see `objectives.rows_loss`.
    state: before the step.
    params: the language model's.
    inputs: of `batch_fn`, behind the parameters.
    teacher_log_probs: float32[R, C].
    weight: float32[R], of each row.

  Returns:
    The state behind the step, to whose `losses` that of the step is added.
  """

  def loss_fn(adapters):
    log_probs = batch_fn(lora.attach(params, adapters, alpha), *inputs).log_probs
    return objective(log_probs.reshape(teacher_log_probs.shape), teacher_log_probs, weight)

  loss, grads = jax.value_and_grad(loss_fn)(state.adapters)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.adapters)
  adapters = optax.apply_updates(state.adapters, updates)
  return state._replace(step=state.step + 1, adapters=adapters, opt_state=opt_state,
                        losses=state.losses + loss)


def rows_a_step(batch_tokens: int, length: int, in_pairs: bool) -> int:
  """How many rows of a length a step has.

  Args:
    batch_tokens: see `finetune`.
    length: places of a row for its tokens.
    in_pairs: whether every second row belongs to the one before it.

  Example:
    >>> rows_a_step(2560, 500, False), rows_a_step(2560, 500, True)
    (5, 4)
  """
  size = max(batch_tokens // length, 1)
  return max(size // 2 * 2, 2) if in_pairs else size


def rows_a_device(rows: int, mesh: Mesh | None, in_pairs: bool) -> int:
  """How many of a step's rows each part of a mesh's axis `data` has; pairs stay together.

  Args:
    rows: of a step.
    mesh: that the parameters lie on; None for one device.
    in_pairs: whether every second row belongs to the one before it.

  Example:
    >>> rows_a_device(10, mesh_lib.make_mesh("data=1"), False)
    10
  """
  each = -(-rows // mesh_lib.data_size(mesh))
  return each + each % 2 if in_pairs else each


def _filled(
    chosen: np.ndarray, each: int, mesh: Mesh | None, share: float
) -> tuple[np.ndarray, np.ndarray]:
  """The rows of all devices, those that fill up repeated ones of weight 0; float32[R] weights."""
  count = each * mesh_lib.data_size(mesh)
  weight = np.where(np.arange(count) < len(chosen), share, 0.0)
  return np.resize(chosen, count), weight.astype(np.float32)


def _inputs(
    plan: language.Plan, rows: np.ndarray, each: int, length: int, mesh: Mesh | None
) -> Any:
  """What `batch_fn` takes behind the parameters; over a mesh, a part for each group of devices."""
  tokens = each * (length + language.extra_tokens(plan.xs))
  parts = [language.pack(plan, part, np.zeros(each, np.int32), tokens=tokens, size=each,
                         length=length) for part in rows.reshape(-1, each)]
  return parts[0] if mesh is None else mesh_lib.stack(parts, mesh)


class _Bucket(NamedTuple):
  """Rows of about one length: places in `Target`, how often, and the shape of their batches."""

  rows: np.ndarray
  chance: float
  share: float  # the weight of a row of such a batch
  size: int
  length: int


def _buckets(
    lengths: np.ndarray, weight: np.ndarray, batch_tokens: int, in_pairs: bool = False
) -> list[_Bucket]:
  """Rows by length in a few groups; every row is equally worth by its weight."""
  order = np.argsort(lengths, kind="stable")
  parts = [part for part in np.array_split(order, min(_BUCKETS, len(order))) if len(part)]
  longest = [-(-int(lengths[part].max()) // 8) * 8 for part in parts]
  sizes = [rows_a_step(batch_tokens, length, in_pairs) for length in longest]
  chances = np.array([weight[p].sum() / s for p, s in zip(parts, sizes, strict=True)])
  chances /= chances.sum()
  mean = float(chances @ sizes)
  return [_Bucket(p, float(c), 1 / mean, s, n)
          for p, c, s, n in zip(parts, chances, sizes, longest, strict=True)]


def _draw(
    rng: np.random.Generator, buckets: list[_Bucket], train: Target, in_pairs: bool
) -> tuple[np.ndarray, int, float]:
  """Rows of one batch, places of each for its tokens, and the weight of each row's loss.

  In pairs, every second row is a view of the example before it, of the same bucket.
  """
  own = buckets[rng.choice(len(buckets), p=[b.chance for b in buckets])]
  p = train.weight[own.rows] / train.weight[own.rows].sum()
  if not in_pairs:
    return rng.choice(own.rows, own.size, p=p), own.length, own.share
  first = rng.choice(own.rows, own.size // 2, p=p)
  second = [_view(rng, train, own.rows, n) for n in first]
  return np.stack([first, second], 1).reshape(-1), own.length, own.share


def _view(rng: np.random.Generator, train: Target, rows: np.ndarray, n: int) -> int:
  """One of these rows by its weight, of the example of row n."""
  rows = rows[train.example[rows] == train.example[n]]
  return int(rng.choice(rows, p=train.weight[rows] / train.weight[rows].sum()))


def _look(
    state: State, plan: language.Plan, score_fn: Callable, params: Params, alpha: float,
    valid: Target, batch_tokens: int, since: int,
) -> State:
  """Records the mean loss of the steps `since` the last look, and keeps the best adapters."""
  merged = jax.jit(lora.merge)(params, state.adapters, alpha)
  part = language.only_rows(plan, valid.row, batch_tokens, max_shapes=1)
  log_probs = engine.outputs(
      score_fn, language.ready(merged), lambda batch: language.batch_inputs(part, batch),
      part.batches).log_probs
  order = np.argsort(valid.row)  # that of the part's rows
  to_teacher = kl(jnp.asarray(valid.teacher_log_probs[order]), log_probs)
  total = float(valid.weight[order] @ np.asarray(to_teacher, np.float64))
  better = total < float(state.best_kl)
  at = int(state.points)
  return state._replace(
      best=jax.tree.map(jnp.copy, state.adapters) if better else state.best,
      best_step=jnp.array(int(state.step) if better else int(state.best_step), jnp.int32),
      best_kl=jnp.array(total if better else float(state.best_kl), jnp.float32),
      points=state.points + 1,
      losses=jnp.zeros((), jnp.float32),
      train_loss=state.train_loss.at[at].set(state.losses / since),
      valid_kl=state.valid_kl.at[at].set(total),
  )
