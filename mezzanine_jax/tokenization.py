"""Pieces of text to prompts: tokens by segment, the proof that they join, truncation."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import tokenizers

from mezzanine_jax.errors import InputError
from mezzanine_jax.joins import Joins, alone, as_beginning, encode, puts_space_in_front
from mezzanine_jax.prompts import (
    DEMONSTRATIONS,
    EVIDENCE,
    FIXED,
    Prompt,
    Wordings,
    make_prompt,
    make_wordings,
)
from mezzanine_jax.templates import Piece


class Text(NamedTuple):
  """One prompt as text, with its answers.

  Attributes:
    pieces: joined they are the prompt; the first one stays.
    choices: the answers, most often with a leading space; none for a text that is only read.
    cue: the end of the prompt, behind which the answers stand.
  """

  pieces: Sequence[Piece]
  choices: Sequence[str]
  cue: str


class Tokenized(NamedTuple):
  """A tokenized example and what became of its text.

  Attributes:
    prompt: the segments' tokens; `Wordings` where the example has several.
    texts: the text that was kept, after truncation: one a wording.
    exact: whether every order of the segments tokenizes as the whole text does.
    dropped: units of evidence of the first wording that did not fit.
    dropped_demonstrations: demonstrations that did not fit.
    beginning: special tokens in front of every view.
    ending: special tokens behind every view.
  """

  prompt: Prompt | Wordings
  texts: Sequence[Text]
  exact: bool
  dropped: int
  dropped_demonstrations: int
  beginning: Sequence[int]
  ending: Sequence[int] = ()

  @property
  def evidence(self) -> list[str]:
    """The first wording's units of evidence that were kept."""
    return [p.text for p in self.texts[0].pieces if p.group == EVIDENCE]


def tokenize_choices(
    tokenizer: tokenizers.Tokenizer, choices: Sequence[str], cue: str
) -> list[list[int]]:
  """Token ids of each answer as the continuation of the cue that ends the prompt.

  Args:
    tokenizer: the model's.
    choices: the answers, most often with a leading space.
    cue: the end of the prompt, such as `"\\nAnswer:"`.

  Raises:
    InputError: for fewer than two choices, identical ones, one that tokenizes to nothing, and
      one whose first token merges with the cue.
  """
  if len(choices) < 2:
    raise InputError(f"at least two choices are needed, got {list(choices)}")
  before = encode(tokenizer, [cue])[0]
  ids = []
  for choice, tokens in zip(choices, encode(tokenizer, [cue + c for c in choices]), strict=True):
    if tokens[: len(before)] != before:
      raise InputError(
          f"the choice {choice!r} merges with the end of the prompt {cue!r}; end the prompt"
          " without a space and begin the choice with one"
      )
    if len(tokens) == len(before):
      raise InputError(f"the choice {choice!r} tokenizes to nothing; give it at least one token")
    ids.append(tokens[len(before) :])
  for (a, x), (b, y) in itertools.combinations(zip(choices, ids, strict=True), 2):
    if x == y:
      raise InputError(f"choices must differ, but {a!r} and {b!r} are the same tokens")
  return ids


def tokenize_prompts(
    tokenizer: tokenizers.Tokenizer,
    examples: Sequence[Sequence[Text]],
    max_tokens: int,
    *,
    beginning: Sequence[int] | None = None,
    ending: Sequence[int] = (),
    weights: Sequence[Sequence[float]] | None = None,
) -> list[Tokenized]:
  """Tokenizes prompts by segments, truncates them, and checks that they may be re-ordered.

  A piece's tokens are what it adds to a word before it. They are `exact` if for any two pieces
  a, b that can become neighbours the text a+b gives the tokens of a and of b, one after the
  other: then every order tokenizes as the whole text does, because a tokenizer's merges across
  a boundary depend on the two neighbours. Their last and first words are tried, which many
  prompts share, and the whole pieces only where those do not settle it.

  A prompt of more than `max_tokens` tokens loses whole units of evidence from the end, then whole
  demonstrations; all else stays. This happens before any view is drawn, so that all views
  hold the same tokens. Wordings of the same evidence lose the same units.

  Args:
    tokenizer: the model's, without truncation and padding.
    examples: the wordings of each example, as text.
    max_tokens: the most tokens that prompt and answer may have together.
    beginning: special tokens in front of every prompt; by default those that the tokenizer was
      trained to put there.
    ending: special tokens behind every prompt; the last piece must stay where it is.
    weights: of the wordings; None makes a plain `Prompt` of each example's only one.

  Returns:
    One `Tokenized` an example. Where `exact` is False its arrays say only which segments may
    change places; the tokens of each view, the canonical one too, come from `whole_prompt`.

  Raises:
    InputError: if a prompt is too long without evidence and demonstrations, or a choice is
      unusable.
  """
  begin = list(trained_beginning(tokenizer) if beginning is None else beginning)
  answers = {}
  for text in itertools.chain(*examples):
    key = (tuple(text.choices), text.cue)
    if key not in answers:
      answers[key] = tokenize_choices(tokenizer, *key) if text.choices else []
  # A choice's last token is predicted, never read.
  read = {key: max(map(len, ids), default=1) - 1 for key, ids in answers.items()}
  special = len(begin) + len(ending)
  joins = Joins(tokenizer)
  joins.encode(t for text in itertools.chain(*examples) for t in alone(text.pieces))

  kept, lost = [], []
  for n, texts in enumerate(examples):
    sized = []
    for text in texts:
      room = max_tokens - read[tuple(text.choices), text.cue] - special
      sized.append((text.pieces, [len(i) for i in joins.pieces(text.pieces)], room))
    cut, units, shots = _fit(n, sized)
    kept.append([t._replace(pieces=p) for t, p in zip(texts, cut, strict=True)])
    lost.append((units, shots))

  windows = [joins.windows(text.pieces) for texts in kept for text in texts]
  joins.encode(itertools.chain(*windows))
  out = []
  for n, texts in enumerate(kept):
    exact = all(joins.exact(text.pieces) for text in texts)
    if not exact:  # whole texts may be a token longer at every boundary
      sized = [
          (t.pieces, [len(i) + 1 for i in joins.pieces(t.pieces)],
           max_tokens - special - read[tuple(t.choices), t.cue])
          for t in texts
      ]
      cut, units, shots = _fit(n, sized)
      texts = [t._replace(pieces=p) for t, p in zip(texts, cut, strict=True)]
      lost[n] = (lost[n][0] + units, lost[n][1] + shots)
    made = []
    for text in texts:
      first, *rest = joins.pieces(text.pieces)
      chars = [max(len(c.strip()), 1) for c in text.choices]
      groups = [p.group for p in text.pieces]
      ids = answers[tuple(text.choices), text.cue]
      segments = [begin + first, *rest]
      segments[-1] = [*segments[-1], *ending]
      made.append(make_prompt(segments, groups, ids, chars, before=_before(text.pieces)))
    prompt = made[0] if weights is None else make_wordings(made, weights[n])
    out.append(Tokenized(prompt, texts, exact, *lost[n], begin, ending))
  return out


def whole_prompt(
    tokenizer: tokenizers.Tokenizer,
    tokenized: Tokenized,
    order: Sequence[int],
) -> Prompt | Wordings:
  """One view tokenized as a whole text: a single segment, which no element changes.

  Args:
    tokenizer: the model's.
    tokenized: the prompt, as `tokenize_prompts` made it.
    order: int[S'], S' >= the number of segments: which segment stands in each place, with the
      numbers that `prompts.number_segments` gives to prompts of S' segments.
  """
  which = int(min(order)) // len(order)
  chosen = tokenized.texts[which]
  pieces = [p.text for p in chosen.pieces]
  places = [int(s) % len(order) for s in order]
  text = "".join(pieces[s] for s in places if s < len(pieces))
  text = as_beginning(text, puts_space_in_front(tokenizer))
  x = tokenized.prompt
  base = _wording(x, which) if isinstance(x, Wordings) else x
  count = len(chosen.choices)
  choices = [base.choices[c][: base.choice_lengths[c]].tolist() for c in range(count)]
  ready = make_prompt(
      [[*tokenized.beginning, *encode(tokenizer, [text])[0], *tokenized.ending]], [FIXED], choices,
      base.choice_chars, before=None if base.before is None else np.zeros((1, 1), bool))
  if not isinstance(x, Wordings):
    return ready
  made = make_wordings([ready] * len(x.log_weights))
  return made._replace(log_weights=x.log_weights)


def trained_beginning(tokenizer: tokenizers.Tokenizer) -> list[int]:
  """The special tokens that the tokenizer was trained to put in front of a text (BOS)."""
  return trained_around(tokenizer)[0]


def trained_around(tokenizer: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
  """The special tokens that the tokenizer was trained to put before and behind a text.

  An encoder's are [CLS] and [SEP]; behind a prompt nothing may stand but the answer.
  """
  plain = tokenizer.encode("a", add_special_tokens=False).ids
  full = tokenizer.encode("a", add_special_tokens=True).ids
  starts = [i for i in range(len(full)) if full[i : i + len(plain)] == plain]
  if not plain or not starts:
    raise InputError("the model's tokenizer gives no tokens for a text between its special ones")
  return full[: starts[0]], full[starts[0] + len(plain) :]


def chat_beginning(
    tokenizer: tokenizers.Tokenizer, around: tuple[str, str]
) -> tuple[list[int], tuple[str, str]]:
  """The special tokens that begin a chat, and the text around the message without them.

  A chat begins with what its template says: where that writes the tokenizer's own BOS as text,
  it is taken off and put back as a token, so that it stands there once; else there is none.

  Args:
    tokenizer: the model's.
    around: from `chat.around_message`.
  """
  before, behind = around
  begin = trained_beginning(tokenizer)
  written = "".join(tokenizer.id_to_token(i) for i in begin)
  if begin and before.startswith(written):
    return begin, (before.removeprefix(written), behind)
  return [], (before, behind)


def _fit(
    n: int, wordings: Sequence[tuple[Sequence[Piece], Sequence[int], int]]
) -> tuple[list[list[Piece]], int, int]:
  """The pieces of each wording that fit, and how many units and demonstrations do not.

  Each wording is its pieces, their tokens, and the room there is.
  """
  kept: dict[tuple, list[int]] = {}  # evidence and number of demonstrations -> how many stay
  for pieces, sizes, room in wordings:
    total, stay = sum(sizes), []
    for group in (EVIDENCE, DEMONSTRATIONS):
      lengths = [size for p, size in zip(pieces, sizes, strict=True) if p.group == group]
      count = len(lengths)
      while count and total > room:
        count -= 1
        total -= lengths[count]
      stay.append(count)
    if total > room:
      raise InputError(
          f"prompt {n} has {total} tokens without any evidence, but only {room} fit;"
          f" shorten its question or raise max_length: {pieces[-1].text.strip()[:60]!r}"
      )
    key = _evidence(pieces)
    kept[key] = [min(a, b) for a, b in zip(stay, kept.get(key, stay), strict=True)]
  out = []
  for pieces, _, _ in wordings:
    left = dict(zip((EVIDENCE, DEMONSTRATIONS), kept[_evidence(pieces)], strict=True))
    chosen = []
    for piece in pieces:
      if piece.group in left:
        left[piece.group] -= 1
        if left[piece.group] < 0:
          continue
      chosen.append(piece)
    out.append(chosen)
  lost = [
      sum(p.group == group for p in wordings[0][0]) - sum(p.group == group for p in out[0])
      for group in (EVIDENCE, DEMONSTRATIONS)
  ]
  return out, *lost


def _before(pieces: Sequence[Piece]) -> np.ndarray | None:
  """bool[S, S], which pieces must stay before which; None where none has an order."""
  if all(piece.after is None for piece in pieces):
    return None
  before = np.zeros((len(pieces), len(pieces)), bool)
  for s, piece in enumerate(pieces):
    own = [i for i, other in enumerate(pieces) if other.group == piece.group]
    before[[own[i] for i in piece.after or ()], s] = True
  return before


def _evidence(pieces: Sequence[Piece]) -> tuple[str, ...]:
  """What wordings of the same evidence have in common."""
  return tuple(p.text.strip() for p in pieces if p.group == EVIDENCE)


def _wording(x: Wordings, which: int) -> Prompt:
  """One wording of an example."""
  return jax.tree.map(lambda a: a[which], x.all)
