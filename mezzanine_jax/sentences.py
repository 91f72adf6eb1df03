"""Sentences of a text, such that joining them with single spaces gives the text back."""

import bisect
import re
from collections.abc import Sequence

from mezzanine_jax.allowed import UNITS
from mezzanine_jax.errors import InputError

# Before a name or a number; no sentence ends with one, even where the word after it often starts
# a sentence ("Dr. No", "Mr. All", "No. 5", "Warner Bros. Pictures").
_ABBREVIATIONS = frozenset(
  "adm amb approx art brig bros ca capt cf ch chap cmdr col cpl det dr e.g ed eds est feat fig figs"
  " fr ft gen gov govt hon i.e insp jr lt maj messrs mr mrs ms mt no nos op p pfc pp pres prof pt"
  " pvt rep rev sec sen sgt sr st ste supt v vol vols vs".split()
)
# With a capital only: "Mass. Turnpike", but "has no mass."
_STATES = frozenset(
  "Ala Ariz Ark Calif Colo Conn Del Fla Ga Ill Ind Kan Ky La Mass Md Mich Minn Miss Mo Mont Neb"
  " Nev Okla Ont Ore Pa Que Tenn Tex Va Vt Wash Wis Wyo".split()
)
# Only these end a sentence after a word with inner dots ("in the U.S. It", but "U.S. No. 1").
_STARTERS = frozenset(
  "Although An And As At Because But By For He Her His However If In It Its Most On She Since"
  " Some That The Their There These They This Those Under We When While With".split()
)
_STOPS = ".!?…‼‽⁇⁈⁉"
_CLOSING = "\"'”’»›)]}"
_OPENING = "\"'“‘«‹([{`"
# Sentences between brackets stay together; the bound keeps a lost bracket from mattering.
_BRACKETS = re.compile(r"\([^()]{0,400}\)|\[[^\[\]]{0,400}\]")


def fold_white_space(text: str) -> str:
  """Folds every run of white space (line breaks, no-break spaces, tabs) to a single space.

  Args:
    text: any text.

  Returns:
    The text without white space at its ends and with single spaces inside.

  Example:
    >>> fold_white_space(" one\\n\\ttwo ")
    'one two'
  """
  return " ".join(text.split())


def split_sentences(text: str) -> list[str]:
  """Splits a text into sentences: `" ".join(result) == fold_white_space(text)`, always.

  In doubt two sentences stay together: a merged pair only makes for fewer orders, whereas half
  a sentence would be moved away from its other half. The time is linear in the text's length.

  Args:
    text: any text; its white space is folded first.

  Returns:
    The sentences, none of them empty; `[]` for a text of nothing but white space.

  Example:
    >>> split_sentences("Dr. Who left the U.S. Army.  It rained (e.g. in Oslo)!")
    ['Dr. Who left the U.S. Army.', 'It rained (e.g. in Oslo)!']
  """
  from syntok import segmenter, tokenizer

  folded = fold_white_space(text)
  if not folded:
    return []
  # Quotes in the manner of LaTeX confuse the splitter. The stand-ins are of the same length, so
  # that its offsets hold for the text itself.
  plain = folded.replace("``", ' "').replace("''", '" ')
  tokens = tokenizer.Tokenizer(replace_not_contraction=False).tokenize(plain)
  brackets = [match.span() for match in _BRACKETS.finditer(folded)]
  sentences, start = [], 0
  for sentence in segmenter.split(tokens):
    cut = sentence[0].offset - 1
    if cut > start and folded[cut] == "`":  # the first half of an opening quote
      cut -= 1
    # The splitter also splits inside words ("end.Next"); here only a space is cut at.
    at_space = cut > start and folded[cut] == " "
    if at_space and not _inside(brackets, cut) and _may_cut(folded, start, cut):
      sentences.append(folded[start:cut])
      start = cut + 1
  return [*sentences, folded[start:]]


def split_units(value: str | Sequence[str], unit: str) -> list[str]:
  """The units of a text, or of a list of texts, that may change places.

  Args:
    value: a text, or the texts of a list field, one after the other.
    unit: `sentence`, `paragraph` (parted by blank lines) or `document` (an item of a list field).

  Returns:
    The units, white space folded, none of them empty.

  Raises:
    InputError: for another unit, a value that is no text, or documents that are no list.

  Example:
    >>> split_units("One. Two.\\n\\nThree.", "paragraph")
    ['One. Two.', 'Three.']
  """
  if unit not in UNITS:
    raise InputError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
  if unit == "document" and isinstance(value, str):
    raise InputError(
        "unit=document needs a list field, one text a document, got a text; use unit=sentence or"
        " unit=paragraph"
    )
  texts = [value] if isinstance(value, str) else value
  if not isinstance(texts, (list, tuple)) or not all(isinstance(t, str) for t in texts):
    raise InputError(f"the evidence must be a text or a list of texts, got {str(value)[:60]!r}")
  if unit == "sentence":
    return [s for text in texts for s in split_sentences(text)]
  if unit == "paragraph":
    texts = [p for text in texts for p in re.split(r"\n\s*\n", text)]
  return [folded for folded in map(fold_white_space, texts) if folded]


def _inside(spans: list[tuple[int, int]], offset: int) -> bool:
  """Whether an offset lies within one of the sorted spans."""
  at = bisect.bisect_right(spans, (offset, offset)) - 1
  return at >= 0 and offset < spans[at][1]


def _may_cut(folded: str, start: int, cut: int) -> bool:
  """Whether the words around the space at `cut` allow for the end of a sentence."""
  word = max(start, folded.rfind(" ", start, cut) + 1)
  before = folded[word:cut].rstrip(_CLOSING)
  if not before or before[-1] not in _STOPS:
    return False
  after = folded[cut + 1 : cut + 40].lstrip(_OPENING)  # only the next word's beginning counts
  if not after or not (after[0].isalnum() or after[0] in "$£€#¿¡") or after[0].islower():
    return False
  stem = before[:-1].lstrip(_OPENING)
  if before[-1] != "." or not stem:
    return True
  if stem.lower() in _ABBREVIATIONS or stem in _STATES or (len(stem) == 1 and stem.isalpha()):
    return False
  if "." in stem.rstrip(".") and not any(letter.isdigit() for letter in stem):
    return after.split(" ", 1)[0].rstrip(",") in _STARTERS
  return True
