"""One transformer, causal or not, over a stream of tokens that several rows may share.

Every architecture fact is in `TransformerConfig`; `families` fills it from published configs.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.attention import (
    Array,
    DTypeLike,
    Stream,
    attend,
    attend_orders,
    in_orders,
    one_row,
    product,
)
from mezzanine_jax.models.transformer_config import ACTIVATIONS, TransformerConfig

_INIT = nn.initializers.normal(0.02)


class _Linear(nn.Module):
  """x @ kernel + bias, and + x @ a @ b where the parameters have an adapter (see `lora.attach`).

  Products with an adapter are float32: XLA's CPU code lacks a bfloat16 one that their derivatives
  by rows need.
  """

  features: int
  use_bias: bool
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kernel = self.param("kernel", _INIT, (x.shape[-1], self.features))
    y = product("td,df->tf", x, kernel, self.dtype)
    if self.has_variable("params", "a"):
      low = product("td,dr->tr", x, self.get_variable("params", "a"), jnp.float32)
      y = y + product("tr,rf->tf", low, self.get_variable("params", "b"), jnp.float32)
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


def _rotary(config: TransformerConfig, positions: Array | None) -> tuple[Array, Array] | None:
  """Cosines and sines of the rotations at some positions [..., T]: float32[..., T, 1, pairs]."""
  if positions is None or config.positions != "rotary":
    return None
  angles = positions[..., None, None].astype(jnp.float32) * jnp.array(config.rope_frequencies)
  return jnp.cos(angles) * config.rope_scale, jnp.sin(angles) * config.rope_scale


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
  """Rotates the pairs (i, i + head_dim / 2) of x[T, heads, head_dim] by cos/sin[T, 1, pairs]."""
  a, b = jnp.split(x, 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


class _Block(nn.Module):
  """Attention and MLP, each added to the residual stream, with a norm before or after."""

  config: TransformerConfig
  dtype: DTypeLike

  @nn.compact
  def __call__(self, carry, slot: Array, stream: Stream, rotary):
    hidden, kept = carry
    c = self.config
    attn_norm = _Norm(c.norm, c.norm_eps, name="attn_norm")
    mlp_norm = _Norm(c.norm, c.norm_eps, name="mlp_norm")
    if c.norm_place == "before":
      hidden = hidden + self._scaled("attn", self._attention(attn_norm(hidden), stream, rotary))
      hidden = hidden + self._scaled("mlp", self._mlp(mlp_norm(hidden)))
    else:
      hidden = attn_norm(hidden + self._attention(hidden, stream, rotary))
      hidden = mlp_norm(hidden + self._mlp(hidden))
    if kept is not None:
      kept = kept.at[slot].set(hidden, mode="drop")  # layers not asked for have no slot
    return (hidden, kept), None

  def _scaled(self, half, x):
    if not self.config.layer_scale:
      return x
    return x * self.param(f"{half}_scale", nn.initializers.ones, (self.config.width,))

  def _linear(self, x, features, use_bias, name):
    return _Linear(features, use_bias, self.dtype, name=name)(x)

  def _attention(self, x, stream, rotary):
    c = self.config
    q = self._linear(x, c.num_heads * c.head_dim, c.qkv_bias, "q")
    k = self._linear(x, c.num_kv_heads * c.head_dim, c.qkv_bias, "k")
    v = self._linear(x, c.num_kv_heads * c.head_dim, c.qkv_bias, "v")
    q, k, v = (a.reshape(a.shape[0], -1, c.head_dim) for a in (q, k, v))
    if c.qk_norm:
      q = _Norm("rmsnorm", c.norm_eps, name="q_norm")(q)
      k = _Norm("rmsnorm", c.norm_eps, name="k_norm")(k)

    def attend_one(stream, rotary):
      turned = (a if rotary is None else _rotate(a, *rotary) for a in (q, k))
      out = attend(*(a[stream.rows] for a in (*turned, v)), stream, causal=c.causal,
                   window=c.sliding_window, dtype=self.dtype)
      return out.reshape(-1, out.shape[-1])[stream.home]

    one_order = stream.positions.ndim == 1
    out = attend_one(stream, rotary) if one_order else attend_orders(attend_one, stream, rotary)
    return self._linear(out, c.width, c.out_bias, "out")

  def _mlp(self, x):
    c = self.config
    act = ACTIVATIONS[c.activation]
    inner = self._linear(x, c.mlp_width, c.mlp_bias, "up")
    if c.gated_mlp:
      inner = act(self._linear(x, c.mlp_width, c.mlp_bias, "gate")) * inner
    else:
      inner = act(inner)
    return self._linear(inner, c.width, c.mlp_bias, "down")


class Transformer(nn.Module):
  """Hidden states of a stream of tokens.

  A token sees the tokens before it in its row, and itself (or, where the model is not causal, all
  tokens of its row's text); a continuation (see `Stream`) sees its row's text and itself. A stream
  with `orders` is read as a set: attention is averaged over them, and so are learned positions.

  Attributes:
    config: the architecture.
    dtype: float32 (exact products) or bfloat16 (matmul inputs; sums, norms, softmax and the
      residual stream stay float32).
    remat: whether a backward pass keeps only the products of each block, and computes the rest
      of it again: for training, where memory would not do.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> config = TransformerConfig(vocab_size=10, width=8, num_layers=2, num_heads=2,
    ...                            num_kv_heads=1, head_dim=4, mlp_width=16, max_positions=8,
    ...                            rope_frequencies=(1.0, 0.01))
    >>> params = init_params(config, jax.random.key(0))
    >>> first, last = Transformer(config).apply(
    ...     {"params": params}, one_row(jnp.array([3, 1, 4]), jnp.arange(3)), layers=(0, -1))
    >>> unembed(config, params, last[-1:]).shape
    (1, 10)
  """

  config: TransformerConfig
  dtype: DTypeLike = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(self, stream: Stream, layers: tuple[int, ...] = (-1,)) -> tuple[Array, ...]:
    """Runs the model on one stream.

    Args:
      stream: see `Stream`.
      layers: which hidden states to return: 0 the embeddings, i after block i, and
        `num_layers` (or -1) after the last block and the final norm, where there is one. Static.

    Returns:
      one float32[T, D] per wanted layer.
    """
    c = self.config
    wanted = layer_indices(c, layers)
    as_set = stream.orders is not None
    if as_set and stream.segments is None:
      raise InputError("a stream with orders needs segments: its padding would be seen otherwise")
    streams = in_orders(stream) if as_set else stream
    table = self.param("embed", _INIT, (c.vocab_size, c.width))
    if not c.tied_embeddings:  # made here, used by `unembed`
      self.param("unembed", _INIT, (c.vocab_size, c.width))
    if c.patch_values:
      patches = _Linear(c.width, True, self.dtype, name="patches")(stream.tokens)
      hidden = jnp.where(stream.positions[:, None], patches, table[0].astype(jnp.float32))
    else:
      hidden = jnp.take(table, stream.tokens, axis=0, mode="clip").astype(jnp.float32)
    if c.positions == "learned":
      places = self.param("positions", _INIT, (c.position_offset + c.max_positions, c.width))
      placed = jnp.take(places, c.position_offset + streams.positions, axis=0, mode="clip")
      placed = placed.astype(jnp.float32)
      hidden = hidden + (placed.mean(0) if as_set else placed)
    if c.token_types:
      types = self.param("token_types", _INIT, (c.token_types, c.width))
      hidden = hidden + types[0].astype(jnp.float32)
    if c.norm_place == "after":
      hidden = _Norm(c.norm, c.norm_eps, name="embed_norm")(hidden)
    embedded = hidden

    rotary = _rotary(c, streams.positions)
    inner = sorted({i for i in wanted if 0 < i < c.num_layers})
    slots = [inner.index(i) if i in inner else len(inner) for i in range(1, c.num_layers + 1)]
    kept = jnp.zeros((len(inner), *hidden.shape)) if inner else None
    block = nn.map_variables(_Block, "params", _from_bits, init=self.is_initializing())
    if self.remat:
      saved = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
      block = nn.remat(block, policy=saved, prevent_cse=False)  # a scan needs no barrier
    blocks = nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True},
                     in_axes=(0, nn.broadcast, nn.broadcast), length=c.num_layers)
    (hidden, kept), _ = blocks(c, self.dtype, name="layers")(
        (hidden, kept), jnp.array(slots), streams, rotary)
    known = {i: kept[n] for n, i in enumerate(inner)}
    known[0] = embedded
    if c.norm_place == "before":
      hidden = _Norm(c.norm, c.norm_eps, name="final_norm")(hidden)
    known[c.num_layers] = hidden
    return tuple(known[i] for i in wanted)


def layers_as_bits(params: Any) -> Any:
  """The same parameters, bfloat16 leaves of the layers as the uint16 numbers of their memory.

  `Transformer` takes both. XLA's CPU code cannot cut one layer out of a bfloat16 array: it makes
  a float32 copy of all layers in every call, and rounds each layer's part again. Of uint16 arrays
  it cuts without a copy. Nothing is computed or copied here. On other devices nothing changes.

  Args:
    params: the parameter tree.

  Returns:
    a tree of the same structure.

  Example:
    >>> import jax.numpy as jnp
    >>> params = {"layers": {"scale": jnp.ones(2, jnp.bfloat16)}}
    >>> layers_as_bits(params)["layers"]["scale"].tolist()
    [16256, 16256]
  """
  if jax.default_backend() != "cpu":
    return params

  def bits(leaf):
    if leaf.dtype != jnp.bfloat16:
      return leaf
    # Over a mesh it stays where it is; elsewhere it goes where it came from, the default device.
    own = leaf.sharding if isinstance(leaf.sharding, jax.sharding.NamedSharding) else None
    return jax.device_put(np.asarray(leaf).view(np.uint16), own)

  return {**params, "layers": jax.tree.map(bits, params["layers"])}


def _from_bits(params: Any) -> Any:
  """One layer's parameters, uint16 leaves as the bfloat16 numbers that they are."""
  return jax.tree.map(
      lambda a: jax.lax.bitcast_convert_type(a, jnp.bfloat16) if a.dtype == jnp.uint16 else a,
      params)


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
  return product("pd,vd->pv", hidden, table, table.dtype)


def init_params(config: TransformerConfig, key: Array) -> Any:
  """Random float32 parameters of the right structure (normal, deviation 0.02).

  Args:
    config: the architecture.
    key: PRNG key.

  Returns:
    the parameter tree; leaves under "layers" have a leading axis of num_layers.
  """
  one = jnp.zeros(1, jnp.int32)
  tokens = jnp.zeros((1, config.patch_values)) if config.patch_values else one

  @jax.jit  # the forward pass falls away, what is left is one small program
  def init(key):
    return Transformer(config).init(key, one_row(tokens, one))["params"]

  return init(key)
