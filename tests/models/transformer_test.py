"""The transformer: what a token sees, padding, layers, gradients, precision, memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.transformer import (
  Transformer,
  TransformerConfig,
  init_params,
  layer_indices,
  unembed,
)

CONFIG = TransformerConfig(
    vocab_size=40, width=16, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=8, mlp_width=24,
    max_positions=64, rope_frequencies=(1.0, 0.3, 0.1, 0.03))
# Two rows in one sequence: a prompt with two choices riding along, padding, another prompt.
SEGMENTS = np.array([1, 1, 1, 0, 2, 2, 3, 0, 4, 4, 5], np.int32)
PARENTS = np.array([0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 4], np.int32)
POSITIONS = np.array([0, 1, 2, 0, 3, 4, 3, 0, 0, 1, 2], np.int32)
TOKENS = np.array([7, 3, 9, 0, 11, 2, 25, 0, 30, 31, 32], np.int32)


@pytest.fixture(scope="module")
def params():
  # Ten times the usual deviation, so that attention is far from uniform.
  return jax.tree.map(lambda x: x * 10 if x.ndim > 2 else x,
                      init_params(CONFIG, jax.random.key(0)))


@functools.partial(jax.jit, static_argnames=("layers", "dtype"))
def _run(params, tokens, positions, segments, parents, layers=(-1,), dtype="float32"):
  return Transformer(CONFIG, jnp.dtype(dtype)).apply(
      {"params": params}, jnp.asarray(tokens), jnp.asarray(positions), jnp.asarray(segments),
      jnp.asarray(parents), layers=layers)


def _alone(params, tokens):
  """The last hidden states of one text by itself."""
  ones = np.ones(len(tokens), np.int32)
  return _run(params, tokens, np.arange(len(tokens)), ones, 0 * ones)[0]


def test_a_token_depends_on_what_it_may_see_and_on_nothing_else(params):
  tokens = np.arange(11, dtype=np.int32)  # all different: a row of the table is a token

  def states(table):
    return _run(params | {"embed": table}, tokens, POSITIONS, SEGMENTS, PARENTS)[0].sum(-1)

  reach_TxVxD = jax.jacobian(states)(params["embed"])
  depends = np.asarray(jnp.abs(reach_TxVxD).max(-1)[:, :11] > 0)
  expected = np.array([[j <= i and (SEGMENTS[i] == SEGMENTS[j]
                                    or (PARENTS[i] == SEGMENTS[j] and SEGMENTS[j] > 0))
                        for j in range(11)] for i in range(11)])
  np.testing.assert_array_equal(depends, expected)


def test_packed_rows_equal_rows_alone(params):
  packed, = _run(params, TOKENS, POSITIONS, SEGMENTS, PARENTS)
  for places in ([0, 1, 2, 4, 5], [0, 1, 2, 6], [8, 9, 10]):
    places = np.array(places)
    np.testing.assert_allclose(packed[places], _alone(params, TOKENS[places]), atol=2e-6)


def test_padding_and_batch_mates_change_nothing(params):
  alone = _alone(params, TOKENS[:3])

  def row(fill):  # the first prompt, with other junk in its padding
    return [np.pad(a[:3], (0, 8), constant_values=junk) for a, junk in
            ((TOKENS, fill), (POSITIONS, fill), (SEGMENTS, 0), (PARENTS, 0))]

  rows = [row(0), (TOKENS, POSITIONS, SEGMENTS, PARENTS), row(39)]
  batch = [np.stack(parts) for parts in zip(*rows, strict=True)]
  hidden, = jax.jit(jax.vmap(lambda *row: _run(params, *row)))(*batch)
  assert np.isfinite(hidden).all()  # at padding too
  for row in hidden:
    np.testing.assert_allclose(row[:3], alone, atol=2e-6)


def test_wanted_layers_come_in_the_order_asked_for(params):
  arrays = TOKENS, POSITIONS, SEGMENTS, PARENTS
  every = _run(params, *arrays, layers=(0, 1, 2, 3))
  some = _run(params, *arrays, layers=(-1, 1, 0, 1, -3))
  for got, i in zip(some, (3, 1, 0, 1, 1), strict=True):
    np.testing.assert_allclose(got, every[i], atol=1e-6)
  np.testing.assert_array_equal(every[0], params["embed"][TOKENS])
  rms = np.sqrt(np.mean(np.square(every[3]), -1))
  np.testing.assert_allclose(rms, 1.0, atol=1e-3)  # after the final norm


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_is_not_there(layer):
  with pytest.raises(InputError, match=f"between -4 and 3 .*got {layer}"):
    layer_indices(CONFIG, (layer,))


def test_no_array_holds_all_layers_or_repeats_keys(params):
  arrays = [jnp.asarray(a) for a in (TOKENS, POSITIONS, SEGMENTS, PARENTS)]
  one = str(jax.make_jaxpr(lambda p: _run(p, *arrays, layers=(1, -1)))(params))
  assert "f32[1,11,16]" in one  # the one inner layer that is asked for
  assert "f32[2,11,16]" not in one and "f32[3,11,16]" not in one
  assert "f32[11,40]" not in one  # no logits
  last = str(jax.make_jaxpr(lambda p: _run(p, *arrays))(params))
  assert "f32[1,11,16]" not in last
  assert "f32[2,2,11,11]" in last and "f32[4,11,11]" not in last  # scores [Hkv, group, T, T]


def test_gradients_are_finite_and_match_differences(params):
  ones = jnp.ones(4, jnp.int32)

  def loss(scale):
    scaled = params | {"embed": params["embed"] * scale}
    hidden, = _run(scaled, jnp.arange(4), jnp.arange(4), ones, 0 * ones)
    return jnp.sin(hidden).sum()

  slope = jax.grad(loss)(1.0)
  difference = (loss(1.01) - loss(0.99)) / 0.02
  np.testing.assert_allclose(slope, difference, rtol=0.02)


def test_bfloat16_is_close_and_keeps_a_float32_stream(params):
  low = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.ndim > 2 else x, params)
  low["embed"] = low["embed"].astype(jnp.bfloat16)
  arrays = TOKENS, POSITIONS, SEGMENTS, PARENTS
  exact, = _run(params, *arrays)
  rough, = _run(low, *arrays, dtype="bfloat16")
  assert rough.dtype == jnp.float32
  error = np.abs(rough - exact).max()
  assert 1e-5 < error < 0.2
  assert unembed(CONFIG, low, rough).dtype == jnp.float32


def test_float32_products_are_exact_on_every_device(params):
  arrays = [jnp.asarray(a) for a in (TOKENS, POSITIONS, SEGMENTS, PARENTS)]
  text = str(jax.make_jaxpr(lambda p: unembed(CONFIG, p, _run(p, *arrays)[0]))(params))
  products = text.count("dot_general[")
  assert products == 10  # q k v out up gate down, scores, values, unembed
  assert text.count("Precision.HIGHEST") >= products


def test_unembed_by_hand(params):
  hidden = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
  np.testing.assert_allclose(unembed(CONFIG, params, hidden),
                             hidden @ np.asarray(params["embed"]).T, rtol=1e-5, atol=1e-6)
  untied = dataclasses.replace(CONFIG, tied_embeddings=False)
  other = init_params(untied, jax.random.key(1))
  np.testing.assert_allclose(unembed(untied, other, hidden),
                             hidden @ np.asarray(other["unembed"]).T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change, message", [
    (dict(num_heads=0), "num_heads must be an integer >= 1, got 0"),
    (dict(num_heads=3), "multiple of num_kv_heads, got 3 and 2"),
    (dict(norm="batch"), "norm must be"),
    (dict(positions="alibi"), "positions must be"),
    (dict(activation="cube"), "activation must be one of gelu"),
    (dict(rope_frequencies=(1.0,)), "must hold 4 values"),
])
def test_impossible_configs(change, message):
  with pytest.raises(InputError, match=message):
    dataclasses.replace(CONFIG, **change)
