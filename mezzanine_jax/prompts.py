"""A prompt as arrays: tokenized once, by segments, and re-ordered without its text."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array

# Values of `Prompt.group`.
FIXED, EVIDENCE = 0, 1


class Prompt(NamedTuple):
  """One tokenized prompt with its answer choices.

  The text that a model sees is the concatenation of the segments in the order of `starts`.

  Attributes:
    tokens: int32[T], all segments one after the other, padded at the end.
    starts: int32[S], where each segment begins in `tokens`.
    lengths: int32[S], how many tokens it has; 0 for a segment that is padding.
    group: int32[S]; segments of group 0 stay where they are, those of an equal positive
      group may change places.
    choices: int32[C, Tc], token ids of the answers, padded at the end.
    choice_lengths: int32[C], tokens of each answer, >= 1.
    choice_chars: int32[C], characters of each answer without the space around it.
  """

  tokens: Array
  starts: Array
  lengths: Array
  group: Array
  choices: Array
  choice_lengths: Array
  choice_chars: Array


def pack(prompt: Prompt) -> tuple[Array, Array]:
  """The prompt's tokens in the order of its segments: one gather, on the device.

  Args:
    prompt: one prompt (no batch axis), acted upon or not.

  Returns:
    `(tokens int32[T], length int32[])`; behind `length` the tokens are 0.

  Example:
    >>> prompt = make_prompt([[5], [6, 7]], [0, 1], [[1], [2]], [2, 3])
    >>> tokens, length = pack(prompt._replace(starts=prompt.starts[::-1],
    ...                                       lengths=prompt.lengths[::-1]))
    >>> tokens.tolist()
    [6, 7, 5]
  """
  ends = jnp.cumsum(prompt.lengths)
  place = jnp.arange(prompt.tokens.shape[0])
  # The segment that covers a place is the first whose end lies behind it.
  segment = jnp.searchsorted(ends, place, side="right").clip(max=ends.shape[0] - 1)
  begin = ends[segment] - prompt.lengths[segment]
  source = jnp.asarray(prompt.starts)[segment] + place - begin
  inside = place < ends[-1]
  tokens = jnp.asarray(prompt.tokens)[jnp.where(inside, source, 0)]
  return jnp.where(inside, tokens, 0).astype(jnp.int32), ends[-1].astype(jnp.int32)


def make_prompt(
    segments: Sequence[Sequence[int]],
    group: Sequence[int],
    choices: Sequence[Sequence[int]],
    choice_chars: Sequence[int],
) -> Prompt:
  """One unpadded prompt (NumPy arrays) from the token ids of its segments and of its choices.

  Args:
    segments: token ids of each segment, in canonical order.
    group: the group of each segment, see `Prompt.group`.
    choices: token ids of each answer, none empty.
    choice_chars: length of each answer in characters.

  Example:
    >>> make_prompt([[5], [6, 7]], [0, 1], [[1], [2, 3]], [2, 4]).starts.tolist()
    [0, 1]
  """
  lengths = np.array([len(s) for s in segments], np.int32)
  return Prompt(
      tokens=np.concatenate([np.asarray(s, np.int32) for s in segments]),
      starts=np.cumsum(lengths, dtype=np.int32) - lengths,
      lengths=lengths,
      group=np.asarray(group, np.int32),
      choices=_pad_stack([np.asarray(c, np.int32) for c in choices]),
      choice_lengths=np.array([len(c) for c in choices], np.int32),
      choice_chars=np.asarray(choice_chars, np.int32),
  )


def stack(prompts: Sequence[Prompt]) -> Prompt:
  """Prompts of different sizes as one `Prompt` with a leading axis N, padded with zeros."""
  return Prompt(*(_pad_stack(arrays) for arrays in zip(*prompts, strict=True)))


def trim(prompt: Prompt, length: int) -> Prompt:
  """A batch of prompts, no longer than `length` tokens each, without the padding behind that."""
  return prompt._replace(tokens=prompt.tokens[..., :length])


def _pad_stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
  """Stacks arrays of one rank, each padded with zeros at the end of every axis."""
  shape = np.max([a.shape for a in arrays], axis=0)
  out = np.zeros((len(arrays), *shape), np.int32)
  for n, a in enumerate(arrays):
    out[(n, *(slice(size) for size in a.shape))] = a
  return out
