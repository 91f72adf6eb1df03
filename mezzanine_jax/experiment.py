"""What every experiment does with its configuration: data, a language model, views, rows, beliefs.

The functions take a recipe's configuration, which has the fields of `settings`, and show their
progress. Whatever is wrong with the input shows before anything is written.
"""

import dataclasses
import inspect
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from mezzanine_jax import asking as asking_lib
from mezzanine_jax import designs, evaluation, hosts, noise, progress, runs
from mezzanine_jax import distill_data as data_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Example, Params, Symmetry
from mezzanine_jax.errors import InputError
from mezzanine_jax.mesh import make_mesh
from mezzanine_jax.settings import WorldFields
from mezzanine_jax.symmetries import make_symmetry
from mezzanine_jax.worlds import World, get_world, load_world
from mezzanine_jax.worlds.pairs import other_questions
from mezzanine_jax.worlds.world import stacked_labels

if TYPE_CHECKING:  # what only experiments with text need is imported where they do
  from mezzanine_jax import arrays, language, scoring
  from mezzanine_jax.models.load import LanguageModel

TEMPLATE = "Passage: {passage}\nQuestion: {question}\nAnswer:"
CHOICES = (" no", " yes")


class Data(NamedTuple):
  """A world's examples: N of them, the training part first.

  Attributes:
    world: as it was loaded.
    examples: training and test examples.
    is_test: bool[N].
    labels: int32[N], -1 where unknown; float32[N, D] where they are real values.
    clusters: N names.
    is_extra: bool[N], training examples that are only learned from, see `worlds.pairs`.
  """

  world: World
  examples: list[Example]
  is_test: np.ndarray
  labels: np.ndarray
  clusters: list[str]
  is_extra: np.ndarray


class Asked(NamedTuple):
  """Examples as a language model is asked about them.

  Attributes:
    data: the examples.
    lm: the model; None where it is trained here.
    symmetry: the family of views.
    asking: what the prompts were made of, as it was given or as the world has it.
    prepared: the examples' prompts, or arrays.
  """

  data: Data
  lm: "LanguageModel | None"
  symmetry: Symmetry
  asking: asking_lib.Asking
  prepared: "language.Prepared | arrays.Prepared"

  @property
  def template(self) -> str:
    """The prompt, as it was given or as the world has it."""
    return self.asking.template

  @property
  def choices(self) -> list[str]:
    """C answers."""
    return self.asking.choices


class Filled(NamedTuple):
  """A filled row table; see `Scored`. `again`: some of its rows, run a second time."""

  store: store_lib.Store
  index: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
  cost: dict[str, Any]
  again: noise.Again


class Scored(NamedTuple):
  """A filled row table.

  Attributes:
    store: the rows on disk.
    beliefs: `evaluation.Beliefs` of all N examples.
    index: what `evaluation.gather` takes behind the rows.
    cost: of scoring, for the results.
    noise_floor: see `noise.noise_block`.
  """

  store: store_lib.Store
  beliefs: evaluation.Beliefs
  index: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
  cost: dict[str, Any]
  noise_floor: dict[str, float]


def load_data(config: Any) -> Data:
  """Loads the world of a configuration.

  Args:
    config: has the fields of `settings.WorldFields`.

  Raises:
    InputError: for data that cannot be used, or a field that the world does not know.
  """
  taken = inspect.signature(get_world(config.world)).parameters
  for field in dataclasses.fields(WorldFields):
    value = getattr(config, field.name)
    if field.default is None and value is not None and field.name not in taken:
      raise InputError(
          f"the world {config.world!r} has no {field.name}, got {value!r}: leave it out, or name"
          " another world"
      )
  with progress.bar("loading the data"):
    world = load_world(config.world, **dataclasses.asdict(config))
  extra = []
  if number := getattr(config, "extra_questions", 0):
    if world.evidence is None:
      raise InputError(f"the world {config.world!r} has no evidence that other questions could be"
                       f" asked about: leave extra_questions at 0, got {number}")
    if getattr(config, "paraphrases", None) is not None:
      raise InputError("extra_questions moves evidence to other questions, and its paraphrases"
                       " would not go along: leave out one of extra_questions and paraphrases")
    learned, _ = data_lib.split_by_cluster(
        [e.cluster for e in world.train], config.valid_fraction, config.seed)
    extra = other_questions(
        [world.train[n] for n in learned], world.evidence, number, config.seed)
  examples = world.train + extra + world.test
  of_world, place = len(world.train), np.arange(len(examples))
  is_test = place >= of_world + len(extra)
  return Data(
      world,
      examples,
      is_test,
      stacked_labels(examples),
      [e.cluster for e in examples],
      (place >= of_world) & ~is_test,
  )


def only_test(data: Data, number: int | None = None) -> Data:
  """The data without the training part, with the first `number` test examples (None: all)."""
  which = np.flatnonzero(data.is_test)[:number]
  return data._replace(
      examples=[data.examples[n] for n in which],
      is_test=data.is_test[which],
      labels=data.labels[which],
      clusters=[data.clusters[n] for n in which],
      is_extra=data.is_extra[which],
  )


def ask(config: Any, choose: Callable[[Data], Data] = lambda data: data) -> Asked:
  """Loads data and model, and writes the prompts.

  Args:
    config: has the fields of `WorldFields`, `LmFields`, `SymmetryFields` and `RunFields`.
    choose: takes some of the examples, such as `only_test`; demonstrations come from the whole
      training part in any case.

  Raises:
    InputError: for anything that cannot be used.
  """
  from mezzanine_jax.models.chat import around_message
  from mezzanine_jax.models.load import load_lm

  symmetry = make_symmetry(config.symmetry, **dataclasses.asdict(config))
  data = load_data(config)
  world = data.world
  template = next(t for t in (config.template, world.template, TEMPLATE) if t is not None)
  choices = list(world.choices or CHOICES)
  choices = choices if config.choices is None else config.choices.split("|")
  if world.num_labels > len(choices):
    raise InputError(
        f"the data has {world.num_labels} labels, but choices {'|'.join(choices)!r} are"
        f" {len(choices)}; give one choice a label, split at |"
    )
  with progress.bar("loading the language model"):
    lm = load_lm(config.lm_name, config.dtype, make_mesh(config.mesh), config.fully_sharded)
  data = choose(data)
  asking = asking_lib.Asking(
      template, world.evidence, choices, world.label_names, world.train,
      around_message(lm.chat) if config.chat else None,
  )
  with progress.bar("preparing the prompts"):
    prepared = asking_lib.prepare(config, asking, lm, data.examples)
  return Asked(data, lm, symmetry, asking, prepared)


def plan_views(
    config: Any, data: Data, prepared: "language.Prepared", tokenizer: Any, symmetry: Symmetry,
    share: bool = True,
) -> "language.Plan":
  """Draws k_train views of every training example and k_test of every test example.

  Args:
    config: has the fields of `settings.SymmetryFields` and `RunFields`, a seed, and `k_train`
      where training examples are planned.
    data: the examples.
    prepared: their prompts.
    tokenizer: the model's.
    symmetry: the family.
    share: whether views share the tokens of a common beginning; for causal models only.

  Raises:
    InputError: for a design that the symmetry, or these examples, cannot have.
  """
  from mezzanine_jax import language

  if config.design == "balanced" and data.is_test.all():
    raise InputError(
        "design 'balanced' is for the teacher of a student, and here is none: gaps are estimated"
        " from whole orbits or from draws; give design auto, exact, distinct or iid"
    )
  with progress.bar("preparing the views"):
    return language.plan(
        prepared, tokenizer, symmetry, **drawn(config, data), share=share,
        batch_tokens=config.batch_tokens, max_shapes=config.max_shapes,
    )


def drawn(config: Any, data: Data) -> dict[str, Any]:
  """Which views a plan is to draw: `keys`, `num_views` and `design` of every example.

  Args:
    config: see `plan_views`.
    data: the examples.
  """
  key = jax.random.key(config.seed)
  return {
      "keys": designs.example_keys(key, [e.id for e in data.examples]),
      "num_views": np.select(
          [data.is_test, data.is_extra],
          [config.k_test, getattr(config, "k_extra", config.k_test)],
          getattr(config, "k_train", config.k_test)),
      "design": np.where(data.is_test, designs.for_gaps(config.design), config.design),
  }


def split_training(config: Any, data: Data) -> tuple[np.ndarray, np.ndarray]:
  """The training examples that are learned from, and those that choose the step: no extra ones.

  Raises:
    InputError: if there is one cluster only.
  """
  clusters = [c for c, test in zip(data.clusters, data.is_test, strict=True) if not test]
  parts = data_lib.split_by_cluster(clusters, config.valid_fraction, config.seed)
  if not len(parts[1]):
    raise InputError(
        "all training examples are about one passage, so none can be held out to choose the"
        " step; give n_train examples of two passages or more"
    )
  return parts


def lm_batch_fn(
    config: Any, lm: "LanguageModel", symmetry: Symmetry, dtype: str | None = None, **features: Any
) -> "Callable[..., scoring.Scores]":
  """The function of a batch of views: the model's choices, aligned, and its hidden states.

  Args:
    config: has a `choice_norm`.
    lm: the model.
    symmetry: the family of views.
    dtype: of the matrix products; the weights' by default.
    **features: `embed_layer`, `embed_mode` and `remat`, see `scoring.rows_scorer`.
  """
  from mezzanine_jax import scoring

  return scoring.view_rows_scorer(
      scoring.rows_scorer(
          lm.config, dtype=dtype or lm.dtype, choice_norm=config.choice_norm, **features
      ),
      symmetry,
  )


def lm_answers(
    config: Any, lm: "LanguageModel", symmetry: Symmetry, **features: Any
) -> "Callable[..., scoring.Answers]":
  """The same function without the hidden states, where nobody reads them; see `lm_batch_fn`."""
  from mezzanine_jax import scoring

  return scoring.answers_only(lm_batch_fn(config, lm, symmetry, **features))


def rows_fingerprint(config: Any, asked: Asked, plan: "language.Plan", **facts: Any) -> str:
  """A name for everything that changes the rows of a plan, and for nothing else.

  Args:
    config: has the fields of `settings.SymmetryFields`.
    asked: the data, the model and the symmetry.
    plan: the rows.
    **facts: what else `batch_fn` depends on.
  """
  from mezzanine_jax import language

  return store_lib.fingerprint({
      "scorer": language.SCORER_VERSION,
      "model": asked.lm.digest,  # weights, tokenizer and dtype
      "data": asked.data.world.digests,
      "rows": language.digest(plan),  # tokens and views
      "symmetry": [config.symmetry, config.keep_first, config.keep_last, config.orbit],
      **facts,
  })


def score(
    folder: runs.Folder, plan: "language.Plan", batch_fn: Callable[..., Any], params: Params,
    ids: Sequence[str],
) -> Scored:
  """Runs the rows that the run's store does not hold yet.

  Args:
    folder: the run's, from `runs.begin`.
    plan: the rows.
    batch_fn: gives a NamedTuple with `log_probs` among its fields.
    params: of the model.
    ids: the examples' names.
  """
  filled = fill(folder, plan, batch_fn, params, ids)
  log_probs = store_lib.read(filled.store, "log_probs")
  return Scored(
      filled.store, evaluation.gather(log_probs, *filled.index), filled.index, filled.cost,
      noise.noise_block(log_probs[filled.again.rows], filled.again.values.log_probs))


def fill(
    folder: runs.Folder, plan: "language.Plan | arrays.Plan", batch_fn: Callable[..., Any],
    params: Params, ids: Sequence[str], kind: ModuleType | None = None,
) -> Filled:
  """Runs the rows that the run's store does not hold yet, whatever they hold; see `score`.

  `kind` is the module that the plan is of: `language`, which is the default, or `arrays`.
  """
  if kind is None:
    from mezzanine_jax import language as kind
  started = time.monotonic()
  path, fingerprint = runs.rows_of(folder)
  with progress.rows("scoring views", len(plan.rows.example)) as written:
    store, rows_run = kind.score(
        plan, batch_fn, params, path, fingerprint, ids=ids, about=runs.about(folder),
        progress=written, processes=hosts.here(),
    )
  cost = kind.cost(plan) | {"rows_run": rows_run}  # fewer than rows in a run that continued
  cost["seconds"] = time.monotonic() - started
  share = rows_run / cost["rows"]
  cost["views_per_second"] = cost["views"] * share / cost["seconds"] if rows_run else None
  index = (plan.rows.canonical_row, plan.rows.row, plan.views.log_weights, plan.views.orbit_size)
  with progress.bar("scoring some views again"):
    again = noise.rescore(plan, batch_fn, params, kind)
  return Filled(store, index, cost, again)


def data_block(asked: Asked, plan: "language.Plan | arrays.Plan") -> dict[str, Any]:
  """Counts and digests of the data and what was asked about it, for the results."""
  data, world = asked.data, asked.data.world
  counts = {}
  for part, chosen in (("train", ~data.is_test), ("test", data.is_test)):
    sizes = plan.views.orbit_size[chosen]
    views = np.isfinite(plan.views.log_weights[chosen]).sum(1)
    counts[part] = {
        "examples": int(chosen.sum()),
        "movable": int((sizes > 1).sum()),
        "exact_orbits": int((views >= sizes).sum()),
    }
  counts["train"]["extra"] = int(data.is_extra.sum())
  return {
      "notes": world.notes, "sha256": world.digests, "prompts": asked.prepared.counts,
      "template": asked.template, "choices": asked.choices, "label_names": world.label_names,
      **counts,
  }
