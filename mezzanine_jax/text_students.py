"""Students that read a text themselves: small modules, trained from scratch on token ids.

`inputs["tokens"]` is int32[T], -1 behind the end of the text.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array
from mezzanine_jax.errors import InputError
from mezzanine_jax.students import Inputs, Student

PAD = -1


class _Bag(nn.Module):
  """The mean of the tokens' embeddings through one hidden layer to log-probs."""

  num_choices: int
  vocab_size: int
  width: int

  @nn.compact
  def __call__(self, inputs: Inputs) -> Array:
    tokens = inputs["tokens"]
    inside = (tokens != PAD)[:, None]
    states = nn.Embed(self.vocab_size, self.width)(jnp.maximum(tokens, 0))
    mean = jnp.where(inside, states, 0.0).sum(0) / jnp.maximum(inside.sum(), 1)
    x = nn.gelu(nn.Dense(self.width, name="hidden")(nn.LayerNorm()(mean)))
    # Zeros at the start: the untrained student is uniform whatever the text.
    return nn.log_softmax(
        nn.Dense(self.num_choices, kernel_init=nn.initializers.zeros, name="out")(x))


class _Transformer(nn.Module):
  """Blocks in which every token sees every other; their mean to log-probs."""

  num_choices: int
  vocab_size: int
  max_tokens: int
  width: int
  layers: int
  heads: int

  @nn.compact
  def __call__(self, inputs: Inputs) -> Array:
    tokens = inputs["tokens"]
    inside = tokens != PAD
    places = self.param("places", nn.initializers.normal(0.02), (self.max_tokens, self.width))
    x = nn.Embed(self.vocab_size, self.width)(jnp.maximum(tokens, 0)) + places[: len(tokens)]
    mask = jnp.broadcast_to(inside, (1, len(tokens), len(tokens)))
    for i in range(self.layers):
      own = nn.LayerNorm(name=f"norm_a{i}")(x)
      x = x + nn.MultiHeadDotProductAttention(self.heads, name=f"attention_{i}")(own, mask=mask)
      own = nn.Dense(4 * self.width, name=f"up_{i}")(nn.LayerNorm(name=f"norm_b{i}")(x))
      x = x + nn.Dense(self.width, name=f"down_{i}")(nn.gelu(own))
    x = jnp.where(inside[:, None], nn.LayerNorm(name="norm")(x), 0.0)
    mean = x.sum(0) / jnp.maximum(inside.sum(), 1)
    return nn.log_softmax(
        nn.Dense(self.num_choices, kernel_init=nn.initializers.zeros, name="out")(mean))


def embedding_bag(num_choices: int, vocab_size: int, width: int = 64) -> Student:
  """A bag of words: the mean of learned token embeddings, one hidden layer.

  It cannot see the order of the tokens, so that its gap over orders is zero by construction.

  Args:
    num_choices: C >= 2.
    vocab_size: token ids are below it.
    width: of embeddings and hidden layer.

  Returns:
    The student of `inputs["tokens"]`; it starts uniform.

  Raises:
    InputError: a setting that is too small.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> student, inputs = embedding_bag(2, 10, width=4), {"tokens": jnp.array([3, 1, -1])}
    >>> jnp.exp(student.apply(student.init(jax.random.key(0), inputs), inputs)).tolist()
    [0.5, 0.5]
  """
  _check(num_choices=num_choices, vocab_size=vocab_size, width=width)
  module = _Bag(num_choices, vocab_size, width)
  return Student(module.init, module.apply)


def transformer(
    num_choices: int, vocab_size: int, max_tokens: int = 256, width: int = 64, layers: int = 2,
    heads: int = 4,
) -> Student:
  """A small bidirectional transformer with learned places and a mean over the tokens.

  Args:
    num_choices: C >= 2.
    vocab_size: token ids are below it.
    max_tokens: the most tokens that it reads.
    width: of the residual stream; a multiple of `heads`.
    layers: number of blocks.
    heads: attention heads.

  Returns:
    The student of `inputs["tokens"]`; it starts uniform.

  Raises:
    InputError: a setting that is too small, or a width that the heads do not divide.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> student, inputs = transformer(2, 10, 8, 8, 1, 2), {"tokens": jnp.array([3, 1, -1])}
    >>> jnp.exp(student.apply(student.init(jax.random.key(0), inputs), inputs)).tolist()
    [0.5, 0.5]
  """
  _check(num_choices=num_choices, vocab_size=vocab_size, max_tokens=max_tokens, width=width,
         layers=layers, heads=heads)
  if width % heads:
    raise InputError(f"width must be a multiple of heads, got {width} and {heads}")
  module = _Transformer(num_choices, vocab_size, max_tokens, width, layers, heads)
  return Student(module.init, module.apply)


TEXT_STUDENTS: dict[str, Callable[..., Student]] = {
    "transformer": transformer, "embedding_bag": embedding_bag,
}


def student_tokens(
    tokens: np.ndarray, lengths: np.ndarray, most: int
) -> tuple[np.ndarray, int, int]:
  """What a student reads of prompts: without the words that all begin and end with.

  Args:
    tokens: int[R, T], padded behind the lengths.
    lengths: int[R], >= 1.
    most: tokens that are kept of each.

  Returns:
    (int32[R, T'] padded with -1, the tokens cut off in front, those cut off behind).

  Example:
    >>> student_tokens(np.array([[7, 1, 2, 9], [7, 3, 9, 0]]), np.array([4, 3]), 8)[0].tolist()
    [[1, 2], [3, -1]]
  """
  rows = [row[:n] for row, n in zip(tokens, lengths, strict=True)]
  room = int(min(lengths)) - 1  # something is left of every row
  front = rows[0][: _common(rows, room)]
  behind = rows[0][len(rows[0]) - _common([row[::-1] for row in rows], room - len(front)) :]
  return cut_tokens(tokens, lengths, most, front, behind), front.tolist(), behind.tolist()


def cut_tokens(
    tokens: np.ndarray, lengths: np.ndarray, most: int, front: Sequence[int],
    behind: Sequence[int],
) -> np.ndarray:
  """What a student reads of prompts: without these tokens in front and behind, where they stand.

  Args:
    tokens: int32[R, T], padded behind the lengths.
    lengths: int[R], >= 1.
    most: tokens that are kept of each; one at least is.
    front: from `student_tokens`, and so is `behind`; of these prompts or of others.
    behind: what prompts end with.

  Returns:
    int32[R, T'] padded with -1.

  Example:
    >>> tokens = np.array([[7, 8, 1, 9], [7, 9, 0, 0]])
    >>> cut_tokens(tokens, np.array([4, 2]), 8, [7, 8], [9]).tolist()
    [[1], [9]]
  """
  def cut(row: np.ndarray, words: Sequence[int]) -> np.ndarray:
    most_cut = min(len(words), len(row) - 1)
    return row[_common([row, np.asarray(words, row.dtype)], most_cut) :]

  rows = [row[:n] for row, n in zip(tokens, lengths, strict=True)]
  kept = [cut(cut(row, front)[::-1], behind[::-1])[::-1][:most] for row in rows]
  out = np.full((len(rows), max(map(len, kept))), PAD, np.int32)
  for row, own in zip(out, kept, strict=True):
    row[: len(own)] = own
  return out


def _common(rows: list[np.ndarray], most: int) -> int:
  """How many first tokens all rows share, at most `most`."""
  first = np.stack([row[:most] for row in rows])
  differ = (first != first[0]).any(0)
  return int(differ.argmax()) if differ.any() else most


def _check(**settings: int) -> None:
  """Raises unless every setting is a whole number that is large enough."""
  for name, value in settings.items():
    least = 2 if name == "num_choices" else 1
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
      raise InputError(f"{name} must be an integer >= {least}, got {value!r}")
