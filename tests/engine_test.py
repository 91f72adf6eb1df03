"""Rows, batches and what is written: the engine agrees with plain vmap, and continues."""

import pathlib
import resource
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_prompt

from mezzanine_jax import damage, designs, engine, prompts, transforms
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.symmetries import segment_order

SYMMETRY = segment_order()


class Result(NamedTuple):
  log_probs: jax.Array


def _predict(params, prompt):
  """Depends on order: each token weighs by its place."""
  tokens, length = prompts.pack(prompt)
  place = jnp.arange(tokens.shape[0])
  embedded = jnp.where(place < length, params[tokens] / (1.0 + place), 0.0)
  return jax.nn.log_softmax(jnp.stack([embedded.sum(), 0.3]))


def _row(params, element, prompt):
  return Result(_predict(params, SYMMETRY.act(element, prompt)))


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  xs = prompts.stack([random_prompt(rng, sentences=n, longest=9) for n in (0, 1, 2, 3, 4, 6, 3, 5)])
  keys = designs.example_keys(jax.random.key(0), [f"e{n}" for n in range(8)])
  views = designs.design_views(SYMMETRY, xs, keys, 6)
  params = jnp.asarray(rng.normal(size=64), jnp.float32)
  identities = np.asarray(jax.vmap(SYMMETRY.identity)(xs))
  return xs, views, params, identities


def _batch(params, elements, xs):
  return jax.vmap(_row, (None, 0, 0))(params, elements, xs)


def _score(data, path, *, batch_tokens=64, max_shapes=8, progress=lambda n: None):
  xs, views, params, identities = data
  rows = engine.distinct_rows(views, identities)
  lengths = np.asarray(xs.lengths).sum(1)[rows.example]
  order = np.argsort(lengths, kind="stable")
  batches = engine.plan_batches(lengths[order], batch_tokens, max_shapes)
  rows = engine.reorder(rows, order)
  number = len(rows.example)
  arrays = {"log_probs": ((number, 2), "float32")}
  index = {"canonical_row": rows.canonical_row, "row": rows.row, "log_weight": views.log_weights}
  store = store_lib.open_store(path, "f", arrays, index)

  def inputs_of(batch):
    which = np.minimum(np.arange(batch.start, batch.start + batch.size), batch.stop - 1)
    taken = jax.tree.map(lambda a: np.asarray(a)[rows.example[which]], xs)
    return rows.elements[which], prompts.trim(taken, batch.length)

  ran = engine.run(
      _batch, params, inputs_of, batches, store, progress=progress,
      name_of=lambda row: f"example 'e{rows.example[row]}'",
  )
  return rows, store, ran


def test_every_distinct_view_is_one_row(data):
  _, views, _, identities = data
  rows = engine.distinct_rows(views, identities)
  pairs = {(int(n), rows.elements[r].tobytes()) for r, n in enumerate(rows.example)}
  assert len(pairs) == len(rows.example)
  for n in range(8):
    np.testing.assert_array_equal(rows.elements[rows.canonical_row[n]], identities[n])
    assert rows.example[rows.canonical_row[n]] == n
    for k in range(6):
      real = np.isfinite(views.log_weights[n, k])
      assert (rows.row[n, k] >= 0) == real
      if real:
        np.testing.assert_array_equal(rows.elements[rows.row[n, k]], views.elements[n, k])


def test_the_engine_agrees_with_jit_vmap_marginalize(data, tmp_path):
  """Through the engine and averaged on the host: the teacher of the same independent draws."""
  xs, _, params, identities = data
  keys = designs.example_keys(jax.random.key(0), [f"e{n}" for n in range(8)])
  drawn = jax.tree.map(np.asarray, jax.vmap(transforms.views(SYMMETRY, 5))(keys, xs))
  rows, store, _ = _score((xs, drawn, params, identities), tmp_path / "v")
  log_probs = store_lib.read(store, "log_probs")[rows.row]
  teacher = np.log(np.exp(log_probs).mean(1))
  plain = jax.jit(jax.vmap(transforms.marginalize(_predict, SYMMETRY, 5), (None, 0, 0)))
  np.testing.assert_allclose(teacher, plain(params, keys, xs), atol=1e-5)


def test_the_engine_agrees_with_jit_vmap_view_log_probs(data, tmp_path):
  xs, views, params, _ = data
  rows, store, ran = _score(data, tmp_path / "v")
  assert ran == len(rows.example) and store_lib.done_rows(store).all()
  log_probs = store_lib.read(store, "log_probs")

  @jax.jit
  def plain(views, xs):
    one = transforms.view_log_probs(_predict, SYMMETRY)
    return jax.vmap(one, (None, 0, 0))(params, views, xs)

  expected = np.asarray(plain(views, xs))
  used = rows.row >= 0
  np.testing.assert_allclose(log_probs[rows.row[used]], expected[used], atol=1e-6)
  canonical = jax.vmap(_predict, (None, 0))(params, xs)
  np.testing.assert_allclose(log_probs[rows.canonical_row], canonical, atol=1e-6)


@pytest.mark.parametrize(("batch_tokens", "max_shapes"), [(1, 1), (40, 2), (4096, 8)])
def test_results_do_not_depend_on_the_batches(data, tmp_path, batch_tokens, max_shapes):
  rows, store, _ = _score(data, tmp_path / "a")
  other, again, _ = _score(
      data, tmp_path / "b", batch_tokens=batch_tokens, max_shapes=max_shapes
  )
  a, b = (store_lib.read(s, "log_probs") for s in (store, again))
  used = rows.row >= 0
  np.testing.assert_allclose(a[rows.row[used]], b[other.row[used]], atol=1e-6)


def test_a_stopped_run_continues_to_the_same_bits(data, tmp_path):
  _, whole, total = _score(data, tmp_path / "whole", batch_tokens=40)

  class Stop(Exception):
    pass

  seen = []

  def stop(n):
    seen.append(n)
    if len(seen) == 3:
      raise Stop

  with pytest.raises(Stop):
    _score(data, tmp_path / "v", batch_tokens=40, progress=stop)
  finished = sum(seen)
  _, store, ran = _score(data, tmp_path / "v", batch_tokens=40)
  assert 0 < ran == total - finished
  np.testing.assert_array_equal(
      store_lib.read(store, "log_probs"), store_lib.read(whole, "log_probs")
  )


def test_a_result_that_is_not_finite_is_refused(data, tmp_path):
  xs, views, params, identities = data
  # A token that only example 5 has: the error must find its row among those of its batch.
  tokens = np.array(xs.tokens)
  tokens[5, 0] = 63
  poisoned = (xs._replace(tokens=tokens), views, params.at[63].set(jnp.nan), identities)
  with pytest.raises(InputError, match="log_probs of example 'e5' is not finite.*float32"):
    _score(poisoned, tmp_path / "v", batch_tokens=4096)


def _tokens_of(batch, lengths, shared, extra):
  """The tokens that a batch holds, one row after the other."""
  total = int(lengths[batch.start])
  for r in range(batch.start + 1, batch.stop):
    total += int(lengths[r] - shared[r])
  return total + (batch.stop - batch.start) * extra


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("extra", [0, 6])
@pytest.mark.parametrize(("batch_tokens", "max_shapes"), [(100, 1), (512, 3), (2048, 8)])
def test_batches_cover_all_rows_and_fit(seed, extra, batch_tokens, max_shapes):
  rng = np.random.default_rng(seed)
  lengths = rng.integers(1, 200, 300)
  if seed % 2:
    lengths.sort()
  shared = np.append(0, np.minimum(lengths[1:], lengths[:-1])) * rng.random(300) // 1
  shared = shared.astype(int) if seed > 1 else np.zeros(300, int)
  batches = engine.plan_batches(
      lengths, batch_tokens, max_shapes, shared=shared if seed > 1 else None, extra=extra)
  assert [b.start for b in batches] == [0, *(b.stop for b in batches[:-1])]
  assert batches[-1].stop == 300
  for b in batches:
    assert lengths[b.start : b.stop].max() <= b.length
    assert 0 < b.stop - b.start <= b.size
    held = _tokens_of(b, lengths, shared, extra)
    assert held <= b.tokens
    assert held <= batch_tokens or b.stop - b.start == 1  # a longer row is alone
  longest = max(batch_tokens, lengths.max() + extra)
  assert max(b.tokens for b in batches) < longest + 8  # rounded up to a multiple of 8
  assert len({b[2:] for b in batches}) <= max_shapes
  alone = [b for b in batches if lengths[b.start] + extra > batch_tokens]
  assert bool(alone) == (batch_tokens == 100) and all(b.stop - b.start == 1 for b in alone)


def _boolq_lengths(rng, examples, views):
  """Tokens of prompts: the law fitted to 500 of BoolQ's as SmolLM2 counts them (33 to 600)."""
  lengths = np.clip(np.exp(rng.normal(4.868, 0.477, examples)), 33, 600).astype(int)
  return np.repeat(np.sort(lengths), views)


@pytest.mark.parametrize("seed", range(3))
# Rows that share nothing pad more: 4.2 to 5.04% over 20 draws (3.5 to 4.1% with sharing).
@pytest.mark.parametrize(("sharing", "most"), [(False, 1.055), (True, 1.05)])
def test_little_padding_on_lengths_like_boolqs(seed, sharing, most):
  rng = np.random.default_rng(seed)
  lengths = _boolq_lengths(rng, 500, 9)
  shared = np.where(np.arange(len(lengths)) % 9 > 0, lengths * rng.random(len(lengths)) / 2, 0)
  shared = shared.astype(int) * sharing
  batches = engine.plan_batches(lengths, 2048, 8, shared=shared)
  held = sum(_tokens_of(b, lengths, shared, 0) for b in batches)
  assert len({b[2:] for b in batches}) <= 8
  assert held <= sum(b.tokens for b in batches) < most * held


def test_more_shapes_pad_less():
  lengths = np.sort(np.random.default_rng(0).integers(1, 500, 20_000))
  places = [
      sum(b.length * b.size for b in engine.plan_batches(lengths, 2048, shapes))
      for shapes in (1, 3, 8)
  ]
  assert places[0] > places[1] > places[2]


def test_plan_of_nothing_is_nothing():
  assert engine.plan_batches(np.zeros(0, int), 64) == []


@pytest.mark.parametrize("field", ["batch_tokens", "max_shapes"])
def test_unusable_plans_are_refused(field):
  with pytest.raises(InputError, match=f"{field} must be >= 1, got 0"):
    engine.plan_batches(np.array([3]), **{"batch_tokens": 8, field: 0})


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="Linux counts here")
def test_memory_does_not_grow_with_the_rows(tmp_path):
  """100,000 rows, 205 MB of them: what a process holds does not grow after a tenth."""
  number, width, size = 100_000, 512, 250

  class Out(NamedTuple):
    features: jax.Array

  def held():  # bytes
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

  def batch_fn(scale, rows):
    return Out(scale * rows[:, None] + jnp.arange(width, dtype=jnp.float32))

  def inputs_of(batch):
    return (np.arange(batch.start, batch.start + size, dtype=np.float32),)

  batches = [engine.Batch(at, at + size, 8, size, 8) for at in range(0, number, size)]
  store = store_lib.open_store(
      tmp_path / "v", "f", {"features": ((number, width), "float32")}, {})
  seen, rows = {}, [0]

  def progress(count):
    rows[0] += count
    seen[rows[0]] = held()

  ran = engine.run(batch_fn, jnp.float32(2), inputs_of, batches, store, progress=progress)
  assert ran == number
  after_a_tenth = seen[number // 10]
  growth = max(amount for at, amount in seen.items() if at > number // 10) - after_a_tenth
  assert growth < 20e6  # all rows are ten times that
  before = held()
  assert damage.is_whole(tmp_path / "v", "f")
  assert held() - before < 20e6  # looking for damage reads chunk by chunk
  last = store_lib.read(store, "features", number - 1, number)
  np.testing.assert_array_equal(last[0], 2 * (number - 1) + np.arange(width))
