"""Folders of image files, one sub-folder a class, as a dataset's splits; images as arrays."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import find_path, shown
from mezzanine_jax.worlds.sources import Source, Table

SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_SIDE = 2**13  # pixels; a small file may say that it holds a picture of any size


def open_folder(dataset: str) -> Source | None:
  """A folder of class folders, or one of splits that hold class folders; None for anything else.

  Args:
    dataset: the folder: `CLASS/*.png`, or `train/CLASS/*.png` beside `test/CLASS/*.png`.

  Returns:
    Splits whose rows have the fields `image` (a path) and `label` (the class's name).
  """
  folder = find_path(dataset)
  if not folder or not folder.is_dir():
    return None
  if _classes(folder):
    return Source(dataset, None, lambda split: _table(split, folder))
  splits = {part.name: part for part in _folders(folder) if _classes(part)}
  if not splits:
    return None
  return Source(dataset, list(splits), lambda split: _table(split, splits[split]))


def read_image(value: Any, where: str, folder: Path | None = None) -> np.ndarray:
  """An image as an array, of one channel where it is grey and of three otherwise.

  Args:
    value: a path, the bytes of a PNG or JPEG file, such bytes as the hub's parquet files hold
      them (`{"bytes": …, "path": …}`), a `PIL` image, or numbers in [0, 255].
    where: names the image, for errors.
    folder: what a relative path is relative to.

  Returns:
    uint8[H, W, 1 or 3].

  Raises:
    InputError: it is none of these, or cannot be read.
  """
  if isinstance(value, dict):
    value = value.get("bytes") or value.get("path")
  if isinstance(value, list | np.ndarray):
    return _from_numbers(value, where)
  image_lib = _pillow()
  try:
    if isinstance(value, bytes):
      return _pixels(_open(io.BytesIO(value)))
    if isinstance(value, str):
      path = (folder or Path()) / value
      if not path.is_file():  # there may be a pipe, which never ends
        raise FileNotFoundError("there is no such file")
      with path.open("rb") as file:
        return _pixels(_open(file))
    if isinstance(value, image_lib.Image):
      return _pixels(value)
  except Exception as error:  # a damaged file makes Pillow raise errors of many kinds
    raise InputError(
      f"{where} cannot be read as an image ({shown(error, 200)}): mend or remove it") from error
  raise InputError(
    f"{where} is a {type(value).__name__}: an image is a file, a file's bytes, or numbers")


def _pixels(image: Any) -> np.ndarray:
  """A `PIL` image as an array; its size is looked at before it is unpacked."""
  if image.width * image.height > MOST_SIDE**2:
    raise ValueError(f"it is of {image.width} x {image.height} pixels, allowed are"
                     f" {MOST_SIDE**2:,}")
  grey = image.mode in ("1", "L", "LA", "I", "I;16", "F")
  array = np.asarray(image.convert("L" if grey else "RGB"))
  return array[..., None] if grey else array


def _open(file: Any) -> Any:
  """A PNG or JPEG file, whatever its name; Pillow has readers that start other programs."""
  with warnings.catch_warnings():
    warnings.simplefilter("error", _pillow().DecompressionBombWarning)
    return _pillow().open(file, formats=("PNG", "JPEG"))


def resize(image: np.ndarray, size: int) -> np.ndarray:
  """uint8[size, size, channels], bilinear."""
  image_lib = _pillow()
  planes = [image_lib.fromarray(image[..., c]) for c in range(image.shape[2])]
  drawn = [plane.resize((size, size), image_lib.Resampling.BILINEAR) for plane in planes]
  return np.stack([np.asarray(plane) for plane in drawn], -1)


def _from_numbers(value: Any, where: str) -> np.ndarray:
  """Numbers as pixels."""
  try:
    array = np.asarray(value, np.float64)
  except (ValueError, TypeError, OverflowError) as error:
    raise InputError(f"{where} holds no rows of pixels of one length ({error})") from error
  if array.ndim == 2:
    array = array[..., None]
  good = array.ndim == 3 and array.shape[2] in (1, 3) and array.size > 0
  if not good or not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
    raise InputError(
      f"{where} is an array of shape {list(array.shape)}: an image is [H, W], [H, W, 1] or"
      " [H, W, 3], of numbers from 0 to 255")
  return array.round().astype(np.uint8)


def _pillow() -> Any:
  """Pillow, which only files of images need."""
  try:
    from PIL import Image
  except ImportError as error:
    raise InputError(
      "image files need Pillow: pip install 'mezzanine_jax[vision]'") from error
  return Image


def _folders(folder: Path) -> list[Path]:
  """The folders in a folder, by name."""
  return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
  """The image files in a folder, by name."""
  return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def _classes(folder: Path) -> Sequence[Path]:
  """The folders in a folder that hold images."""
  return [part for part in _folders(folder) if _images(part)]


def _table(split: str, folder: Path) -> Table:
  """The images of a split, class by class."""
  rows = [
    {"image": str(path.absolute()), "label": part.name}
    for part in _classes(folder) for path in _images(part)
  ]
  return Table(split, rows, ["image", "label"], {})
