"""Distill a text classifier's belief, averaged over sentence orders, into a head of its kind.

1. Labelled texts; their sentences may change places. A frozen encoder gives the features of
   every text's canonical order and of K of its views.
2. A base head learns the labels of one half of the training examples, from the canonical order.
3. The teacher is the base head's mean belief over the views, on the other half; a student of
   the same kind learns it. No example is taught by a head that was trained on it.
4. On test texts: how far base head, student and two controls move over the views, and how far
   they are from the teacher.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import (
    checkpoints,
    comparison,
    distill,
    encoding,
    evaluation,
    experiment,
    language,
    moved,
    noise,
    predictions,
    progress,
    report,
    runs,
    students,
    training,
)
from mezzanine_jax import distill_data as data_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.config import arguments_of, option
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import load_model
from mezzanine_jax.settings import (
    EncoderFields,
    RunFields,
    SymmetryFields,
    TrainingFields,
    WorldFields,
)
from mezzanine_jax.symmetries import make_symmetry

NAME = "hf_text_order_distill"
WHO = "base head"  # what the baseline is called
STUDENT_VIEWS = ("canonical", "all")


@dataclasses.dataclass(frozen=True)
class Config(RunFields, TrainingFields, SymmetryFields, EncoderFields, WorldFields):
  """Every field of the recipe."""

  world: str = option("hf_text", "where examples come from; one with texts and labels")
  dataset: str | None = option(
      None, "ag_news, imdb, hub id, local folder or file (jsonl, csv, tsv, parquet, zip); none: the"
      " world's own")
  n_train: int = option(5000, "training examples, half of them for the base head", at_least=4)
  n_test: int = option(2000, "test examples", at_least=1)
  student: str = option("mlp", "base head and student", one_of=tuple(students.STUDENTS))
  hidden: int = option(512, "width of the mlp's hidden layers", at_least=1)
  depth: int = option(1, "hidden layers of the mlp", at_least=1)
  student_views: str = option(
      "canonical", "what the student learns from: the canonical order, or all views",
      one_of=STUDENT_VIEWS)


def run(config: Config, out: str | pathlib.Path) -> dict[str, Any]:
  """Runs the experiment, or continues it, or returns the results of a finished one.

  Args:
    config: see `Config`.
    out: the run's folder.

  Returns:
    What `results.json` holds.

  Raises:
    InputError: for input that cannot be used; nothing is written then, but for features or a loss
      that turn out not to be finite.
  """
  with runs.opened(out, NAME, config) as folder:
    return _run(config, folder) if folder.results is None else folder.results


def _run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; its results."""
  started = time.monotonic()
  # Everything that can be wrong with the input shows before anything is written.
  asked = _ask(config)
  data, model = asked.data, asked.lm
  batch_fn = encoding.view_rows_encoder(encoding.rows_encoder(
      model.config, dtype=model.dtype, layer=config.layer, pooling=config.pool,
      features_dtype=config.features_dtype,
  ))
  halves = _halves(config, data)
  plan = experiment.plan_views(
      config, data, asked.prepared, model.tokenizer, asked.symmetry, share=model.config.causal)
  fingerprint = runs.fingerprint(
      NAME, config, model=model.digest, data=data.world.digests, rows=language.digest(plan))
  rows_fingerprint = experiment.rows_fingerprint(
      config, asked, plan, features=[config.layer, config.pool, config.features_dtype])
  folder = runs.begin(folder, fingerprint, {runs.STORE: rows_fingerprint})
  filled = experiment.fill(folder, plan, batch_fn, model.params, [e.id for e in data.examples])
  data_block = experiment.data_block(asked, plan)
  num_choices = len(asked.choices)
  asked = asked._replace(lm=None)
  del model  # training needs the room that the weights take

  features = store_lib.read(filled.store, "features")
  settings = arguments_of(students.STUDENTS[config.student], dataclasses.asdict(config))
  head = students.make_student(config.student, num_choices=num_choices, **settings)
  base, answer = _base(
      config, head, features, plan, data, num_choices, halves[0], folder.path / runs.STUDENT)
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
  trained = training.train_with_controls(head, rows, parts, config, folder.path / runs.STUDENT)
  checkpoints.save_student(folder.path / runs.STUDENT, trained.result.params, {
      "name": config.student,
      "settings": settings,
      "num_choices": num_choices,
      "feature_size": features.shape[1],
      "model_name": config.model_name,
      "config": dataclasses.asdict(config),
  })
  inputs = {"features": jnp.asarray(features), "log_probs": jnp.asarray(base_rows)}

  test = np.flatnonzero(data.is_test)
  labels, clusters = data.labels[test], [data.clusters[n] for n in test]
  base_test = evaluation.select(beliefs, test)
  models = {
      name: evaluation.select(evaluation.gather(own, *filled.index), test)
      for name, own in training.predict(trained, inputs).items()
  }
  blocks = comparison.student_blocks(base_test, models, labels, clusters, config.seed, WHO)
  blocks["baseline"] |= comparison.representation_block(
      features, *(a[test] for a in filled.index[1:]), clusters)
  blocks["baseline"] |= {"best_step": base.best_step, "chosen_by": base.chosen_by}
  blocks["student"] |= training.history_block(trained)
  results = report.header(NAME, config) | blocks | {
      **moved.blocks(asked, plan, base_test, test, config.n_examples),
      "noise_floor": noise_floor,
      "by_movability": comparison.movability_blocks(base_test, models, labels, clusters),
      "data": data_block | {
          "base_examples": len(halves[0]), "distill_examples": len(halves[1])},
      "cost": filled.cost | {
          "total_seconds": time.monotonic() - started, "peak_rss_mb": report.peak_rss_mb()
      },
  }
  predictions.write(folder.path / runs.PREDICTIONS, [data.examples[n] for n in test],
                    {"baseline": base_test, **models})
  report.diagnostics(results, base_test, folder.path / runs.DIAGNOSTICS)
  # Last of all: where results.json stands, the run is finished.
  return runs.write_json(folder.path / runs.RESULTS, results)


def show_views(config: Config, number: int) -> Any:
  """Some test examples with some of their views, see `experiment.show_views`."""
  return experiment.show_views(config, number, ask=_ask)


def _ask(
    config: Config,
    choose: Callable[[experiment.Data], experiment.Data] = lambda data: data,
) -> experiment.Asked:
  """Loads data and encoder, and prepares the texts of the examples chosen."""
  symmetry = make_symmetry(config.symmetry, **dataclasses.asdict(config))
  data = experiment.load_data(config)
  world = data.world
  if world.evidence is None:
    raise InputError(f"the world {config.world!r} has no text whose sentences could change places;"
                     " choose hf_text or hf_qa")
  if world.num_labels < 2:
    raise InputError(f"a classifier needs two labels or more, the data has {world.num_labels}")
  with progress.bar("loading the encoder"):
    model = load_model(config.model_name, config.dtype)
  data = choose(data)
  limit = model.config.max_positions
  with progress.bar("preparing the texts"):
    prepared = encoding.prepare(
        data.examples, model.tokenizer, field=world.evidence, unit=config.unit,
        max_tokens=limit if config.max_length is None else min(limit, config.max_length),
    )
  names = [*world.label_names] or [str(label) for label in range(world.num_labels)]
  template = f"{{{world.evidence}}}"
  return experiment.Asked(data, model, symmetry, template, names, prepared)


def _halves(config: Config, data: experiment.Data) -> tuple[np.ndarray, np.ndarray]:
  """The training examples that the base head learns from, and those that the student does."""
  train = np.flatnonzero(~data.is_test)
  halves = data_lib.split_by_cluster([data.clusters[n] for n in train], 0.5, config.seed)
  base, other = (train[half] for half in halves)
  base = base[data.labels[base] >= 0]
  for half in (base, other):
    if len({data.clusters[n] for n in half}) < 2:
      raise InputError(
          "each half of the training examples needs two texts or more, labelled for the base head,"
          f" but one has {len(half)} examples of one text at most; give a larger n_train"
      )
  return base, other


def _part(
    config: Config, rows: data_lib.DistillData, data: experiment.Data, which: np.ndarray
) -> tuple[data_lib.DistillData, tuple[np.ndarray, np.ndarray]]:
  """Some examples, and which of them are learned from and which choose the step."""
  clusters = [data.clusters[n] for n in which]
  # Another seed than that of the halves, which are parts of the order by this hash.
  parts = data_lib.split_by_cluster(clusters, config.valid_fraction, config.seed + 1)
  return data_lib.select(rows, which), parts


def _base(
    config: Config, head: students.Student, features: np.ndarray, plan: language.Plan,
    data: experiment.Data, num_choices: int, which: np.ndarray, student_dir: pathlib.Path,
) -> tuple[distill.TrainResult, Callable[[np.ndarray], np.ndarray]]:
  """The base head, trained on labels from canonical views, and its log-probs of features."""
  uniform = np.full((len(features), num_choices), -np.log(num_choices), np.float32)
  with np.errstate(divide="ignore"):  # KL from a label that is certain is its cross-entropy
    certain = np.log(np.eye(num_choices, dtype=np.float32))[np.maximum(data.labels, 0)]
  rows = data_lib.DistillData(
      features, uniform, plan.rows.canonical_row[:, None],
      np.zeros((len(data.labels), 1), np.float32), certain, data.labels,
  )
  rows, parts = _part(config, rows, data, which)
  head = students.standardize(
      head, *data_lib.feature_moments(data_lib.select(rows, parts[0])))
  # Views are drawn from keys folded from the seed with names, the student's from 1.
  key = jax.random.fold_in(jax.random.key(config.seed), 2)
  result = training.train(
      head, rows, parts, config, key, "training the base head", student_dir / "base")

  def answer(features: np.ndarray) -> np.ndarray:
    inputs = {"features": jnp.asarray(features), "log_probs": jnp.asarray(uniform[: len(features)])}
    return np.asarray(students.predict_rows(head.apply, result.params, inputs))

  return result, answer
