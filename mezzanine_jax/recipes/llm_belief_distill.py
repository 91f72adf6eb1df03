"""Distill an LM's belief, averaged over views, into a tiny reader of texts.

1. A causal LM answers a prompt about every example, on the canonical view and
   on K views.
2. The teacher is the mean belief over the views. The student reads the
   canonical text only: through a frozen small encoder, or by a small
   transformer or bag of embeddings of its own.
3. On unseen examples: fidelity to the teacher, accuracy, gap (the student then
   reads the views, too), two controls, and what an answer costs: parameters,
   FLOPs, texts a second.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import (
    asking,
    checkpoints,
    comparison,
    efficiency,
    evaluation,
    experiment,
    figures,
    heads,
    language,
    moved,
    predict,
    predictions,
    progress,
    report,
    runs,
    students,
    text_features,
    text_students,
    training,
    view_texts,
)
from mezzanine_jax import distill_data as data_lib
from mezzanine_jax import show as show_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.allowed import POOLS
from mezzanine_jax.base import Example
from mezzanine_jax.config import arguments_of, option
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import LanguageModel, load_model
from mezzanine_jax.settings import (
  LmFields,
  RunFields,
  SymmetryFields,
  TrainingFields,
  WorldFields,
)
from mezzanine_jax.symmetries.still import still

NAME = "llm_belief_distill"
ENCODER_HEAD = "encoder_head"
TEXTS = "texts.zarr"
show_views = show_lib.show_views
batch_fn = experiment.lm_answers


@dataclasses.dataclass(frozen=True)
class Config(RunFields, TrainingFields, SymmetryFields, LmFields, WorldFields):
  """Every field of the recipe."""

  world: str = option("hf_text", "where examples come from, see `mezzanine list`")
  student: str = option(
      ENCODER_HEAD, "what reads the text", one_of=(ENCODER_HEAD, *text_students.TEXT_STUDENTS))
  encoder_name: str = option(
      "sentence-transformers/all-MiniLM-L6-v2",
      "encoder_head: hub id, local folder, or pkg:NAME of the frozen encoder")
  pool: str = option("mean", "encoder_head: how hidden states are pooled", one_of=POOLS)
  head: str = option("mlp", "encoder_head: the head", one_of=tuple(heads.HEADS))
  hidden: int = option(256, "encoder_head: width of the mlp's hidden layers", at_least=1)
  depth: int = option(1, "encoder_head: hidden layers of the mlp", at_least=1)
  width: int = option(64, "transformer, embedding_bag: width", at_least=1)
  layers: int = option(2, "transformer: blocks", at_least=1)
  heads: int = option(4, "transformer: attention heads", at_least=1)
  max_tokens: int = option(256, "transformer, embedding_bag: most tokens read", at_least=1)
  speed_texts: int = option(
      16, "test texts that speed is measured on", at_least=1, runtime=True)


@runs.in_folder(NAME)
def run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; its results."""
  started = time.monotonic()
  # Everything that can be wrong with the input shows before anything is written.
  asked = experiment.ask(config)
  data, lm = asked.data, asked.lm
  lm_batch_fn = batch_fn(config, lm, asked.symmetry)
  plan = experiment.plan_views(config, data, asked.prepared, lm.tokenizer, asked.symmetry)
  parts = experiment.split_training(config, data)
  needed, index = _needed(plan, data.is_test)
  reader = _encoder(config, asked, plan, needed) if config.student == ENCODER_HEAD else None
  name, settings, factories = _student_of(config, lm.config.vocab_size)
  student = heads.make_student(
      name, factories=factories, num_choices=len(asked.choices), **settings)
  fingerprint = runs.fingerprint(
      NAME, config, model=lm.digest, data=data.world.digests, rows=language.digest(plan),
      encoder=reader and [reader[0].digest, language.digest(reader[1])])
  rows_fingerprints = {runs.STORE: experiment.rows_fingerprint(
      config, asked, plan, choice_norm=config.choice_norm, features=None)}
  if reader:
    rows_fingerprints[TEXTS] = text_features.fingerprint(*reader[:2], config.pool)
  folder = runs.begin(folder, fingerprint, rows_fingerprints)
  scored = experiment.score(folder, plan, lm_batch_fn, lm.params, [e.id for e in data.examples])

  lm_rows = store_lib.read(scored.store, "log_probs")
  rows = data_lib.DistillData(
      features=np.zeros((len(needed), 0), np.float32),
      log_probs=lm_rows[needed],
      row=index[0][:, None],
      log_weights=np.zeros((len(data.examples), 1), np.float32),
      teacher_log_probs=np.asarray(evaluation.teacher(scored.beliefs)),
      labels=data.labels,
  )
  if reader:
    encoder, encoder_plan, encode, cut = reader
    rows = rows._replace(features=text_features.features_of(
        encoder, encoder_plan, encode, *runs.rows_of(folder, TEXTS),
        runs.about(folder) | {"model": config.encoder_name}))
  else:
    texts = plan.texts_of(needed)
    tokens, *cut = text_students.student_tokens(
        texts.tokens, texts.lengths, config.max_tokens)
    rows = rows._replace(tokens=tokens)
  test = np.flatnonzero(data.is_test)
  with progress.bar("measuring the LM"):
    speed = _lm_speed(config, lm, plan, lm_batch_fn, test)
  data_block = experiment.data_block(asked, plan)
  digest = lm.digest
  asked = asked._replace(lm=None)
  del lm  # training needs the room that the weights take

  trained = training.train_with_controls(student, rows, parts, config, folder)
  checkpoints.save_student(folder.path / runs.STUDENT, trained.result.params, {
      "name": name,
      "settings": settings,
      "num_choices": rows.log_probs.shape[1],
      "feature_size": rows.features.shape[1],
      "lm_name": config.lm_name,
      "model_digest": digest,
      "encoder_digest": reader and reader[0].digest,
      "asking": asking.record(config, asked.asking),
      "cut": list(cut),
      "config": dataclasses.asdict(config),
  })
  with progress.bar("measuring the student"):
    speed = {"student": _student_speed(config, trained, rows, index[0][test], reader, name,
                                       settings)} | speed

  # What is read under other labels is answered under them.
  align = jax.vmap(asked.symmetry.align)
  elements = jax.tree.map(lambda a: a[needed], plan.rows.elements)
  inputs = jax.tree.map(jnp.asarray, data_lib.table(rows))
  predicted = training.predict(trained, inputs)
  predicted = {
      model: own if model == "constant" else align(elements, own)
      for model, own in predicted.items()
  }
  clusters = [data.clusters[n] for n in test]
  lm_test = evaluation.select(scored.beliefs, test)
  where = (index[0][test], index[1][test], plan.views.log_weights[test],
           plan.views.orbit_size[test])
  models = {model: evaluation.gather(own, *where) for model, own in predicted.items()}
  with progress.bar("evaluating"):
    blocks = comparison.student_blocks(lm_test, models, data.labels[test], clusters, config.seed)
  mass = store_lib.read(scored.store, "choice_mass")[plan.rows.canonical_row[test]]
  blocks["baseline"] |= comparison.choice_mass_block(mass, clusters)
  if reader:
    blocks["student"] |= comparison.representation_block(rows.features, *where[1:], clusters)
  blocks["student"] |= training.history_block(trained.result)
  results = report.header(NAME, config) | blocks | {
      **moved.blocks(asked, plan, lm_test, test, config.n_examples),
      "noise_floor": scored.noise_floor,
      "data": data_block,
      "cost": scored.cost | {
          "models": speed, "total_seconds": time.monotonic() - started,
          "peak_rss_mb": report.peak_rss_mb(),
      },
  }
  predictions.write(folder.path / runs.PREDICTIONS, [data.examples[n] for n in test],
                    {"baseline": lm_test, **models})
  figures.diagnostics(results, lm_test, folder.path / runs.DIAGNOSTICS)
  return runs.finish(folder, results)


def predictor(saved: predict.Saved) -> Callable[[Sequence[Example]], predict.Answers]:
  """The student as a function of new examples, see `predict.predict`.

  The language model is not asked: of it only the tokenizer is used.

  Args:
    saved: a finished run's.

  Raises:
    InputError: if the language model, the encoder or the student cannot be used.
  """
  config, meta = saved.config, saved.meta
  encodes = config.student == ENCODER_HEAD
  kind = str if encodes else list
  cut = meta.get("cut")
  if not isinstance(cut, list) or [type(own) for own in cut] != [kind, kind]:
    raise InputError(f"the student in {str(saved.path)!r} is damaged (no 'cut'); train it again")
  if encodes:
    loaded = predict.load_head(saved.params, meta)
    encoder = predict.load_same_model(
        config.encoder_name, "float32", str(meta.get("encoder_digest")))
  else:
    loaded = predict.load_head(
        saved.params, meta, text_students.TEXT_STUDENTS, {"tokens": jnp.zeros(1, jnp.int32)})
  lm = predict.load_same_lm(saved)

  def answer(examples: Sequence[Example]) -> predict.Answers:
    prepared = predict.prepare(saved, lm, examples)
    plan = language.plan_canonical(
        prepared, lm.tokenizer, batch_tokens=config.batch_tokens, max_shapes=config.max_shapes)
    if encodes:
      texts = view_texts.row_texts(plan, prepared, still(), plan.rows.canonical_row)
      texts = text_features.without_words(texts, *cut)
      return predict.answer_rows(
          text_features.plan_texts(encoder, texts, config), encoder.params,
          text_features.encoder_batch_fn(encoder, config.pool), loaded, [e.id for e in examples])
    read = plan.texts_of(plan.rows.canonical_row)
    tokens = text_students.cut_tokens(read.tokens, read.lengths, config.max_tokens, *cut)
    found = students.predict_rows(loaded.apply, loaded.params, {"tokens": jnp.asarray(tokens)})
    return predict.Answers(np.asarray(found), None)

  return answer


def show(results: dict[str, Any], out: str | pathlib.Path) -> None:
  """Prints the results, and what an answer costs."""
  report.show(results, out)
  efficiency.show(results["cost"]["models"])


def _needed(
    plan: language.Plan, is_test: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
  """The rows that a student reads, and where canonical and other views are among them.

  It learns from canonical views, and reads the others of the test part only to be judged.
  """
  views = plan.rows.row[is_test]
  needed = np.unique(np.concatenate([plan.rows.canonical_row, views[views >= 0]]))
  where = np.full(len(plan.rows.example) + 1, -1, np.int32)  # the last entry stands for padding
  where[needed] = np.arange(len(needed))
  return needed, (where[plan.rows.canonical_row], where[plan.rows.row])


def _encoder(config: Config, asked: experiment.Asked, plan: language.Plan, needed: np.ndarray):
  """The frozen encoder, the plan of its texts, its function of a batch, and what was cut off."""
  encoder = load_model(config.encoder_name)
  texts = view_texts.row_texts(plan, asked.prepared, asked.symmetry, needed)
  cut = text_features.common_words(texts)
  encoder_plan = text_features.plan_texts(
      encoder, text_features.without_words(texts, *cut), config)
  return encoder, encoder_plan, text_features.encoder_batch_fn(encoder, config.pool), cut


def _student_of(config: Config, vocab_size: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
  """Name and settings of the student, and the factories that its name is one of."""
  if config.student == ENCODER_HEAD:
    name, factories = config.head, heads.HEADS
  else:
    name, factories = config.student, text_students.TEXT_STUDENTS
  fields = dataclasses.asdict(config) | {"vocab_size": vocab_size}
  return name, arguments_of(factories[name], fields), factories


def _lm_speed(
    config: Config, lm: LanguageModel, plan: language.Plan, batch_fn, test: np.ndarray
) -> dict[str, Any]:
  """Parameters, FLOPs and speed of one pass of the LM, and of the teacher's K passes."""
  answers = plan.texts_of(plan.rows.canonical_row[test[:1]])
  extra = int((answers.choice_lengths - 1).sum())

  def views_of(examples):
    used = plan.rows.row[examples]
    return np.unique(used[used >= 0])

  out = {}
  for name, rows_of in (
      ("lm_one_pass", lambda examples: plan.rows.canonical_row[examples]), ("teacher", views_of)
  ):
    chosen, rows = test[: config.speed_texts], rows_of(test)
    part = language.only_rows(plan, rows_of(chosen), config.batch_tokens, config.max_shapes)
    run = efficiency.plan_runner(part, batch_fn, lm.params)
    flops = sum(
        efficiency.transformer_flops(lm.config, int(n) + extra, 1 + extra)
        for n in plan.lengths[rows])
    out[name] = {
        "parameters": efficiency.parameters(lm.params),
        "flops_a_text": flops / len(test),
        "rows_a_text": len(rows) / len(test),
        "texts_per_second": efficiency.texts_per_second(run, len(chosen)),
    }
  return out


def _student_speed(
    config: Config, trained, rows, canonical, reader, name, settings
) -> dict[str, Any]:
  """The same of the student, its encoder with it."""
  read = 0.0
  count = efficiency.parameters(trained.result.params["params"])
  chosen = canonical[: config.speed_texts]
  inputs = jax.tree.map(lambda a: jnp.asarray(a[chosen]), data_lib.table(rows))
  answer = lambda: students.predict_rows(trained.apply, trained.result.params, inputs)
  run, flops = answer, 0.0
  if reader:
    encoder, plan, encode, _ = reader
    encode_run = efficiency.plan_runner(
        language.only_rows(plan, plan.rows.canonical_row[chosen], config.batch_tokens,
                           config.max_shapes), encode, encoder.params)
    run = lambda: (encode_run(), answer())
    count += efficiency.parameters(encoder.params)
    lengths = plan.lengths[plan.rows.canonical_row[canonical]]
    flops = float(np.mean([efficiency.transformer_flops(encoder.config, int(n)) for n in lengths]))
    settings = settings | {"feature_size": rows.features.shape[1]}
  else:
    read = float((rows.tokens[canonical] != text_students.PAD).sum(1).mean())
  flops += efficiency.student_flops(name, settings, rows.log_probs.shape[1], read)
  return {"parameters": count, "flops_a_text": flops, "rows_a_text": 1.0,
          "texts_per_second": efficiency.texts_per_second(run, len(chosen))}
