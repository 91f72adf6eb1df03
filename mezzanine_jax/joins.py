"""Where pieces of text join: do they keep their tokens side by side?"""

import re
from collections.abc import Iterable, Sequence

import tokenizers

from mezzanine_jax.models.tokenizer import failures
from mezzanine_jax.prompts import FIXED
from mezzanine_jax.templates import Piece

_ANCHOR = "x"  # a word in front of a piece, so that it is not tokenized as the beginning of a text
_FIRST_WORD = re.compile(r"\s*\S+")


class Joins:
  """Tokens of texts, each encoded once for a whole data set, and what they say of pieces."""

  def __init__(self, tokenizer: tokenizers.Tokenizer):
    self._tokenizer = tokenizer
    self._ids: dict[str, list[int]] = {}
    self._settled: dict[tuple, bool] = {}
    self._ends: dict[tuple[str, bool], tuple[str, str, str]] = {}
    self._spaced = puts_space_in_front(tokenizer)

  def encode(self, texts: Iterable[str]) -> None:
    """Encodes those texts that were not met before, in batches."""
    new = [t for t in dict.fromkeys(texts) if t not in self._ids]
    for start in range(0, len(new), 10_000):
      part = new[start : start + 10_000]
      self._ids.update(zip(part, encode(self._tokenizer, part), strict=True))

  def ids(self, text: str) -> list[int]:
    """Token ids of a text."""
    if text not in self._ids:
      self.encode([text])
    return self._ids[text]

  def after(self, lead: str, text: str) -> list[int] | None:
    """What a text adds to the tokens of the one before it; None where the two merge."""
    both, first = self.ids(lead + text), self.ids(lead) if lead else []
    return both[len(first) :] if both[: len(first)] == first else None

  def pieces(self, pieces: Sequence[Piece]) -> list[list[int]]:
    """Token ids of each piece, the first one as the beginning of the text."""
    first, *rest = (p.text for p in pieces)
    return [self.ids(first), *(self.after(_ANCHOR, t) or self.ids(t) for t in rest)]

  def windows(self, pieces: Sequence[Piece]) -> Iterable[str]:
    """The texts that `exact` will ask for in most cases."""
    ends = [self._end(p.text, i == 0) for i, p in enumerate(pieces)]
    for lead, last, first in ends:
      yield from (lead, lead + last, _ANCHOR + first)
    for a, b in _neighbours(pieces):
      yield ends[a][0] + ends[a][1] + ends[b][2]

  def exact(self, pieces: Sequence[Piece]) -> bool:
    """Whether every order of the pieces has the pieces' tokens, in that order."""
    ids = self.pieces(pieces)
    ends = [self._end(p.text, i == 0) for i, p in enumerate(pieces)]
    left = [self.after(lead, last) for lead, last, _ in ends]
    right = [self.after(_ANCHOR, first) for _, _, first in ends]
    for i, (own, last, first) in enumerate(zip(ids, left, right, strict=True)):
      # Only words that have their tokens in the piece, too, stand for it.
      if not last or own[-len(last) :] != last:
        left[i] = None
      if not first or own[: len(first)] != first:
        right[i] = None
    for a, b in _neighbours(pieces):
      words = left[a] is not None and right[b] is not None
      lead, last, first = *ends[a][:2], ends[b][2]
      if words and self.after(lead, last + first) == left[a] + right[b]:
        continue
      if not self._whole(pieces, ids, a, b):
        return False
    return True

  def _whole(
      self, pieces: Sequence[Piece], ids: list[list[int]], a: int, b: int
  ) -> bool:
    """Whether two pieces, all of their text, keep their tokens side by side."""
    key = (a == 0, pieces[a].text, pieces[b].text)
    if key not in self._settled:
      text = pieces[a].text + pieces[b].text
      begin = as_beginning(text, self._spaced)
      whole = self.after(_ANCHOR, text) if a else self.ids(begin)
      self._settled[key] = whole == ids[a] + ids[b]
    return self._settled[key]

  def _end(self, text: str, first: bool) -> tuple[str, str, str]:
    """What stands before a piece's last word, that word, and its first word."""
    if (text, first) not in self._ends:
      stem = text.rstrip()
      start = max((stem.rfind(space) for space in " \n\t"), default=-1)
      start = max(len(stem[:start].rstrip()) if start > 0 else 0, 0)
      lead = "" if first and start == 0 else _ANCHOR
      begin = _FIRST_WORD.match(text)
      self._ends[text, first] = lead, text[start:], begin[0] if begin else text
    return self._ends[text, first]


def alone(pieces: Sequence[Piece]) -> Iterable[str]:
  """The texts that show what each piece's tokens are."""
  yield _ANCHOR
  yield pieces[0].text
  yield from (_ANCHOR + p.text for p in pieces[1:])


def _neighbours(pieces: Sequence[Piece]) -> set[tuple[int, int]]:
  """The pairs of pieces that some order puts side by side."""
  members: dict[int, list[int]] = {}
  for i, piece in enumerate(pieces):
    members.setdefault(piece.group, []).append(i)
  candidates = [members[p.group] if p.group != FIXED else [i] for i, p in enumerate(pieces)]
  seen, pairs = set(), set()
  for i in range(len(pieces) - 1):
    key = tuple(p.group or -j for j, p in ((i, pieces[i]), (i + 1, pieces[i + 1])))
    if key not in seen:
      seen.add(key)
      pairs.update((a, b) for a in candidates[i] for b in candidates[i + 1] if a != b)
  return pairs


def puts_space_in_front(tokenizer: tokenizers.Tokenizer) -> bool:
  """Whether the first word of a text has the tokens that it has behind a space (SentencePiece)."""
  alone, spaced, behind = encode(tokenizer, ["a", " a", _ANCHOR + " a"])
  return alone != spaced and behind[-len(alone) :] == alone


def as_beginning(text: str, spaced: bool) -> str:
  """A text that begins with a piece, without the space that the tokenizer puts there itself.

  Args:
    text: pieces, joined.
    spaced: from `puts_space_in_front`.
  """
  return text.removeprefix(" ") if spaced else text


def encode(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[list[int]]:
  """Token ids of texts, without special tokens around them."""
  with failures("the model's tokenizer cannot read a text"):
    return [e.ids for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
