"""Attention over rows of a stream of tokens, each of which several rows may share."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
DTypeLike = Any

_MASKED = -1e30  # in place of a score that must not count: its exponential is exactly 0
# Attention goes over the queries in blocks, each (where it is causal) against the keys up to its
# own end. Smaller ones leave out more of the masked half; more than eight cost compile time.
_BLOCK, _MAX_BLOCKS = 64, 8


def _precision(dtype: DTypeLike) -> jax.lax.Precision:
  """Exact products for float32 inputs, on every device."""
  exact = jnp.dtype(dtype) == jnp.float32
  return jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT


def product(spec: str, a: Array, b: Array, dtype: DTypeLike) -> Array:
  """Product of two arrays in `dtype`, accumulated and returned in float32.

  So are its derivatives: cotangents are rounded to `dtype`, too, as units that multiply bfloat16
  numbers take them only.
  """
  if jnp.dtype(dtype) == jnp.float32:
    return _einsum(spec, a, b, dtype)
  return _rounded(spec, dtype, a, b)


def _einsum(spec: str, a: Array, b: Array, dtype: DTypeLike) -> Array:
  return jnp.einsum(spec, a.astype(dtype), b.astype(dtype), precision=_precision(dtype),
                    preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rounded(spec: str, dtype: DTypeLike, a: Array, b: Array) -> Array:
  return _einsum(spec, a, b, dtype)


def _rounded_forward(spec, dtype, a, b):
  kinds = jnp.empty(0, a.dtype), jnp.empty(0, b.dtype)  # cotangents are of the arguments' dtypes
  a, b = a.astype(dtype), b.astype(dtype)
  return _einsum(spec, a, b, dtype), (a, b, kinds)


def _rounded_backward(spec, dtype, inputs, cotangent):
  (of_a, of_b), out = spec.split("->")[0].split(","), spec.split("->")[1]
  a, b, kinds = inputs
  return (_einsum(f"{out},{of_b}->{of_a}", cotangent, b, dtype).astype(kinds[0].dtype),
          _einsum(f"{of_a},{out}->{of_b}", a, cotangent, dtype).astype(kinds[1].dtype))


_rounded.defvjp(_rounded_forward, _rounded_backward)


class Stream(NamedTuple):
  """Tokens of several rows, each held once, and the rows that they make up.

  Everything but attention treats tokens one by one, so a token that two rows share (the same
  beginning of two views) is computed once, and padding between rows does not exist.

  Attributes:
    tokens: int32[T], ids.
    positions: int32[T], the place of each token in its own text.
    rows: int32[R, L], which of the T tokens each row holds, in order; anything at its padding.
    home: int32[T], r * L + l of one place where the token stands: it attends from there, and
      every row that holds it agrees about what it sees. In a causal model that is what lies
      before it; in others the whole row, so that there no token may be shared.
    segments: int32[R, L] or None. 1 is the row's text and 2 + c its c-th continuation, which
      sees the text and itself; 0 is padding, seen by none. None: every row is text up to its
      end, and padding stands behind it (a causal model), or there is none (others).
    orders: int32[K, T] or None. The place of each token in K orders of its text, over which
      attention is averaged: a text that is read as a set, see `attend_orders`. It needs `segments`.
  """

  tokens: Array
  positions: Array
  rows: Array
  home: Array
  segments: Array | None = None
  orders: Array | None = None


def one_row(tokens: Array, positions: Array, segments: Array | None = None) -> Stream:
  """The stream of a single row: int32[T] each.

  Example:
    >>> import jax.numpy as jnp
    >>> one_row(jnp.array([7, 8]), jnp.arange(2)).rows.tolist()
    [[0, 1]]
  """
  places = jnp.arange(tokens.shape[0], dtype=jnp.int32)
  return Stream(tokens, positions, places[None], places,
                None if segments is None else segments[None])


def attend(
    q: Array, k: Array, v: Array, stream: Stream, *, causal: bool, window: int | None,
    dtype: DTypeLike,
) -> Array:
  """Softmax attention within each row; scores, softmax and sums are float32.

  Args:
    q: float32[R, L, H, d].
    k: float32[R, L, Hkv, d]; H is a multiple of Hkv.
    v: float32[R, L, Hkv, d].
    stream: says what the places of a row hold.
    causal: whether a token sees only what stands before it, and itself.
    window: a token sees positions nearer than this before it; None for no limit.
    dtype: of the products' inputs.

  Returns:
    float32[R, L, H d]; anything at padding.

  Example:
    >>> import jax.numpy as jnp
    >>> stream = one_row(jnp.arange(2), jnp.arange(2), jnp.ones(2, jnp.int32))
    >>> q, v = jnp.zeros((1, 2, 1, 1)), jnp.array([1.0, 3.0]).reshape(1, 2, 1, 1)
    >>> for causal in (True, False):
    ...   attend(q, q, v, stream, causal=causal, window=None, dtype="float32")[0, :, 0].tolist()
    [1.0, 2.0]
    [2.0, 2.0]
  """
  fused = causal and stream.segments is None and window is None
  if fused and jnp.dtype(dtype) == jnp.bfloat16 and jax.default_backend() == "gpu":
    return fused_causal(q, k, v, dtype=dtype, implementation="cudnn")
  num_rows, length, num_heads, head_dim = q.shape
  num_kv_heads = k.shape[2]
  shared = num_heads // num_kv_heads
  # Query heads that share a key head are rows of one matrix: keys are never repeated.
  q = (q * head_dim**-0.5).reshape(num_rows, length, num_kv_heads, shared, head_dim)
  q = q.transpose(0, 2, 3, 1, 4).astype(dtype)
  k, v = (a.transpose(0, 2, 1, 3).astype(dtype) for a in (k, v))
  order, segments = np.arange(length), stream.segments
  places = None if window is None else stream.positions[stream.rows]
  block = max(_BLOCK, -(-length // (8 * _MAX_BLOCKS)) * 8)
  blocks = []
  for start in range(0, length, block):
    stop = min(start + block, length)
    own, until = slice(start, stop), slice(0, stop if causal else length)
    seen = np.array(True)
    if causal:
      seen = order[own, None] >= order[None, until]
    if segments is not None:
      keys, queries = segments[:, None, None, None, until], segments[:, None, None, own, None]
      seen = seen & ((keys == queries) | ((keys == 1) & (queries > 0)))
    if window is not None:
      behind = places[:, None, None, own, None] - places[:, None, None, None, until]
      seen = seen & (behind < window)
    size = shared * (stop - start)
    folded = q[:, :, :, own].reshape(num_rows, num_kv_heads, size, head_dim)
    scores = product("rkth,rksh->rkts", folded, k[:, :, until], dtype)
    scores = scores.reshape(num_rows, num_kv_heads, shared, stop - start, -1)
    scores = scores + jnp.where(seen, 0.0, _MASKED)  # a sum, which XLA fuses with what follows
    weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True)))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    weights = weights.reshape(num_rows, num_kv_heads, size, -1)
    mixed = product("rkts,rksh->rkth", weights, v[:, :, until], dtype)
    # Dividing after the product touches [L, d] numbers, not [L, L].
    blocks.append(mixed.reshape(num_rows, num_kv_heads, shared, -1, head_dim) / total)
  out = jnp.concatenate(blocks, axis=3).transpose(0, 3, 1, 2, 4)
  return out.reshape(num_rows, length, num_heads * head_dim)


def in_orders(stream: Stream) -> Stream:
  """The same tokens in rows of their own for each of the stream's orders, which go in front.

  Args:
    stream: with `orders` [K, T] and `segments`, by which padding is known.

  Returns:
    `tokens`, `positions` and `home` [K, T], `rows` and `segments` [K, R, L]: K streams without
    `orders`, whose tokens stand at their places in one order, padding behind them.

  Example:
    >>> import jax.numpy as jnp
    >>> stream = one_row(jnp.array([7, 8]), jnp.arange(2), jnp.ones(2, jnp.int32))
    >>> stream = in_orders(stream._replace(orders=jnp.array([[0, 1], [1, 0]])))
    >>> stream.rows.tolist(), stream.home.tolist()
    ([[[0, 1]], [[1, 0]]], [[0, 1], [1, 0]])
  """
  rows, segments = stream.rows, stream.segments
  length = rows.shape[1]

  def one(order: Array) -> Stream:
    places = jnp.where(segments > 0, order[rows], jnp.iinfo(order.dtype).max)
    source = jnp.argsort(places, axis=1)
    target = jnp.argsort(source, axis=1).astype(stream.home.dtype)
    home = stream.home // length * length + target.reshape(-1)[stream.home]
    own, kinds = (jnp.take_along_axis(a, source, axis=1) for a in (rows, segments))
    return Stream(stream.tokens, order, own, home, kinds)

  return jax.vmap(one)(stream.orders)


def attend_orders(
    attend_one: Callable[[Stream, Any], Array], streams: Stream, rotary: Any
) -> Array:
  """Attention averaged over the orders of a text: what a token takes from others in the mean.

    out = mean_k softmax(q_k . k_k) v

  with queries and keys turned to their places in order k, and only what comes before seen. States
  are one for all orders, so that everything but attention is computed once: a first order
  approximation of the mean of K passes, exact where states do not depend on the order.

  Args:
    attend_one: `(stream, rotary) -> float32[T, F]`, attention in one order.
    streams: K of them, see `in_orders`.
    rotary: arrays [K, ...], what the rotations of each order need; None for none.

  Returns:
    float32[T, F].

  Example:
    >>> import jax.numpy as jnp
    >>> stream = one_row(jnp.arange(2), jnp.arange(2), jnp.ones(2, jnp.int32))
    >>> streams = in_orders(stream._replace(orders=jnp.array([[0, 1], [1, 0]])))
    >>> attend_orders(lambda stream, _: stream.positions[:, None] * 1.0, streams, None).tolist()
    [[0.5], [0.5]]
  """
  # One after the other, each computed again for gradients: [L, L] numbers of one order at a time.
  one = jax.checkpoint(attend_one)
  every = streams, rotary
  first, rest = jax.tree.map(lambda a: a[0], every), jax.tree.map(lambda a: a[1:], every)
  total, _ = jax.lax.scan(lambda sums, own: (sums + one(*own), None), one(*first), rest)
  return total / streams.positions.shape[0]


def fused_causal(q: Array, k: Array, v: Array, *, dtype: DTypeLike, implementation: str) -> Array:
  """Causal attention by `jax.nn.dot_product_attention`, for rows that are text up to their end.

  Args:
    q: float32[R, L, H, d].
    k: float32[R, L, Hkv, d].
    v: float32[R, L, Hkv, d].
    dtype: of the products' inputs; cuDNN takes bfloat16.
    implementation: `cudnn` (NVIDIA GPUs) or `xla`.

  Returns:
    float32[R, L, H d].
  """
  q, k, v = (a.astype(dtype) for a in (q, k, v))
  out = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=implementation)
  return out.reshape(*out.shape[:2], -1).astype(jnp.float32)
