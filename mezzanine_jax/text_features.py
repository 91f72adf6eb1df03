"""What a frozen encoder makes of whole texts: features for a head, kept on disk."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mezzanine_jax import encoding, language, progress
from mezzanine_jax import store as store_lib
from mezzanine_jax.asking import most_tokens
from mezzanine_jax.base import Example
from mezzanine_jax.models.load import LanguageModel


def plan_texts(
    encoder: LanguageModel, texts: Sequence[str], config: Any
) -> language.Plan:
  """A row for each text, each as it is.

  Args:
    encoder: the model.
    texts: n texts.
    config: has the fields of `settings.RunFields`, and a `max_length`.
  """
  examples = [Example(str(n), {"text": t}, None, str(n)) for n, t in enumerate(texts)]
  prepared = encoding.prepare(
      examples, encoder.tokenizer, field="text",
      max_tokens=most_tokens(config, encoder),
  )
  return language.plan_canonical(
      prepared, encoder.tokenizer, batch_tokens=config.batch_tokens, max_shapes=config.max_shapes)


def encoder_batch_fn(encoder: LanguageModel, pool: str) -> Callable[..., encoding.Encoded]:
  """The function of a batch of texts, for `language.score`."""
  encode = encoding.rows_encoder(encoder.config, dtype=encoder.dtype, pooling=pool)
  return lambda params, elements, rows: encode(params, rows)


def fingerprint(encoder: LanguageModel, plan: language.Plan, pool: str) -> str:
  """A name for everything that changes the features of the texts."""
  return store_lib.fingerprint({
      "scorer": language.SCORER_VERSION, "model": encoder.digest, "rows": language.digest(plan),
      "features": [pool],
  })


def features_of(
    encoder: LanguageModel, plan: language.Plan, batch_fn: Callable[..., encoding.Encoded],
    path: str | pathlib.Path, fingerprint: str, about: Mapping[str, Any] | None = None,
) -> np.ndarray:
  """float32[n, D] in the order of the texts; those that the store in `path` holds are not run.

  Args:
    encoder: the model.
    plan: from `plan_texts`.
    batch_fn: from `encoder_batch_fn`.
    path: the store's folder.
    fingerprint: of everything that changes the features.
    about: what a reader may want to know of the store.
  """
  number = len(plan.rows.example)
  with progress.bar("encoding texts", number) as advance:
    store, _ = language.score(
        plan, batch_fn, encoder.params, path, fingerprint, ids=list(map(str, range(number))),
        about=about, progress=advance,
    )
  return store_lib.read(store, "features")[plan.rows.canonical_row]


def common_words(texts: Sequence[str]) -> tuple[str, str]:
  """The words that all texts begin and end with: a template's own.

  Example:
    >>> common_words(["News: one two.\\nTopic:", "News: three.\\nTopic:"])
    ('News: ', '\\nTopic:')
  """
  def common(lines: list[str]) -> int:
    shared = os.path.commonprefix(lines)
    if any(line[len(shared) : len(shared) + 1].strip() for line in lines):  # within a word
      return max((i + 1 for i, c in enumerate(shared) if c.isspace()), default=0)
    return len(shared)

  if len(set(texts)) < 2:  # nothing tells a template's words from the text's
    return "", ""
  front = common(list(texts))
  behind = common([text[front:][::-1] for text in texts])
  return texts[0][:front], texts[0][len(texts[0]) - behind :]


def without_words(texts: Sequence[str], front: str, behind: str) -> list[str]:
  """The texts without these words at their beginning and end, as far as they stand there.

  Args:
    texts: n texts.
    front: from `common_words`, and so is `behind`; of these texts or of others.
    behind: what texts end with.

  Example:
    >>> without_words(["News: one two.\\nTopic:", "News: three.\\nTopic:"], "News: ", "\\nTopic:")
    ['one two.', 'three.']
  """

  def cut(text: str, words: str) -> str:
    shared = os.path.commonprefix([text, words])
    if shared != words:  # another text than those with these words in common
      shared = shared[: max((i + 1 for i, c in enumerate(shared) if c.isspace()), default=0)]
    return text[len(shared) :]

  left = [cut(cut(text, front)[::-1], behind[::-1])[::-1].strip() for text in texts]
  # A text of the template's words alone stays as it is: an encoder must read something.
  return [own or text for own, text in zip(left, texts, strict=True)]
