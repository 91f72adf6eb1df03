"""Distill a text classifier's belief, averaged over sentence orders, into a head.

1. Labelled texts; their sentences may change places. A frozen encoder gives
   the features of every text's canonical order and of K of its views.
2. A base head learns the labels of one half of the training examples, from the
   canonical order.
3. The teacher is the base head's mean belief over the views, on the other
   half; a student of the same kind learns it. No example is taught by a head
   that was trained on it.
4. On test texts: how far base head, student and two controls move over the
   views, and how far they are from the teacher.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mezzanine_jax import (
    asking,
    base_distill,
    checkpoints,
    encoding,
    experiment,
    heads,
    language,
    moved,
    predict,
    progress,
    runs,
    scoring,
)
from mezzanine_jax import show as show_lib
from mezzanine_jax.base import Array, Example, Params
from mezzanine_jax.config import arguments_of, option
from mezzanine_jax.errors import InputError
from mezzanine_jax.mesh import make_mesh
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


@dataclasses.dataclass(frozen=True)
class Config(RunFields, TrainingFields, SymmetryFields, EncoderFields, WorldFields):
  """Every field of the recipe."""

  world: str = option("hf_text", "where examples come from; one with texts and labels")
  dataset: str | None = option(
      None, "ag_news, imdb, hub id, local folder or file (jsonl, csv, tsv, parquet, zip); none: the"
      " world's own")
  n_train: int = option(5000, "training examples, half of them for the base head", at_least=4)
  n_test: int = option(2000, "test examples", at_least=1)
  student: str = option("mlp", "base head and student", one_of=tuple(heads.HEADS))
  hidden: int = option(512, "width of the mlp's hidden layers", at_least=1)
  depth: int = option(1, "hidden layers of the mlp", at_least=1)
  student_views: str = option(
      "canonical", "what the student learns from: the canonical order, or all views",
      one_of=base_distill.STUDENT_VIEWS)


@runs.in_folder(NAME)
def run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; its results."""
  started = time.monotonic()
  # Everything that can be wrong with the input shows before anything is written.
  asked = _ask(config)
  data, model = asked.data, asked.lm
  batch_fn = encoding.view_rows_encoder(_rows_encoder(config, model))
  halves = base_distill.halves(config, data)
  plan = experiment.plan_views(
      config, data, asked.prepared, model.tokenizer, asked.symmetry, share=model.config.causal)
  fingerprint = runs.fingerprint(
      NAME, config, model=model.digest, data=data.world.digests, rows=language.digest(plan))
  rows_fingerprint = experiment.rows_fingerprint(
      config, asked, plan, features=[config.layer, config.pool, config.features_dtype])
  folder = runs.begin(folder, fingerprint, {runs.STORE: rows_fingerprint})
  filled = experiment.fill(folder, plan, batch_fn, model.params, [e.id for e in data.examples])
  digest = model.digest
  num_choices = len(asked.choices)
  asked = asked._replace(lm=None)
  del model  # training needs the room that the weights take

  settings = arguments_of(heads.HEADS[config.student], dataclasses.asdict(config))
  head = heads.make_student(config.student, num_choices=num_choices, **settings)
  meta = {
      "settings": settings, "model_name": config.model_name, "model_digest": digest,
      "asking": asking.record(config, asked.asking),
  }
  task = base_distill.Task(
      NAME, WHO, asked, plan, filled, base=head, student=head, meta=meta,
      base_meta={"name": config.student, **meta}, embed=None,
      shown=lambda beliefs, test: moved.blocks(asked, plan, beliefs, test, config.n_examples))
  return base_distill.run(config, folder, task, halves, started)


def predictor(saved: predict.Saved) -> Callable[[Sequence[Example]], predict.Answers]:
  """The student as a function of new examples, see `predict.predict`.

  Args:
    saved: a finished run's.

  Raises:
    InputError: if the encoder, the base head or the student cannot be used.
  """
  config, loaded = saved.config, predict.load_head(saved.params, saved.meta)
  base = predict.load_head(*checkpoints.load_student(saved.path / runs.STUDENT / base_distill.BASE))
  model = predict.load_same_model(config.model_name, config.dtype, saved.meta["model_digest"])
  encode = _rows_encoder(config, model)

  def batch_fn(params: Params, elements: Any, rows: scoring.PackedRows) -> _Read:
    del elements  # features are of the text as it is read
    params = dict(params)
    own = params.pop(base_distill.BASE)
    features = encode(params, rows).features
    uniform = jnp.zeros((len(features), saved.meta["num_choices"]))
    inputs = {"features": features, "log_probs": jax.nn.log_softmax(uniform)}
    return _Read(features, jax.vmap(base.apply, (None, 0))(own, inputs))

  def answer(examples: Sequence[Example]) -> predict.Answers:
    with progress.bar("preparing the texts"):
      prepared = _prepare(config, saved.asking.evidence, model, examples)
    return predict.one_pass(
        config, prepared, examples, model, batch_fn, loaded, **{base_distill.BASE: base.params})

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
  """Some test examples with some of their views, see `show.show_views`."""
  return show_lib.show_views(config, number, ask=_ask)


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
    model = load_model(
        config.model_name, config.dtype, make_mesh(config.mesh), config.fully_sharded)
  data = choose(data)
  with progress.bar("preparing the texts"):
    prepared = _prepare(config, world.evidence, model, data.examples)
  names = [*world.label_names] or [str(label) for label in range(world.num_labels)]
  how = asking.Asking(f"{{{world.evidence}}}", world.evidence, names, world.label_names)
  return experiment.Asked(data, model, symmetry, how, prepared)
