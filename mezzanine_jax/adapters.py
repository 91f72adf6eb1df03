"""Students that are the language model itself with low-rank adapters: learned, scored, kept.

`lora` reads a view as it stands. `set` reads the evidence as a set, so that its answer cannot
depend on the order: attention is averaged over orders of the sorted sentences (see
`language.as_set`). Adapters learn what is missing; with `lora_steps` 0 it is the model's own
reading of the set.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mezzanine_jax import (
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
    training,
)
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Params
from mezzanine_jax.errors import InputError

NAMES = {
    "lora": "The language model with low-rank adapters, which reads a view as it stands.",
    "set": "The language model with low-rank adapters, which reads the evidence as a set."}
SET = "the student 'set'", "lora"  # who it is in errors, and what may be used instead
ROWS, FILE = "rows.zarr", "adapters.safetensors"  # in the student's folder


class Learned(NamedTuple):
  """Adapters and what the model with them says.

  Attributes:
    found: see `finetune.Finetuned`.
    log_probs: float32[R, C], on the rows of the test examples; the model's own elsewhere.
    block: how the adapters were chosen, and what was checked, for the results.
  """

  found: finetune.Finetuned
  log_probs: np.ndarray
  block: dict[str, Any]


def settings(config: Any) -> dict[str, Any]:
  """What makes the model with adapters again, beside the adapters: for the student's meta.

  Args:
    config: has the fields of `settings.AdapterFields`, and `student`.
  """
  return {"rank": config.lora_rank, "alpha": config.lora_alpha,
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
  made = settings(config)
  jax.eval_shape(lambda params: lora.init_adapters(
      params, jax.random.key(0), rank=made["rank"], targets=made["targets"]), asked.lm.params)


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
  where = folder.path / runs.STUDENT / ("control" if control else "")
  block, title = (("controls.shuffled_targets", "training the control") if control
                  else ("student", "training the adapters"))
  # Views are drawn from keys folded from the seed with names; heads take 1, base models 2.
  keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 3), 2)
  if control:
    order = np.asarray(jax.random.permutation(keys[1], len(train)))
    teacher_log_probs = teacher_log_probs.copy()
    teacher_log_probs[train] = teacher_log_probs[train[order]]
  is_set = config.student == "set"
  views = config.student_views
  read = learned_from = plan
  if is_set:
    read = language.as_set(plan, asked.symmetry, config.set_orders)
    learned_from = read if views == "canonical" else language.as_set(
        plan, asked.symmetry, config.set_orders, is_sorted=False)
  start = lora.init_adapters(lm.params, keys[0], rank=made["rank"], targets=made["targets"])
  score_fn = experiment.lm_answers(config, lm, asked.symmetry)
  batch_fn = experiment.lm_answers(
      config, lm, asked.symmetry, dtype=config.lora_dtype, remat=True)
  looked_at = finetune.targets(plan, teacher_log_probs, valid[: config.lora_valid], "canonical")
  with preemption.deferred() as terminated, progress.bar(title, config.lora_steps) as advance:
    found = finetune.finetune(
        learned_from, batch_fn, score_fn, lm.params, start,
        finetune.targets(plan, teacher_log_probs, train, views), looked_at,
        alpha=made["alpha"], steps=config.lora_steps, batch_tokens=config.lora_batch_tokens,
        learning_rate=config.lora_learning_rate, temperature=config.temperature,
        consistency_weight=config.consistency_weight, seed=config.seed,
        eval_every=config.lora_eval_every, valid_plan=read, checkpoint_dir=where,
        facts=str(jax.numpy.dtype(config.lora_dtype or lm.dtype)),
        progress=training.logged(folder.tracker, block), advance=advance, stop=terminated)
  if not control:
    where.mkdir(parents=True, exist_ok=True)
    lora.save_adapters(where / FILE, found.adapters, made["alpha"])
  test = np.flatnonzero(asked.data.is_test)
  block = training.history_block(found)
  block["model_valid_kl"] = float(looked_at.weight @ np.asarray(
      divergences.kl(looked_at.teacher_log_probs, log_probs[looked_at.row]), np.float64))
  if is_set:  # one view stands for all; of some examples all are scored, to see that it does
    rows = sets.rows(plan, test, test)
    every = _score(config, asked, read, log_probs, found, where, control, rows)
    answers, block["order_blind"] = sets.everywhere(plan, rows, every[rows], test, log_probs)
    return Learned(found, answers, block)
  rows = np.concatenate([plan.rows.canonical_row[test], plan.rows.row[test].reshape(-1)])
  return Learned(found, _score(config, asked, read, log_probs, found, where, control, rows), block)


def _score(
    config: Any, asked: experiment.Asked, plan: language.Plan, log_probs: np.ndarray,
    found: finetune.Finetuned, where: pathlib.Path, control: bool, rows: np.ndarray,
) -> np.ndarray:
  """`log_probs` with some rows by the model with adapters; kept, so that a stop loses none."""
  rows = np.unique(rows[rows >= 0])
  part = language.only_rows(plan, rows, config.batch_tokens, config.max_shapes)
  batch_fn = experiment.lm_answers(config, asked.lm, asked.symmetry)
  merged = jax.jit(lora.merge)(asked.lm.params, found.adapters, config.lora_alpha)
  fingerprint = store_lib.fingerprint({
      "scorer": language.SCORER_VERSION, "model": asked.lm.digest, "rows": language.digest(part),
      "adapters": engine.digest(found.adapters), "alpha": config.lora_alpha,
      "norm": config.choice_norm})
  title = "scoring the control" if control else "scoring the student"
  with progress.rows(title, len(rows)) as written:
    store, _ = language.score(
        part, batch_fn, merged, where / ROWS, fingerprint,
        ids=[e.id for e in asked.data.examples], progress=written)
  log_probs = np.array(log_probs)
  log_probs[rows] = store_lib.read(store, "log_probs")
  return log_probs


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
  if not good or any(own["a"].shape[-1] != made.get("rank") for own in params.values()):
    raise InputError("the student's adapters are not what its student.json says: the folder is"
                     " damaged; train it again")

  def apply(params: Params, inputs: students.Inputs) -> jax.Array:
    del params  # they are in the model that gave the inputs
    return inputs["log_probs"]

  return predict.Loaded({}, apply, lambda model: lora.merge(model, params, made["alpha"]),
                        set_orders=orders)
