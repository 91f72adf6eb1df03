"""Images with a label: scikit-learn's digits, folders of files, or any dataset of images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax.base import Example
from mezzanine_jax.config import did_you_mean
from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import find_path
from mezzanine_jax.worlds import fields as fields_lib
from mezzanine_jax.worlds.image_files import MOST_SIDE, open_folder, read_image, resize
from mezzanine_jax.worlds.labels import LabelMap, table_labels, to_labels
from mezzanine_jax.worlds.sources import Source, Table, open_source, short_name
from mezzanine_jax.worlds.splits import assemble, read_parts, without_repeats
from mezzanine_jax.worlds.world import World, check_counts, stable_hash

DIGITS = "digits"
_MOST_BYTES = 2**30  # of all images, which are held in memory


class Preset(NamedTuple):
  """What is known of a dataset by its name: where it is on the hub, its fields, its labels."""

  hub_id: str
  image_field: str
  label_field: str
  label_names: tuple[str, ...]


# https://huggingface.co/datasets/uoft-cs/cifar10 and zalando-datasets/fashion_mnist.
PRESETS = {
  "cifar10": Preset(
    "uoft-cs/cifar10", "img", "label",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
  ),
  "fashion_mnist": Preset(
    "zalando-datasets/fashion_mnist", "image", "label",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
     "Ankle boot"),
  ),
}  # fmt: skip
_HUB_IDS = {name: preset.hub_id for name, preset in PRESETS.items()}


def load(
  dataset: str = DIGITS,
  *,
  n_train: int,
  n_test: int,
  seed: int = 0,
  preset: str | None = None,
  image_field: str | None = None,
  label_field: str | None = None,
  image_size: int | None = None,
  label_map: LabelMap | None = None,
  train_split: str = "train",
  test_split: str | None = None,
  subset: str | None = None,
  revision: str | None = None,
) -> World:
  """Loads a dataset of images that each have one label.

  The examples used are the first `n` of an order fixed by the seed. An image that comes again
  with the same label is left out, as is a training image that also stands in the test split.

  Args:
    dataset: `digits` (1,797 of 8 x 8 pixels, comes with scikit-learn), a folder with one
      sub-folder of PNG or JPEG files a class (or with `train` and `test`, each of such
      sub-folders), `cifar10`, `fashion_mnist` or another hub id, or local data files, see
      `hf_text`, whose images are the bytes of files or rows of pixels.
    n_train: how many training examples are asked for, >= 1.
    n_test: how many test examples are asked for, >= 1.
    seed: fixes which examples are used and how data without splits is split.
    preset: `cifar10` or `fashion_mnist`: its fields and label names; by default that of the
      dataset's name; "" for none.
    image_field: name of the field with the image (default: the preset's, or `image`).
    label_field: name of the field with the label (default: the preset's, or `label`).
    image_size: pixels that every image is given on each side; by default the images' own, which
      must be one.
    label_map: the labels' values in their order, see `hf_text`.
    train_split: name of the split to learn from.
    test_split: name of the split to be judged by; by default `validation`, `test` or `dev`.
    subset: configuration of a hub dataset that has several.
    revision: branch, tag or commit of a hub dataset.

  Returns:
    A `World` whose examples have the field `image`, uint8[H, W, channels], all of one shape.

  Raises:
    InputError: the dataset, a split, a field, an image or a label is missing or cannot be used.

  Example:
    >>> world = load(n_train=20, n_test=10)
    >>> world.num_labels, world.train[0].x["image"].shape
    (10, (8, 8, 1))
  """
  check_counts(n_train, n_test)
  if image_size is not None and image_size < 1:
    raise InputError(f"image_size must be >= 1, got {image_size}")
  if image_size is not None and image_size > MOST_SIDE:
    raise InputError(f"image_size must be <= {MOST_SIDE}, got {image_size}")
  if preset and preset not in PRESETS:
    raise InputError(f"unknown preset {preset!r}{did_you_mean(preset, PRESETS)}")
  known = PRESETS.get(short_name(dataset) if preset is None else preset)
  image_field = image_field or (known.image_field if known else "image")
  label_field = label_field or (known.label_field if known else "label")
  names = known.label_names if known and label_field == known.label_field else None
  source = _open(dataset, subset, revision)
  tables = [t for t in read_parts(source, train_split, test_split, "image") if t is not None]
  for table in tables:
    fields_lib.require(source, table, {"image_field": image_field, "label_field": label_field})
  label_of, names, messages = table_labels(tables, label_field, label_map, names)
  path = find_path(dataset) or Path()
  folder = path.parent if path.is_file() else path
  parts, dropped = [], {}
  for part, table in zip(("train", "test"), tables, strict=False):
    examples = _examples(table, image_field, label_field, label_of, image_size, folder)
    parts.append(without_repeats(examples))
    name = f"{part if len(tables) > 1 else 'all'}: image again"
    dropped[name] = len(examples) - len(parts[-1])
  _check_shapes(parts)
  return assemble(
    source, parts[0], parts[1] if len(parts) > 1 else None,
    n_train=n_train, n_test=n_test, seed=seed, num_labels=len(names), what="image", count=_count,
    notes={
      "cluster": "image", "dropped": dropped, "messages": messages, "label_names": list(names)},
    choices=tuple(names), label_names=names,
  )  # fmt: skip


def _open(dataset: str, subset: str | None, revision: str | None) -> Source:
  """The digits, a folder of images, or whatever `open_source` knows."""
  source = open_folder(dataset)
  if dataset == DIGITS and source is None:
    source = Source(DIGITS, None, _digits)
  if source is None:
    return open_source(dataset, hub_ids=_HUB_IDS, subset=subset, revision=revision)
  for argument, value in (("revision", revision), ("subset", subset)):
    if value is not None:
      raise InputError(f"{argument} is for hub datasets, but {dataset} is local: leave it out")
  return source


def _digits(split: str) -> Table:
  """scikit-learn's handwritten digits, with values from 0 to 16 as pixels."""
  try:
    from sklearn.datasets import load_digits
  except ImportError as error:
    raise InputError(
      "the digits come with scikit-learn: pip install 'mezzanine_jax[vision]', or name another"
      " dataset") from error
  found = load_digits()
  pixels = (found.images * (255 / 16)).round().astype(np.uint8)
  rows = [
    {"image": image, "label": int(label)}
    for image, label in zip(pixels, found.target, strict=True)
  ]
  return Table(split, rows, ["image", "label"], {"label": [str(d) for d in range(10)]})


def _examples(
  table: Table, image_field: str, label_field: str, label_of: dict[str, int], size: int | None,
  folder: Path,
) -> list[Example]:
  """Turns a table into examples, all of them checked."""
  ids = fields_lib.row_ids(table)
  labels, _ = to_labels(
    [row.get(label_field) for row in table.rows], ids, label_field, label_of,
    table.label_names.get(label_field))
  out, held = [], 0
  for name, row, label in zip(ids, table.rows, labels, strict=True):
    value = row.get(image_field)
    where = value if isinstance(value, str) else f"field {image_field!r} of example {name!r}"
    image = read_image(value, where, folder)
    if size is not None and image.shape[:2] != (size, size):
      image = resize(image, size)
    held += image.nbytes
    if held > _MOST_BYTES:
      raise InputError(f"{len(out) + 1} of {len(ids)} images fill a GiB: give a smaller image_size")
    cluster = stable_hash("image", image.shape, image.tobytes())[:16]
    out.append(Example(name, {"image": image}, label, cluster))
  return out


def _check_shapes(parts: Sequence[Sequence[Example]]) -> None:
  """Raises unless all images are of one shape, as arrays must be."""
  shapes = Counter(e.x["image"].shape for part in parts for e in part)
  if len(shapes) > 1:
    shown = ", ".join(f"{count} of {'x'.join(map(str, s))}" for s, count in shapes.most_common(3))
    raise InputError(
      f"the images are of {len(shapes)} shapes ({shown}): give image_size, and images that are all"
      " grey or all in colour")


def _count(examples: list[Example]) -> dict[str, Any]:
  """Counts the labels and the images."""
  labels = Counter(example.label for example in examples)
  return {
    "labels": {str(label): labels[label] for label in sorted(labels)},
    "images": len({example.cluster for example in examples}),
    "shape": list(examples[0].x["image"].shape),
  }
