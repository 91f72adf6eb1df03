"""What every recipe does whose base model is trained here, on labels of half of the data.

1. The base model learns the labels of one half of the training examples, from the canonical view.
2. The teacher is its mean belief over the views, on the other half; a student learns it. No
   example is taught by a model that was trained on it.
3. On test examples: how far base model, student and two controls move over the views, and how far
   they are from the teacher.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import (
    checkpoints,
    comparison,
    distill,
    evaluation,
    experiment,
    noise,
    predictions,
    report,
    runs,
    students,
    training,
)
from mezzanine_jax import distill_data as data_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError

STUDENT_VIEWS = ("canonical", "all")
BASE = "base_head"  # its folder in the student's


class Task(NamedTuple):
  """What differs between such recipes.

  Attributes:
    recipe: its name.
    who: what the base model is called.
    asked: the examples.
    plan: their rows and views.
    filled: the rows' features.
    base: the model that learns labels.
    student: the one that learns the teacher's answers.
    meta: of the student, beside its name and sizes: `settings`, and whatever names the base
      model; see `checkpoints.save_student`.
    embed: `(params, inputs) -> features[D]` of the base model, for the representation gap; None
      where the rows' features are those.
    shown: `(beliefs, test) -> blocks` more of the results, from the base model's beliefs on the
      test examples, whose numbers are `test`.
    base_meta: the same of the base model, with its name; None: it is not kept.
    draw: `(results, beliefs, features, test)` draws pictures of the recipe's own.
  """

  recipe: str
  who: str
  asked: experiment.Asked
  plan: Any
  filled: experiment.Filled
  base: students.Student
  student: students.Student
  meta: dict[str, Any]
  embed: Callable[..., Any] | None
  shown: Callable[[evaluation.Beliefs, np.ndarray], dict[str, Any]]
  base_meta: dict[str, Any] | None = None
  draw: Callable[..., None] = lambda results, beliefs, features, test: None


def halves(config: Any, data: experiment.Data) -> tuple[np.ndarray, np.ndarray]:
  """The training examples that the base model learns from, and those that the student does.

  Args:
    config: has a seed.
    data: all examples.

  Raises:
    InputError: a half is too small to be learned from.
  """
  train = np.flatnonzero(~data.is_test)
  halves = data_lib.split_by_cluster([data.clusters[n] for n in train], 0.5, config.seed)
  base, other = (train[half] for half in halves)
  base = base[data.labels[base] >= 0]
  for half in (base, other):
    if len({data.clusters[n] for n in half}) < 2:
      raise InputError(
          "each half of the training examples needs two clusters or more, labelled for the base"
          f" model, but one has {len(half)} examples of one at most; give a larger n_train"
      )
  return base, other


def run(
    config: Any, folder: runs.Folder, task: Task, halves: tuple[np.ndarray, np.ndarray],
    started: float,
) -> dict[str, Any]:
  """Trains base model, student and control, compares them, and writes the results.

  Args:
    config: has the fields of `settings.TrainingFields` and `SymmetryFields`, a seed,
      `student_views` and `student`.
    folder: the run's, begun.
    task: see `Task`.
    halves: from the function of that name.
    started: `time.monotonic()` at the start.

  Returns:
    What `results.json` holds.
  """
  data, plan, filled = task.asked.data, task.plan, task.filled
  num_choices = len(task.asked.choices)
  features = store_lib.read(filled.store, "features")
  base, inputs_of = _base(config, folder, task, features, num_choices, halves[0])
  answer = lambda features: np.asarray(
      students.predict_rows(task.base.apply, base.params, inputs_of(features)))
  base_rows = answer(features)
  noise_floor = noise.noise_block(
      base_rows[filled.again.rows], answer(filled.again.values.features))
  beliefs = evaluation.gather(base_rows, *filled.index)

  all_views = config.student_views == "all"
  rows = data_lib.DistillData(
      features=features,
      log_probs=base_rows,
      row=plan.rows.row if all_views else plan.rows.canonical_row[:, None],
      log_weights=plan.views.log_weights if all_views else np.zeros((len(data.labels), 1), "f4"),
      teacher_log_probs=np.asarray(evaluation.teacher(beliefs)),
      labels=data.labels,
  )
  rows, parts = _part(config, rows, data, halves[1])
  trained = training.train_with_controls(
      task.student, rows, parts, config, folder)
  sizes = {"num_choices": num_choices, "feature_size": features.shape[1],
           "config": dataclasses.asdict(config)}
  if task.base_meta is not None:
    checkpoints.save_student(
        folder.path / runs.STUDENT / BASE, base.params, task.base_meta | sizes)
  checkpoints.save_student(
      folder.path / runs.STUDENT, trained.result.params,
      {"name": config.student, **task.meta, **sizes})
  inputs = {"features": jnp.asarray(features), "log_probs": jnp.asarray(base_rows)}

  test = np.flatnonzero(data.is_test)
  labels, clusters = data.labels[test], [data.clusters[n] for n in test]
  base_test = evaluation.select(beliefs, test)
  models = {
      name: evaluation.select(evaluation.gather(own, *filled.index), test)
      for name, own in training.predict(trained, inputs).items()
  }
  hidden = features if task.embed is None else np.asarray(
      students.predict_rows(task.embed, base.params, inputs))
  blocks = comparison.student_blocks(base_test, models, labels, clusters, config.seed, task.who)
  blocks["baseline"] |= comparison.representation_block(
      hidden, *(a[test] for a in filled.index[1:]), clusters)
  blocks["baseline"] |= {"best_step": base.best_step, "chosen_by": base.chosen_by}
  blocks["student"] |= training.history_block(trained.result)
  results = report.header(task.recipe, config) | blocks | {
      **task.shown(base_test, test),
      "noise_floor": noise_floor,
      "by_movability": comparison.movability_blocks(base_test, models, labels, clusters),
      "data": experiment.data_block(task.asked, plan) | {
          "base_examples": len(halves[0]), "distill_examples": len(halves[1])},
      "cost": filled.cost | {
          "total_seconds": time.monotonic() - started, "peak_rss_mb": report.peak_rss_mb()
      },
  }
  predictions.write(folder.path / runs.PREDICTIONS, [data.examples[n] for n in test],
                    {"baseline": base_test, **models})
  report.diagnostics(results, base_test, folder.path / runs.DIAGNOSTICS)
  task.draw(results, base_test, features, test)
  return runs.finish(folder, results)


def _part(
    config: Any, rows: data_lib.DistillData, data: experiment.Data, which: np.ndarray
) -> tuple[data_lib.DistillData, tuple[np.ndarray, np.ndarray]]:
  """Some examples, and which of them are learned from and which choose the step."""
  clusters = [data.clusters[n] for n in which]
  # Another seed than that of the halves, which are parts of the order by this hash.
  parts = data_lib.split_by_cluster(clusters, config.valid_fraction, config.seed + 1)
  return data_lib.select(rows, which), parts


def _base(
    config: Any, folder: runs.Folder, task: Task, features: np.ndarray, num_choices: int,
    which: np.ndarray,
) -> tuple[distill.TrainResult, Callable[[np.ndarray], students.Inputs]]:
  """The base model, trained on labels from canonical views, and what makes features its inputs."""
  data = task.asked.data
  uniform = np.full((len(features), num_choices), -np.log(num_choices), np.float32)
  with np.errstate(divide="ignore"):  # KL from a label that is certain is its cross-entropy
    certain = np.log(np.eye(num_choices, dtype=np.float32))[np.maximum(data.labels, 0)]
  rows = data_lib.DistillData(
      features, uniform, task.plan.rows.canonical_row[:, None],
      np.zeros((len(data.labels), 1), np.float32), certain, data.labels,
  )
  rows, parts = _part(config, rows, data, which)
  model = students.standardize(
      task.base, *data_lib.feature_moments(data_lib.select(rows, parts[0])))
  # Views are drawn from keys folded from the seed with names, the student's from 1.
  key = jax.random.fold_in(jax.random.key(config.seed), 2)
  result = training.train(model, rows, parts, config, key, f"training the {task.who}",
                          training.logged(folder.tracker, "baseline"),
                          folder.path / runs.STUDENT / BASE)

  def inputs_of(features: np.ndarray) -> students.Inputs:
    return {"features": jnp.asarray(features), "log_probs": jnp.asarray(uniform[: len(features)])}

  return result, inputs_of
