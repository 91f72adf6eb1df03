"""A student and its controls, trained side by side with progress bars."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from mezzanine_jax import distill, preemption, progress, ridge, runs, students, targets, tracking
from mezzanine_jax import distill_data as data_lib
from mezzanine_jax.base import Array, Params


class Trained(NamedTuple):
  """A student and its controls.

  Attributes:
    apply: `(params, inputs) -> log_probs[C]`, the same for both.
    result: of the student's training.
    control: of the same student's on other examples' targets.
    constant: float32[C], the best answer that does not look at the input.
  """

  apply: Callable[[Params, students.Inputs], Array]
  result: distill.TrainResult
  control: distill.TrainResult
  constant: np.ndarray


def train_with_controls(
    student: students.Student,
    data: data_lib.DistillData,
    parts: tuple[np.ndarray, np.ndarray],
    config: Any,
    folder: runs.Folder,
    target: str = targets.BELIEFS,
    usual: np.ndarray | None = None,
) -> Trained:
  """Trains the student, and its twin on shuffled targets.

  A head's features are standardised by those of the part that is learned from.

  Args:
    student: what is trained.
    data: the training examples with the teacher's answers.
    parts: indices of the examples to learn from and of those that choose the step.
    config: has the fields of `settings.TrainingFields`, and a seed.
    folder: the run's, where the student is written (and its twin in `control` within), and whose
      tracker sees every look at the validation part.
    target: what the predictions are, one of `targets.TARGETS`.
    usual: int[n], examples like those of the test part, whose mean teacher is the constant
      control; None: all of both parts.
  """
  part_train, part_valid = parts
  every = np.arange(len(part_train) + len(part_valid))
  typical = data_lib.select(data, every if usual is None else usual)
  data = data_lib.select(data, every)
  if data.features.shape[1]:  # a student that reads the text itself has none
    learned = data_lib.select(data, part_train)
    student = students.standardize(student, *data_lib.feature_moments(learned))
  # Views are drawn from keys folded from the seed with the examples' names; these are apart.
  keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 1), 3)

  result = train(
      student, data, parts, config, keys[0], "training the student",
      logged(folder.tracker, "student"), folder.path / runs.STUDENT, target)
  shuffled = data_lib.shuffled_targets(keys[1], data)
  control = train(student, shuffled, parts, config, keys[2], "training the control",
                  logged(folder.tracker, "controls.shuffled_targets"),
                  folder.path / runs.STUDENT / "control", target)
  return Trained(student.apply, result, control, data_lib.mean_teacher(typical, target))


def train(
    student: students.Student, data: data_lib.DistillData, parts: tuple[np.ndarray, np.ndarray],
    config: Any, key: Array, title: str, seen: Callable[[distill.Point], None],
    checkpoint_dir: str | pathlib.Path | None = None, target: str = targets.BELIEFS,
) -> distill.TrainResult:
  """`distill.train`, or `ridge.solve`, by a configuration's fields; with a progress bar.

  Args:
    student: what is trained, its features standardised where it has any.
    data: the training examples.
    parts: indices of the examples to learn from and of those that choose the step.
    config: has the fields of `settings.TrainingFields`.
    key: PRNG key; consumed.
    title: of the progress bar.
    seen: called with every new point of the history, see `logged`.
    checkpoint_dir: where the student is written, None for nowhere.
    target: what the predictions are, one of `targets.TARGETS`.
  """
  learned, valid = (data_lib.select(data, part) for part in parts)
  if student.solved:  # in so short a time that a run that is stopped begins it anew
    with progress.bar(title):
      return ridge.solve(
          student, learned, valid, hard_label_weight=config.hard_label_weight,
          temperature=config.temperature, progress=seen)
  with preemption.deferred() as terminated, progress.bar(
      title, config.steps) as advance:
    at = [0]

    def moved(point):
      advance(point.step - at[0])
      at[0] = point.step
      seen(point)

    return distill.train(
        student, learned, valid, key=key, steps=config.steps, batch_size=config.batch_size,
        learning_rate=config.learning_rate, weight_decay=config.weight_decay,
        hard_label_weight=config.hard_label_weight, temperature=config.temperature,
        consistency_weight=config.consistency_weight, eval_every=config.eval_every, target=target,
        checkpoint_dir=checkpoint_dir, progress=moved, stop=terminated,
    )


def logged(tracker: tracking.Tracker, model: str) -> Callable[[distill.Point], None]:
  """Logs every new point of a history, as `MODEL.train_loss` and `MODEL.valid_kl`.

  Args:
    tracker: of the run.
    model: the name of its block in the results, such as `student`.

  Returns:
    A function of a `distill.Point`.
  """
  def seen(point: distill.Point) -> None:
    figures = point._asdict()
    step = figures.pop("step")
    known = {f"{model}.{name}": value for name, value in figures.items() if value is not None}
    tracker.scalars(known, step)

  return seen


def predict(trained: Trained, inputs: students.Inputs) -> dict[str, np.ndarray]:
  """float32[R, C] of `student`, `constant` and `shuffled_targets` on every row.

  Args:
    trained: from `train_with_controls`.
    inputs: dict of arrays [R, ...].
  """
  rows = {
      name: students.predict_rows(trained.apply, params, inputs)
      for name, params in (
          ("student", trained.result.params), ("shuffled_targets", trained.control.params))
  }
  constant = np.broadcast_to(trained.constant, rows["student"].shape)
  return {"student": rows["student"], "constant": constant,
          "shuffled_targets": rows["shuffled_targets"]}


def history_block(result: Any) -> dict[str, Any]:
  """How a student was chosen, for its block of the results; a `TrainResult` or `Finetuned`."""
  block = {
      "best_step": result.best_step,
      "chosen_by": result.chosen_by,
      "history": [p._asdict() for p in result.history],
  }
  penalty = getattr(result, "penalty", None)
  return block if penalty is None else block | {"penalty": penalty}
