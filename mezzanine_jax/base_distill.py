"""What every recipe does whose base model is trained here, on labels of half of the data.

Labels are choices, or arrays of exact values: `Task.measures` says which.

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
    arrays,
    checkpoints,
    comparison,
    distill,
    evaluation,
    experiment,
    figures,
    noise,
    predictions,
    progress,
    report,
    runs,
    students,
    targets,
    training,
    value_figures,
)
from mezzanine_jax import distill_data as data_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import AlignFn, Array, Params
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
    measures: of the kind of predictions.
    align: of the symmetry, on predictions float[C]; None where they are invariant.
    more: `(models, blocks) -> blocks` more of the results, from those that there are and the
      trained models `baseline` and `student`, each `features[D] -> prediction[C]` of one view,
      which is not aligned.
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
  measures: comparison.Measures = comparison.BELIEFS
  align: AlignFn | None = None
  more: Callable[..., dict[str, Any]] = lambda models, blocks: {}


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
  if data.labels.ndim == 1:
    base = base[data.labels[base] >= 0]
  for half in (base, other):
    if len({data.clusters[n] for n in half}) < 2:
      raise InputError(
          "each half of the training examples needs two clusters or more, labelled for the base"
          f" model, but one has {len(half)} examples of one at most; give a larger n_train"
      )
  return base, other


class Viewed(NamedTuple):
  """Views of arrays, rendered: the run's folder, begun, and the fields of `Task` of these names."""

  folder: runs.Folder
  plan: arrays.Plan
  filled: experiment.Filled


def view(
    config: Any, folder: runs.Folder, recipe: str, asked: experiment.Asked,
    renderer: Callable[..., Any], params: Any = None, batch_views: int | None = None,
    **facts: Any,
) -> Viewed:
  """Draws views of examples that are arrays, and renders what the models see of them.

  Args:
    config: has the fields of `settings.TrainingFields` and `SymmetryFields`, a seed, `batch_views`.
    folder: the run's, open.
    recipe: its name.
    asked: the examples.
    renderer: `(params, elements, xs) -> NamedTuple` with `features`, see `arrays.renderer`.
    params: what it takes.
    batch_views: views drawn at once, if not the config's.
    **facts: what else the rows depend on, see `store.fingerprint`.
  """
  data = asked.data
  with progress.bar("drawing the views"):
    plan = arrays.plan(asked.prepared, asked.symmetry,
                       batch_views=batch_views or config.batch_views,
                       **experiment.drawn(config, data))
  rows = {"rows": arrays.digest(plan), "symmetry": config.symmetry, **facts}
  folder = runs.begin(
      folder, runs.fingerprint(recipe, config, data=data.world.digests, choices=asked.choices,
                               **rows),
      {runs.STORE: store_lib.fingerprint({"renderer": arrays.RENDERER_VERSION, **rows})})
  filled = experiment.fill(
      folder, plan, renderer, params or {}, [e.id for e in data.examples], kind=arrays)
  return Viewed(folder, plan, filled)


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
  measures, real = task.measures, task.measures.target == targets.VALUES
  num_choices = data.labels.shape[1] if real else len(task.asked.choices)
  features = store_lib.read(filled.store, "features")
  base, inputs_of = _base(config, folder, task, features, num_choices, halves[0])
  answer = lambda features, rows: np.asarray(students.predict_rows(
      _aligned(task, task.base).apply, base.params, inputs_of(features, rows)))
  base_rows = answer(features, np.arange(len(features)))
  again = filled.again.rows
  noise_floor = (noise.values_block if real else noise.noise_block)(
      base_rows[again], answer(filled.again.values.features, again))
  beliefs = evaluation.gather(base_rows, *filled.index)

  all_views = config.student_views == "all"
  rows = data_lib.DistillData(
      features=features,
      log_probs=base_rows,
      row=plan.rows.row if all_views else plan.rows.canonical_row[:, None],
      log_weights=plan.views.log_weights if all_views else np.zeros((len(data.labels), 1), "f4"),
      teacher_log_probs=np.asarray(measures.teacher(beliefs)),
      labels=_choices(data),
      elements=None if task.align is None else plan.rows.elements,
  )
  rows, parts = _part(config, rows, data, halves[1])
  trained = training.train_with_controls(
      _aligned(task, task.student), rows, parts, config, folder, measures.target)
  sizes = {"num_choices": num_choices, "feature_size": features.shape[1],
           "config": dataclasses.asdict(config)}
  if task.base_meta is not None:
    checkpoints.save_student(
        folder.path / runs.STUDENT / BASE, base.params, task.base_meta | sizes)
  checkpoints.save_student(
      folder.path / runs.STUDENT, trained.result.params,
      {"name": config.student, **task.meta, **sizes})
  inputs = data_lib.table(jax.tree.map(jnp.asarray, rows))

  test = np.flatnonzero(data.is_test)
  labels, clusters = data.labels[test], [data.clusters[n] for n in test]
  base_test = evaluation.select(beliefs, test)
  models = {
      name: evaluation.select(evaluation.gather(own, *filled.index), test)
      for name, own in training.predict(trained, inputs).items()
  }
  hidden = features if task.embed is None else np.asarray(
      students.predict_rows(task.embed, base.params, inputs))
  with progress.bar("evaluating"):
    blocks = comparison.student_blocks(
        base_test, models, labels, clusters, config.seed, task.who, measures)
  blocks["baseline"] |= comparison.representation_block(
      hidden, *(a[test] for a in filled.index[1:]), clusters)
  blocks["baseline"] |= {"best_step": base.best_step, "chosen_by": base.chosen_by}
  blocks["student"] |= training.history_block(trained.result)
  results = report.header(task.recipe, config) | blocks | {
      **task.shown(base_test, test),
      "noise_floor": noise_floor,
      **({} if real else {"by_movability": comparison.movability_blocks(
          base_test, models, labels, clusters)}),
      **task.more({"baseline": _one_view(task.base, base.params),
                   "student": _one_view(task.student, trained.result.params)}, blocks),
      "data": experiment.data_block(task.asked, plan) | {
          "base_examples": len(halves[0]), "distill_examples": len(halves[1])},
      "cost": filled.cost | {
          "total_seconds": time.monotonic() - started, "peak_rss_mb": report.peak_rss_mb()
      },
  }
  predictions.write(folder.path / runs.PREDICTIONS, [data.examples[n] for n in test],
                    {"baseline": base_test, **models}, measures)
  if real:
    value_figures.diagnostics(results, models | {"baseline": base_test}, labels,
                              folder.path / runs.DIAGNOSTICS)
  else:
    figures.diagnostics(results, base_test, folder.path / runs.DIAGNOSTICS)
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
) -> tuple[distill.TrainResult, Callable[[np.ndarray, np.ndarray], students.Inputs]]:
  """The base model, trained on labels from canonical views, and what makes features its inputs."""
  data = task.asked.data
  elements = None if task.align is None else task.plan.rows.elements
  if task.measures.target == targets.VALUES:
    ignorant, certain = 0.0, data.labels
  else:
    ignorant = -np.log(num_choices)
    with np.errstate(divide="ignore"):  # KL from a label that is certain is its cross-entropy
      certain = np.log(np.eye(num_choices, dtype=np.float32))[np.maximum(data.labels, 0)]
  uniform = np.full((len(features), num_choices), ignorant, np.float32)
  rows = data_lib.DistillData(
      features, uniform, task.plan.rows.canonical_row[:, None],
      np.zeros((len(data.labels), 1), np.float32), certain, _choices(data), elements=elements,
  )
  rows, parts = _part(config, rows, data, which)
  model = students.standardize(
      _aligned(task, task.base), *data_lib.feature_moments(data_lib.select(rows, parts[0])))
  # Views are drawn from keys folded from the seed with names, the student's from 1.
  key = jax.random.fold_in(jax.random.key(config.seed), 2)
  # What the objective of the student is has no say in the model that teaches it.
  plain = dataclasses.replace(
      config, temperature=1.0, consistency_weight=0.0, hard_label_weight=0.0)
  result = training.train(model, rows, parts, plain, key, f"training the {task.who}",
                          training.logged(folder.tracker, "baseline"),
                          folder.path / runs.STUDENT / BASE, task.measures.target)

  def inputs_of(features: np.ndarray, which: np.ndarray) -> students.Inputs:
    known = {"features": features, "log_probs": uniform[which]}
    if elements is not None:
      known["element"] = jax.tree.map(lambda a: a[which], elements)
    return jax.tree.map(jnp.asarray, known)

  return result, inputs_of


def _aligned(task: Task, model: students.Student) -> students.Student:
  """The model, its answers turned back where the symmetry turns them."""
  return model if task.align is None else students.aligned(model, task.align)


def _choices(data: experiment.Data) -> np.ndarray:
  """int32[N], the labels that are choices; -1 where they are real values."""
  return data.labels if data.labels.ndim == 1 else np.full(len(data.labels), -1, np.int32)


def _one_view(model: students.Student, params: Params) -> Callable[[Array], Array]:
  """`features[D] -> prediction[C]` of a trained model on one view, as it sees it."""

  def predict(features: Array) -> Array:
    return model.apply(params, {"features": features})

  return predict
