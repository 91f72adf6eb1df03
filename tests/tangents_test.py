"""Adapters in closed form: derivatives are those of another way, the regression finds what made
the answers, and what is found is nearer the teacher."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax import (
    checkpoints,
    experiment,
    language,
    lora,
    predict,
    predictions,
    tangents,
)
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe

FIELDS = dict(
    world="evidence_qa", dataset="evidence_qa", n_train=10, n_test=3, k_train=2, k_test=3,
    max_shapes=2, batch_tokens=512, lora_batch_tokens=256, lora_rank=2, set_orders=2,
    lora_targets="q,down", student="set", lora_solver="tangent",
    lora_control=True)


@pytest.fixture(scope="module")
def asked(tiny_lm):
  config = recipe.Config(lm_name=tiny_lm, **FIELDS)
  asked = experiment.ask(config)
  plan = experiment.plan_views(
      config, asked.data, asked.prepared, asked.lm.tokenizer, asked.symmetry)
  plan = language.as_set(plan, asked.symmetry, config.set_orders)
  plan = language.only_rows(plan, plan.rows.canonical_row, 512, 1)
  adapters = lora.init_adapters(asked.lm.params, jax.random.key(0), rank=2, targets=["q", "down"])
  return config, asked, plan, tangents.init_adapters(adapters, jax.random.key(1))


def test_derivatives_backwards_are_those_forwards(asked):
  config, asked, plan, adapters = asked
  answers = experiment.lm_answers(config, asked.lm, asked.symmetry)
  remat = experiment.lm_answers(config, asked.lm, asked.symmetry, remat=True)
  elements, rows = language.batch_inputs(plan, plan.batches[0])
  params = lora.attach(asked.lm.params, adapters)
  found = jax.jit(tangents.scorer(remat))(params, elements, rows)
  as_is = answers(asked.lm.params, elements, rows).log_probs
  np.testing.assert_allclose(found.log_probs, as_is, atol=1e-5)
  slopes = np.asarray(found.tangents, np.float32)
  assert slopes.shape[1] == 2 * asked.lm.config.num_layers * 4
  rng = np.random.default_rng(0)
  for _ in range(3):
    cores = rng.normal(size=slopes.shape[1])

    def moved(step, cores=cores):
      changed = lora.merge(asked.lm.params, tangents.at(step * cores, adapters))
      return answers(changed, elements, rows).log_probs

    _, slope = jax.jvp(moved, (0.0,), (1.0,))  # forwards, and of all rows at once
    real = np.asarray(slope) @ tangents.contrasts(2).T
    size = np.linalg.norm(slopes * cores, axis=1).max()
    assert size > 1e-4
    # They are kept as bfloat16.
    np.testing.assert_allclose(slopes @ cores / size, real[:, 0] / size, atol=0.01)


def test_the_regression_finds_what_made_the_answers():
  rng = np.random.default_rng(0)
  adapters = {"q": {"a": jnp.ones((1, 4, 2)), "b": jnp.ones((1, 2, 4))}}
  log_probs = np.log(rng.dirichlet(np.full(3, 9.0), 40)).astype(np.float32)
  slopes = rng.normal(size=(40, 2 * 4)).astype(np.float32)
  cores, basis = np.array([0.05, -0.1, 0.02, 0.08]), tangents.contrasts(3)
  z = 0.9 * log_probs @ basis.T + slopes.reshape(40, 2, 4) @ cores + 0.03
  teacher = np.asarray(jax.nn.log_softmax(z @ basis))
  train, valid = np.arange(30), np.arange(30, 40)

  def solve(slopes):
    return tangents.solve(
        tangents.Tangents(log_probs, slopes), teacher, train, valid, adapters)

  def mean_kl(answer):
    return (np.exp(teacher) * (teacher - answer))[valid].sum(1).mean()

  found, by_chance = solve(slopes), solve(rng.normal(size=slopes.shape).astype(np.float32))
  assert found.ridge == tangents.RIDGES[0] and np.argmin(found.valid_kl) == 0
  assert mean_kl(found.log_probs) == pytest.approx(found.valid_kl[0], rel=0.01)
  assert found.valid_kl[0] < 0.05 * mean_kl(log_probs) < by_chance.valid_kl[0]
  assert found.scale == pytest.approx(0.9, abs=0.05) and abs(found.shift.sum()) < 1e-9
  # C is that which the slopes were multiplied by, over the scale: here A C B is the sum of C.
  made = np.asarray(found.adapters["q"]["a"] @ found.adapters["q"]["b"])
  np.testing.assert_allclose(made, cores.sum() / 0.9, atol=0.02)


@pytest.fixture(scope="module")
def run(tiny_lm, tmp_path_factory):
  out = tmp_path_factory.mktemp("tangents") / "run"
  return out, recipe.run(recipe.Config(lm_name=tiny_lm, **FIELDS), out)


def test_a_student_by_the_tangent_is_no_farther_from_the_teacher(run):
  _, results = run
  own = results["student"]
  before, after = own["history"]
  assert own["solver"] == "tangent" and own["ridge"] in tangents.RIDGES
  assert before["valid_kl"] == pytest.approx(own["model_valid_kl"])
  assert own["best_step"] == int(after["valid_kl"] < before["valid_kl"])
  assert own["gap"]["pairwise_tv"] == results["controls"]["shuffled_targets"]["gap"][
      "pairwise_tv"] == 0


def of_test(out):
  """The student's answers to the run's test examples, as new ones."""
  saved = predict.load_saved(out)
  asked = experiment.ask(saved.config)
  test = [e for e, is_test in zip(asked.data.examples, asked.data.is_test, strict=True) if is_test]
  assert predictions.read(out / "predictions.json")["id"] == [e.id for e in test]
  return saved.recipe.predictor(saved)(test)


def answers_as_kept(out):
  """The same, which are those that the run kept."""
  found, kept = of_test(out), predictions.read(out / "predictions.json")
  np.testing.assert_allclose(np.exp(found.student), kept["probabilities"]["student"], atol=1e-5)
  return found


def test_the_student_answers_new_texts_as_the_run_did(run):
  found = answers_as_kept(run[0])
  assert np.abs(np.exp(found.student) - np.exp(found.baseline)).max() > 1e-5


@pytest.fixture(scope="module")
def source(run, tmp_path_factory):
  """The run with adapters that change much."""
  out = tmp_path_factory.mktemp("source") / "run"
  shutil.copytree(run[0], out)
  params, meta = checkpoints.load_student(out / "student")
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype("f4"), params)
  meta["settings"] |= {"scale": 1.0, "shift": []}
  checkpoints.save_student(out / "student", params, meta)
  return out


@pytest.fixture(scope="module")
def with_head(source, tiny_lm, tmp_path_factory):
  out = tmp_path_factory.mktemp("with_head") / "run"
  fields = FIELDS | {"student": "ridge", "lora_from": str(source)}
  return out, recipe.run(recipe.Config(lm_name=tiny_lm, **fields), out)


def test_a_head_reads_sets_with_the_adapters_of_another_run(run, source, with_head):
  out, results = with_head
  own = predictions.read(out / "predictions.json")["probabilities"]["set"]
  np.testing.assert_allclose(own, np.exp(of_test(source).student), atol=1e-5)  # the control
  before = predictions.read(run[0] / "predictions.json")["probabilities"]["student"]
  assert np.abs(np.subtract(own, before)).max() > 1e-3
  assert results["student"]["adapters"]["targets"] == ["down", "q"]
  answers_as_kept(out)


def test_adapters_are_kept_beside_the_head_and_looked_at(with_head, tmp_path):
  out = tmp_path / "run"
  shutil.copytree(with_head[0], out)
  found, alpha = lora.load_adapters(out / "student/adapters.safetensors")
  other = found | {"q": found["q"] | {"a": found["q"]["a"] + 1}}
  saved = predict.load_saved(out)
  for own, scale in ((other, alpha), (found, 2 * alpha)):
    lora.save_adapters(out / "student/adapters.safetensors", own, scale)
    with pytest.raises(InputError, match="not those that it learned with"):
      saved.recipe.predictor(saved)


@pytest.mark.slow
@pytest.mark.parametrize("fields, text", [
    ({"n_train": 9}, "learned from other data"),
    ({"valid_fraction": 0.3}, "of a run with valid_fraction 0.2, here it is 0.3"),
    ({"set_orders": 3}, "of a run with set_orders 2, here it is 3"),
    ({"dtype": "bfloat16"}, "of another model or dtype"),
    ({"student_reads": "view"}, "for heads that read sets, got the student 'ridge'"),
    ({"student": "set"}, "for heads that read sets"),
])
def test_adapters_that_do_not_fit_are_refused(source, tiny_lm, tmp_path, fields, text):
  fields = FIELDS | {"student": "ridge", "lora_from": str(source)} | fields
  with pytest.raises(InputError, match=text):
    recipe.run(recipe.Config(lm_name=tiny_lm, **fields), tmp_path / "out")


@pytest.mark.slow
def test_a_head_is_no_source_of_adapters(with_head, tiny_lm, tmp_path):
  fields = FIELDS | {"student": "ridge", "lora_from": str(with_head[0])}
  with pytest.raises(InputError, match="holds the student 'ridge'"):
    recipe.run(recipe.Config(lm_name=tiny_lm, **fields), tmp_path / "out")


@pytest.mark.parametrize("fields, text", [
    ({"student": "lora"}, "learns from one row of each example"),
    ({"temperature": 2.0}, "learns from the teacher as it is"),
    ({"lora_solver": "newton"}, "lora_solver must be one of adamw, tangent"),
])
def test_what_it_cannot_do_is_said(tiny_lm, tmp_path, fields, text):
  with pytest.raises(InputError, match=text):
    recipe.run(recipe.Config(lm_name=tiny_lm, **(FIELDS | fields)), tmp_path / "out")
