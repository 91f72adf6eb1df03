"""Texts to features: what a frozen encoder makes of a text, over the views of its sentences.

The encoder is BERT's kind, or any causal language model. Rows are planned and run as those of
prompts are, by `language` and `engine`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mezzanine_jax import joins, tokenization
from mezzanine_jax.allowed import POOLS
from mezzanine_jax.base import Array, Element, Example, Params
from mezzanine_jax.errors import InputError
from mezzanine_jax.language import Prepared
from mezzanine_jax.models.attention import one_row
from mezzanine_jax.models.tokenizer import failures
from mezzanine_jax.models.transformer import Transformer, layer_indices
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.prompts import EVIDENCE, Prompt, pack
from mezzanine_jax.scoring import PackedRows, pool
from mezzanine_jax.sentences import split_units
from mezzanine_jax.templates import Piece
from mezzanine_jax.tokenization import Text

# A text that must be tokenized whole counts a token more for each of its pieces, empty ones too.
_SPARE = 3


class Encoded(NamedTuple):
  """What one pass over one view of a text gives.

  Attributes:
    features: float[D] (2 D for mean_std): hidden states pooled over all tokens, special ones too.
  """

  features: Array


def prepare(
    examples: Sequence[Example],
    tokenizer: Any,
    *,
    field: str,
    max_tokens: int,
    unit: str = "sentence",
) -> Prepared:
  """Texts as prompts without answers: special tokens, the units of the text, special tokens.

  Every unit has a space before it, the first too (unless the tokenizer puts one there itself),
  so that its tokens are the same wherever it stands. What does not fit is left out by whole
  units; a first unit that is too long alone is cut.

  Args:
    examples: their `x` is a dict of fields.
    tokenizer: the model's `tokenizers.Tokenizer`.
    field: the field with the text.
    max_tokens: the most tokens of a text, special ones among them.
    unit: what may change places: `sentence`, `paragraph` or `document`.

  Returns:
    N prompts with C = 0, see `language.Prepared`.

  Raises:
    InputError: the field is missing, no token fits, or a text has none and no special ones.

  Example:
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> words = Tokenizer(models.WordLevel({"?": 0, "One": 1, "Two": 2, ".": 3}, unk_token="?"))
    >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> made = prepare([Example("a", {"text": "One. Two."}, 0, "a")], words, field="text",
    ...                max_tokens=9)
    >>> made.tokenized[0].prompt.lengths.tolist()
    [0, 2, 2, 0]
  """
  beginning, ending = tokenization.trained_around(tokenizer)
  room = max_tokens - len(beginning) - len(ending)
  if room < 1:
    raise InputError(f"max_length must leave room for a token beside the {max_tokens - room}"
                     f" special ones of the tokenizer, got {max_tokens}")
  texts, cut = [], 0
  for example in examples:
    if field not in example.x:
      raise InputError(f"example {example.id!r} has no field {field!r}; it has {list(example.x)}")
    units = [" " + u for u in split_units(example.x[field], unit)]
    first = _first_tokens(tokenizer, units[0], max(room - _SPARE, 1)) if units else ""
    cut += bool(units) and first != units[0]
    units[:1] = [first] if units else []
    pieces = [Piece(""), *(Piece(u, EVIDENCE) for u in units), Piece("")]
    if not units and not beginning + ending:
      raise InputError(f"the text of example {example.id!r} is empty, and the tokenizer has no"
                       " special tokens that the model could read instead; leave it out")
    texts.append([Text(pieces, (), "")])
  made = tokenization.tokenize_prompts(
      tokenizer, texts, max_tokens, beginning=beginning, ending=ending
  )
  return Prepared(made, {
      "truncated_texts": sum(t.dropped > 0 for t in made),
      "dropped_units": sum(t.dropped for t in made),
      "cut_first_units": cut,
      "tokenized_as_whole_texts": sum(not t.exact for t in made),
      "empty_texts": sum(not t.evidence for t in made),
      "one_unit": sum(len(t.evidence) == 1 for t in made),
  }, max_tokens)


def rows_encoder(
    config: TransformerConfig,
    *,
    dtype: str = "float32",
    layer: int = -1,
    pooling: str = "mean",
    features_dtype: str = "float32",
) -> Callable[[Params, PackedRows], Encoded]:
  """`f(params, rows) -> Encoded` with a leading axis R: `encoder` for many texts at once.

  Arguments and errors are those of `encoder`, and so are the results, whatever the other rows
  are. Rows of a model that is not causal must share no tokens.
  """
  if pooling not in POOLS:
    raise InputError(f"pool must be one of {', '.join(POOLS)}, got {pooling!r}")
  layer_indices(config, (layer,))
  if pooling == "cls" and config.causal:
    raise InputError("pool='cls' needs an encoder: the first token of a causal language model sees"
                     " nothing of the text; choose mean, last or mean_std")

  def encode(params: Params, rows: PackedRows) -> Encoded:
    stream = rows.stream
    if not config.causal:  # padding stands behind a row, where these models would see it
      place = jnp.arange(stream.rows.shape[1])
      stream = stream._replace(segments=(place < rows.lengths[:, None]).astype(jnp.int32))
    model = Transformer(config, dtype)
    hidden, = model.apply({"params": params}, stream, layers=(layer,))
    features = jax.vmap(lambda own, length: pool(hidden[own], length, pooling))(
        stream.rows, rows.lengths)
    return Encoded(features.astype(features_dtype))

  return encode


def encoder(
    config: TransformerConfig,
    *,
    dtype: str = "float32",
    layer: int = -1,
    pooling: str = "mean",
    features_dtype: str = "float32",
) -> Callable[[Params, Prompt], Encoded]:
  """`f(params, prompt) -> Encoded` for one text.

  Args:
    config: the model's, causal or not.
    dtype: of weights and matmul inputs, `float32` or `bfloat16`.
    layer: 0 = embeddings, i = after block i, -1 = after the last.
    pooling: `cls` (the first token; not in causal models), `mean` over all tokens, `last` token,
      or `mean_std` (mean and the population's standard deviation, 2 D wide).
    features_dtype: of the features, cast on the device.

  Returns:
    A pure function of one text; `jax.vmap` it over views and examples.

  Raises:
    InputError: for a layer the model does not have, an unknown pooling, or `cls` of a causal
      model.
  """
  encode_rows = rows_encoder(
      config, dtype=dtype, layer=layer, pooling=pooling, features_dtype=features_dtype
  )

  def encode(params: Params, prompt: Prompt) -> Encoded:
    tokens, length = pack(prompt)
    none = jnp.zeros((1, 0), jnp.int32)
    stream = one_row(tokens, jnp.arange(tokens.shape[0]))
    rows = PackedRows(stream, length[None], none[..., None], none, none)
    return jax.tree.map(lambda a: a[0], encode_rows(params, rows))

  return encode


def view_rows_encoder(
    encode_rows: Callable[[Params, PackedRows], Encoded],
) -> Callable[[Params, Element, PackedRows], Encoded]:
  """`f(params, elements, rows) -> Encoded` of R views already acted upon, for `language.score`.

  Features are of the view as it is read: there is nothing to align.
  """

  def apply(params: Params, elements: Element, rows: PackedRows) -> Encoded:
    del elements
    return encode_rows(params, rows)

  return apply


def _first_tokens(tokenizer: Any, unit: str, room: int) -> str:
  """A unit of text, or as much of its beginning as has at most `room` tokens."""
  if len(unit.encode("utf-8", "replace")) <= room:  # a token holds a byte at least
    return unit
  with failures("the model's tokenizer cannot read a text"):
    found, keep = tokenizer.encode(unit, add_special_tokens=False), room
  if len(found.ids) <= room:
    return unit
  while keep:
    part = unit[: found.offsets[keep - 1][1]].rstrip()
    if part and len(joins.encode(tokenizer, [part])[0]) <= room:
      return part
    keep -= 1  # cut within a word, it may have more tokens than before
  return unit
