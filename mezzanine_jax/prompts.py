"""A prompt as arrays: tokenized once, by segments, and re-ordered without its text."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array

# Values of `Prompt.group`.
FIXED, EVIDENCE, OPTIONS, DEMONSTRATIONS, FACTS = range(5)
_FACTOR = 2654435761  # of the hash of a segment; odd
GROUP_NAMES = ("fixed", "evidence", "options", "demonstrations", "facts")


class Prompt(NamedTuple):
  """One tokenized prompt with its answer choices.

  The text that a model sees is the concatenation of the segments in the order of `starts`.

  Attributes:
    tokens: int32[T], all segments one after the other, padded at the end.
    starts: int32[S], where each segment begins in `tokens`.
    lengths: int32[S], how many tokens it has; 0 for a segment that is padding.
    group: int32[S]; segments of group 0 stay where they are, those of an equal positive
      group may change places.
    block: int32[S]; neighbours of an equal positive group and an equal block stand together and
      move as one.
    choices: int32[C, Tc], token ids of the answers, padded at the end; Tc >= 1.
    choice_lengths: int32[C], tokens of each answer, >= 1.
    choice_chars: int32[C], characters of each answer without the space around it.
    before: bool[S, S], within a group: whether the block that begins with the segment in place i
      must stay before the one that begins with the segment in place j. The order as it is
      satisfies it. None where the blocks of a group may stand in any order.
  """

  tokens: Array
  starts: Array
  lengths: Array
  group: Array
  block: Array
  choices: Array
  choice_lengths: Array
  choice_chars: Array
  before: Array | None = None


class Wordings(NamedTuple):
  """One example in several wordings, each a prompt with answers of its own; see `paraphrase`.

  Whatever takes a `Prompt` takes this too and means `current`.

  Attributes:
    current: the wording that is read, at first number 0.
    all: `Prompt` with a leading axis P, every wording, padded alike. Answer c means the same in
      all of them.
    log_weights: float32[P]; `exp` of it sums to 1, -inf is padding.
  """

  current: Prompt
  all: Prompt
  log_weights: Array


def current(x: Prompt | Wordings) -> Prompt:
  """The prompt that is read: the current wording of `Wordings`, a `Prompt` itself."""
  return x.current if isinstance(x, Wordings) else x


def with_current(x: Prompt | Wordings, prompt: Prompt) -> Prompt | Wordings:
  """`x` with another prompt in the place of `current(x)`."""
  return x._replace(current=prompt) if isinstance(x, Wordings) else prompt


def pack(prompt: Prompt | Wordings) -> tuple[Array, Array]:
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
  prompt = current(prompt)
  ends = jnp.cumsum(prompt.lengths)
  place = jnp.arange(prompt.tokens.shape[0])
  # The segment that covers a place is the first whose end lies behind it.
  segment = jnp.searchsorted(ends, place, side="right").clip(max=ends.shape[0] - 1)
  begin = ends[segment] - prompt.lengths[segment]
  source = jnp.asarray(prompt.starts)[segment] + place - begin
  inside = place < ends[-1]
  tokens = jnp.asarray(prompt.tokens)[jnp.where(inside, source, 0)]
  return jnp.where(inside, tokens, 0).astype(jnp.int32), ends[-1].astype(jnp.int32)


def sort_evidence(prompt: Prompt | Wordings) -> Prompt | Wordings:
  """The prompt with its segments of evidence in an order that their own tokens fix.

  All orders of the same evidence become one, as long as no two of its segments have the same hash
  (of 32 bits): a canonical form, as in Kaba et al., Equivariance with Learned Canonicalization
  Functions (2023), by which any predictor becomes invariant.

  Args:
    prompt: one prompt (no batch axis), acted upon or not.

  Example:
    >>> prompt = make_prompt([[5], [6, 7], [8], [9]], [0, 1, 1, 0], [[1], [2]], [2, 3])
    >>> other = prompt._replace(starts=prompt.starts[[0, 2, 1, 3]],
    ...                         lengths=prompt.lengths[[0, 2, 1, 3]])
    >>> pack(sort_evidence(prompt))[0].tolist() == pack(sort_evidence(other))[0].tolist()
    True
  """
  own = current(prompt)
  starts, lengths, tokens = map(jnp.asarray, (own.starts, own.lengths, own.tokens))
  is_unit = (jnp.asarray(own.group) == EVIDENCE) & (lengths > 0)
  # A polynomial in an odd number, modulo 2^32; dividing by the power at a segment's start, which
  # odd numbers allow, takes away where it stands among the tokens.
  powers, inverses = (jnp.cumprod(jnp.full(tokens.shape[0] + 1, factor, jnp.uint32))
                      for factor in (_FACTOR, pow(_FACTOR, -1, 2**32)))
  sums = jnp.cumsum((tokens.astype(jnp.uint32) + 1) * powers[:-1], dtype=jnp.uint32)
  sums = jnp.concatenate([jnp.zeros(1, jnp.uint32), sums])
  hashes = (sums[starts + lengths] - sums[starts]) * inverses[starts]
  place = jnp.arange(len(starts))
  slots = jnp.lexsort((place, ~is_unit))
  source = jnp.zeros_like(place).at[slots].set(
      jnp.lexsort((jnp.where(is_unit, hashes, place.astype(jnp.uint32)), ~is_unit)))
  return with_current(prompt, own._replace(starts=starts[source], lengths=lengths[source]))


def set_places(prompt: Prompt | Wordings, count: int) -> Array:
  """Where each token of `pack` stands in some orders of the evidence: int32[count, T].

  The orders are an order and its reverse, another one and its reverse, ...: of any two segments
  each is before the other in half of them (even `count`), and with as many as a Williams square of
  the segments has (see `williams.block`) each stands in every place equally often. They are
  relative to the order that the prompt has: sort it (`sort_evidence`), and they are the same
  whatever that was.

  Args:
    prompt: one prompt (no batch axis), acted upon or not.
    count: K >= 2 orders; static. Where there are fewer, some stand among them more than once.

  Example:
    >>> prompt = make_prompt([[5], [6, 7], [8], [9]], [0, 1, 1, 0], [[1], [2]], [2, 3])
    >>> set_places(prompt, 2).tolist()
    [[0, 1, 2, 3, 4], [0, 2, 3, 1, 4]]
  """
  own = current(prompt)
  lengths = jnp.asarray(own.lengths)
  ends, place = jnp.cumsum(lengths), jnp.arange(own.tokens.shape[0])
  begins = ends - lengths
  is_unit = (jnp.asarray(own.group) == EVIDENCE) & (lengths > 0)
  step, units = jnp.arange(lengths.shape[0]), is_unit.sum()
  slots = jnp.lexsort((step, ~is_unit))  # where evidence stands, in front of all else
  zigzag = jnp.where(step % 2, (step + 1) // 2, -(step // 2))
  pairs = jnp.where(units % 2, units, units // 2)
  segment = jnp.searchsorted(ends, place, side="right").clip(max=ends.shape[0] - 1)

  def places(k: int) -> Array:
    turn = k // 2 * pairs // ((count + 1) // 2)
    at = units - 1 - step if k % 2 else step
    at = jnp.where(step < units, (zigzag[at] + turn) % jnp.maximum(units, 1), step)
    source = step.at[slots].set(slots[at])  # which segment stands in each place
    begin = step.at[source].set(jnp.cumsum(lengths[source]) - lengths[source])
    return jnp.where(place < ends[-1], begin[segment] + place - begins[segment], place)

  return jnp.stack([places(k) for k in range(count)]).astype(jnp.int32)


def make_prompt(
    segments: Sequence[Sequence[int]],
    group: Sequence[int],
    choices: Sequence[Sequence[int]],
    choice_chars: Sequence[int],
    block: Sequence[int] | None = None,
    before: np.ndarray | None = None,
) -> Prompt:
  """One unpadded prompt (NumPy arrays) from the token ids of its segments and of its choices.

  Args:
    segments: token ids of each segment, in canonical order.
    group: the group of each segment, see `Prompt.group`.
    choices: token ids of each answer, none empty; no answers for a text that is only read.
    choice_chars: length of each answer in characters.
    block: the block of each segment; by default every segment is one of its own.
    before: bool[S, S], see `Prompt.before`.

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
      block=np.asarray(np.arange(len(lengths)) if block is None else block, np.int32),
      choices=_pad_stack([np.asarray(c, np.int32) for c in choices] or [np.zeros(1, np.int32)])[
          : len(choices)],
      choice_lengths=np.array([len(c) for c in choices], np.int32),
      choice_chars=np.asarray(choice_chars, np.int32),
      before=None if before is None else np.asarray(before, bool),
  )


def make_wordings(prompts: Sequence[Prompt], weights: Sequence[float] | None = None) -> Wordings:
  """One example's wordings (NumPy arrays), the first of them current.

  Args:
    prompts: P unpadded prompts with the same number of answers, which mean the same in order.
    weights: how often each is drawn, >= 0, not all 0; they need not sum to 1. Equal by default.

  Example:
    >>> two = [make_prompt([[5]], [0], [[1], [2]], [2, 3]) for _ in range(2)]
    >>> np.exp(make_wordings(two, [1.0, 3.0]).log_weights).tolist()
    [0.25, 0.75]
  """
  together = stack(prompts)
  weights = np.ones(len(prompts)) if weights is None else np.asarray(weights, float)
  with np.errstate(divide="ignore"):  # a weight of 0 is never drawn
    log_weights = np.log(weights / weights.sum()).astype(np.float32)
  return Wordings(jax.tree.map(lambda a: a[0], together), together, log_weights)


def stack(prompts: Sequence[Prompt] | Sequence[Wordings]) -> Prompt | Wordings:
  """Prompts of different sizes as one with a leading axis N, padded at the end of every axis.

  Args:
    prompts: N prompts, or N times `Wordings`; padding is 0, and -inf in `log_weights`.
  """
  padded = jax.tree.map(lambda *arrays: _pad_stack(arrays), *prompts)
  if not isinstance(padded, Wordings):
    return padded
  # Current and other wordings take each other's places, so that they are padded alike.
  shapes = jax.tree.map(lambda a, b: np.maximum(a.shape[1:], b.shape[2:]), padded.current,
                        padded.all)
  number = padded.log_weights.shape[1]
  log_weights = [np.pad(x.log_weights, (0, number - len(x.log_weights)), constant_values=-np.inf)
                 for x in prompts]
  return Wordings(
      jax.tree.map(lambda a, shape: _pad(a, (len(a), *shape)), padded.current, shapes),
      jax.tree.map(lambda a, shape: _pad(a, (*a.shape[:2], *shape)), padded.all, shapes),
      np.stack(log_weights),
  )


def trim(prompt: Prompt | Wordings, length: int) -> Prompt | Wordings:
  """A batch of prompts without the padding behind `length` tokens.

  Args:
    prompt: prompts with a leading axis, none of which is read beyond `length` tokens. Wordings
      that are longer are cut: they must not be read afterwards.
    length: tokens that are kept.
  """
  if isinstance(prompt, Wordings):
    return prompt._replace(current=trim(prompt.current, length), all=trim(prompt.all, length))
  return prompt._replace(tokens=prompt.tokens[..., :length])


def number_segments(x: Prompt | Wordings) -> Prompt | Wordings:
  """`x` with each segment's number in the place of its start, to see where an element moves it.

  Args:
    x: one prompt, or many with a leading axis. Segment s of wording p has the number p S + s.
  """
  if not isinstance(x, Wordings):
    numbers = np.arange(x.starts.shape[-1], dtype=np.int32)
    return x._replace(starts=np.broadcast_to(numbers, x.starts.shape))
  size, segments = x.all.starts.shape[-2:]
  numbers = np.arange(size * segments, dtype=np.int32).reshape(size, segments)
  return x._replace(
      current=number_segments(x.current),
      all=x.all._replace(starts=np.broadcast_to(numbers, x.all.starts.shape)),
  )


def _pad(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
  """The array with zeros at the end of every axis, up to a shape."""
  return np.pad(array, [(0, n - m) for m, n in zip(array.shape, shape, strict=True)])


def _pad_stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
  """Stacks arrays of one rank, each padded with zeros at the end of every axis."""
  arrays = [np.asarray(a) for a in arrays]
  shape = np.max([a.shape for a in arrays], axis=0)
  out = np.zeros((len(arrays), *shape), arrays[0].dtype)
  for n, a in enumerate(arrays):
    out[(n, *(slice(size) for size in a.shape))] = a
  return out
