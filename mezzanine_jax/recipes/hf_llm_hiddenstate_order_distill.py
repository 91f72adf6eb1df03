"""Distill an LM's belief, averaged over views, into a head on its hidden states.

1. Questions about passages, as prompts; the passage's sentences may change places.
2. Every example's canonical prompt and K of its views go through the LM once each.
3. The teacher is the mean belief over the views; a head on the hidden states learns it
   from any one view.
4. On unseen passages: how far LM, student and two controls move over the views, and how
   far they are from the teacher.
"""

import dataclasses
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mezzanine_jax
from mezzanine_jax import (
    checkpoints,
    clustered,
    designs,
    distill,
    evaluation,
    language,
    report,
    runs,
    scoring,
    students,
)
from mezzanine_jax import distill_data as data_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.config import arguments_of, check, option
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import DTYPES, load_lm
from mezzanine_jax.progress import bar
from mezzanine_jax.scoring import CHOICE_NORMS, EMBED_MODES
from mezzanine_jax.symmetries import make_symmetry
from mezzanine_jax.worlds import WORLDS, load_world

FEATURES_DTYPES = ("float32", "bfloat16", "float16")
NAME = "hf_llm_hiddenstate_order_distill"


@dataclasses.dataclass(frozen=True)
class Config:
  """Every field of the recipe."""

  world: str = option(
      "hf_qa", f"where examples come from: {', '.join(WORLDS)}, or one that a package adds")
  dataset: str | None = option(
      None, "preset, hub id, local folder or file (jsonl, csv, parquet, zip); none: the world's own"
      " (hf_qa: boolq)")
  question_field: str = option("question", "field with the question")
  passage_field: str = option("passage", "field with the passage")
  answer_field: str = option("answer", "field with the answer")
  label_map: str | None = option(None, "answers in the order of the choices, such as 'no,yes'")
  extra_fields: str | None = option(None, "more fields for the template, such as 'title,facts'")
  train_split: str = option("train", "split to learn from")
  test_split: str | None = option(None, "split to be judged by (none: validation, test or dev)")
  subset: str | None = option(None, "configuration of a hub dataset that has several")
  n_train: int = option(2048, "training examples", at_least=2)
  n_test: int = option(512, "test examples", at_least=1)
  seed: int = option(0, "the one seed: examples, views, training", at_least=0, at_most=2**32 - 1)

  lm_name: str = option("gpt2", "hub id, local folder, .gguf file, or pkg:NAME")
  dtype: str = option("float32", "of weights and matrix products", one_of=DTYPES)
  template: str = option(
      "Passage: {passage}\nQuestion: {question}\nAnswer:", "prompt; {passage} is the evidence")
  choices: str = option(" no| yes", "answers, split at |; choice c is label c")
  choice_norm: str = option("none", "what divides a choice's log-prob", one_of=CHOICE_NORMS)
  max_length: int | None = option(1024, "most tokens of a prompt (none: the model's)", at_least=8)
  embed_layer: int = option(-1, "hidden states taken: 0 embeddings, -1 after the final norm")
  embed_mode: str = option("last", "how they are pooled over the prompt", one_of=EMBED_MODES)

  features_dtype: str = option(
      "float32", "of the hidden states that are kept", one_of=FEATURES_DTYPES)

  symmetry: str = option("segment_order", "families of views, chained with commas")
  keep_first: int = option(0, "first sentences that stay in place", at_least=0)
  k_train: int = option(8, "views of a training example", at_least=1)
  k_test: int = option(16, "views of a test example", at_least=3)

  student: str = option("mlp", "the head", one_of=tuple(students.STUDENTS))
  hidden: int = option(512, "width of the mlp's hidden layers", at_least=1)
  depth: int = option(1, "hidden layers of the mlp", at_least=1)
  steps: int = option(800, "optimizer steps", at_least=1)
  batch_size: int = option(256, "views a step", at_least=1)
  learning_rate: float = option(1e-3, "highest learning rate", at_least=1e-9)
  weight_decay: float = option(1e-2, "of the weights", at_least=0.0)
  hard_label_weight: float = option(
      0.0, "share of the labels' cross-entropy in the loss", at_least=0.0, at_most=1.0)
  valid_fraction: float = option(
      0.2, "share of the training passages that chooses the step", at_least=0.01, at_most=0.9)
  eval_every: int = option(50, "steps between two looks at the validation part", at_least=1)

  batch_tokens: int = option(3072, "tokens of a batch of prompts", at_least=1, runtime=True)
  max_shapes: int = option(8, "most batch shapes compiled", at_least=1, runtime=True)

  def __post_init__(self):
    check(self)


def run(config: Config, out: str | pathlib.Path) -> dict[str, Any]:
  """Runs the experiment, or continues it, or returns the results of a finished one.

  Args:
    config: see `Config`.
    out: the run's folder.

  Returns:
    What `results.json` holds.

  Raises:
    InputError: for input that cannot be used; nothing is written then, but for scores or a loss
      that turn out not to be finite.
  """
  started = time.monotonic()
  folder = runs.look(out, NAME, config)
  if folder.results is not None:
    return folder.results

  # Everything that can be wrong with the input shows before anything is written.
  settings = dataclasses.asdict(config)
  symmetry = make_symmetry(config.symmetry, **settings)
  with bar("loading the data"):
    world = load_world(config.world, **settings)
  choices = config.choices.split("|")
  if world.num_labels > len(choices):
    raise InputError(
        f"the data has {world.num_labels} labels, but choices {config.choices!r} are"
        f" {len(choices)}; give one choice a label, split at |"
    )
  with bar("loading the language model"):
    lm = load_lm(config.lm_name, config.dtype)
  batch_fn = scoring.view_rows_scorer(
      scoring.rows_scorer(
          lm.config, dtype=lm.dtype, embed_layer=config.embed_layer,
          embed_mode=config.embed_mode, choice_norm=config.choice_norm,
      ),
      symmetry,
  )
  batch_fn = _with_features_in(batch_fn, config.features_dtype)
  examples = world.train + world.test
  num_train = len(world.train)
  is_test = np.arange(len(examples)) >= num_train
  with bar("preparing the views"):
    prepared = language.prepare(
        examples, lm.tokenizer, template=config.template, evidence="passage", choices=choices,
        max_tokens=_max_tokens(config, lm),
    )
    plan = language.plan(
        prepared, lm.tokenizer, symmetry,
        designs.example_keys(jax.random.key(config.seed), [e.id for e in examples]),
        np.where(is_test, config.k_test, config.k_train),
        batch_tokens=config.batch_tokens, max_shapes=config.max_shapes,
    )
  clusters = [e.cluster for e in examples]
  parts = data_lib.split_by_cluster(clusters[:num_train], config.valid_fraction, config.seed)
  if not len(parts[1]):
    raise InputError(
        "all training examples are about one passage, so none can be held out to choose the"
        " step; give n_train examples of two passages or more"
    )
  fingerprint = store_lib.fingerprint({
      "recipe": NAME,
      "version": mezzanine_jax.__version__,
      "config": {
          f.name: getattr(config, f.name)
          for f in dataclasses.fields(config) if not f.metadata["runtime"]
      },
      "model": lm.digest,
      "data": world.digests,
      "rows": language.digest(plan),
  })
  runs.begin(folder, fingerprint)

  scoring_started = time.monotonic()
  with bar("scoring views", len(plan.rows.example)) as advance:
    store, rows_run = language.score(
        plan, batch_fn, lm.params, folder.path / runs.STORE, fingerprint,
        ids=[e.id for e in examples], progress=advance,
    )
  del lm  # training needs the room that the weights take
  cost = language.cost(plan) | {"rows_run": rows_run}  # fewer than rows in a run that continued
  cost["seconds"] = time.monotonic() - scoring_started
  share = rows_run / cost["rows"]
  cost["views_per_second"] = cost["views"] * share / cost["seconds"] if rows_run else None

  index = (plan.rows.canonical_row, plan.rows.row, plan.views.log_weights, plan.views.orbit_size)
  lm_rows = store_lib.read(store, "log_probs")
  lm_beliefs = evaluation.gather(lm_rows, *index)
  labels = np.array([-1 if e.label is None else e.label for e in examples], np.int32)
  data = data_lib.DistillData(
      features=store_lib.read(store, "features"),
      log_probs=lm_rows,
      row=plan.rows.row,
      log_weights=plan.views.log_weights,
      teacher_log_probs=np.asarray(evaluation.teacher(lm_beliefs)),
      labels=labels,
  )
  trained = _train(config, data, parts, len(choices), config.lm_name, folder.path)

  test = np.flatnonzero(is_test)
  names = [clusters[n] for n in test]
  movable = plan.views.orbit_size[test] > 1
  lm_test = evaluation.select(lm_beliefs, test)
  noise = evaluation.teacher_noise(lm_test)
  beliefs = {"baseline": lm_test} | {
      name: evaluation.select(evaluation.gather(rows, *index), test)
      for name, rows in trained["rows"].items()
  }
  figures = {
      name: jax.tree.map(np.asarray, evaluation.figures(b, lm_test, jnp.asarray(labels[test])))
      for name, b in beliefs.items()
  }
  blocks = {
      name: evaluation.model_block(own, figures["baseline"], noise, movable, names)
      for name, own in figures.items()
  }
  mass = store_lib.read(store, "choice_mass")[plan.rows.canonical_row[test]]
  mean, stderr = clustered.mean_and_stderr(mass, names)
  blocks["baseline"] |= {"choice_mass": mean, "choice_mass_stderr": stderr}
  blocks["student"] |= trained["student"]
  cost["total_seconds"] = time.monotonic() - started
  cost["peak_rss_mb"] = _peak_rss_mb()
  results = {
      "recipe": NAME,
      "version": mezzanine_jax.__version__,
      "config": dataclasses.asdict(config),
      "environment": report.environment(),
      "data": _data_block(world, prepared, plan, is_test),
      "baseline": blocks["baseline"],
      "teacher": evaluation.teacher_block(lm_test, labels[test], names),
      "student": blocks["student"],
      "controls": {"constant": blocks["constant"], "shuffled_targets": blocks["shuffled_targets"]},
      "verdict": evaluation.verdict(
          figures["student"], figures["baseline"], figures["constant"], blocks["student"],
          movable, names,
      ),
      "gap_by_views": evaluation.gap_by_views(lm_test, names, config.seed),
      "cost": cost,
  }
  report.diagnostics(results, lm_test, folder.path / runs.DIAGNOSTICS)
  # Last of all: where results.json stands, the run is finished.
  return runs.write_json(folder.path / runs.RESULTS, results)


def _max_tokens(config: Config, lm) -> int:
  """The most tokens of a prompt and its answer: the model's limit, or less."""
  limit = lm.config.max_positions
  return limit if config.max_length is None else min(limit, config.max_length)


def _with_features_in(batch_fn, dtype: str):
  """The same scores with features of that dtype, cast on the device."""

  def apply(params, elements, rows):
    scores = batch_fn(params, elements, rows)
    return scores._replace(features=scores.features.astype(dtype))

  return apply


def _train(
    config: Config, data: data_lib.DistillData, parts: tuple[np.ndarray, np.ndarray],
    num_choices: int, lm_name: str, path: pathlib.Path,
) -> dict[str, Any]:
  """Trains the student and its control; every model's predictions on all rows."""
  settings = arguments_of(students.STUDENTS[config.student], dataclasses.asdict(config))
  student = students.make_student(config.student, num_choices=num_choices, **settings)
  part_train, part_valid = parts
  all_train = data_lib.select(data, np.sort(np.concatenate(parts)))
  student = students.standardize(
      student, *data_lib.feature_moments(data_lib.select(data, part_train))
  )
  # Views are drawn from keys folded from the seed with the examples' names; these are apart.
  keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 1), 3)

  def train(data, key, title, checkpoint_dir):
    with bar(title, config.steps) as advance:
      at = [0]

      def progress(point):
        advance(point.step - at[0])
        at[0] = point.step

      return distill.train(
          student, data_lib.select(data, part_train), data_lib.select(data, part_valid),
          key=key, steps=config.steps, batch_size=config.batch_size,
          learning_rate=config.learning_rate, weight_decay=config.weight_decay,
          hard_label_weight=config.hard_label_weight, eval_every=config.eval_every,
          checkpoint_dir=checkpoint_dir, progress=progress,
      )

  result = train(all_train, keys[0], "training the student", str(path / runs.STUDENT))
  shuffled = data_lib.shuffled_targets(keys[1], all_train)
  control = train(shuffled, keys[2], "training the control", None)
  inputs = {"features": jnp.asarray(data.features), "log_probs": jnp.asarray(data.log_probs)}
  constant = np.broadcast_to(data_lib.mean_teacher(all_train), data.log_probs.shape)
  checkpoints.save_student(path / runs.STUDENT, result.params, {
      "name": config.student,
      "settings": settings,
      "num_choices": num_choices,
      "feature_size": data.features.shape[1],
      "lm_name": lm_name,
      "config": dataclasses.asdict(config),
  })
  return {
      "rows": {
          "student": students.predict_rows(student.apply, result.params, inputs),
          "constant": constant,
          "shuffled_targets": students.predict_rows(student.apply, control.params, inputs),
      },
      "student": {
          "best_step": result.best_step,
          "chosen_by": result.chosen_by,
          "history": [p._asdict() for p in result.history],
      },
  }


def _data_block(world, prepared, plan, is_test) -> dict[str, Any]:
  """Counts and digests of the data."""
  counts = {}
  for part, chosen in (("train", ~is_test), ("test", is_test)):
    sizes = plan.views.orbit_size[chosen]
    views = np.isfinite(plan.views.log_weights[chosen]).sum(1)
    counts[part] = {
        "examples": int(chosen.sum()),
        "movable": int((sizes > 1).sum()),
        "exact_orbits": int((views >= sizes).sum()),
    }
  return {
      "notes": world.notes, "sha256": world.digests, "prompts": prepared.counts, **counts
  }


def _peak_rss_mb() -> float:
  """The most memory this process has had resident, in MiB."""
  import resource  # not on every platform

  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak / (1024**2 if sys.platform == "darwin" else 1024)
