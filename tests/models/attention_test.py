"""Attention against the sum over what each place sees, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax.models.attention import (
    Stream,
    attend,
    attend_orders,
    fused_causal,
    in_orders,
    product,
)


def _stream(segments):
  rows, length = segments.shape
  places = np.arange(rows * length, dtype=np.int32)
  positions = np.tile(np.arange(length, dtype=np.int32), rows)
  return Stream(places, positions, places.reshape(rows, length), places, segments)


def _sees(segments, i, j, causal, window):
  own, other = segments[i], segments[j]
  if causal and (j > i or (window is not None and i - j >= window)):
    return False
  return own == other or (other == 1 and own > 0)


@pytest.mark.parametrize("causal, window", [(True, None), (True, 5), (False, None)])
@pytest.mark.parametrize("length", [7, 150])  # one block of queries, and several
def test_equals_the_sum_written_out(causal, window, length):
  rng = np.random.default_rng(0)
  q, k, v = (rng.normal(size=(2, length, heads, 4)).astype(np.float32) for heads in (4, 2, 2))
  segments = np.ones((2, length), np.int32)
  segments[0, length - 3 :] = 2, 2, 0  # a continuation, then padding
  segments[1, 5:] = 0
  got = attend(q, k, v, _stream(segments), causal=causal, window=window, dtype="float32")
  got = np.asarray(got).reshape(2, length, 4, 4)
  for r, i in [(r, i) for r in range(2) for i in range(length) if segments[r, i]]:
    seen = [j for j in range(length) if _sees(segments[r], i, j, causal, window)]
    for head in range(4):
      scores = k[r, seen, head // 2] @ q[r, i, head] / 2
      weights = np.exp(scores - scores.max())
      expected = weights @ v[r, seen, head // 2] / weights.sum()
      np.testing.assert_allclose(got[r, i, head], expected, atol=2e-6)


@pytest.mark.parametrize("causal, window", [(True, None), (True, 5), (False, None)])
@pytest.mark.parametrize("length", [9, 150])
def test_averaged_over_orders_equals_the_mean_of_the_sums_written_out(length, causal, window):
  rng = np.random.default_rng(0)
  texts = length - 4, length // 2  # padding stands behind a text, and between its continuations
  segments, orders = np.zeros((2, length), np.int32), np.zeros((3, 2, length), np.int32)
  for r, text in enumerate(texts):
    segments[r, :text], segments[r, -3:] = 1, [2, 0, 3]
    for k in range(3):
      orders[k, r, :text], orders[k, r, -3:] = rng.permutation(text), [text, 0, text]
  q, k, v = (rng.normal(size=(2 * length, heads, 4)).astype(np.float32) for heads in (4, 2, 2))
  stream = jax.tree.map(jnp.asarray, _stream(segments)._replace(orders=orders.reshape(3, -1)))

  def attend_one(own, rotary):
    assert rotary is None
    arrays = (jnp.asarray(a)[own.rows] for a in (q, k, v))
    found = attend(*arrays, own, causal=causal, window=window, dtype="float32")
    return found.reshape(-1, 16)[own.home]

  got = np.asarray(attend_orders(attend_one, in_orders(stream), None)).reshape(2, length, 4, 4)
  for r, i in [(r, i) for r in range(2) for i in range(length) if segments[r, i]]:
    expected = np.zeros((4, 4))
    for place in orders[:, r]:
      seen = [j for j in range(length) if segments[r, j] in (1, segments[r, i])
              and (not causal or 0 <= place[i] - place[j] < (window or length))]
      for head in range(4):
        scores = k[r * length + np.array(seen), head // 2] @ q[r * length + i, head] / 2
        weights = np.exp(scores - scores.max())
        values = v[r * length + np.array(seen), head // 2]
        expected[head] += weights @ values / weights.sum() / 3
    np.testing.assert_allclose(got[r, i], expected, atol=2e-6)
  if causal:  # in others the order alone changes nothing
    plain = np.asarray(attend_one(stream._replace(orders=None), None)).reshape(got.shape)
    assert np.abs(got - plain)[segments > 0].max() > 0.1


def test_without_segments_a_row_is_all_text():
  rng = np.random.default_rng(1)
  q, k, v = (rng.normal(size=(1, 9, 1, 4)).astype(np.float32) for _ in range(3))
  stream = _stream(np.ones((1, 9), np.int32))
  for causal in (True, False):
    settings = dict(causal=causal, window=None, dtype="float32")
    np.testing.assert_array_equal(attend(q, k, v, stream, **settings),
                                  attend(q, k, v, stream._replace(segments=None), **settings))


def test_the_call_for_gpus_is_the_same_attention():
  rng = np.random.default_rng(2)
  q, k, v = (rng.normal(size=(2, 70, heads, 8)).astype(np.float32) for heads in (4, 2, 2))
  stream = _stream(np.ones((2, 70), np.int32))._replace(segments=None)
  plain = attend(q, k, v, stream, causal=True, window=None, dtype="float32")
  fused = fused_causal(q, k, v, dtype="float32", implementation="xla")
  np.testing.assert_allclose(fused, plain, atol=2e-6)


@pytest.mark.parametrize("spec", ["td,df->tf", "rkth,rksh->rkts", "rkts,rksh->rkth"])
def test_derivatives_of_a_rounded_product_are_those_of_the_exact_one(spec):
  sizes = dict(zip("tdfrkhs", (5, 4, 3, 2, 2, 4, 6), strict=True))
  of_a, of_b = spec.split("->")[0].split(",")
  a, b = (jax.random.normal(jax.random.key(n), [sizes[i] for i in own])
          for n, own in enumerate((of_a, of_b)))
  loss = lambda dtype: lambda a, b: jnp.sin(product(spec, a, b, dtype)).sum()
  rounded = jax.grad(loss(jnp.bfloat16), (0, 1))(a, b)
  exact = jax.grad(loss(jnp.float32), (0, 1))(a, b)
  for found, right in zip(rounded, exact, strict=True):
    assert found.dtype == jnp.float32
    assert jnp.abs(found - right).max() < 0.03 * jnp.abs(right).max()
    assert jnp.abs(found - right).max() > 0  # it is another product
