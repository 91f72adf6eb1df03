"""Log-probs of every choice and pooled features of the prompt, out of one forward pass."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mezzanine_jax.allowed import CHOICE_NORMS
from mezzanine_jax.base import Array, Element, Params, Symmetry
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.attention import Stream, one_row
from mezzanine_jax.models.transformer import Transformer, unembed
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.prompts import Prompt, current, pack

THIRDS = "thirds"
EMBED_MODES = ("last", "mean", "mean_std", "last_mean", "segments")


class Scores(NamedTuple):
  """What one pass over one view gives.

  Attributes:
    choice_log_probs: float32[C], nats: sum over the choice's tokens of log p(token | before it)
      over the whole vocabulary.
    log_probs: float32[C], nats: those, after `choice_norm`, normalised over the choices.
    choice_mass: float32[], probability: how much of the whole vocabulary's belief the choices
      hold, Σ_c exp(choice_log_probs[c]).
    features: float32[D] (2 D for mean_std and last_mean, (2 + S) D for segments): hidden states
      pooled over the prompt's tokens; of several layers one after the other.
  """

  choice_log_probs: Array
  log_probs: Array
  choice_mass: Array
  features: Array


class Answers(NamedTuple):
  """`Scores` without the features."""

  choice_log_probs: Array
  log_probs: Array
  choice_mass: Array


class PackedRows(NamedTuple):
  """Prompts packed into one stream, ready to be scored.

  Attributes:
    stream: the tokens of R rows of L = P + C (Tc - 1) places: a prompt's tokens from place 0,
      then, from place P, all but the last token of every choice.
    lengths: int32[R], tokens of each prompt, <= P.
    choices: int32[R, C, Tc], as in `Prompt`.
    choice_lengths: int32[R, C].
    choice_chars: int32[R, C].
    ends: int32[R, S], the place behind the last token of each of a prompt's segments, in the
      order in which they stand; that of the segment before for one that is padding. None where
      nothing asks for them.
  """

  stream: Stream
  lengths: Array
  choices: Array
  choice_lengths: Array
  choice_chars: Array
  ends: Array | None = None


def layers_of(names: str, num_layers: int) -> tuple[int, ...]:
  """The layers that a configuration names.

  Args:
    names: layers with commas between them; or `thirds`, at one third and two thirds of the model
      and at its end.
    num_layers: of the model.

  Raises:
    InputError: for anything else.

  Example:
    >>> layers_of("thirds", 30), layers_of("0,-1", 30)
    ((10, 20, -1), (0, -1))
  """
  if names == THIRDS:
    return tuple(dict.fromkeys((num_layers // 3, num_layers * 2 // 3, -1)))
  try:
    return tuple(int(name) for name in names.split(","))
  except ValueError as error:
    raise InputError(f"embed_layer must be {THIRDS}, or layers with commas between them, such as"
                     f" 10,20,-1, got {names!r}") from error


def rows_scorer(
    config: TransformerConfig,
    *,
    dtype: str = "float32",
    embed_layer: int | Sequence[int] = -1,
    embed_mode: str = "last",
    choice_norm: str = "none",
    remat: bool = False,
) -> Callable[[Params, PackedRows], Scores]:
  """`f(params, rows) -> Scores` with a leading axis R: `scorer` for many prompts at once.

  Arguments and errors are those of `scorer`, and so are the results, whatever the other rows
  are. Tokens that rows share are computed once. `remat`, for gradients, is `Transformer`'s.
  """
  if embed_mode not in EMBED_MODES:
    raise InputError(f"embed_mode must be one of {', '.join(EMBED_MODES)}, got {embed_mode!r}")
  if choice_norm not in CHOICE_NORMS:
    raise InputError(f"choice_norm must be one of {', '.join(CHOICE_NORMS)}, got {choice_norm!r}")
  layers = config.num_layers
  embed_layers = (embed_layer,) if isinstance(embed_layer, int) else tuple(embed_layer)
  for layer in embed_layers:
    if not -layers - 1 <= layer <= layers:
      raise InputError(
          f"embed_layer must lie in {-layers - 1}..{layers} for this model of {layers} layers"
          f" (0 = embeddings, -1 = after the final norm), got {layer}"
      )
  model = Transformer(config, dtype, remat)

  def score(params: Params, rows: PackedRows) -> Scores:
    num_rows, num_choices, width = rows.choices.shape
    extra = width - 1  # a choice's last token is predicted, never read
    size = rows.stream.rows.shape[1] - num_choices * extra
    *hidden, last = model.apply({"params": params}, rows.stream, layers=(*embed_layers, -1))

    choice_log_probs = _sum_over_tokens(config, params, rows, last, _log_probs)
    divisor = {
        "none": jnp.ones(num_choices), "token": rows.choice_lengths, "char": rows.choice_chars
    }[choice_norm]
    if embed_mode == "last":  # the one state of a row that is needed
      ends = jnp.take_along_axis(rows.stream.rows, rows.lengths[:, None] - 1, axis=1)
      features = [states[ends[:, 0]] for states in hidden]
    else:
      if embed_mode == "segments" and rows.ends is None:
        raise InputError("embed_mode 'segments' needs the ends of the rows' segments")
      pooled = jax.vmap(lambda h, n, ends: pool(h, n, embed_mode, ends))
      features = [pooled(states[rows.stream.rows[:, :size]], rows.lengths, rows.ends)
                  for states in hidden]
    return Scores(
        choice_log_probs,
        jax.nn.log_softmax(choice_log_probs / divisor),
        jnp.exp(choice_log_probs).sum(1),
        jnp.concatenate(features, axis=-1),
    )

  return score


class Likelihoods(NamedTuple):
  """What a harness asks about continuations.

  Attributes:
    choice_log_probs: float32[R, C], see `Scores`.
    misses: float32[R, C], how many tokens of a choice are not the likeliest at their place.
  """

  choice_log_probs: Array
  misses: Array


def likelihood_scorer(
    config: TransformerConfig, *, dtype: str = "float32"
) -> Callable[[Params, PackedRows], Likelihoods]:
  """`f(params, rows) -> Likelihoods` with a leading axis R; see `rows_scorer`."""
  model = Transformer(config, dtype)

  def read(log_probs_RxV: Array, tokens: Array) -> Array:
    missed = log_probs_RxV.argmax(1)[:, None] != tokens
    return jnp.stack([_log_probs(log_probs_RxV, tokens), missed.astype(jnp.float32)], -1)

  def score(params: Params, rows: PackedRows) -> Likelihoods:
    (last,) = model.apply({"params": params}, rows.stream, layers=(-1,))
    both = _sum_over_tokens(config, params, rows, last, read)
    return Likelihoods(both[..., 0], both[..., 1])

  return score


def _log_probs(log_probs_RxV: Array, tokens: Array) -> Array:
  """The log-probs of tokens int32[R, n]: [R, n]."""
  return jnp.take_along_axis(log_probs_RxV, tokens, axis=1)


def _sum_over_tokens(
    config: TransformerConfig, params: Params, rows: PackedRows, last: Array,
    read: Callable[[Array, Array], Array],
) -> Array:
  """The sum over a choice's tokens of `read(log_probs [R, V], tokens [R, n]) -> [R, n, ...]`.

  Args:
    config: the language model's.
    params: its parameters.
    rows: prompts and choices.
    last: the stream's hidden states after the final norm.
    read: what is taken of the log-probs at a place.

  Returns:
    float32[R, C, ...].
  """
  num_rows, num_choices, width = rows.choices.shape
  extra = width - 1
  size = rows.stream.rows.shape[1] - num_choices * extra
  # The prompt's last token predicts every first token, each choice token the one behind it.
  targets = [rows.choices[:, :, 0].T, rows.choices[:, :, 1:].reshape(num_rows, -1).T]
  at = jnp.concatenate([rows.lengths[:, None] - 1, jnp.broadcast_to(
      size + jnp.arange(num_choices * extra), (num_rows, num_choices * extra))], axis=1)
  states_PxRxD = last[jnp.take_along_axis(rows.stream.rows, at, axis=1)].swapaxes(0, 1)

  def of(states_RxD, tokens):
    return read(jax.nn.log_softmax(unembed(config, params, states_RxD)), tokens)

  total = of(states_PxRxD[0], targets[0].T)
  if extra:  # one place after the other, so that the vocabulary's axis stays small
    later = jax.lax.map(lambda a: of(a[0], a[1][:, None])[:, 0], (states_PxRxD[1:], targets[1]))
    later = later.swapaxes(0, 1)
    later = later.reshape(num_rows, num_choices, extra, *later.shape[2:])
    inside = jnp.arange(extra) < rows.choice_lengths[:, :, None] - 1
    inside = inside.reshape(*inside.shape, *(1,) * (later.ndim - 3))
    total += jnp.where(inside, later, 0.0).sum(2)
  return total


def scorer(
    config: TransformerConfig,
    *,
    dtype: str = "float32",
    embed_layer: int | Sequence[int] = -1,
    embed_mode: str = "last",
    choice_norm: str = "none",
) -> Callable[[Params, Prompt], Scores]:
  """`f(params, prompt) -> Scores` for one prompt: choices and features in one pass.

  Choices of several tokens ride along behind the prompt; each sees the prompt and itself.
  Logits over the vocabulary exist only at the 1 + C (Tc - 1) positions that are scored.

  Args:
    config: the language model's.
    dtype: of weights and matmul inputs, `float32` or `bfloat16`.
    embed_layer: 0 = embeddings, i = after block i, -1 = after the final norm.
    embed_mode: `last` token, `mean` over the prompt's tokens, or `mean_std` (both, 2 D wide;
      the standard deviation is the population's), `last_mean`, or `segments` (last token, mean,
      and the mean over each of the prompt's S segments as they stand; zeros for padding).
    choice_norm: what a choice's log-prob is divided by before the choices are compared:
      nothing, its number of tokens, or its number of characters.

  Returns:
    A pure function of one prompt; `jax.vmap` it over views and examples.

  Raises:
    InputError: for a layer the model does not have, an unknown mode or norm.
  """
  score_rows = rows_scorer(
      config, dtype=dtype, embed_layer=embed_layer, embed_mode=embed_mode,
      choice_norm=choice_norm,
  )

  def score(params: Params, prompt: Prompt) -> Scores:
    prompt = current(prompt)
    tokens, length = pack(prompt)
    choices = jnp.asarray(prompt.choices)
    num_choices, width = choices.shape
    place = jnp.arange(tokens.shape[0])
    ahead = jnp.tile(jnp.arange(width - 1), num_choices)
    which = jnp.repeat(jnp.arange(num_choices), width - 1)
    in_choice = ahead < jnp.asarray(prompt.choice_lengths)[which] - 1
    stream = one_row(
        jnp.concatenate([tokens, choices[:, : width - 1].reshape(-1)]),
        jnp.concatenate([place, length + ahead]),
        jnp.concatenate([place < length, jnp.where(in_choice, which + 2, 0)]).astype(jnp.int32)
        if width > 1 else None,
    )
    ends = jnp.cumsum(jnp.asarray(prompt.lengths))
    rows = (length, choices, prompt.choice_lengths, prompt.choice_chars, ends)
    rows = PackedRows(stream, *(jnp.asarray(a)[None] for a in rows))
    return jax.tree.map(lambda a: a[0], score_rows(params, rows))

  return score


def pool(hidden_TxD: Array, length: Array, mode: str, ends: Array | None = None) -> Array:
  """One vector of a prompt's hidden states: of one token, or over all of its tokens.

  Args:
    hidden_TxD: float[T, D], padded behind `length`.
    length: int32[], >= 1.
    mode: see `scorer`; or `cls`, the first token.
    ends: int32[S], where segments end, for `segments`.

  Returns:
    float32[D], float32[2 D] for `mean_std` and `last_mean`, or float32[(2 + S) D] for `segments`.

  Example:
    >>> import jax.numpy as jnp
    >>> pool(jnp.array([[1.0], [3.0], [9.0]]), 2, "mean_std").tolist()
    [2.0, 1.0]
  """
  if mode == "cls":
    return hidden_TxD[0]
  if mode == "last":
    return hidden_TxD[length - 1]
  inside = (jnp.arange(hidden_TxD.shape[0]) < length)[:, None]
  mean = jnp.where(inside, hidden_TxD, 0.0).sum(0) / length
  if mode == "mean":
    return mean
  if mode == "last_mean":
    return jnp.concatenate([hidden_TxD[length - 1], mean])
  if mode == "segments":
    place, begins = jnp.arange(hidden_TxD.shape[0]), jnp.concatenate([jnp.zeros(1, int), ends[:-1]])
    own_SxT = (begins[:, None] <= place) & (place < ends[:, None])
    share_SxT = own_SxT / jnp.maximum(ends - begins, 1)[:, None]
    each = jnp.matmul(share_SxT, hidden_TxD, precision=jax.lax.Precision.HIGHEST)
    return jnp.concatenate([hidden_TxD[length - 1], mean, each.reshape(-1)])
  variance = jnp.where(inside, (hidden_TxD - mean) ** 2, 0.0).sum(0) / length
  return jnp.concatenate([mean, jnp.sqrt(variance)])


def view_scorer(
    score: Callable[[Params, Prompt], Scores], symmetry: Symmetry
) -> Callable[[Params, Element, Prompt], Scores]:
  """`f(params, element, prompt) -> Scores` of one view, its choices aligned."""

  def apply(params: Params, element: Element, prompt: Prompt) -> Scores:
    scores = score(params, symmetry.act(element, prompt))
    return scores._replace(
        choice_log_probs=symmetry.align(element, scores.choice_log_probs),
        log_probs=symmetry.align(element, scores.log_probs),
    )

  return apply


def view_rows_scorer(
    score_rows: Callable[[Params, PackedRows], Scores], symmetry: Symmetry
) -> Callable[[Params, Element, PackedRows], Scores]:
  """`f(params, elements, rows) -> Scores` of R views already acted upon: the choices aligned."""

  def apply(params: Params, elements: Element, rows: PackedRows) -> Scores:
    scores = score_rows(params, rows)
    align = jax.vmap(symmetry.align)
    return scores._replace(
        choice_log_probs=align(elements, scores.choice_log_probs),
        log_probs=align(elements, scores.log_probs),
    )

  return apply


def answers_only(score: Callable[..., Scores]) -> Callable[..., Answers]:
  """The same scores without the features, which are not computed then."""

  def apply(*args: Any) -> Answers:
    return Answers(*score(*args)[:3])

  return apply
