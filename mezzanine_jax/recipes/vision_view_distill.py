"""Distill an image classifier's mean belief over views into one of its kind.

1. Labelled images; cropped, turned, mirrored or lit a little differently they
   are the same thing.
2. A small convolutional network, or a head on a frozen vision model's features
   (`model_name`), learns the labels of one half of the training images.
3. The teacher is its mean belief over K views of each image of the other half;
   a student learns it. No image is taught by a model that was trained on it.
4. On test images: how far base model, student and two controls move over the
   views, and how far they are from the teacher. `views.png` shows the images
   that move most.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mezzanine_jax import (
    arrays,
    asking,
    base_distill,
    experiment,
    heads,
    image_figures,
    images,
    moved,
    progress,
    report,
    runs,
    students,
)
from mezzanine_jax.allowed import DTYPES, IMAGE_POOLS
from mezzanine_jax.config import arguments_of, option
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.cnn import IMAGE_STUDENTS, hidden_layer
from mezzanine_jax.settings import (
    FolderFields,
    SymmetryFields,
    TrainingFields,
    ViewFields,
    WorldFields,
)
from mezzanine_jax.symmetries import IMAGES, TEXT, make_symmetry
from mezzanine_jax.symmetries.view import View, in_words

NAME = "vision_view_distill"
WHO = "base model"  # what the baseline is called
VIEWS_PICTURE = "views.png"
_BASES = heads.HEADS | IMAGE_STUDENTS
_STUDENTS = heads.ANY_FEATURES | IMAGE_STUDENTS
_TOKENS = 4096  # of a batch that the frozen model reads at once


@dataclasses.dataclass(frozen=True)
class Config(FolderFields, TrainingFields, ViewFields, SymmetryFields, WorldFields):
  """Every field of the recipe."""

  world: str = option("images", "where examples come from; one with images and labels")
  dataset: str | None = option(
      "digits", "digits (of scikit-learn), a folder of class folders with PNG or JPEG files,"
      " cifar10, fashion_mnist, hub id, or data files with images")
  n_train: int = option(1300, "training images, half of them for the base model", at_least=4)
  n_test: int = option(449, "test images", at_least=1)
  symmetry: str = option(
      "view", f"families of views, chained with commas: {', '.join(IMAGES)} (the square's turns"
      " and mirror images, where they keep the label)")
  model_name: str | None = option(
      None, "frozen model (vit, dinov2) whose features base model and student read, heads then: hub"
      " id or local folder (none: they read pixels)")
  model_size: int | None = option(
      None, "pixels a side of the images that the frozen model sees (none: its own)", at_least=1)
  pool: str = option("cls", "how its hidden states are pooled", one_of=IMAGE_POOLS)
  layer: int = option(-1, "its hidden states: 0 embeddings, -1 after the final norm")
  dtype: str = option("float32", "of its weights and matrix products", one_of=DTYPES)
  base: str = option("cnn", "the base model", one_of=tuple(_BASES))
  student: str = option("cnn", "the student", one_of=tuple(_STUDENTS))
  width: int = option(16, "cnn: channels of the first block", at_least=1)
  blocks: int = option(2, "cnn: blocks, each of which halves the sides", at_least=1)
  hidden: int = option(64, "width of the hidden layer, or of the mlp's", at_least=1)
  depth: int = option(1, "mlp: hidden layers", at_least=1)
  student_views: str = option(
      "canonical", "what the student learns from: the image as it is, or all views",
      one_of=base_distill.STUDENT_VIEWS)
  batch_views: int = option(1024, "views drawn at once", at_least=1, runtime=True)


@runs.in_folder(NAME)
def run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; its results."""
  started = time.monotonic()
  # Everything that can be wrong with the input shows before anything is written.
  asked = _ask(config)
  data = asked.data
  base, _ = _model(config, config.base, asked)
  student, settings = _model(config, config.student, asked)
  read = _reader(config, asked)
  halves = base_distill.halves(config, data)
  folder, plan, filled = base_distill.view(
      config, folder, NAME, asked, images.renderer(asked.symmetry, read.read), read.params,
      read.batch_views, **read.facts)
  facts = read.facts
  del read  # training needs the room that the weights take

  def shown(beliefs, test):
    return {"examples": moved.examples(
        asked, plan, beliefs, test, config.n_examples, lambda rows: _texts(config, plan, rows))}

  def draw(results, beliefs, features, test):
    del features  # those of a frozen model are no picture
    image_figures.worst_moved(
        results, beliefs, images.looker(plan, asked.symmetry), plan.rows.canonical_row[test],
        plan.rows.row[test], data.labels[test], folder.path / VIEWS_PICTURE)

  task = base_distill.Task(
      NAME, WHO, asked, plan, filled, base=base, student=student,
      meta={"settings": settings, "base": config.base, **facts},
      embed=hidden_layer(base) if config.base in IMAGE_STUDENTS else None, shown=shown, draw=draw)
  return base_distill.run(config, folder, task, halves, started)


def show(results: Mapping[str, Any], out: str | pathlib.Path) -> None:
  """Prints the results, and where the picture is."""
  report.show(results, out)
  print(f"{VIEWS_PICTURE} there shows the images that move most")


def _ask(config: Config) -> experiment.Asked:
  """Loads the data and looks whether it and the symmetry are of images."""
  for name in (n.strip() for n in config.symmetry.split(",")):
    if name in TEXT:
      raise InputError(
          f"the symmetry {name} is of texts; of images there are {', '.join(IMAGES)}")
  symmetry = make_symmetry(config.symmetry, **dataclasses.asdict(config))
  data = experiment.load_data(config)
  world = data.world
  if world.num_labels < 2:
    raise InputError(f"a classifier needs two labels or more, the data has {world.num_labels}")
  prepared = images.prepare(data.examples)
  symmetry.identity(prepared.xs[0])  # whether it can act on such images
  names = [*world.label_names] or [str(label) for label in range(world.num_labels)]
  return experiment.Asked(data, None, symmetry, asking.Asking(None, None, names), prepared)


class _Reader(NamedTuple):
  """What features of views are read from: pixels, or a frozen model.

  Attributes:
    read: see `images.renderer`; None for the pixels.
    params: what it takes.
    facts: what changes its numbers; nothing where it gives the pixels.
    batch_views: views at once.
  """

  read: Callable[..., Any] | None
  params: Any
  facts: dict[str, Any]
  batch_views: int


def _reader(config: Config, asked: experiment.Asked) -> _Reader:
  """What the base model and the student read."""
  if config.model_name is None:
    return _Reader(None, {}, {}, config.batch_views)
  for field in ("base", "student"):
    if getattr(config, field) in IMAGE_STUDENTS:
      raise InputError(
          f"{field} {getattr(config, field)!r} reads pixels, but {config.model_name!r} gives"
          f" features: give --{field} {' or '.join(heads.HEADS)}")
  from mezzanine_jax.models import vision  # pixels need no transformer

  with progress.bar("loading the model"):
    model = vision.load_vision(config.model_name, config.dtype, config.model_size)
  read = vision.encoder(model, layer=config.layer, pooling=config.pool)
  jax.eval_shape(read, model.params, asked.prepared.xs[:1].astype(np.float32))  # its channels
  facts = {"model_digest": model.digest, "features": [config.layer, config.pool]}
  most = max(_TOKENS // model.config.max_positions, 1)
  return _Reader(read, model.params, facts, min(config.batch_views, most))


def _model(
    config: Config, name: str, asked: experiment.Asked
) -> tuple[students.Student, dict[str, Any]]:
  """A model of a name, and its settings."""
  given = dataclasses.asdict(config) | {"shape": list(asked.prepared.xs.shape[1:])}
  settings = arguments_of(_STUDENTS[name], given)
  return heads.make_student(
      name, factories=_STUDENTS, num_choices=len(asked.choices), **settings), settings


def _texts(config: Config, plan: arrays.Plan, rows: np.ndarray) -> list[str]:
  """What the views of some rows do, in words."""
  out = []
  for row in rows:
    parts = jax.tree.map(lambda a, row=row: a[row], plan.rows.elements)
    parts = parts if "," in config.symmetry else (parts,)
    out.append("; then ".join(
        in_words(part) if isinstance(part, View) else f"element {np.asarray(part).tolist()}"
        for part in parts))
  return out
