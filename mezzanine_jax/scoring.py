"""Log-probs of every choice and pooled features of the prompt, out of one forward pass."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mezzanine_jax.base import Array, Element, Params, Symmetry
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.transformer import Transformer, TransformerConfig, unembed
from mezzanine_jax.prompts import Prompt, pack

EMBED_MODES = ("last", "mean", "mean_std")
CHOICE_NORMS = ("none", "token", "char")


class Scores(NamedTuple):
  """What one pass over one view gives.

  Attributes:
    choice_log_probs: float32[C], nats: sum over the choice's tokens of log p(token | before it)
      over the whole vocabulary.
    log_probs: float32[C], nats: those, after `choice_norm`, normalised over the choices.
    choice_mass: float32[], probability: how much of the whole vocabulary's belief the choices
      hold, Σ_c exp(choice_log_probs[c]).
    features: float32[D] (2 D for mean_std): hidden states pooled over the prompt's tokens.
  """

  choice_log_probs: Array
  log_probs: Array
  choice_mass: Array
  features: Array


def scorer(
    config: TransformerConfig,
    *,
    dtype: str = "float32",
    embed_layer: int = -1,
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
      the standard deviation is the population's).
    choice_norm: what a choice's log-prob is divided by before the choices are compared:
      nothing, its number of tokens, or its number of characters.

  Returns:
    A pure function of one prompt; `jax.vmap` it over views and examples.

  Raises:
    InputError: for a layer the model does not have, an unknown mode or norm.
  """
  if embed_mode not in EMBED_MODES:
    raise InputError(f"embed_mode must be one of {', '.join(EMBED_MODES)}, got {embed_mode!r}")
  if choice_norm not in CHOICE_NORMS:
    raise InputError(f"choice_norm must be one of {', '.join(CHOICE_NORMS)}, got {choice_norm!r}")
  layers = config.num_layers
  if not -layers - 1 <= embed_layer <= layers:
    raise InputError(
        f"embed_layer must lie in {-layers - 1}..{layers} for this model of {layers} layers"
        f" (0 = embeddings, -1 = after the final norm), got {embed_layer}"
    )
  model = Transformer(config, dtype)

  def score(params: Params, prompt: Prompt) -> Scores:
    tokens, length = pack(prompt)
    size, (num_choices, width) = tokens.shape[0], prompt.choices.shape
    extra = width - 1  # a choice's last token is predicted, never read
    choices = jnp.asarray(prompt.choices)

    place, ahead = jnp.arange(size), jnp.tile(jnp.arange(extra), num_choices)
    in_prompt = (place < length).astype(jnp.int32)
    in_choice = ahead < jnp.repeat(jnp.asarray(prompt.choice_lengths) - 1, extra)
    own = jnp.where(in_choice, jnp.repeat(jnp.arange(num_choices) + 2, extra), 0)
    hidden, last = model.apply(
        {"params": params},
        jnp.concatenate([tokens, choices[:, :extra].reshape(-1)]),
        jnp.concatenate([place, length + ahead]),
        jnp.concatenate([in_prompt, own]),
        jnp.concatenate([in_prompt, in_choice.astype(jnp.int32)]),
        layers=(embed_layer, -1),
    )

    at = jnp.concatenate([length[None] - 1, size + jnp.arange(num_choices * extra)])
    log_probs_PxV = jax.nn.log_softmax(unembed(config, params, last[at]))
    first = log_probs_PxV[0, choices[:, 0]]
    later = jnp.take_along_axis(log_probs_PxV[1:], choices[:, 1:].reshape(-1, 1), axis=1)
    later = jnp.where(in_choice, later[:, 0], 0.0).reshape(num_choices, extra)
    choice_log_probs = first + later.sum(1)

    divisor = {
        "none": jnp.ones(num_choices), "token": prompt.choice_lengths, "char": prompt.choice_chars
    }[choice_norm]
    return Scores(
        choice_log_probs,
        jax.nn.log_softmax(choice_log_probs / divisor),
        jnp.exp(choice_log_probs).sum(),
        pool(hidden[:size], length, embed_mode),
    )

  return score


def pool(hidden_TxD: Array, length: Array, mode: str) -> Array:
  """One vector of a prompt's hidden states: `last`, `mean` or `mean_std` over its tokens.

  Args:
    hidden_TxD: float[T, D], padded behind `length`.
    length: int32[], >= 1.
    mode: see `scorer`.

  Returns:
    float32[D], or float32[2 D] for `mean_std`.

  Example:
    >>> import jax.numpy as jnp
    >>> pool(jnp.array([[1.0], [3.0], [9.0]]), 2, "mean_std").tolist()
    [2.0, 1.0]
  """
  if mode == "last":
    return hidden_TxD[length - 1]
  inside = (jnp.arange(hidden_TxD.shape[0]) < length)[:, None]
  mean = jnp.where(inside, hidden_TxD, 0.0).sum(0) / length
  if mode == "mean":
    return mean
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
