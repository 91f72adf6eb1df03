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
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import (
    asking,
    checkpoints,
    comparison,
    distill,
    encoding,
    evaluation,
    experiment,
    language,
    moved,
    noise,
    predict,
    predictions,
    progress,
    report,
    runs,
    scoring,
    students,
    training,
)
from mezzanine_jax import distill_data as data_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Array, Example, Params
from mezzanine_jax.config import arguments_of, option
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import LanguageModel, load_model
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
BASE = "base_head"  # its folder in the student's
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
  started = time.monotonic()
  folder = runs.look(out, NAME, config)
  if folder.results is not None:
    return folder.results

  # Everything that can be wrong with the input shows before anything is written.
  asked = _ask(config)
  data, model = asked.data, asked.lm
  batch_fn = encoding.view_rows_encoder(_rows_encoder(config, model))
  halves = _halves(config, data)
  plan = experiment.plan_views(
      config, data, asked.prepared, model.tokenizer, asked.symmetry, share=model.config.causal)
  fingerprint = runs.fingerprint(
      NAME, config, model=model.digest, data=data.world.digests, rows=language.digest(plan))
  runs.begin(folder, fingerprint)
  filled = experiment.fill(
      folder, fingerprint, plan, batch_fn, model.params, [e.id for e in data.examples])
  data_block = experiment.data_block(asked, plan)
  digest = model.digest
  num_choices = len(asked.choices)
  asked = asked._replace(lm=None)
  del model  # training needs the room that the weights take

  features = store_lib.read(filled.store, "features")
  settings = arguments_of(students.STUDENTS[config.student], dataclasses.asdict(config))
  head = students.make_student(config.student, num_choices=num_choices, **settings)
  base, answer = _base(config, head, features, plan, data, num_choices, halves[0])
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
  meta = {
      "name": config.student,
      "settings": settings,
      "num_choices": num_choices,
      "feature_size": features.shape[1],
      "model_name": config.model_name,
      "model_digest": digest,
      "asking": asking.record(config, asked.asking),
      "config": dataclasses.asdict(config),
  }
  checkpoints.save_student(folder.path / runs.STUDENT / BASE, base.params, meta)
  checkpoints.save_student(folder.path / runs.STUDENT, trained.result.params, meta)
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


def predictor(saved: predict.Saved) -> Callable[[Sequence[Example]], predict.Answers]:
  """The student as a function of new examples, see `predict.predict`.

  Args:
    saved: a finished run's.

  Raises:
    InputError: if the encoder, the base head or the student cannot be used.
  """
  config, loaded = saved.config, predict.load_head(saved.params, saved.meta)
  base = predict.load_head(*checkpoints.load_student(saved.path / runs.STUDENT / BASE))
  model = predict.load_same_model(config.model_name, config.dtype, saved.meta["model_digest"])
  encode = _rows_encoder(config, model)

  def batch_fn(params: Params, elements: Any, rows: scoring.PackedRows) -> _Read:
    del elements  # features are of the text as it is read
    params = dict(params)
    own = params.pop(BASE)
    features = encode(params, rows).features
    uniform = jnp.zeros((len(features), saved.meta["num_choices"]))
    inputs = {"features": features, "log_probs": jax.nn.log_softmax(uniform)}
    return _Read(features, jax.vmap(base.apply, (None, 0))(own, inputs))

  def answer(examples: Sequence[Example]) -> predict.Answers:
    with progress.bar("preparing the texts"):
      prepared = _prepare(config, saved.asking.evidence, model, examples)
    return predict.one_pass(
        config, prepared, examples, model, batch_fn, loaded, **{BASE: base.params})

  return answer


class _Read(NamedTuple):
  """What a pass over a text gives: the encoder's features, and the base head's answer to them."""

  features: Array
  log_probs: Array


def _rows_encoder(config: Config, model: LanguageModel) -> Callable[..., encoding.Encoded]:
  """The function of a batch of texts."""
  return encoding.rows_encoder(
      model.config, dtype=model.dtype, layer=config.layer, pooling=config.pool,
      features_dtype=config.features_dtype,
  )


def _prepare(
    config: Config, field: str, model: LanguageModel, examples: Sequence[Example]
) -> language.Prepared:
  """The texts of some examples."""
  return encoding.prepare(
      examples, model.tokenizer, field=field, unit=config.unit,
      max_tokens=asking.most_tokens(config, model),
  )


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
  with progress.bar("preparing the texts"):
    prepared = _prepare(config, world.evidence, model, data.examples)
  names = [*world.label_names] or [str(label) for label in range(world.num_labels)]
  how = asking.Asking(f"{{{world.evidence}}}", world.evidence, names, world.label_names)
  return experiment.Asked(data, model, symmetry, how, prepared)


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
    data: experiment.Data, num_choices: int, which: np.ndarray,
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
  result = training.train(head, rows, parts, config, key, "training the base head")

  def answer(features: np.ndarray) -> np.ndarray:
    inputs = {"features": jnp.asarray(features), "log_probs": jnp.asarray(uniform[: len(features)])}
    return np.asarray(students.predict_rows(head.apply, result.params, inputs))

  return result, answer
