"""A finished run's student on new texts: one pass over the canonical view of each.

    run folder -> `Saved` -> the recipe's `predictor(saved)` -> f(examples) -> `Answers`

What a recipe's student needs of a model is a `Loaded`: parameters, a function of what the pass
gives, and, for a student that changes the model's own weights, how.
"""

import dataclasses
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import asking as asking_lib
from mezzanine_jax import checkpoints, heads, language, progress, runs, students
from mezzanine_jax import config as config_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Array, Example, Params
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import LanguageModel, load_model
from mezzanine_jax.symmetries.still import still
from mezzanine_jax.worlds.fields import field_names
from mezzanine_jax.worlds.new_examples import read_new

# Fields of a run's configuration that may differ: where things are and what they are called.
FIELDS = (
    "question_field", "passage_field", "text_field", "options_field", "answer_field",
    "label_field", "label_map", "answer_form", "lm_name", "model_name", "encoder_name",
    "batch_tokens", "max_shapes",
)
_OWN = "student"  # among the model's parameters, the student's


class Saved(NamedTuple):
  """What a finished run left of its student.

  Attributes:
    path: the run's folder.
    recipe: the module that made it.
    config: the run's configuration, with the fields of `FIELDS` that were given anew.
    params: the student's.
    meta: what stands beside them, see `checkpoints.save_student`.
    asking: how examples were asked about.
  """

  path: pathlib.Path
  recipe: ModuleType
  config: Any
  params: Params
  meta: dict[str, Any]
  asking: asking_lib.Asking


class Loaded(NamedTuple):
  """A student, ready for what one pass of a model gives.

  Attributes:
    params: the student's.
    apply: `(params, inputs) -> log_probs[C]` of one example, `inputs` being {features, log_probs}.
    adapt: `(model's params) -> params` that the student's pass is made with; None where the
      student leaves the model as it is, so that one pass serves both.
    set_orders: those that the student's pass over a set is averaged over, see `language.as_set`;
      None where it reads a text as it stands.
  """

  params: Params
  apply: Callable[[Params, students.Inputs], Array]
  adapt: Callable[[Params], Params] | None = None
  set_orders: int | None = None


class Answers(NamedTuple):
  """Log-probs of N examples, float32[N, C] each; `baseline`: the model's own answers.

  They are those of the student's pass, or of another where that changes the model; or None.
  """

  student: np.ndarray
  baseline: np.ndarray | None


class Predictions(NamedTuple):
  """A student's answers to the rows of a file.

  Attributes:
    ids: N names or numbers.
    choices: C names.
    answers: see `Answers`.
    labels: int32[N], -1 where unknown.
    clusters: N names of what is not independent.
    who: what the baseline is called: `LM`, `LM as a set` or `base head`.
    seconds: from prompts to answers, without loading.
  """

  ids: list[str | int]
  choices: list[str]
  answers: Answers
  labels: np.ndarray
  clusters: list[str]
  who: str
  seconds: float


class _Pass(NamedTuple):
  """What a batch gives: float32[R, C] each, the baseline [R, 0] where there is none."""

  log_probs: Array
  baseline: Array


def predict(student: str | os.PathLike, data: str, **fields: Any) -> Predictions:
  """Applies a finished run's student to every row of a file.

  Args:
    student: the `--out` folder of a finished run.
    data: jsonl, json, csv, tsv or parquet file (or a zip of one) with the fields that the run's
      world reads; labels may be missing.
    **fields: fields of the run's configuration that differ, of those in `FIELDS`.

  Returns:
    Answers in the order of the rows.

  Raises:
    InputError: for a folder, a file or a model that cannot be used.

  Example:
    >>> made = predict("out/quickstart", "new.jsonl")  # doctest: +SKIP
    >>> np.exp(made.answers.student[0]), made.choices  # doctest: +SKIP
  """
  saved = load_saved(student, **fields)
  who = getattr(saved.recipe, "WHO", "LM")
  # Of a head that reads sets the model's answer is that of the same pass.
  is_same = saved.meta.get("set_orders") and "adapters" not in saved.meta
  who = f"{who} as a set" if is_same else who
  choices = list(saved.asking.choices)
  settings = dataclasses.asdict(saved.config) | {
      "label_names": saved.asking.label_names, "num_options": len(choices)}
  if settings.get("paraphrases"):  # the canonical view is of the evidence itself
    extra = field_names(settings["extra_fields"])
    settings["extra_fields"] = [name for name in extra if name != settings["paraphrases"]]
  with progress.bar("loading the data"):
    examples, ids = read_new(data, settings.pop("world"), **settings)
  labels = np.array([-1 if e.label is None else e.label for e in examples], np.int32)
  if labels.max() >= len(choices):
    raise InputError(
        f"example {examples[labels.argmax()].id!r} has the label {labels.max()}, but the student"
        f" knows {len(choices)} ({', '.join(_names(choices))}) from 0 on: mend label_map")
  answer = saved.recipe.predictor(saved)
  started = time.monotonic()
  answers = answer(examples)
  return Predictions(
      ids, _names(choices), answers, labels, [e.cluster for e in examples],
      who, time.monotonic() - started)


def load_saved(out: str | os.PathLike, **fields: Any) -> Saved:
  """Opens the folder of a finished run.

  Args:
    out: the folder.
    **fields: see `predict`.

  Raises:
    InputError: if it is not the folder of a finished run with a student that can be applied.
  """
  from mezzanine_jax.recipes import get_recipe

  results = runs.finished(out)
  recipe = get_recipe(results["recipe"])
  if not hasattr(recipe, "predictor"):
    raise InputError(f"{str(out)!r} holds a run of {results['recipe']!r}, which leaves no student"
                     " that could be applied; give a run that distilled one")
  allowed = [f.name for f in dataclasses.fields(recipe.Config) if f.name in FIELDS]
  for name in fields:
    if name not in allowed:
      raise InputError(f"{name!r} cannot differ from the run's own"
                       f"{config_lib.did_you_mean(name, allowed)}")
  config = config_lib.resolve(recipe.Config, results["config"], fields)
  params, meta = checkpoints.load_student(pathlib.Path(out) / runs.STUDENT)
  if "asking" not in meta or not isinstance(meta.get("model_digest"), str):
    raise InputError(
        f"the student in {str(out)!r} was kept without its prompts and its model's digest, by an"
        f" earlier version; delete {runs.RESULTS} there and give the run's command again, which"
        " trains it anew from the rows that it has")
  asking = asking_lib.recall(meta["asking"])
  if meta["num_choices"] != len(asking.choices):
    raise InputError(f"the student in {str(out)!r} is damaged: it has {meta['num_choices']!r}"
                     f" choices, its prompts {len(asking.choices)}; train it again")
  return Saved(pathlib.Path(out), recipe, config, params, meta, asking)


def load_same_model(name: str, dtype: str, digest: str) -> LanguageModel:
  """A model, if it is the one that a student was trained on.

  Args:
    name: see `models.load.load_model`.
    dtype: of its weights.
    digest: SHA-256 (hex) of what changes its numbers, the dtype among it.

  Raises:
    InputError: if it is another one, or cannot be loaded.
  """
  with progress.bar("loading the model"):
    model = load_model(name, dtype)
  if model.digest != digest:
    raise InputError(
        f"the model {name!r} is not the one that the student was trained on (SHA-256"
        f" {model.digest[:12]}..., trained on {digest[:12]}...): give that one's place")
  return model


def load_same_lm(saved: Saved) -> LanguageModel:
  """The language model that a student was trained on, by its configuration's `lm_name`."""
  return load_same_model(
      saved.config.lm_name, saved.config.dtype, saved.meta["model_digest"])


def prepare(
    saved: Saved, lm: LanguageModel, examples: Sequence[Example]
) -> language.Prepared:
  """The prompts of new examples, made as the run's were.

  Raises:
    InputError: for an example that cannot be asked about.
  """
  # The canonical view is of an example's own evidence: new ones need no paraphrases of it.
  config = dataclasses.replace(saved.config, paraphrases=None)
  with progress.bar("preparing the prompts"):
    return asking_lib.prepare(config, saved.asking, lm, examples)


def load_head(
    params: Params, meta: Mapping[str, Any],
    factories: Mapping[str, Callable[..., students.Student]] = heads.STUDENTS,
    inputs: students.Inputs | None = None,
) -> Loaded:
  """A student that leaves the model as it is.

  Args:
    params: as they were saved.
    meta: what stands beside them.
    factories: see `heads.make_student`.
    inputs: what it reads of one example, any values; by default features and log-probs.

  Raises:
    InputError: if the two do not fit.
  """
  sizes = {name: meta[name] for name in ("num_choices", "feature_size")}
  good = isinstance(meta["name"], str) and isinstance(meta["settings"], dict) and all(
      type(size) is int and size >= 0 for size in sizes.values())
  if good:
    student = heads.make_student(
        meta["name"], factories=factories, num_choices=sizes["num_choices"], **meta["settings"])
    inputs = inputs or {name: jax.ShapeDtypeStruct((size,), jnp.float32) for name, size in
                        (("features", sizes["feature_size"]), ("log_probs", sizes["num_choices"]))}
    shapes = jax.eval_shape(student.init, jax.random.key(0), inputs)
    good = jax.tree.map(jnp.shape, shapes) == jax.tree.map(np.shape, params)
  if not good:
    raise InputError("the student's weights are not of the shapes that its student.json says: the"
                     " folder is damaged; train it again")
  return Loaded(params, student.apply)


def one_pass(
    config: Any, prepared: language.Prepared, examples: Sequence[Example], model: LanguageModel,
    batch_fn: Callable[..., Any], loaded: Loaded, **more: Params,
) -> Answers:
  """One pass of a model over each canonical prompt, and the student on what it gives.

  The pass and the student are one program, so that nothing but answers leaves the device.

  Args:
    config: has the fields of `settings.RunFields`.
    prepared: N prompts.
    examples: N examples, for errors.
    model: the model.
    batch_fn: `(params, elements, rows) -> NamedTuple` with `features` and `log_probs`.
    loaded: the student.
    **more: other parameters that `batch_fn` reads, by their names among the model's.
  """
  plan = language.plan_canonical(
      prepared, model.tokenizer, batch_tokens=config.batch_tokens, max_shapes=config.max_shapes)
  ids = [e.id for e in examples]
  params = {**model.params, **more}
  own_plan = plan if loaded.set_orders is None else language.as_set(
      plan, still(), loaded.set_orders)
  if loaded.adapt is None:
    return answer_rows(own_plan, params, batch_fn, loaded, ids)
  found = answer_rows(own_plan, loaded.adapt(params), batch_fn, loaded, ids)
  # The model's own pass is another one.
  own = answer_rows(plan, params, batch_fn, loaded, ids, "asking the model itself")
  return found._replace(baseline=own.baseline)


def answer_rows(
    plan: language.Plan, params: Params, batch_fn: Callable[..., Any], loaded: Loaded,
    ids: Sequence[str], title: str = "answering",
) -> Answers:
  """One pass over every example's canonical row, and the student on what it gives.

  Args:
    plan: the rows, see `language.plan_canonical`.
    params: those that the pass is made with.
    batch_fn: as for `one_pass`; without `log_probs` there is no baseline.
    loaded: the student.
    ids: the examples' names, for errors.
    title: of the progress bar.

  Raises:
    InputError: if an answer is not finite.
  """

  def answer(params, elements, rows):
    params = dict(params)
    own = params.pop(_OWN)
    inputs = batch_fn(params, elements, rows)._asdict()
    inputs = {name: inputs[name] for name in ("features", "log_probs") if name in inputs}
    log_probs = jax.vmap(loaded.apply, (None, 0))(own, inputs)
    return _Pass(log_probs, inputs.get("log_probs", log_probs[:, :0]))

  params = {**params, _OWN: loaded.params}
  # Rows are kept on disk as a run's are, though only until the last is done.
  with (
      tempfile.TemporaryDirectory() as folder,
      progress.bar(title, len(plan.rows.example)) as advance,
  ):
    path = pathlib.Path(folder) / runs.STORE
    store, _ = language.score(plan, answer, params, path, title, ids=ids, progress=advance)
    student, baseline = (
        store_lib.read(store, name)[plan.rows.canonical_row] for name in _Pass._fields)
  return Answers(student, baseline if baseline.shape[1] else None)


def _names(choices: Sequence[str]) -> list[str]:
  """What choices are called: their text without outer white space, where that tells them apart."""
  short = [choice.strip() for choice in choices]
  return short if all(short) and len(set(short)) == len(short) else list(choices)
