"""Images: the digits, folders of files, tables of images, and what is refused."""

import io
import os
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hub_cache import write_dataset
from PIL import Image

from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds import WORLDS
from mezzanine_jax.worlds.image_files import read_image
from mezzanine_jax.worlds.images import PRESETS


def load(dataset, n_train=6, n_test=3, **settings):
  return WORLDS["images"](str(dataset), n_train=n_train, n_test=n_test, **settings)


def pixels(seed, size=4, channels=3):
  return np.random.default_rng(seed).integers(0, 256, (size, size, channels), dtype=np.uint8)


def png(array) -> bytes:
  """The bytes of a PNG file, grey where the array has one channel."""
  out = io.BytesIO()
  Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(out, "png")
  return out.getvalue()


def write_classes(folder, classes, start=0, **kind):
  for i, (name, count) in enumerate(classes.items()):
    (folder / name).mkdir(parents=True)
    for j in range(count):
      (folder / name / f"{j}.png").write_bytes(png(pixels(start + 100 * i + j, **kind)))


def write_table(path, fields, count=12, start=0, encode=lambda a: {"bytes": png(a), "path": None}):
  image, label = fields
  rows = [{image: encode(pixels(start + i)), label: i % 3} for i in range(count)]
  pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def test_the_digits_are_whole_and_apart():
  world = load("digits", 1797, 1797)
  assert (len(world.train), len(world.test), world.num_labels) == (1348, 449, 10)
  assert not {e.cluster for e in world.train} & {e.cluster for e in world.test}
  image = world.train[0].x["image"]
  assert image.shape == (8, 8, 1) and image.dtype == np.uint8 and image.max() > 200
  assert world.label_names == tuple("0123456789") and world.evidence is None
  from sklearn.datasets import load_digits

  whole = load_digits()
  for e in world.test[:5]:
    n = int(e.id.split(":")[1])
    assert e.label == whole.target[n]
    np.testing.assert_allclose(e.x["image"][..., 0] / 255 * 16, whole.images[n], atol=0.04)


def test_the_digest_is_of_the_pixels():
  one, other = load("digits", seed=0), load("digits", seed=1)
  assert one.digests == load("digits", seed=0).digests and one.digests != other.digests


def test_a_folder_of_classes_is_split_by_image(tmp_path):
  write_classes(tmp_path, {"dog": 6, "cat": 6})
  (tmp_path / "cat" / "again.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
  (tmp_path / "cat" / "notes.txt").write_text("no image")
  (tmp_path / ".hidden").mkdir()
  world = load(tmp_path, 20, 20)
  assert world.label_names == ("cat", "dog") and len(world.train + world.test) == 12
  assert world.notes["dropped"] == {"all: image again": 1}
  for e in world.train + world.test:  # cats were made from 100 on, dogs from 0
    seeds = range(100, 106) if e.label == 0 else range(6)
    assert any((e.x["image"] == pixels(seed)).all() for seed in seeds)


def test_a_folder_of_splits_keeps_them(tmp_path):
  write_classes(tmp_path / "train", {"cat": 3, "dog": 3}, channels=1)
  write_classes(tmp_path / "test", {"cat": 2, "dog": 1}, start=500, channels=1)
  # A test image that also stands in the training part is tested, not learned from.
  (tmp_path / "train" / "cat" / "leak.png").write_bytes(
      (tmp_path / "test" / "cat" / "0.png").read_bytes())
  world = load(tmp_path, 20, 20)
  assert (len(world.train), len(world.test)) == (6, 3)
  assert world.notes["dropped"]["train: image also in test"] == 1
  assert world.train[0].x["image"].shape == (4, 4, 1)


def test_jpeg_files_and_another_size(tmp_path):
  write_classes(tmp_path, {"cat": 4, "dog": 4})
  Image.fromarray(pixels(0, size=9)).save(tmp_path / "cat" / "large.JPG")
  with pytest.raises(InputError, match="2 shapes .* give image_size"):
    load(tmp_path)
  world = load(tmp_path, 20, 20, image_size=6)
  assert {e.x["image"].shape for e in world.train + world.test} == {(6, 6, 3)}


@pytest.mark.parametrize("name, fields", [("cifar10", ("img", "label")),
                                          ("fashion_mnist", ("image", "label"))])
def test_a_preset_knows_its_fields_also_of_local_files(tmp_path, name, fields):
  folder = tmp_path / name
  folder.mkdir()
  write_table(folder / "train.parquet", fields)
  write_table(folder / "test.parquet", fields, 3, start=50)
  world = load(folder, 12, 3)
  assert world.num_labels == 10 and world.label_names == PRESETS[name].label_names
  first = next(e for e in world.test if e.id == "test:0")
  np.testing.assert_array_equal(first.x["image"], pixels(50))
  with pytest.raises(InputError, match="no field 'image'|no field 'img'"):
    load(folder, image_field="image" if name == "cifar10" else "img")


def test_rows_of_pixels_and_paths_beside_the_table(tmp_path):
  write_table(tmp_path / "numbers.parquet", ("image", "kind"), encode=lambda a: a.tolist())
  world = load(tmp_path / "numbers.parquet", label_field="kind", label_map="0,1,2")
  assert world.num_labels == 3 and world.train[0].x["image"].shape == (4, 4, 3)
  (tmp_path / "a.png").write_bytes(png(pixels(1)))
  np.testing.assert_array_equal(read_image("a.png", "it", tmp_path), pixels(1))


def test_a_hub_id_from_a_local_cache_offline(tmp_path):
  import datasets

  rows = datasets.Dataset.from_list(
      [{"picture": {"bytes": png(pixels(i)), "path": None}, "label": i % 2} for i in range(9)])
  rows = rows.cast_column("picture", datasets.Image())
  rows = rows.cast_column("label", datasets.ClassLabel(names=["left", "right"]))
  write_dataset(tmp_path, "someone/pictures",
                {"train": rows.select(range(6)), "test": rows.select(range(6, 9))})
  program = (
      "from mezzanine_jax.worlds import load_world\n"
      "w = load_world('images', dataset='someone/pictures', image_field='picture', n_train=6,"
      " n_test=3)\n"
      "print(w.label_names, sorted((e.id, e.label, int(e.x['image'].sum())) for e in w.test))")
  environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
  for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE"):
    environment.pop(name, None)
  done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True,
                        text=True, check=False)
  assert done.returncode == 0, done.stderr[-1500:]
  expected = [(f"test:{i}", i % 2, int(pixels(6 + i).sum())) for i in range(3)]
  assert done.stdout == f"('left', 'right') {expected}\n"


@pytest.mark.parametrize("make, message", [
    (lambda d: load(d), "holds no data file"),
    (lambda d: load("digits", image_size=0), "image_size must be >= 1, got 0"),
    (lambda d: load("digits", subset="x"), "subset is for hub datasets, but digits is local"),
    (lambda d: load("digits", preset="cifar"), r"unknown preset 'cifar' \(did you mean 'cifar10'"),
    (lambda d: load("digits", image_field="pixel"), "no field 'pixel'"),
    (lambda d: read_image(b"no image", "field 'a'"), "field 'a' cannot be read as an image"),
    (lambda d: read_image(None, "it"), "it is a NoneType: an image is a file"),
    (lambda d: read_image([[1, 2], [3]], "it"), "it holds no rows of pixels of one length"),
    (lambda d: read_image([[1, 300]], "it"), "numbers from 0 to 255"),
])
def test_what_is_refused(tmp_path, make, message):
  with pytest.raises(InputError, match=message):
    make(tmp_path)
