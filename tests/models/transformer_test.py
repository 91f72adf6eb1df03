"""The transformer: what a token sees, shared beginnings, layers, gradients, precision, memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.attention import attend
from mezzanine_jax.models.transformer import (
  Stream,
  Transformer,
  TransformerConfig,
  init_params,
  layer_indices,
  layers_as_bits,
  one_row,
  unembed,
)

CONFIG = TransformerConfig(
    vocab_size=40, width=16, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=8, mlp_width=24,
    max_positions=64, rope_frequencies=(1.0, 0.3, 0.1, 0.03))
# Two rows that share their first two tokens, each with two continuations. Places that are
# padding hold some other token of the stream; token 1 attends from the second row.
STREAM = Stream(
    tokens=np.array([7, 3, 9, 11, 2, 25, 30, 31, 32, 5, 18], np.int32),
    positions=np.array([0, 1, 2, 3, 4, 3, 2, 3, 4, 4, 5], np.int32),
    rows=np.array([[0, 1, 2, 9, 3, 4, 5, 10], [0, 1, 6, 7, 8, 3, 9, 10]], np.int32),
    home=np.array([0, 9, 2, 4, 5, 6, 10, 11, 12, 14, 15], np.int32),
    segments=np.array([[1, 1, 1, 0, 2, 2, 3, 0], [1, 1, 1, 1, 2, 0, 3, 3]], np.int32))
SEEN = [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}, {0, 1, 2, 3, 4}, {0, 1, 2, 5}, {0, 1, 6},
        {0, 1, 6, 7}, {0, 1, 6, 7, 8}, {0, 1, 6, 7, 9}, {0, 1, 6, 7, 9, 10}]


@pytest.fixture(scope="module")
def params():
  # Ten times the usual deviation, so that attention is far from uniform.
  return jax.tree.map(lambda x: x * 10 if x.ndim > 2 else x,
                      init_params(CONFIG, jax.random.key(0)))


@functools.partial(jax.jit, static_argnames=("layers", "dtype", "config"))
def _run(params, stream, layers=(-1,), dtype="float32", config=CONFIG):
  model = Transformer(config, jnp.dtype(dtype))
  return model.apply({"params": params}, jax.tree.map(jnp.asarray, stream), layers=layers)


def _alone(params, tokens):
  """The last hidden states of one text by itself."""
  return _run(params, one_row(tokens, np.arange(len(tokens))))[0]


def _attention(q, k, v, segments, places, window):
  """The definition, one query at a time, in float64."""
  num_rows, length, num_heads, head_dim = q.shape
  shared = num_heads // k.shape[2]
  out = np.zeros(q.shape)
  for r in range(num_rows):
    for i in range(length):
      seen = np.arange(length) <= i
      if segments is not None:
        own = segments[r] == segments[r, i]
        seen &= own | ((segments[r] == 1) & (segments[r, i] != 0))
      if window is not None:
        seen &= places[r, i] - places[r] < window
      for h in range(num_heads):
        scores = k[r, seen, h // shared] @ q[r, i, h] / np.sqrt(head_dim)
        weights = np.exp(scores - scores.max())
        out[r, i, h] = weights @ v[r, seen, h // shared] / weights.sum()
  return out.reshape(num_rows, length, -1)


@pytest.mark.parametrize("window", [None, 1, 40])
@pytest.mark.parametrize("continued", [False, True], ids=["text", "continued"])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 130, 600])
def test_attention_in_blocks_is_attention(length, continued, window):
  rng = np.random.default_rng(length)
  q, k, v = (rng.normal(size=(2, length, heads, 8)).astype(jnp.bfloat16) for heads in (4, 2, 2))
  places, segments = np.tile(np.arange(length), (2, 1)), None
  if continued:  # a text, padding, two continuations side by side, the second one shorter
    text, size = length - 2 * (length // 5), length // 5
    segments = np.repeat([1, 2, 3], [text, size, size])[None].repeat(2, 0).astype(np.int32)
    segments[0, text - length // 4 : text], segments[1, -(length // 8) or length :] = 0, 0
    places[:, text:] = segments[:, :text].sum(1)[:, None] + np.tile(np.arange(size), 2)
  # Numbers of bfloat16 to begin with: what differs then is only how it is computed.
  expected = _attention(*(a.astype(np.float64) for a in (q, k, v)), segments, places, window)
  slots = np.arange(2 * length).reshape(2, length)
  stream = Stream(slots.ravel(), places.ravel(), slots, slots.ravel(), segments)
  run = jax.jit(attend, static_argnames=("causal", "window", "dtype"))
  for dtype, atol in (("float32", 2e-6), ("bfloat16", 0.03)):
    arrays = [a.astype(np.float32) for a in (q, k, v)]
    got = run(*arrays, stream, causal=True, window=window, dtype=dtype)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, atol=atol, rtol=0)
  assert length == 1 or np.abs(expected).max() > 0.5


TEXT = np.array([0, 3, 4, 1, 2, 5])
# Two segments of two tokens between a beginning and an end, one first and the other.
FIRST, SECOND = np.arange(6), np.array([0, 3, 4, 1, 2, 5])


def _in_orders(params, config, tokens, *orders):
  stream = one_row(jnp.asarray(tokens), jnp.arange(6), jnp.ones(6, jnp.int32))
  stream = stream._replace(orders=jnp.asarray(orders)) if orders else stream
  return Transformer(config).apply({"params": params}, stream)[0]


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_one_order_is_the_text_in_that_order(positions):
  config = CONFIG if positions == "rotary" else dataclasses.replace(
      CONFIG, positions=positions, rope_frequencies=())
  params = init_params(config, jax.random.key(1))
  other = _in_orders(params, config, TEXT[np.argsort(SECOND)])
  as_set = _in_orders(params, config, TEXT, SECOND)
  np.testing.assert_allclose(as_set, other[SECOND], atol=2e-6)
  plain = _in_orders(params, config, TEXT)
  np.testing.assert_allclose(_in_orders(params, config, TEXT, FIRST, FIRST), plain, atol=2e-6)
  assert np.abs(plain - as_set).max() > 1e-3


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_a_text_read_in_all_orders_has_none(positions):
  config = CONFIG if positions == "rotary" else dataclasses.replace(
      CONFIG, positions=positions, rope_frequencies=())
  params = init_params(config, jax.random.key(1))
  turned = np.argsort(SECOND)
  one = _in_orders(params, config, TEXT, FIRST, SECOND)
  other = _in_orders(params, config, TEXT[turned], FIRST, SECOND)
  np.testing.assert_allclose(one[turned], other, atol=2e-6)
  for order in (FIRST, SECOND):
    assert np.abs(one[-1] - _in_orders(params, config, TEXT, order)[-1]).max() > 1e-4

  def state(table):  # of the first segment's first token: both see each other in one of the orders
    return _in_orders(params | {"embed": table}, config, np.arange(6), FIRST, SECOND)[1].sum()

  reach = np.abs(jax.jacobian(state)(params["embed"])).max(-1)
  assert set(np.flatnonzero(reach).tolist()) == {0, 1, 2, 3, 4}


def test_gradients_of_a_set_do_not_depend_on_what_is_kept(params):
  stream = one_row(jnp.asarray(TEXT), jnp.arange(6), jnp.ones(6, jnp.int32))
  stream = stream._replace(orders=jnp.asarray([FIRST, SECOND]))

  def loss(params, remat):
    return Transformer(CONFIG, remat=remat).apply({"params": params}, stream)[0][-1].sum()

  plain, again = (jax.grad(loss)(params, remat) for remat in (False, True))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), plain, again)
  assert max(np.abs(a).max() for a in jax.tree.leaves(plain)) > 1e-3


def test_a_token_depends_on_what_it_may_see_and_on_nothing_else(params):
  stream = STREAM._replace(tokens=np.arange(11))  # all different: a row of the table is a token

  def states(table):
    return _run(params | {"embed": table}, stream)[0].sum(-1)

  reach_TxVxD = jax.jacobian(states)(params["embed"])
  depends = np.asarray(jnp.abs(reach_TxVxD).max(-1)[:, :11] > 0)
  assert [set(np.flatnonzero(row).tolist()) for row in depends] == SEEN


@pytest.mark.parametrize("window", [None, 70])
def test_causality_across_blocks(window):
  config = dataclasses.replace(CONFIG, vocab_size=150, num_layers=1, sliding_window=window)
  params = init_params(config, jax.random.key(0))
  stream = one_row(np.arange(150), np.arange(150))

  def states(table):
    return _run(params | {"embed": table}, stream, config=config)[0].sum(-1)

  @jax.jit
  def reach(table):
    # One after the other: on CPU, jax 0.10.2 gives wrong numbers for `jacrev` of this function,
    # which goes over all 150 at once; plain gradients and `jacfwd` agree with each other.
    _, pull = jax.vjp(states, table)
    return jax.lax.map(lambda one: jnp.abs(pull(one)[0]).max(-1), jnp.eye(150))

  depends = reach(params["embed"]) > 0
  behind = np.arange(150)[:, None] - np.arange(150)
  np.testing.assert_array_equal(depends, (behind >= 0) & (behind < (window or 150)))


def test_rows_that_share_a_beginning_equal_rows_alone(params):
  together, = _run(params, STREAM)
  for places in ([0, 1, 2, 3, 4], [0, 1, 2, 5], [0, 1, 6, 7, 8], [0, 1, 6, 7, 9, 10]):
    places = np.array(places)
    np.testing.assert_allclose(together[places], _alone(params, STREAM.tokens[places]), atol=2e-6)


def test_padding_and_batch_mates_change_nothing(params):
  expected, = _run(params, STREAM)
  padding = STREAM.segments == 0
  assert padding.sum() == 3
  for junk in (0, 7, 11):  # what stands at padding: another token, or one that is padding itself
    stream = Stream(
        np.append(STREAM.tokens, 39), np.append(STREAM.positions, 50),
        np.where(padding, junk, STREAM.rows), np.append(STREAM.home, 3), STREAM.segments)
    hidden, = _run(params, stream)
    assert np.isfinite(hidden).all()  # at padding too
    np.testing.assert_allclose(hidden[:11], expected, atol=2e-6)
  # Without segments, padding stands behind a row's text.
  tokens = np.array([7, 3, 9, 30, 31], np.int32)
  rows = np.array([[0, 1, 2, 4], [0, 1, 3, 4], [0, 1, 1, 1]], np.int32)
  home, positions = np.array([0, 1, 2, 6, 7]), np.array([0, 1, 2, 2, 3])
  hidden, = _run(params, Stream(tokens, positions, rows, home))
  np.testing.assert_allclose(hidden[:3], _alone(params, tokens[:3]), atol=2e-6)
  second = np.array([0, 1, 3, 4])
  np.testing.assert_allclose(hidden[second], _alone(params, tokens[second]), atol=2e-6)


def test_wanted_layers_come_in_the_order_asked_for(params):
  every = _run(params, STREAM, layers=(0, 1, 2, 3))
  some = _run(params, STREAM, layers=(-1, 1, 0, 1, -3))
  for got, i in zip(some, (3, 1, 0, 1, 1), strict=True):
    np.testing.assert_allclose(got, every[i], atol=1e-6)
  np.testing.assert_array_equal(every[0], params["embed"][STREAM.tokens])
  rms = np.sqrt(np.mean(np.square(every[3]), -1))
  np.testing.assert_allclose(rms, 1.0, atol=1e-3)  # after the final norm


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_is_not_there(layer):
  with pytest.raises(InputError, match=f"between -4 and 3 .*got {layer}"):
    layer_indices(CONFIG, (layer,))


def test_no_array_holds_all_layers_or_repeats_keys(params):
  one = str(jax.make_jaxpr(lambda p: _run(p, STREAM, layers=(1, -1)))(params))
  assert "f32[1,11,16]" in one  # the one inner layer that is asked for
  assert "f32[2,11,16]" not in one and "f32[3,11,16]" not in one
  assert "f32[11,40]" not in one  # no logits
  last = str(jax.make_jaxpr(lambda p: _run(p, STREAM))(params))
  assert "f32[1,11,16]" not in last
  assert "f32[2,2,2,8,8]" in last and "f32[2,4,8,8]" not in last  # scores [R, Hkv, group, L, L]


def test_gradients_are_finite_and_match_differences(params):
  def loss(scale):
    scaled = params | {"embed": params["embed"] * scale}
    return jnp.sin(_run(scaled, STREAM)[0]).sum()

  slope = jax.grad(loss)(1.0)
  difference = (loss(1.01) - loss(0.99)) / 0.02
  np.testing.assert_allclose(slope, difference, rtol=0.02)


def test_bfloat16_is_close_and_keeps_a_float32_stream(params):
  low = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.ndim > 2 else x, params)
  low["embed"] = low["embed"].astype(jnp.bfloat16)
  exact, = _run(params, STREAM)
  rough, = _run(low, STREAM, dtype="bfloat16")
  assert rough.dtype == jnp.float32
  error = np.abs(rough - exact).max()
  assert 1e-5 < error < 0.2
  assert unembed(CONFIG, low, rough).dtype == jnp.float32


def test_layers_as_bits_give_the_same_states_without_a_copy_of_all_layers(params):
  config = dataclasses.replace(CONFIG, num_layers=24)  # so that the layers outweigh the rest
  halves = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.ndim > 2 else x,
                        init_params(config, jax.random.key(0)))
  bits = layers_as_bits(halves)
  kernel = halves["layers"]["q"]["kernel"]
  assert bits["layers"]["q"]["kernel"].dtype == jnp.uint16
  # The same memory under another name.
  assert bits["layers"]["q"]["kernel"].unsafe_buffer_pointer() == kernel.unsafe_buffer_pointer()
  run = lambda p: _run(p, STREAM, dtype="bfloat16", config=config)[0]
  np.testing.assert_array_equal(run(bits), run(halves))
  compiled = _run.lower(bits, STREAM, dtype="bfloat16", config=config).compile()
  layers = sum(a.nbytes for a in jax.tree.leaves(halves["layers"]))
  assert compiled.memory_analysis().temp_size_in_bytes < layers


def test_float32_products_are_exact_on_every_device(params):
  text = str(jax.make_jaxpr(lambda p: unembed(CONFIG, p, _run(p, STREAM)[0]))(params))
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
    (dict(num_heads=0), "num_heads must be an integer >= 1 and <= 2147483647, got 0"),
    (dict(num_heads=3), "multiple of num_kv_heads, got 3 and 2"),
    (dict(norm="batch"), "norm must be"),
    (dict(positions="alibi"), "positions must be"),
    (dict(activation="cube"), "activation must be one of gelu"),
    (dict(rope_frequencies=(1.0,)), "must hold 4 values"),
])
def test_impossible_configs(change, message):
  with pytest.raises(InputError, match=message):
    dataclasses.replace(CONFIG, **change)
