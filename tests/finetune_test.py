"""Adapters in the language model: they start at it, their gradients are right, they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from tiny import byte_level_bpe

from mezzanine_jax import designs, finetune, language, lora, objectives, preemption, scoring
from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.transformer import init_params
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.symmetries import segment_order

SYMMETRY = segment_order()


def _packed(plan, rows):
  tokens = (64 + language.extra_tokens(plan.xs)) * len(rows)
  return language.pack(plan, rows, np.zeros(len(rows), np.int32), tokens=tokens, size=len(rows),
                       length=64)


class Case:
  """A tiny model, the plan of a few passages, and what the rows should be told."""

  def __init__(self, choice_norm="none"):
    tokenizer = byte_level_bpe()
    examples = [
        Example(f"e{n}", {"passage": f"Anna owns {n} oaks. Tom lives in Oslo. The elm is {n}."},
                None, f"e{n}") for n in range(8)]
    prepared = language.prepare(
        examples, tokenizer, template="Passage: {passage}\nAnswer:", evidence="passage",
        choices=[" no", " yes it is"], max_tokens=128)
    keys = designs.example_keys(jax.random.key(0), [e.id for e in examples])
    self.plan = language.plan(prepared, tokenizer, SYMMETRY, keys, np.full(8, 3),
                              batch_tokens=512, max_shapes=1)
    self.config = TransformerConfig(
        vocab_size=tokenizer.get_vocab_size(), width=16, num_layers=2, num_heads=2,
        num_kv_heads=1, head_dim=8, mlp_width=32, max_positions=256,
        rope_frequencies=(1.0, 0.1, 0.01, 0.001))
    # Ten times the usual deviation: answers that differ between texts.
    self.params = jax.tree.map(lambda a: 10 * a if a.ndim > 1 else a,
                               init_params(self.config, jax.random.key(1)))
    self.batch_fn = scoring.view_rows_scorer(
        scoring.rows_scorer(self.config, choice_norm=choice_norm, remat=True), SYMMETRY)
    odd = np.arange(8) % 2
    self.teacher = np.log(np.where(odd[:, None], [0.9, 0.1], [0.2, 0.8])).astype(np.float32)
    self.adapters = lora.init_adapters(self.params, jax.random.key(2), rank=2)

  def targets(self, examples, views="all"):
    return finetune.targets(self.plan, self.teacher, np.array(examples), views)

  def train(self, valid=(6, 7), **settings):
    settings = {"steps": 30, "eval_every": 10, "batch_tokens": 256, "learning_rate": 1e-2,
                **settings}
    return finetune.finetune(
        self.plan, self.batch_fn, self.batch_fn, self.params, self.adapters, self.targets(range(6)),
        self.targets(valid), **settings)

  def kl(self, params, target):
    inputs = _packed(self.plan, target.row)
    log_probs = np.asarray(self.batch_fn(params, *inputs).log_probs, np.float64)
    teacher = np.asarray(target.teacher_log_probs, np.float64)
    return float(target.weight @ (np.exp(teacher) * (teacher - log_probs)).sum(1))


@pytest.fixture(scope="module")
def case():
  return Case()


def test_new_adapters_are_the_model_itself(case):
  merged = lora.merge(case.params, case.adapters)
  jax.tree.map(np.testing.assert_array_equal, merged, case.params)
  assert merged["embed"] is case.params["embed"]
  assert lora.count(case.adapters) == 2 * 2 * (4 * 16 + (16 + 8 + 8 + 16))


def test_adapters_beside_the_matrices_are_those_added_to_them(case):
  adapters = jax.tree.map(
      lambda a: jax.random.normal(jax.random.key(a.size), a.shape) * 0.1, case.adapters)
  inputs = _packed(case.plan, case.targets(range(3)).row)
  beside, merged, none = (
      case.batch_fn(params, *inputs).log_probs
      for params in (lora.attach(case.params, adapters, 4.0),
                     lora.merge(case.params, adapters, 4.0), case.params))
  np.testing.assert_allclose(beside, merged, rtol=5e-6, atol=2e-5)
  assert np.abs(beside - none).max() > 1e-2


def test_gradient_is_that_of_forward_mode_and_of_no_remat(case):
  target = case.targets(range(3))
  adapters = jax.tree.map(
      lambda a: jax.random.normal(jax.random.key(a.size), a.shape) * 0.1, case.adapters)
  inputs = _packed(case.plan, target.row)
  plain = scoring.view_rows_scorer(scoring.rows_scorer(case.config), SYMMETRY)

  def loss(batch_fn, adapters, put=lora.attach):
    log_probs = batch_fn(put(case.params, adapters), *inputs).log_probs
    return -(jnp.exp(target.teacher_log_probs) * log_probs).sum()

  value_and_grad = jax.jit(jax.value_and_grad(loss, argnums=1), static_argnums=0)
  _, grads = value_and_grad(case.batch_fn, adapters)
  _, other = value_and_grad(plain, adapters)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), grads, other)
  direction = jax.tree.map(
      lambda a: jax.random.normal(jax.random.key(a.size + 1), a.shape), adapters)
  slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), grads, direction)))
  forward = {put: float(jax.jit(lambda a, d, put=put: jax.jvp(
      lambda a: loss(plain, a, put), (a,), (d,))[1])(adapters, direction))
             for put in (lora.attach, lora.merge)}
  assert float(slope) == pytest.approx(forward[lora.attach], rel=1e-4)
  # Merged weights are rounded otherwise, and this model is a steep one.
  assert float(slope) == pytest.approx(forward[lora.merge], rel=3e-3)
  assert abs(float(slope)) > 1e-2


def test_rows_are_looked_at_in_the_reading_that_will_be_used(case):
  as_set = language.as_set(case.plan, SYMMETRY, 4)
  looked_at = case.targets((6, 7), "canonical")
  found = case.train(steps=0, valid_plan=as_set)
  inputs = _packed(as_set, looked_at.row)
  (point,) = case.train((6, 7), steps=0).history
  assert point.valid_kl != found.history[0].valid_kl
  log_probs = np.asarray(case.batch_fn(case.params, *inputs).log_probs, np.float64)
  teacher = np.asarray(looked_at.teacher_log_probs, np.float64)
  views = case.targets((6, 7))
  assert found.history[0].valid_kl == pytest.approx(
      np.mean((np.exp(teacher) * (teacher - log_probs)).sum(1)), rel=1e-4)
  assert len(views.row) > 2  # all views of a set say what the canonical one says


def test_training_brings_unseen_rows_nearer_and_its_figures_are_true(case):
  found = case.train(steps=60, eval_every=20)
  assert [p.step for p in found.history] == [0, 20, 40, 60] and found.best_step > 0
  valid = case.targets((6, 7))
  start, best = found.history[0].valid_kl, min(p.valid_kl for p in found.history)
  assert start == pytest.approx(case.kl(case.params, valid), rel=1e-4)
  merged = lora.merge(case.params, found.adapters)
  assert case.kl(merged, valid) == pytest.approx(best, rel=1e-3)
  assert best < 0.8 * start


def test_the_objective_is_that_of_heads(case):
  target = case.targets(range(3))
  log_probs = np.asarray(case.batch_fn(case.params, *_packed(case.plan, target.row)).log_probs)
  even = len(log_probs) // 2 * 2
  log_probs, target = log_probs[:even], jax.tree.map(lambda a: a[:even], target)
  soft = jax.nn.softmax(target.teacher_log_probs / 2), jax.nn.softmax(log_probs / 2)
  right = 0.5 * 4 * (soft[0] * np.log(soft[0] / soft[1])).sum()
  own = np.exp(log_probs)
  apart = ((own[::2] - own[1::2]) * (log_probs[::2] - log_probs[1::2])).sum(1).mean() / 2
  found = objectives.rows_loss(
      log_probs, target.teacher_log_probs, np.full(even, 0.5, np.float32), 2.0, 3.0)
  assert even >= 4 and float(found) == pytest.approx(
      float(right + 0.5 * even * 3 * apart), rel=1e-4)


def test_a_consistent_student_learns_from_pairs_of_views_and_moves_less():
  case = Case("char")  # answers that are not as good as sure
  train = case.targets(range(6))
  buckets = finetune._buckets(case.plan.lengths[train.row], train.weight, 256, in_pairs=True)
  rows, _, _ = finetune._draw(np.random.default_rng(0), buckets, train, True)
  assert len(rows) in [own.size for own in buckets] and len(rows) % 2 == 0
  pairs = rows.reshape(-1, 2)
  assert (train.example[pairs[:, 0]] == train.example[pairs[:, 1]]).all()
  assert (pairs[:, 0] != pairs[:, 1]).any()

  def apart(weight):
    found = case.train(consistency_weight=weight, learning_rate=3e-3, steps=40)
    params = lora.merge(case.params, found.adapters)
    own = np.asarray(case.batch_fn(params, *_packed(case.plan, train.row)).log_probs)
    odds = own[:, 1] - own[:, 0]
    return np.mean([odds[train.example == n].std() for n in range(6)])

  assert apart(3.0) < 0.5 * apart(0.0)


def test_one_view_of_each_example_cannot_be_consistent(case):
  with pytest.raises(InputError, match="needs two views of an example"):
    finetune.finetune(
        case.plan, case.batch_fn, case.batch_fn, case.params, case.adapters,
        case.targets(range(6), "canonical"), case.targets((6, 7)), consistency_weight=1.0)


def test_the_same_training_goes_on_where_it_stopped(case, tmp_path):
  whole = case.train()

  asked = []

  def stop():  # in the middle between two looks, whose mean loss must be whole all the same
    asked.append(None)
    return len(asked) == 14

  with pytest.raises(preemption.Terminated):
    case.train(checkpoint_dir=tmp_path, stop=stop)
  steps = []
  resumed = case.train(checkpoint_dir=tmp_path, advance=steps.append)
  assert steps[0] == 13 and sum(steps) == 30
  jax.tree.map(np.testing.assert_array_equal, resumed.adapters, whole.adapters)
  assert resumed.history == whole.history
  with pytest.raises(InputError, match="a training of other data or settings"):
    case.train(checkpoint_dir=tmp_path, facts="bfloat16")


def test_targets_hold_every_view_by_its_weight(case):
  target = case.targets((2, 5))
  np.testing.assert_allclose(target.weight.sum(), 1)
  owners = case.plan.rows.example[target.row]
  np.testing.assert_allclose([target.weight[owners == n].sum() for n in (2, 5)], 0.5)
  np.testing.assert_array_equal(target.teacher_log_probs, case.teacher[owners])
  canonical = case.targets((2, 5), "canonical")
  np.testing.assert_array_equal(canonical.row, case.plan.rows.canonical_row[[2, 5]])
  np.testing.assert_array_equal(canonical.example, [2, 5])
  np.testing.assert_array_equal(target.example, owners)


@pytest.mark.parametrize("in_pairs", [False, True])
def test_rows_of_all_lengths_count_by_their_weight(in_pairs):
  lengths, weight = np.array([10, 100, 20, 200, 30, 150]), np.full(6, 1 / 6)
  if in_pairs:  # views of one example are of one length
    lengths = np.repeat(lengths[::2], 2)
  train = finetune.Target(np.arange(6), weight, np.zeros((6, 2)), np.arange(6) // 2)
  buckets = finetune._buckets(lengths, weight, 256, in_pairs)
  rng = np.random.default_rng(0)
  count = np.zeros(6)
  for _ in range(4000):
    chosen, length, share = finetune._draw(rng, buckets, train, in_pairs)
    assert len(chosen) * length <= max(256, 2 * length) and lengths[chosen].max() <= length
    np.add.at(count, chosen, share)
  np.testing.assert_allclose(count / 4000, weight, atol=0.02)


@pytest.mark.parametrize(("settings", "says"), [
    ({"steps": -1}, "steps must be >= 0"),
    ({"learning_rate": 0.0}, "learning_rate must be > 0"),
    ({"learning_rate": 1e30}, "not finite at step 10: lower learning_rate"),
])
def test_what_cannot_be_trained_is_refused(case, settings, says):
  with pytest.raises(InputError, match=says):
    case.train(**settings)


def test_adapters_are_the_same_from_their_file(case, tmp_path):
  adapters = jax.tree.map(lambda a: a + 0.5, case.adapters)
  lora.save_adapters(tmp_path / "own.safetensors", adapters, 3.0)
  found, alpha = lora.load_adapters(tmp_path / "own.safetensors")
  jax.tree.map(np.testing.assert_array_equal, found, adapters)
  assert alpha == 3.0


@pytest.mark.parametrize("content", [b"", b"no safetensors", None])
def test_files_that_hold_no_adapters_are_refused(tmp_path, content):
  path = tmp_path / "own.safetensors"
  if content is None:
    safetensors.numpy.save_file({"q.a": np.zeros((1, 2, 1))}, path, {"alpha": "1.0"})
  else:
    path.write_bytes(content)
  with pytest.raises(InputError, match="holds no adapters of this package"):
    lora.load_adapters(path)


@pytest.mark.parametrize(("settings", "says"), [
    ({"rank": 0}, "rank must be an integer >= 1"),
    ({"targets": ("query",)}, "no matrix 'query' to adapt; this model has q, k, v, out, gate"),
    ({"targets": ()}, "targets must name at least one"),
])
def test_adapters_that_cannot_be_made_are_refused(case, settings, says):
  with pytest.raises(InputError, match=says):
    lora.init_adapters(case.params, jax.random.key(0), **settings)
