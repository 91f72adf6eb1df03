"""Text to prompts: templates, segments, the proof that segments tokenize alone, truncation."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tokenizers

from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import EVIDENCE, FIXED, Prompt, make_prompt


class Template(NamedTuple):
  """A prompt template, cut at the field that holds the evidence.

  Attributes:
    head: text before the evidence, without the space in front of it.
    evidence: name of the field whose sentences are the evidence.
    tail: text behind it: the question and the cue for the answer.
  """

  head: str
  evidence: str
  tail: str


class Segments(NamedTuple):
  """One prompt as text: `head + "".join(sentences) + tail`; a sentence carries its own space."""

  head: str
  sentences: Sequence[str]
  tail: str


class Tokenized(NamedTuple):
  """A tokenized prompt and what became of its text.

  Attributes:
    prompt: the segments' tokens.
    segments: the text that was kept, after truncation.
    exact: whether every order of the segments tokenizes as the whole text does.
    dropped: evidence sentences that did not fit.
  """

  prompt: Prompt
  segments: Segments
  exact: bool
  dropped: int


def parse_template(template: str, evidence: str, fields: Sequence[str]) -> Template:
  """Cuts a template such as `"Passage: {passage}\\nQuestion: {question}\\nAnswer:"` in two.

  Args:
    template: text with `{field}` placeholders; `{evidence}` among them exactly once, behind a
      space (or at the very beginning, which then begins with a space), and a cue at the end.
    evidence: name of the evidence field.
    fields: the fields that the examples have.

  Raises:
    InputError: for a field that the examples do not have, evidence that does not occur once or
      has no space before it, or a missing cue.

  Example:
    >>> parse_template("Read: {text}\\nTopic:", "text", ["text"]).head
    'Read:'
  """
  names = re.findall(r"{(\w*)}", template)
  for name in names:
    if name not in fields:
      raise InputError(f"the template names the field {name!r}, but the data has {list(fields)}")
  if names.count(evidence) != 1:
    raise InputError(
        f"the template must hold the evidence {{{evidence}}} exactly once, got {template!r}"
    )
  head, tail = template.split(f"{{{evidence}}}")
  if not tail[tail.rfind("}") + 1 :].strip():
    raise InputError(
        f"the template must end in a cue for the answer, such as 'Answer:', got {template!r}"
    )
  if head and not head.endswith(" "):
    raise InputError(
        f"the template needs a space in front of {{{evidence}}}, since every sentence carries the"
        f" space before it, got {template!r}"
    )
  return Template(head.removesuffix(" "), evidence, tail)


def fill(template: Template, fields: Mapping[str, str], sentences: Sequence[str]) -> Segments:
  """The segments of one example: the evidence in sentences, the other fields filled in."""

  def filled(text: str) -> str:
    return re.sub(r"{(\w+)}", lambda match: fields[match[1]], text)

  # Without a head the first sentence has nothing in front of it to part from.
  return Segments(filled(template.head), [" " + s for s in sentences], filled(template.tail))


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
  before = _encode(tokenizer, [cue])[0]
  ids = []
  for choice, tokens in zip(choices, _encode(tokenizer, [cue + c for c in choices]), strict=True):
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
    texts: Sequence[Segments],
    choices: Sequence[str],
    cue: str,
    max_tokens: int,
) -> list[Tokenized]:
  """Tokenizes prompts by segments, truncates them, and checks that they may be re-ordered.

  A sentence's tokens are what it adds to the head. They are `exact` if for any two sentences
  a, b the text head+a+b gives the tokens of head, a and b one after the other, and likewise
  head+a+tail: then every order of the sentences tokenizes as the whole text does, because a
  tokenizer's merges across a boundary depend on the two neighbours.

  A prompt of more than `max_tokens` tokens loses whole evidence sentences from the end; the
  head, the question and the cue stay. This happens before any view is drawn, so that all views
  hold the same tokens.

  Args:
    tokenizer: the model's, without truncation and padding.
    texts: one `Segments` a prompt.
    choices: the answers.
    cue: the end of every prompt, see `tokenize_choices`.
    max_tokens: the most tokens that prompt and answer may have together.

  Returns:
    One `Tokenized` a prompt. Where `exact` is False its arrays say only which segments may change
    places; the tokens of each view, the canonical one too, come from `whole_prompt`.

  Raises:
    InputError: if a prompt without evidence is still too long, or a choice is unusable.
  """
  choice_ids = tokenize_choices(tokenizer, choices, cue)
  choice_chars = [max(len(c.strip()), 1) for c in choices]
  room = max_tokens - (max(map(len, choice_ids)) - 1)
  begin = _beginning(tokenizer)

  distinct_heads = list(dict.fromkeys(t.head for t in texts))
  heads = dict(zip(distinct_heads, _encode(tokenizer, distinct_heads), strict=True))
  tails = _encode(tokenizer, [t.head + t.tail for t in texts])
  singles = _ragged(tokenizer, [[t.head + s for s in t.sentences] for t in texts])

  kept, ids, left = [], [], []
  for n, text in enumerate(texts):
    head = heads[text.head]
    sentences = [s[len(head) :] for s in singles[n]]
    tail = tails[n][len(head) :]
    left.append(room - len(begin) - len(head) - len(tail))
    if left[n] < 0:
      raise InputError(
          f"prompt {n} has {room - left[n]} tokens without any evidence, but only {room} fit;"
          f" shorten its question or raise max_length: {text.tail.strip()[:60]!r}"
      )
    count = _how_many_fit(sentences, left[n])
    kept.append(text._replace(sentences=list(text.sentences[:count])))
    ids.append((head, sentences[:count], tail))

  found = _ragged(tokenizer, [_neighbours(*text) for text in kept])
  out = []
  for n, text in enumerate(kept):
    head, sentences, tail = ids[n]
    exact = found[n] == _neighbours(head, sentences, tail)
    if not exact:  # whole texts may be a token longer at every boundary
      count = _how_many_fit(sentences, left[n] - len(sentences) - 1)
      sentences, text = sentences[:count], text._replace(sentences=text.sentences[:count])
    group = [FIXED] + [EVIDENCE] * len(sentences) + [FIXED]
    prompt = make_prompt([begin + head, *sentences, tail], group, choice_ids, choice_chars)
    dropped = len(texts[n].sentences) - len(text.sentences)
    out.append(Tokenized(prompt, text, exact, dropped))
  return out


def whole_prompt(
    tokenizer: tokenizers.Tokenizer, tokenized: Tokenized, order: Sequence[int]
) -> Prompt:
  """One view tokenized as a whole text: a single segment, which no re-ordering changes.

  Args:
    tokenizer: the model's.
    tokenized: the prompt, as `tokenize_prompts` made it.
    order: int[S'], S' >= the number of segments: which segment stands in each place.
  """
  head, sentences, tail = tokenized.segments
  pieces = [head, *sentences, tail]
  text = "".join(pieces[s] for s in order if s < len(pieces))
  base = tokenized.prompt
  tokens = _beginning(tokenizer) + _encode(tokenizer, [text])[0]
  choices = [c[:n].tolist() for c, n in zip(base.choices, base.choice_lengths, strict=True)]
  return make_prompt([tokens], [FIXED], choices, base.choice_chars)


def _neighbours(head, sentences, tail) -> list:
  """The joins, of texts or of token lists, that show whether segments may stand side by side."""
  pairs = [head + a + b for a, b in itertools.permutations(sentences, 2)]
  return pairs + [x for a in sentences for x in (head + a, head + a + tail)] + [head + tail]


def _how_many_fit(sentences: Sequence[Sequence[int]], room: int) -> int:
  """How many sentences, from the first on, have at most `room` tokens together."""
  return sum(length <= room for length in itertools.accumulate(map(len, sentences)))


def _beginning(tokenizer: tokenizers.Tokenizer) -> list[int]:
  """The special tokens that the tokenizer was trained to put in front of a text (BOS)."""
  plain = tokenizer.encode("a", add_special_tokens=False).ids
  full = tokenizer.encode("a", add_special_tokens=True).ids
  return full[: next(i for i in range(len(full)) if full[i : i + len(plain)] == plain)]


def _encode(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[list[int]]:
  """Token ids of texts, without special tokens around them."""
  return [e.ids for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _ragged(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[Sequence[str]]
) -> list[list[list[int]]]:
  """Token ids of lists of texts, in one batch: a thousand prompts at a time."""
  out = []
  for start in range(0, len(texts), 1000):
    part = texts[start : start + 1000]
    ids = iter(_encode(tokenizer, [t for row in part for t in row]))
    out += [[next(ids) for _ in row] for row in part]
  return out
