"""lm-evaluation-harness on this engine: its own tasks, its own metrics, `loglikelihood` here.

    import lm_eval
    from mezzanine_jax.integrations.lm_eval import lm_eval_model

    lm_eval.simple_evaluate(model=lm_eval_model("gpt2"), tasks=["boolq"])
"""

import itertools
import logging
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import engine, packing, scoring, tokenization
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import LanguageModel, load_lm
from mezzanine_jax.models.transformer import layers_as_bits
from mezzanine_jax.settings import RunFields

_INSTALL = "pip install 'mezzanine_jax[lm_eval]'"


def lm_eval_model(
    model: str | LanguageModel,
    *,
    dtype: str = "float32",
    max_length: int | None = None,
    batch_tokens: int = RunFields.batch_tokens,
    max_shapes: int = RunFields.max_shapes,
) -> Any:
  """A language model as lm-evaluation-harness takes it: `simple_evaluate(model=...)`.

  It answers `loglikelihood` requests, which tasks with `output_type: multiple_choice` or
  `loglikelihood` make. Texts are encoded as the harness encodes them for its PyTorch models; a
  context that is too long loses its first tokens.

  Args:
    model: as `--lm_name`, or a loaded one.
    dtype: `float32` or `bfloat16`, where `model` is a name.
    max_length: most tokens of a context and its continuation but for the last (None: the
      model's).
    batch_tokens: tokens of a batch.
    max_shapes: the most batch shapes compiled for one call.

  Returns:
    An `lm_eval.api.model.LM`.

  Raises:
    InputError: lm-evaluation-harness is not installed, or the model cannot be used. Its
      `generate_until` and `loglikelihood_rolling` raise one too.

  Example:
    >>> model = lm_eval_model("gpt2")  # doctest: +SKIP
    >>> lm_eval.simple_evaluate(model=model, tasks=["boolq"], limit=8)  # doctest: +SKIP
  """
  try:
    from lm_eval.api.model import TemplateLM
  except ImportError as error:
    raise InputError(
        f"lm-evaluation-harness cannot be imported ({error}); install it: {_INSTALL}") from error
  lm = load_lm(model, dtype) if isinstance(model, str) else model
  longest = lm.config.max_positions if max_length is None else max_length
  if not 1 <= longest <= lm.config.max_positions:
    raise InputError(
        f"max_length must be 1 to {lm.config.max_positions} for this model, got {longest}")
  beginning = tokenization.trained_beginning(lm.tokenizer)

  class EngineLM(TemplateLM):
    """The harness' contract; its base encodes contexts and continuations."""

    @property
    def eot_token_id(self) -> int:
      if not beginning:  # texts of an evaluation may still begin with one, as the harness does
        for name in ("<|endoftext|>", "</s>", "<s>", "<|im_end|>"):
          if (token := lm.tokenizer.token_to_id(name)) is not None:
            return token
        raise InputError("a request has no context, and this model's tokenizer has no token that"
                         " texts begin with; choose tasks whose requests have a context")
      return beginning[0]

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
      if add_special_tokens is None:  # a text that brings its own beginning gets no second one
        start = lm.tokenizer.id_to_token(beginning[0]) if beginning else None
        add_special_tokens = start is None or not string.startswith(start)
      return lm.tokenizer.encode(string, add_special_tokens=add_special_tokens).ids

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
      log_probs, greedy = likelihoods(
          lm, [(context, rest) for _, context, rest in requests], max_length=longest,
          batch_tokens=batch_tokens, max_shapes=max_shapes)
      return list(zip(log_probs.tolist(), greedy.tolist(), strict=True))

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
      raise InputError(_refused("loglikelihood_rolling", "perplexities of whole texts"))

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
      raise InputError(_refused("generate_until", "generated text"))

  return EngineLM()


def likelihoods(
    lm: LanguageModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    max_length: int,
    batch_tokens: int = RunFields.batch_tokens,
    max_shapes: int = RunFields.max_shapes,
) -> tuple[np.ndarray, np.ndarray]:
  """log p(continuation | context) of token ids, and whether it is what greedy decoding gives.

  Equal pairs are run once, and equal contexts are read once a batch.

  Args:
    lm: the model.
    pairs: `(context, continuation)`, both of one token or more.
    max_length: most tokens that are read; what is too long loses its first tokens.
    batch_tokens: tokens of a batch.
    max_shapes: the most batch shapes compiled for each power of two of the continuations' length.

  Returns:
    `(float64[P], bool[P])`, log-probs in nats.

  Raises:
    InputError: for an empty context or continuation, or a continuation that is too long.
  """
  cut, fitted = 0, []
  for context, rest in pairs:
    room = max_length + 1 - len(rest)
    if not len(context) or not len(rest) or room < 1:
      raise InputError(f"a continuation must have 1 to {max_length} tokens behind a context of 1 or"
                       f" more, got {len(rest)} behind {len(context)}")
    cut += len(context) > room
    fitted.append((tuple(context[-room:]), tuple(rest)))
  if cut:
    logging.getLogger(__name__).warning(
        "%d of %d contexts lost their first tokens: more than %d in all", cut, len(pairs),
        max_length)
  # Shortest contexts first, equal ones together: few shapes, and tokens that are shared.
  distinct = sorted(set(fitted), key=lambda pair: (len(pair[0]), pair))
  found = {}
  widths = [1 << (len(rest) - 1).bit_length() for _, rest in distinct]
  for width in sorted(set(widths)):
    part = [pair for pair, own in zip(distinct, widths, strict=True) if own == width]
    out = _run(lm, part, width, batch_tokens, max_shapes)
    found |= dict(zip(part, zip(*out, strict=True), strict=True))
  log_probs, misses = np.array([found[pair] for pair in fitted], float).reshape(-1, 2).T
  return log_probs, misses == 0


def _run(
    lm: LanguageModel, pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], width: int,
    batch_tokens: int, max_shapes: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Log-probs and misses of distinct pairs in order; continuations padded to `width`."""
  contexts, rests = zip(*pairs, strict=True)
  lengths = np.array([len(c) for c in contexts], np.int32)
  texts = packing.Texts(
      _padded(contexts, lengths.max()), lengths, _padded(rests, width)[:, None],
      np.array([[len(r)] for r in rests], np.int32), np.ones((len(pairs), 1), np.int32))
  same = [len(a) if a == b else 0 for a, b in itertools.pairwise(contexts)]
  shared = np.array([0, *same], np.int32)
  batches = engine.plan_batches(
      lengths, batch_tokens, max_shapes, shared=shared, extra=width - 1)

  def inputs_of(batch: engine.Batch) -> tuple[scoring.PackedRows]:
    which = slice(batch.start, batch.stop)
    return (packing.pack_rows(
        jax.tree.map(lambda a: a[which], texts), shared[which], num_tokens=batch.tokens,
        num_rows=batch.size, length=batch.length),)

  batch_fn = scoring.likelihood_scorer(lm.config, dtype=jnp.dtype(lm.dtype).name)
  arrays = {name: ((len(pairs), 1), "float32") for name in scoring.Likelihoods._fields}
  with tempfile.TemporaryDirectory() as folder:
    store = store_lib.open_store(folder + "/rows.zarr", "lm_eval", arrays, {})
    engine.run(batch_fn, layers_as_bits(lm.params), inputs_of, batches, store,
               name_of=lambda row: f"request {row}")
    return tuple(store_lib.read(store, name)[:, 0] for name in arrays)


def _padded(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
  """int32[R, width]: the rows, 0 behind them."""
  out = np.zeros((len(rows), width), np.int32)
  for n, row in enumerate(rows):
    out[n, : len(row)] = row
  return out


def _refused(request: str, what: str) -> str:
  """Why a request is not answered."""
  return (f"this engine answers loglikelihood requests only, not {request} ({what}); choose tasks"
          " with output_type multiple_choice or loglikelihood")
