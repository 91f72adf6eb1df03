"""One decoder-only transformer over one token sequence; `jax.vmap` over it makes batches.

Every architecture fact is in `TransformerConfig`; `families` fills it from published configs.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mezzanine_jax.errors import InputError

Array = jax.Array
DTypeLike = Any

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
}
_MASKED = -1e30  # added to a score that must not count: its exponential is exactly 0
_INIT = nn.initializers.normal(0.02)


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """The facts of one architecture; hashable, so that it can be static under `jax.jit`.

  Attributes:
    vocab_size: tokens in the vocabulary (V).
    width: size of the residual stream (D).
    num_layers: number of blocks.
    num_heads: query heads; a multiple of `num_kv_heads`.
    num_kv_heads: key/value heads.
    head_dim: size of one head.
    mlp_width: hidden size of the MLP.
    max_positions: longest sequence the model was made for.
    norm: "layernorm" or "rmsnorm", before each half of a block and at the end.
    norm_eps: added to the variance.
    positions: "learned" (a table added to the embeddings) or "rotary".
    rope_frequencies: radians per position of each of the head_dim / 2 rotary pairs, with the
      published scaling already in them; empty for learned positions.
    rope_scale: factor on the rotary cosines and sines (1 but for yarn).
    activation: a name in `ACTIVATIONS`.
    gated_mlp: down(act(gate(x)) * up(x)) when true, down(act(up(x))) when false.
    qkv_bias: whether queries, keys and values have a bias.
    out_bias: whether the attention's output has a bias.
    mlp_bias: whether the MLP's matrices have a bias.
    qk_norm: whether every head's query and key pass an RMS norm before the rotation (Qwen3).
    tied_embeddings: whether the token embeddings are the output matrix too.
    sliding_window: a token sees positions nearer than this only; None for no limit.
  """

  vocab_size: int
  width: int
  num_layers: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  mlp_width: int
  max_positions: int
  norm: str = "rmsnorm"
  norm_eps: float = 1e-5
  positions: str = "rotary"
  rope_frequencies: tuple[float, ...] = ()
  rope_scale: float = 1.0
  activation: str = "silu"
  gated_mlp: bool = True
  qkv_bias: bool = False
  out_bias: bool = False
  mlp_bias: bool = False
  qk_norm: bool = False
  tied_embeddings: bool = True
  sliding_window: int | None = None

  def __post_init__(self):
    for name in ("vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "head_dim",
                 "mlp_width", "max_positions"):
      value = getattr(self, name)
      if not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be an integer >= 1, got {value!r}")
    if self.num_heads % self.num_kv_heads:
      raise InputError(f"num_heads must be a multiple of num_kv_heads, got {self.num_heads} "
                       f"and {self.num_kv_heads}")
    if self.norm not in ("layernorm", "rmsnorm"):
      raise InputError(f"norm must be 'layernorm' or 'rmsnorm', got {self.norm!r}")
    if self.activation not in ACTIVATIONS:
      raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, "
                       f"got {self.activation!r}")
    if self.positions not in ("learned", "rotary"):
      raise InputError(f"positions must be 'learned' or 'rotary', got {self.positions!r}")
    pairs = self.head_dim // 2 if self.positions == "rotary" else 0
    if len(self.rope_frequencies) != pairs or (pairs and self.head_dim % 2):
      raise InputError(f"rope_frequencies must hold {pairs} values for head_dim {self.head_dim} "
                       f"and {self.positions} positions, got {len(self.rope_frequencies)}")


def _precision(dtype: DTypeLike) -> jax.lax.Precision:
  """Exact products for float32 inputs, on every device."""
  exact = jnp.dtype(dtype) == jnp.float32
  return jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT


def _einsum(spec: str, a: Array, b: Array, dtype: DTypeLike) -> Array:
  """Product of two arrays in `dtype`, accumulated and returned in float32."""
  return jnp.einsum(spec, a.astype(dtype), b.astype(dtype), precision=_precision(dtype),
                    preferred_element_type=jnp.float32)


class _Linear(nn.Module):
  """x @ kernel + bias."""

  features: int
  use_bias: bool
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kernel = self.param("kernel", _INIT, (x.shape[-1], self.features))
    y = _einsum("td,df->tf", x, kernel, self.dtype)
    if self.use_bias:
      y = y + self.param("bias", nn.initializers.zeros, (self.features,))
    return y


class _Norm(nn.Module):
  """Layer norm or RMS norm over the last axis, in float32."""

  kind: str
  eps: float

  @nn.compact
  def __call__(self, x: Array) -> Array:
    size = x.shape[-1]
    if self.kind == "layernorm":
      x = x - jnp.mean(x, axis=-1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.eps)
    x = x * self.param("scale", nn.initializers.ones, (size,))
    if self.kind == "layernorm":
      x = x + self.param("bias", nn.initializers.zeros, (size,))
    return x


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
  """Rotates the pairs (i, i + head_dim / 2) of x[T, heads, head_dim] by cos/sin[T, 1, pairs]."""
  a, b = jnp.split(x, 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def _attend(q: Array, k: Array, v: Array, bias: Array, dtype: DTypeLike) -> Array:
  """Attention of q[T, H, d] over k, v[T, Hkv, d] with bias[T, T] added to the scores."""
  num_tokens, num_heads, head_dim = q.shape
  num_kv_heads = k.shape[1]
  # Query heads that share a key head are rows of one matrix: keys are never repeated.
  q = (q * head_dim**-0.5).reshape(num_tokens, num_kv_heads, -1, head_dim).transpose(1, 2, 0, 3)
  scores = _einsum("kgth,ksh->kgts", q, k.transpose(1, 0, 2), dtype) + bias
  weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True)))
  total = jnp.sum(weights, axis=-1, keepdims=True)
  # Dividing after the product touches [T, d] numbers, not [T, T].
  out = _einsum("kgts,ksh->kgth", weights, v.transpose(1, 0, 2), dtype) / total
  return out.transpose(2, 0, 1, 3).reshape(num_tokens, num_heads * head_dim)


class _Block(nn.Module):
  """Attention and MLP, each after a norm and added to the residual stream."""

  config: TransformerConfig
  dtype: DTypeLike

  @nn.compact
  def __call__(self, carry, slot: Array, bias: Array, rotary: tuple[Array, Array] | None):
    hidden, kept = carry
    hidden = self._mlp(self._attention(hidden, bias, rotary))
    if kept is not None:
      kept = kept.at[slot].set(hidden, mode="drop")  # layers not asked for have no slot
    return (hidden, kept), None

  def _linear(self, x, features, use_bias, name):
    return _Linear(features, use_bias, self.dtype, name=name)(x)

  def _attention(self, hidden, bias, rotary):
    c = self.config
    x = _Norm(c.norm, c.norm_eps, name="attn_norm")(hidden)
    q = self._linear(x, c.num_heads * c.head_dim, c.qkv_bias, "q")
    k = self._linear(x, c.num_kv_heads * c.head_dim, c.qkv_bias, "k")
    v = self._linear(x, c.num_kv_heads * c.head_dim, c.qkv_bias, "v")
    q, k, v = (a.reshape(a.shape[0], -1, c.head_dim) for a in (q, k, v))
    if c.qk_norm:
      q = _Norm("rmsnorm", c.norm_eps, name="q_norm")(q)
      k = _Norm("rmsnorm", c.norm_eps, name="k_norm")(k)
    if rotary is not None:
      q, k = _rotate(q, *rotary), _rotate(k, *rotary)
    out = _attend(q, k, v, bias, self.dtype)
    return hidden + self._linear(out, c.width, c.out_bias, "out")

  def _mlp(self, hidden):
    c = self.config
    x = _Norm(c.norm, c.norm_eps, name="mlp_norm")(hidden)
    act = ACTIVATIONS[c.activation]
    inner = self._linear(x, c.mlp_width, c.mlp_bias, "up")
    if c.gated_mlp:
      inner = act(self._linear(x, c.mlp_width, c.mlp_bias, "gate")) * inner
    else:
      inner = act(inner)
    return hidden + self._linear(inner, c.width, c.mlp_bias, "down")


class Transformer(nn.Module):
  """Hidden states of one packed token sequence.

  Token i sees token j iff j <= i in the array and j's segment is i's own or i's parent:
  prompts of several rows can lie in one sequence, and a choice (its own segment, its prompt's as
  parent) sees the prompt and itself. Segment 0 is padding, seen by padding alone.

  Attributes:
    config: the architecture.
    dtype: float32 (exact products) or bfloat16 (matmul inputs; sums, norms, softmax and the
      residual stream stay float32).

  Example:
    >>> import jax, jax.numpy as jnp
    >>> config = TransformerConfig(vocab_size=10, width=8, num_layers=2, num_heads=2,
    ...                            num_kv_heads=1, head_dim=4, mlp_width=16, max_positions=8,
    ...                            rope_frequencies=(1.0, 0.01))
    >>> params = init_params(config, jax.random.key(0))
    >>> ids, ones = jnp.array([3, 1, 4]), jnp.ones(3, jnp.int32)
    >>> first, last = Transformer(config).apply(
    ...     {"params": params}, ids, jnp.arange(3), ones, 0 * ones, layers=(0, -1))
    >>> unembed(config, params, last[-1:]).shape
    (1, 10)
  """

  config: TransformerConfig
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, tokens: Array, positions: Array, segments: Array, parents: Array,
               layers: tuple[int, ...] = (-1,)) -> tuple[Array, ...]:
    """Runs the model on one sequence.

    Args:
      tokens: int32[T], ids.
      positions: int32[T], the place of each token in its own text.
      segments: int32[T], which piece a token belongs to; 0 is padding.
      parents: int32[T], another segment that the token sees; 0 for none.
      layers: which hidden states to return: 0 the embeddings, i after block i, and
        `num_layers` (or -1) after the final norm. Static.

    Returns:
      one float32[T, D] per wanted layer.
    """
    c = self.config
    wanted = layer_indices(c, layers)
    table = self.param("embed", _INIT, (c.vocab_size, c.width))
    if not c.tied_embeddings:  # made here, used by `unembed`
      self.param("unembed", _INIT, (c.vocab_size, c.width))
    hidden = jnp.take(table, tokens, axis=0, mode="clip").astype(jnp.float32)
    rotary = None
    if c.positions == "learned":
      places = self.param("positions", _INIT, (c.max_positions, c.width))
      hidden = hidden + jnp.take(places, positions, axis=0, mode="clip").astype(jnp.float32)
    else:
      angles = positions[:, None, None].astype(jnp.float32) * jnp.array(c.rope_frequencies)
      rotary = (jnp.cos(angles) * c.rope_scale, jnp.sin(angles) * c.rope_scale)
    embedded = hidden

    inner = sorted({i for i in wanted if 0 < i < c.num_layers})
    slots = [inner.index(i) if i in inner else len(inner) for i in range(1, c.num_layers + 1)]
    kept = jnp.zeros((len(inner), *hidden.shape)) if inner else None
    blocks = nn.scan(_Block, variable_axes={"params": 0}, split_rngs={"params": True},
                     in_axes=(0, nn.broadcast, nn.broadcast), length=c.num_layers)
    bias = _mask_bias(c, positions, segments, parents)
    (hidden, kept), _ = blocks(c, self.dtype, name="layers")(
        (hidden, kept), jnp.array(slots), bias, rotary)
    final = _Norm(c.norm, c.norm_eps, name="final_norm")(hidden)
    known = {0: embedded, c.num_layers: final} | {i: kept[n] for n, i in enumerate(inner)}
    return tuple(known[i] for i in wanted)


def _mask_bias(config: TransformerConfig, positions: Array, segments: Array,
               parents: Array) -> Array:
  """0 where token i (row) may see token j (column), a very negative number elsewhere."""
  order = jnp.arange(segments.shape[0])
  own = segments[:, None] == segments[None, :]
  parent = (parents[:, None] == segments[None, :]) & (segments != 0)[None, :]
  seen = (order[:, None] >= order[None, :]) & (own | parent)
  if config.sliding_window is not None:
    seen &= positions[:, None] - positions[None, :] < config.sliding_window
  return jnp.where(seen, 0.0, _MASKED)


def layer_indices(config: TransformerConfig, layers: tuple[int, ...]) -> tuple[int, ...]:
  """Resolves negative layers: -1 is `num_layers`, the state after the final norm.

  Args:
    config: the architecture.
    layers: integers from -(num_layers + 1) to num_layers.

  Returns:
    the same layers, counted from 0 (the embeddings).

  Raises:
    InputError: a layer the model does not have.
  """
  count = config.num_layers
  for layer in layers:
    if not -count - 1 <= layer <= count:
      raise InputError(f"layer must be between {-count - 1} and {count} (0 the embeddings, -1 "
                       f"after the final norm), got {layer}")
  return tuple(layer % (count + 1) for layer in layers)


def unembed(config: TransformerConfig, params: Any, hidden: Array) -> Array:
  """Whole-vocabulary logits at some positions: logits = hidden @ output_matrix^T.

  Args:
    config: the architecture.
    params: the parameter tree; its dtype is that of the product's inputs.
    hidden: float32[P, D], states after the final norm.

  Returns:
    float32[P, V] logits.
  """
  table = params["embed" if config.tied_embeddings else "unembed"]
  return _einsum("pd,vd->pv", hidden, table, table.dtype)


def init_params(config: TransformerConfig, key: Array) -> Any:
  """Random float32 parameters of the right structure (normal, deviation 0.02).

  Args:
    config: the architecture.
    key: PRNG key.

  Returns:
    the parameter tree; leaves under "layers" have a leading axis of num_layers.
  """
  one = jnp.zeros(1, jnp.int32)

  @jax.jit  # the forward pass falls away, what is left is one small program
  def init(key):
    return Transformer(config).init(key, one, one, one, one)["params"]

  return init(key)
