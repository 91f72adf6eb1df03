"""What every world returns, and the choices all of them make in the same way."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError

# What a field of an example's `x` may hold.
Field = str | list[str] | dict[str, str] | np.ndarray


class World(NamedTuple):
  """Examples to learn from and examples to be judged by.

  Attributes:
    train: the training examples; `x` is a dict of fields, each a str, a list of str, a dict of
      str, or an array, such as an image uint8[H, W, channels].
    test: the test examples; none shares its cluster with a training example.
    num_labels: how many labels there are (C); choice c of a prompt is label c. 0 where a label is
      an array of real values.
    notes: what happened to the data, ready for JSON: `asked`, `available` and `used` examples
      of each split, dropped rows with the reason, unusual examples, `messages` for the reader.
    digests: SHA-256 (hex) of each split's used examples, `{"train": ..., "test": ...}`.
    evidence: the field whose sentences may change places, where there is one.
    template: a prompt that suits the data, for whoever gives none.
    choices: the answers of that prompt, one a label; empty where none are known.
    label_names: what the labels are called; empty where they have no names.
    draw: `(results, examples, folder)` draws a picture of the examples that move most, from the
      block `examples` of the results; None for a world that has no picture.
  """

  train: list[Example]
  test: list[Example]
  num_labels: int
  notes: dict[str, Any]
  digests: dict[str, str]
  evidence: str | None = None
  template: str | None = None
  choices: tuple[str, ...] = ()
  label_names: tuple[str, ...] = ()
  draw: Callable[..., None] | None = None


def digest(examples: Sequence[Example]) -> str:
  """SHA-256 over the examples' ids, fields and labels, in their order.

  Args:
    examples: examples whose `x` is a dict of fields, see `World`. The order of a list and of a
      dict within it counts, that of the fields does not.

  Returns:
    64 hexadecimal digits, the same on every machine.

  Example:
    >>> digest([Example("train:0", {"question": "why?"}, 1, "c")])[:8]
    '9343c91d'
  """
  state = hashlib.sha256()
  for example in examples:
    # A dict as pairs: it is shown in its order, which sort_keys would hide.
    fields = {k: list(v.items()) if isinstance(v, dict) else v for k, v in example.x.items()}
    fields = {k: _bytes(v) if isinstance(v, np.ndarray) else v for k, v in fields.items()}
    label = _bytes(example.label) if isinstance(example.label, np.ndarray) else example.label
    record = [example.id, fields, label]
    state.update(json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n")
  return state.hexdigest()


def _bytes(array: np.ndarray) -> list[str]:
  """What stands for an array: its type, shape and bytes."""
  content = np.ascontiguousarray(array).tobytes()
  return [str(array.dtype), str(array.shape), hashlib.sha256(content).hexdigest()]


def stacked_labels(examples: Sequence[Example]) -> np.ndarray:
  """int32[N], -1 where a label is unknown; float32[N, D] where labels are arrays.

  Example:
    >>> stacked_labels([Example("a", {}, None, "a"), Example("b", {}, 2, "b")]).tolist()
    [-1, 2]
  """
  if any(isinstance(e.label, np.ndarray) for e in examples):
    return np.stack([e.label for e in examples]).astype(np.float32)
  return np.array([-1 if e.label is None else e.label for e in examples], np.int32)


def stable_hash(*parts: object) -> str:
  """SHA-256 (hex) of some values' text: an order and a name that no library version changes."""
  return hashlib.sha256("\x1f".join(str(part) for part in parts).encode(
      "utf-8", "surrogatepass")).hexdigest()  # names of files may hold lone surrogates


def check_counts(n_train: int, n_test: int) -> None:
  """Raises `InputError` where a number of examples asked for is not a whole number >= 1."""
  for name, count in (("n_train", n_train), ("n_test", n_test)):
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
      raise InputError(f"{name} must be a whole number >= 1, got {count!r}")
