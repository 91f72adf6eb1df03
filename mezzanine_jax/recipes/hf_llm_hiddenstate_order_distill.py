"""Distill an LM's belief, averaged over views, into a head or adapters.

1. Questions about passages, as prompts; the passage's sentences may change
   places.
2. Every example's canonical prompt and K of its views go through the LM once
   each.
3. The teacher is the mean belief over the views; a student learns it from one
   pass over the set of the sentences, or over any one view: the LM's own
   answer with a correction from the hidden states, or a head on these alone.
4. On unseen passages: how far LM, student and controls move over the views,
   and how far they are from the teacher.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mezzanine_jax import (
    adapters,
    asking,
    checkpoints,
    comparison,
    evaluation,
    experiment,
    figures,
    heads,
    hosts,
    language,
    moved,
    predict,
    predictions,
    progress,
    report,
    runs,
    scoring,
    sets,
    training,
)
from mezzanine_jax import distill_data as data_lib
from mezzanine_jax import show as show_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.allowed import FEATURES_DTYPES
from mezzanine_jax.base import Example, Params, Symmetry
from mezzanine_jax.base_distill import STUDENT_VIEWS
from mezzanine_jax.config import arguments_of, option
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import LanguageModel
from mezzanine_jax.scoring import EMBED_MODES, THIRDS, layers_of
from mezzanine_jax.settings import (
  AdapterFields,
  ExtraFields,
  LmFields,
  RunFields,
  SymmetryFields,
  TrainingFields,
  WorldFields,
)
from mezzanine_jax.symmetries.still import still

SET_ROWS, SET_LM = "set.zarr", "set"
_AT_USE = "the student", "other texts, or train a student with --student_reads view"
NAME = "hf_llm_hiddenstate_order_distill"
show_views = show_lib.show_views


@dataclasses.dataclass(frozen=True)
class Config(RunFields, AdapterFields, ExtraFields, TrainingFields, SymmetryFields, LmFields,
             WorldFields):
  """Every field of the recipe."""

  # Of so many scored rows, 2 to 8 views of many passages teach more than 16 of few (README).
  k_train: int = option(4, "views of a training example", at_least=1)
  # So are these: the settings that were nearest the teacher on validation passages.
  steps: int = option(400, "optimizer steps of a head (ridge: until it is found)", at_least=1)
  learning_rate: float = option(1e-4, "highest rate of a head (ridge: none)", at_least=1e-9)
  weight_decay: float = option(1.0, "of a head's weights (ridge: chosen)", at_least=0.0)
  eval_every: int = option(25, "steps between two looks at the validation part", at_least=1)
  embed_layer: str = option(
      THIRDS, "hidden states taken: 0 embeddings, -1 after the final norm; several with commas; or"
      " thirds, at one third, two thirds and the end of the model")
  embed_mode: str = option("last_mean", "how they are pooled over the prompt", one_of=EMBED_MODES)
  features_dtype: str = option(
      "float32", "of the hidden states that are kept", one_of=FEATURES_DTYPES)
  student: str = option(
      "ridge", "the LM's own answer and a correction from the hidden states: a linear one, found at"
      " once (ridge), by a small network (residual), or from every sentence's states (attention); a"
      " head on these states alone (linear, mlp); or the LM itself with low-rank adapters, which"
      " reads a view (lora) or the set of its sentences (set)",
      one_of=(*heads.STUDENTS, *adapters.NAMES))
  student_views: str = option(
      "all", "what the student learns from: the canonical view, or all views (a set has one)",
      one_of=STUDENT_VIEWS)
  student_reads: str = option(
      "auto", "what a head is given: a text as it stands (view), or the set of its sentences, by"
      " attention averaged over set_orders, so that no order of them changes the answer (set);"
      " auto: a set where only the order of the sentences changes, all of them tokenize alone, and"
      " consistency_weight is 0",
      one_of=("auto", "view", "set"))
  hidden: int = option(64, "width of the hidden layers", at_least=1)
  depth: int = option(1, "hidden layers; residual takes 0, too", at_least=0)
  heads: int = option(4, "attention: heads", at_least=1)


@runs.in_folder(NAME)
def run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; its results."""
  started = time.monotonic()
  # Everything that can be wrong with the input shows before anything is written.
  if "option_order" in [name.strip() for name in config.symmetry.split(",")]:
    raise InputError(
        "option_order moves the answers, which a head on hidden states does not follow; use"
        " llm_order_gap or llm_belief_distill for it, or another symmetry"
    )
  if config.student == "ridge" and config.consistency_weight:
    raise InputError("the student 'ridge' has no term for pairs of views, got consistency_weight"
                     f" {config.consistency_weight}: leave it at 0, or take the student 'residual'")
  asked = experiment.ask(config)
  data, lm = asked.data, asked.lm
  layers = layers_of(config.embed_layer, lm.config.num_layers)
  is_set, why_view = _reads_sets(config, asked)
  if why_view:
    as_views = f"the student reads texts as they stand, not sets: {why_view}"
    progress.note(as_views)
  if config.student in adapters.NAMES:
    adapters.check(config, asked)
  reading = adapters.reading(config, asked, is_set)
  reader = {} if reading is None else {"adapters": reading.block}
  if config.embed_mode == "segments" and "paraphrase" in config.symmetry:
    raise InputError("embed_mode 'segments' is for prompts in one wording, got the symmetry"
                     f" {config.symmetry!r}: leave out paraphrase, or pool in another way")
  if config.student == "attention" and config.embed_mode != "segments":
    raise InputError("the student 'attention' needs the states of the prompt's segments, got"
                     f" embed_mode {config.embed_mode!r}: give embed_mode 'segments'")
  lm_batch_fn = batch_fn(config, lm, asked.symmetry)
  plan = experiment.plan_views(config, data, asked.prepared, lm.tokenizer, asked.symmetry)
  parts = experiment.split_training(config, data)
  test = np.flatnonzero(data.is_test)
  fingerprint = runs.fingerprint(
      NAME, config, model=lm.digest, data=data.world.digests, rows=language.digest(plan), **reader)
  facts = {"choice_norm": config.choice_norm,
           "features": [layers, config.embed_mode, config.features_dtype]}
  plans = {runs.STORE: plan}
  if is_set:
    set_rows = sets.rows(plan, np.arange(len(data.labels)), test)
    plans[SET_ROWS] = sets.only(plan, set_rows, asked.symmetry, config)
  folder = runs.begin(folder, fingerprint, {
      name: experiment.rows_fingerprint(
          config, asked, own, **facts, **(reader if name == SET_ROWS else {}))
      for name, own in plans.items()})
  ids = [e.id for e in data.examples]
  if is_set:
    params = lm.params if reading is None else reading(lm.params)
    set_store, set_seconds = _score_sets(folder, plans[SET_ROWS], lm_batch_fn, params, ids)
    del params
  scored = experiment.score(folder, plan, lm_batch_fn, lm.params, ids)
  data_block = experiment.data_block(asked, plan)
  if why_view:
    notes = data_block["notes"]
    data_block["notes"] = notes | {"messages": [*notes.get("messages", []), as_views]}
  all_views = config.student_views == "all"
  rows = data_lib.DistillData(
      features=store_lib.read(scored.store, "features"),
      log_probs=store_lib.read(scored.store, "log_probs"),
      row=plan.rows.row if all_views else plan.rows.canonical_row[:, None],
      log_weights=plan.views.log_weights if all_views else np.zeros((len(data.labels), 1), "f4"),
      teacher_log_probs=np.asarray(evaluation.teacher(scored.beliefs)),
      labels=data.labels,
  )
  meta = {
      "name": config.student,
      **({"set_orders": config.set_orders} if is_set else {}),
      **reader,
      "num_choices": rows.log_probs.shape[1],
      "feature_size": rows.features.shape[1],
      "lm_name": config.lm_name,
      "model_digest": lm.digest,
      "asking": asking.record(config, asked.asking),
      "config": dataclasses.asdict(config),
  }
  usual = np.flatnonzero(~(data.is_test | data.is_extra))  # as the test part is
  if config.student in adapters.NAMES:
    learned, history = _adapters(config, asked, plan, rows, parts, usual, folder, meta)
  else:
    sizes = {"width": lm.config.width, "layers": len(layers)}
    read = rows
    if is_set:
      read = sets.data(rows, set_store, set_rows, plan)
      set_cost = language.cost(plans[SET_ROWS])
      scored.cost["sets"] = {name: set_cost[name] for name in ("rows", "tokens", "padded_tokens")}
      scored.cost["seconds"] += set_seconds
    asked = asked._replace(lm=None)
    del lm  # training needs the room that the weights take
    if reading is not None:
      reading.save(folder.path / runs.STUDENT)
    learned, history = _head(config, sizes, read, parts, usual, folder, meta)
    history |= reader
    if is_set:
      learned[SET_LM] = read.log_probs  # a control: what the reading does without the head
      found = {name: sets.everywhere(plan, set_rows, own, test, rows.log_probs)
               for name, own in learned.items()}
      learned = {name: answers for name, (answers, _) in found.items()}
      history["order_blind"] = found["student"][1]

  clusters = [data.clusters[n] for n in test]
  lm_test = evaluation.select(scored.beliefs, test)
  models = {
      name: evaluation.select(evaluation.gather(own, *scored.index), test)
      for name, own in learned.items()
  }
  with progress.bar("evaluating"):
    reads = "LM with adapters" if reader else "LM"
    asks = f"distance minus that of the {reads} as a set is below 0"
    rivals = {SET_LM: asks} if SET_LM in models else {}
    blocks = comparison.student_blocks(
        lm_test, models, data.labels[test], clusters, config.seed, rivals=rivals)
  mass = store_lib.read(scored.store, "choice_mass")[plan.rows.canonical_row[test]]
  blocks["baseline"] |= comparison.choice_mass_block(mass, clusters)
  blocks["baseline"] |= comparison.representation_block(
      rows.features, *(a[test] for a in scored.index[1:]), clusters)
  blocks["student"] |= history | {
      "reads": "set" if is_set or config.student == "set" else "view"}
  results = report.header(NAME, config) | blocks | {
      **moved.blocks(asked, plan, lm_test, test, config.n_examples),
      "noise_floor": scored.noise_floor,
      "data": data_block,
      "cost": scored.cost | {
          "total_seconds": time.monotonic() - started, "peak_rss_mb": report.peak_rss_mb()
      },
  }
  predictions.write(folder.path / runs.PREDICTIONS, [data.examples[n] for n in test],
                    {"baseline": lm_test, **models})
  figures.diagnostics(results, lm_test, folder.path / runs.DIAGNOSTICS)
  if data.world.draw is not None:
    data.world.draw(results, data.examples, folder.path)
  return runs.finish(folder, results)


def _reads_sets(config: Config, asked: experiment.Asked) -> tuple[bool, str | None]:
  """Whether a head is given sets; why not, where that is for its settings or texts to say.

  Raises:
    InputError: if it is to be, but cannot.
  """
  if config.student in adapters.NAMES:
    if config.student_reads == ("view" if config.student == "set" else "set"):
      raise InputError(f"student_reads {config.student_reads!r} is for heads, got the student"
                       f" {config.student!r}: leave it out (lora reads a view, set a set)")
    return False, None
  if config.student_reads == "view":
    return False, None
  why = sets.why_no_head(config) or sets.why_not_these(asked.prepared)
  if why and config.student_reads == "set":
    raise InputError(f"student_reads 'set' cannot be: {why}; use view")
  return not why, why


def _score_sets(
    folder: runs.Folder, plan: language.Plan, lm_batch_fn: Callable[..., scoring.Scores],
    params: Params, ids: Sequence[str],
) -> tuple[store_lib.Store | None, float]:
  """The store of the rows that are read as sets, in the first process; and seconds."""
  started, store = time.monotonic(), None
  with (contextlib.suppress(hosts.Left),  # other processes have views to score yet
        progress.rows("scoring sets", len(plan.rows.example)) as written):
    store, _ = language.score(
        plan, lm_batch_fn, params, *runs.rows_of(folder, SET_ROWS), ids=ids,
        about=runs.about(folder), progress=written, processes=hosts.here())
  return store, time.monotonic() - started


def _head(
    config: Config, sizes: dict[str, int], rows: data_lib.DistillData,
    parts: tuple[np.ndarray, np.ndarray], usual: np.ndarray, folder: runs.Folder,
    meta: dict[str, Any],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """A head on the hidden states and its controls: float32[R, C] of each; how it was chosen."""
  settings = arguments_of(heads.STUDENTS[config.student], dataclasses.asdict(config) | sizes)
  student = heads.make_student(config.student, num_choices=meta["num_choices"], **settings)
  trained = training.train_with_controls(student, rows, parts, config, folder, usual=usual)
  checkpoints.save_student(
      folder.path / runs.STUDENT, trained.result.params, meta | {"settings": settings})
  inputs = {"features": jnp.asarray(rows.features), "log_probs": jnp.asarray(rows.log_probs)}
  return training.predict(trained, inputs), training.history_block(trained.result)


def _adapters(
    config: Config, asked: experiment.Asked, plan: language.Plan, rows: data_lib.DistillData,
    parts: tuple[np.ndarray, np.ndarray], usual: np.ndarray, folder: runs.Folder,
    meta: dict[str, Any],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """As `_head`, of the language model with adapters; float32[R, C] on the test examples' rows."""
  learn = functools.partial(
      adapters.learn, config, asked, plan, rows.log_probs, rows.teacher_log_probs, parts, folder)
  student = learn()
  made = adapters.settings(config, student.answer)
  checkpoints.save_student(
      folder.path / runs.STUDENT, student.found.adapters, meta | {"settings": made})
  constant = data_lib.mean_teacher(data_lib.select(rows, usual))
  models = {"student": student.log_probs,
            "constant": np.broadcast_to(constant, rows.log_probs.shape)}
  if config.lora_control:
    models["shuffled_targets"] = learn(control=True).log_probs
  return models, student.block


def predictor(saved: predict.Saved) -> Callable[[Sequence[Example]], predict.Answers]:
  """The student as a function of new examples, see `predict.predict`.

  Args:
    saved: a finished run's.

  Raises:
    InputError: if the language model or the student cannot be used.
  """
  config, lm = saved.config, predict.load_same_lm(saved)
  if saved.meta["name"] in adapters.NAMES:
    loaded = adapters.load(saved.params, saved.meta)
    lm_batch_fn = experiment.lm_answers(config, lm, still())
  else:
    orders = saved.meta.get("set_orders")
    if orders is not None and not (type(orders) is int and orders >= 1):
      raise InputError(f"the student is damaged: its set_orders are {orders!r}; train it again")
    loaded = predict.load_head(saved.params, saved.meta)._replace(set_orders=orders)
    if "adapters" in saved.meta:
      loaded = loaded._replace(
          adapt=adapters.kept_reading(saved.path / runs.STUDENT, saved.meta))
    lm_batch_fn = batch_fn(config, lm, still())

  def answer(examples: Sequence[Example]) -> predict.Answers:
    prepared = predict.prepare(saved, lm, examples)
    if loaded.set_orders is not None:
      sets.check(config, prepared, *_AT_USE)
    if config.embed_mode == "segments":  # the features of a run have a place for each of its own
      layers = layers_of(config.embed_layer, lm.config.num_layers)
      places = saved.meta["feature_size"] // (lm.config.width * len(layers))
      prepared = language.with_segments(prepared, places - 2)
    return predict.one_pass(config, prepared, examples, lm, lm_batch_fn, loaded)

  return answer


def batch_fn(
    config: Config, lm: LanguageModel, symmetry: Symmetry
) -> Callable[..., scoring.Scores]:
  """The function of a batch of views: the LM's answers and hidden states, in their dtype.

  Args:
    config: see `Config`.
    lm: of which the architecture and the dtype are read.
    symmetry: the family of views.
  """
  scores = experiment.lm_batch_fn(
      config, lm, symmetry, embed_mode=config.embed_mode,
      embed_layer=layers_of(config.embed_layer, lm.config.num_layers))
  return _with_features_in(scores, config.features_dtype)


def _with_features_in(batch_fn, dtype: str):
  """The same scores with features of that dtype, cast on the device."""

  def apply(params, elements, rows):
    scores = batch_fn(params, elements, rows)
    return scores._replace(features=scores.features.astype(dtype))

  return apply
