"""Students that are the language model itself with low-rank adapters: learned, scored, kept.

`lora` reads a view as it stands. `set` reads the evidence as a set, so that its answer cannot
depend on the order: attention is averaged over orders of the sorted sentences (see
`language.as_set`). Adapters learn what is missing; with `lora_steps` 0 it is the model's own
reading of the set.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mezzanine_jax import (
    checkpoints,
    distill,
    divergences,
    engine,
    experiment,
    finetune,
    language,
    lora,
    objectives,
    predict,
    preemption,
    progress,
    runs,
    sets,
    students,
    tangents,
    training,
)
from mezzanine_jax import settings as settings_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Params
from mezzanine_jax.errors import InputError

NAMES = {
    "lora": "The language model with low-rank adapters, which reads a view as it stands.",
    "set": "The language model with low-rank adapters, which reads the evidence as a set."}
SET = "the student 'set'", "lora"  # who it is in errors, and what may be used instead
# In the student's folder:
ROWS, TANGENTS, FILE = "rows.zarr", "tangents.zarr", "adapters.safetensors"


class Learned(NamedTuple):
  """Adapters and what the model with them says.

  Attributes:
    found: see `finetune.Finetuned`.
    log_probs: float32[R, C], on the rows of the test examples; the model's own elsewhere.
    block: how the adapters were chosen, and what was checked, for the results.
    answer: see `Answer`.
  """

  found: finetune.Finetuned
  log_probs: np.ndarray
  block: dict[str, Any]
  answer: "Answer"


class Answer(NamedTuple):
  """What is made of the log-probs of the model with adapters: log_softmax(scale log p + shift).

  Attributes:
    scale: of all log-probs.
    shift: one number for each choice; none for no shift.
  """

  scale: float = 1.0
  shift: tuple[float, ...] = ()

  def __call__(self, log_probs: Any) -> jax.Array:
    shift = jax.numpy.asarray(self.shift or (0.0,), jax.numpy.float32)
    return jax.nn.log_softmax(self.scale * log_probs + shift)


def settings(config: Any, answer: Answer | None = None) -> dict[str, Any]:
  """What makes the model with adapters again, beside the adapters: for the student's meta.

  Args:
    config: has the fields of `settings.AdapterFields`, and `student`.
    answer: what was learned beside them.
  """
  answer = answer or Answer()
  return {"rank": config.lora_rank, "alpha": config.lora_alpha,
          "scale": answer.scale, "shift": list(answer.shift),
          "targets": sorted({name.strip() for name in config.lora_targets.split(",")}),
          "set_orders": config.set_orders if config.student == "set" else None}


def check(config: Any, asked: experiment.Asked) -> None:
  """Whether the model can have such adapters, and what is asked be read as a set.

  Raises:
    InputError: if not.
  """
  if config.student == "set":
    sets.check(config, asked.prepared, *SET)
  if config.hard_label_weight:
    raise InputError("adapters learn from the teacher alone, got hard_label_weight"
                     f" {config.hard_label_weight}: leave it at 0, or choose a head")
  objectives.check_pairs(
      config.consistency_weight, config.student_views == "all" and config.k_train > 1)
  if config.lora_solver == "tangent":
    if config.student == "lora" and config.student_views == "all":
      raise InputError("lora_solver 'tangent' learns from one row of each example: give"
                       " student_views 'canonical', or the student 'set'")
    if config.consistency_weight or config.temperature != 1:
      raise InputError("lora_solver 'tangent' learns from the teacher as it is, got"
                       f" consistency_weight {config.consistency_weight} and temperature"
                       f" {config.temperature}: leave them at 0 and 1, or use adamw")
  made = settings(config)
  jax.eval_shape(lambda params: lora.init_adapters(
      params, jax.random.key(0), rank=made["rank"], targets=made["targets"]), asked.lm.params)


class Reading(NamedTuple):
  """Adapters of another run, with which the model reads sets for a head.

  Attributes:
    adapters: see `lora.init_adapters`.
    alpha: see `lora.merge`.
    block: what they are, for the student's meta and the results.
  """

  adapters: Any
  alpha: float
  block: dict[str, Any]

  def __call__(self, params: Params) -> Params:
    return jax.jit(lora.merge)(params, self.adapters, self.alpha)

  def save(self, folder: pathlib.Path) -> None:
    """Keeps them beside the student, which cannot be used without."""
    folder.mkdir(parents=True, exist_ok=True)
    lora.save_adapters(folder / FILE, self.adapters, self.alpha)


def reading(config: Any, asked: experiment.Asked, is_set: bool) -> Reading | None:
  """The adapters of `lora_from`, if the model can read this run's sets with them; None without.

  They have seen the examples that they learned from, so that both runs have to divide the same
  examples alike.

  Args:
    config: has the fields of the recipe that reads sets.
    asked: the examples, with the model.
    is_set: whether a head reads sets.

  Raises:
    InputError: if they do not fit.
  """
  where = config.lora_from
  if where is None:
    return None
  if not is_set:
    raise InputError("lora_from is for heads that read sets, got the student"
                     f" {config.student!r} with student_reads {config.student_reads!r}")
  results = runs.finished(where)
  params, meta = checkpoints.load_student(runs.find_path(where) / runs.STUDENT)
  if meta["name"] != "set":
    raise InputError(f"lora_from {where!r} holds the student {meta['name']!r}: give the folder of a"
                     " run of the student 'set'")
  if meta.get("model_digest") != asked.lm.digest:
    raise InputError(f"the adapters in {where!r} are of another model or dtype than"
                     f" {config.lm_name!r} in {config.dtype}")
  load(params, meta)  # for its checks
  if results["data"].get("sha256") != asked.data.world.digests:
    raise InputError(f"the adapters in {where!r} learned from other data: what they have seen may"
                     " not be asked about")
  made = meta["settings"]
  other = dict(results["config"], set_orders=made["set_orders"])
  names = {f.name for f in dataclasses.fields(settings_lib.WorldFields)} - {"dataset"}
  for name in (*sorted(names), "valid_fraction", "shots", "unit", "set_orders"):
    if other.get(name) != getattr(config, name):
      raise InputError(
          f"the adapters in {where!r} are of a run with {name} {other.get(name)!r}, here it is"
          f" {getattr(config, name)!r}: both runs have to divide the same examples alike, and to"
          " read them alike")
  block = {name: made[name] for name in ("rank", "alpha", "targets", "set_orders")}
  return Reading(params, made["alpha"], block | {"digest": engine.digest(params)})


def kept_reading(folder: pathlib.Path, meta: Mapping[str, Any]) -> Reading:
  """What `Reading.save` wrote.

  Args:
    folder: the student's.
    meta: what stands beside it, with the reading's block as `adapters`.

  Raises:
    InputError: if it is not what the student learned with.
  """
  found, alpha = lora.load_adapters(folder / FILE)
  block = meta["adapters"]
  kept = {"digest": engine.digest(found), "alpha": alpha}
  if not isinstance(block, dict) or any(block.get(name) != own for name, own in kept.items()):
    raise InputError("the adapters beside the student are not those that it learned with: the"
                     " folder is damaged; train it again")
  return Reading(found, alpha, block)


def learn(
    config: Any, asked: experiment.Asked, plan: language.Plan, log_probs: np.ndarray,
    teacher_log_probs: np.ndarray, parts: tuple[np.ndarray, np.ndarray], folder: runs.Folder,
    control: bool = False,
) -> Learned:
  """Trains adapters on the views of the training examples, and scores those of the test examples.

  Examples that cannot move teach nothing: the model's one view is its teacher. A student that reads
  sets learns from views as they stand, too, unless `student_views` says canonical: one order or
  another is sorted.

  Args:
    config: has the fields of `settings.AdapterFields` and `RunFields`, `student`, `student_views`,
      a seed.
    asked: the examples, with the model.
    plan: their rows.
    log_probs: float32[R, C], the model's own.
    teacher_log_probs: float32[N, C].
    parts: indices of the examples to learn from and of those that choose the step.
    folder: the run's.
    control: whether the examples' targets are shuffled.

  Raises:
    InputError: a setting out of range, no training example that can move, or a loss that is not
      finite.
  """
  lm, made = asked.lm, settings(config)
  movable = np.asarray(plan.views.orbit_size) > 1
  train, valid = (part[movable[part]] for part in parts)
  if not len(train) or not len(valid):
    raise InputError("the adapters need examples that can move, to learn from and to choose the"
                     f" step by, but there are {len(train)} and {len(valid)}: give a larger"
                     " n_train, or another student")
  # Views are drawn from keys folded from the seed with names; heads take 1, base models 2.
  keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 3), 2)
  if control:
    order = np.asarray(jax.random.permutation(keys[1], len(train)))
    teacher_log_probs = teacher_log_probs.copy()
    teacher_log_probs[train] = teacher_log_probs[train[order]]
  is_set = config.student == "set"
  read = language.as_set(plan, asked.symmetry, config.set_orders) if is_set else plan
  start = lora.init_adapters(lm.params, keys[0], rank=made["rank"], targets=made["targets"])
  if config.lora_solver == "tangent":
    start = tangents.init_adapters(start, jax.random.fold_in(keys[0], 1))
    fitted = _by_tangent(
        config, asked, read, log_probs, teacher_log_probs, (train, valid), start, folder, control)
  else:
    fitted = _by_steps(
        config, asked, plan, read, teacher_log_probs, (train, valid), start, folder, control)
  found, answer, looked_at, block = fitted
  where = _place(folder, control)
  if not control:
    where.mkdir(parents=True, exist_ok=True)
    lora.save_adapters(where / FILE, found.adapters, made["alpha"])
  test = np.flatnonzero(asked.data.is_test)
  block = training.history_block(found) | block
  block["model_valid_kl"] = _mean_kl(looked_at, log_probs[looked_at.row])
  # Of sets one view stands for all; of some examples all are scored, to see that it does.
  rows = sets.rows(plan, test, test) if is_set else np.concatenate(
      [plan.rows.canonical_row[test], plan.rows.row[test].reshape(-1)])
  rows = np.unique(rows[rows >= 0])
  every = np.array(log_probs)
  every[rows] = answer(_score(config, asked, read, found.adapters, where, control, rows))
  if is_set:
    every, block["order_blind"] = sets.everywhere(plan, rows, every[rows], test, log_probs)
  return Learned(found, every, block, answer)


class _Fitted(NamedTuple):
  """Adapters, what is made of the log-probs, the rows that chose, and how, for the results."""

  found: finetune.Finetuned
  answer: Answer
  looked_at: finetune.Target
  block: dict[str, Any]


def _place(folder: runs.Folder, control: bool) -> pathlib.Path:
  """Where what is learned stands."""
  return folder.path / runs.STUDENT / ("control" if control else "")


def _by_steps(
    config: Any, asked: experiment.Asked, plan: language.Plan, read: language.Plan,
    teacher_log_probs: np.ndarray, parts: tuple[np.ndarray, np.ndarray], start: Any,
    folder: runs.Folder, control: bool,
) -> _Fitted:
  """By `finetune`; see `learn`, and `read` are the rows as the student reads them."""
  lm, views, (train, valid) = asked.lm, config.student_views, parts
  block, title = (("controls.shuffled_targets", "training the control") if control
                  else ("student", "training the adapters"))
  learned_from = read if read is plan or views == "canonical" else language.as_set(
      plan, asked.symmetry, config.set_orders, is_sorted=False)
  score_fn = experiment.lm_answers(config, lm, asked.symmetry)
  batch_fn = experiment.lm_answers(
      config, lm, asked.symmetry, dtype=config.lora_dtype, remat=True)
  looked_at = finetune.targets(plan, teacher_log_probs, valid[: config.lora_valid], "canonical")
  with preemption.deferred() as terminated, progress.bar(title, config.lora_steps) as advance:
    found = finetune.finetune(
        learned_from, batch_fn, score_fn, lm.params, start,
        finetune.targets(plan, teacher_log_probs, train, views), looked_at,
        alpha=config.lora_alpha, steps=config.lora_steps, batch_tokens=config.lora_batch_tokens,
        learning_rate=config.lora_learning_rate, temperature=config.temperature,
        consistency_weight=config.consistency_weight, seed=config.seed,
        eval_every=config.lora_eval_every, valid_plan=read, checkpoint_dir=_place(folder, control),
        facts=str(jax.numpy.dtype(config.lora_dtype or lm.dtype)),
        progress=training.logged(folder.tracker, block), advance=advance, stop=terminated)
  return _Fitted(found, Answer(), looked_at, {})


def _by_tangent(
    config: Any, asked: experiment.Asked, read: language.Plan, log_probs: np.ndarray,
    teacher_log_probs: np.ndarray, parts: tuple[np.ndarray, np.ndarray], start: Any,
    folder: runs.Folder, control: bool,
) -> _Fitted:
  """By `tangents`: the derivatives of each example's row are kept, as scored rows are.

  What the regression promises is looked at: where the model with its adapters is farther from the
  teacher on the validation rows than the model as it is, it stays as it is.
  """
  lm, (train, valid) = asked.lm, parts
  every = np.concatenate([train, valid])
  rows = read.rows.canonical_row[every]
  part = language.only_rows(read, rows, config.lora_batch_tokens, config.max_shapes)
  batch_fn = tangents.scorer(experiment.lm_answers(
      config, lm, asked.symmetry, dtype=config.lora_dtype, remat=True))
  fingerprint = store_lib.fingerprint({
      "scorer": language.SCORER_VERSION, "model": lm.digest, "rows": language.digest(part),
      "which": engine.digest(rows), "adapters": engine.digest(start), "alpha": config.lora_alpha,
      "norm": config.choice_norm, "dtype": str(config.lora_dtype)})
  where = _place(folder, False)  # the control's are the same
  where.mkdir(parents=True, exist_ok=True)
  with progress.rows("deriving", len(rows)) as written:
    store, _ = language.score(
        part, batch_fn, lora.attach(lm.params, start, config.lora_alpha), where / TANGENTS,
        fingerprint,
        ids=[e.id for e in asked.data.examples], progress=written)
  with progress.bar("solving"):
    found = tangents.Tangents(*(store_lib.read(store, name) for name in tangents.Tangents._fields))
    at = np.searchsorted(np.sort(rows), rows)
    teachers = np.zeros_like(found.log_probs)
    teachers[at] = teacher_log_probs[every]
    solved = tangents.solve(found, teachers, at[: len(train)], at[len(train) :], start)
  answer = Answer(solved.scale, tuple(solved.shift.tolist()))
  looked_at = finetune.targets(read, teacher_log_probs, valid, "canonical")
  own = np.sort(looked_at.row)
  real = answer(_score(config, asked, read, solved.adapters, _place(folder, control) / "valid",
                       control, own))[np.searchsorted(own, looked_at.row)]
  points = [distill.Point(0, None, _mean_kl(looked_at, log_probs[looked_at.row])),
            distill.Point(1, None, _mean_kl(looked_at, real))]
  best = int(points[1].valid_kl < points[0].valid_kl)
  block = {"solver": "tangent", "ridge": solved.ridge, "scale": solved.scale,
           "tangent_valid_kl": min(solved.valid_kl)}
  if best:
    return _Fitted(finetune.Finetuned(solved.adapters, 1, tuple(points)), answer, looked_at, block)
  none = jax.tree.map(np.zeros_like, solved.adapters)
  return _Fitted(finetune.Finetuned(none, 0, tuple(points)), Answer(), looked_at, block)


def _mean_kl(looked_at: finetune.Target, log_probs: Any) -> float:
  """The mean KL of the rows' teachers to some answers."""
  each = divergences.kl(looked_at.teacher_log_probs, log_probs)
  return float(looked_at.weight @ np.asarray(each, np.float64))


def _score(
    config: Any, asked: experiment.Asked, plan: language.Plan, own: Any, where: pathlib.Path,
    control: bool, rows: np.ndarray,
) -> np.ndarray:
  """float32[n, C], rows (in order) by the model with adapters; kept, so that a stop loses none."""
  part = language.only_rows(plan, rows, config.batch_tokens, config.max_shapes)
  batch_fn = experiment.lm_answers(config, asked.lm, asked.symmetry)
  merged = jax.jit(lora.merge)(asked.lm.params, own, config.lora_alpha)
  fingerprint = store_lib.fingerprint({
      "scorer": language.SCORER_VERSION, "model": asked.lm.digest, "rows": language.digest(part),
      "adapters": engine.digest(own), "alpha": config.lora_alpha,
      "norm": config.choice_norm})
  title = "scoring the control" if control else "scoring the student"
  where.mkdir(parents=True, exist_ok=True)
  with progress.rows(title, len(rows)) as written:
    store, _ = language.score(
        part, batch_fn, merged, where / ROWS, fingerprint,
        ids=[e.id for e in asked.data.examples], progress=written)
  return store_lib.read(store, "log_probs")


def load(params: Params, meta: Mapping[str, Any]) -> predict.Loaded:
  """The student of a run, for `predict`.

  Args:
    params: the adapters.
    meta: what stands beside them.

  Raises:
    InputError: if the two do not fit.
  """
  made = meta["settings"]
  good = isinstance(made, dict) and isinstance(made.get("alpha"), float)
  good = good and isinstance(params, dict) and made.get("targets") == sorted(params)
  orders = made.get("set_orders") if good else None
  if good and meta["name"] == "set" and "set_orders" not in made:
    raise InputError("the student 'set' was kept by an earlier version, which read sets in another"
                     " way: train it again")
  good = good and (
      orders is None if meta["name"] != "set" else type(orders) is int and orders >= 1)
  answer = Answer(made.get("scale", 1.0), tuple(made.get("shift", ()))) if good else Answer()
  good = good and all(isinstance(number, float) for number in (answer.scale, *answer.shift))
  good = good and len(answer.shift) in (0, meta["num_choices"])
  if not good or any(own["a"].shape[-1] != made.get("rank") for own in params.values()):
    raise InputError("the student's adapters are not what its student.json says: the folder is"
                     " damaged; train it again")

  def apply(params: Params, inputs: students.Inputs) -> jax.Array:
    del params  # they are in the model that gave the inputs
    return answer(inputs["log_probs"])

  return predict.Loaded({}, apply, lambda model: lora.merge(model, params, made["alpha"]),
                        set_orders=orders)
