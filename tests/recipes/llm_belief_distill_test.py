"""Example C at a tiny size: every student, options, what is left, what continues."""

import dataclasses
import json

import again
import numpy as np
import pytest
import reported

from mezzanine_jax import cli, language, predict
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import llm_belief_distill as recipe
from mezzanine_jax.text_students import TEXT_STUDENTS

SIZES = {"n_train": 10, "n_test": 5, "k_train": 2, "k_test": 3, "steps": 6, "eval_every": 3,
         "batch_size": 4, "max_shapes": 1, "batch_tokens": 512, "speed_texts": 2, "width": 8,
         "layers": 1, "heads": 2, "hidden": 8}


pytestmark = pytest.mark.slow  # three students; configs_test runs one in the fast tier


@pytest.fixture(scope="module")
def config(tiny_lm):
  """The tiny model is both: teacher and, its states pooled, encoder."""
  return recipe.Config(world="evidence_qa", lm_name=tiny_lm, encoder_name=tiny_lm, **SIZES)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
  out = tmp_path_factory.mktemp("run")
  names = (recipe.ENCODER_HEAD, *TEXT_STUDENTS)
  return {name: (out / name, recipe.run(dataclasses.replace(config, student=name), out / name))
          for name in names}


@pytest.mark.parametrize("name", [recipe.ENCODER_HEAD, *TEXT_STUDENTS])
def test_every_student_is_reported_like_any_other(finished, name):
  out, results = finished[name]
  assert json.loads((out / "results.json").read_text()) == results
  assert {"fidelity", "accuracy", "gap", "best_step"} <= set(results["student"])
  assert set(results["controls"]) == {"constant", "shuffled_targets"}
  assert len(results["verdict"]) == 4
  models = results["cost"]["models"]
  assert set(models) == {"student", "lm_one_pass", "teacher"}
  assert all(own[k] > 0 for own in models.values() for k in own)
  assert models["teacher"]["flops_a_text"] > models["lm_one_pass"]["flops_a_text"]
  assert models["teacher"]["rows_a_text"] == 3
  assert (out / "texts.zarr").exists() == (name == recipe.ENCODER_HEAD)


def test_the_teacher_does_not_depend_on_the_student(finished):
  blocks = [json.dumps([r["baseline"], r["teacher"]]) for _, r in finished.values()]
  assert len(set(blocks)) == 1


@pytest.mark.parametrize("name", [recipe.ENCODER_HEAD, *TEXT_STUDENTS])
def test_its_predictions_again(finished, config, tmp_path, name):
  out, _ = finished[name]
  made = predict.predict(out, again.write_test_part(config, tmp_path / "new.jsonl"))
  assert made.answers.baseline is None  # the LM is not asked
  again.check_same(out, made)


def test_a_bag_has_no_gap(finished):
  assert finished["embedding_bag"][1]["student"]["gap"]["pairwise_tv"] < 1e-6


def test_a_run_whose_results_are_lost_gives_the_same_again(finished, config):
  out, results = finished["transformer"]
  (out / "results.json").unlink()
  again = recipe.run(dataclasses.replace(config, student="transformer"), out)
  for part in ("baseline", "teacher", "student", "controls", "verdict"):
    assert again[part] == results[part]
  assert again["cost"]["rows_run"] == 0


def test_options_under_other_labels_are_answered_under_them(config, tmp_path):
  rows = [{"question": f"what is {i}", "options": [f"one {i}", f"two {i}"], "answer": i % 2}
          for i in range(20)]
  file = tmp_path / "quiz.jsonl"
  file.write_text("\n".join(map(json.dumps, rows)))
  own = dataclasses.replace(config, world="multiple_choice", dataset=str(file),
                            symmetry="option_order", student="embedding_bag", n_test=4)
  results = recipe.run(own, tmp_path / "out")
  assert results["data"]["test"]["exact_orbits"] == results["data"]["test"]["examples"]
  # A bag reads the same words under both orders, so that by option its answer is turned round.
  assert np.isfinite(results["student"]["gap"]["pairwise_tv"])


def test_bad_students_are_refused_before_anything_is_written(config, tmp_path):
  with pytest.raises(InputError, match="multiple of heads"):
    recipe.run(dataclasses.replace(config, student="transformer", heads=3), tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_the_command_shows_the_cost(finished, config, capsys):
  out, _ = finished["embedding_bag"]
  argv = [w for f in dataclasses.fields(config) if getattr(config, f.name) is not None
          and f.name != "student" for w in (f"--{f.name}", str(getattr(config, f.name)))]
  assert cli.main(["run", recipe.NAME, *argv, "--student", "embedding_bag", "--out", str(out)]) == 0
  assert "texts/s" in capsys.readouterr().out


def test_only_rows_reads_the_same_tokens(config):
  from mezzanine_jax import experiment

  asked = experiment.ask(config)
  plan = experiment.plan_views(
      config, asked.data, asked.prepared, asked.lm.tokenizer, asked.symmetry)
  which = np.arange(1, len(plan.rows.example), 3)
  part = language.only_rows(plan, which, 256, 1)
  assert part.batches[-1].stop == len(which)
  mine, theirs = part.texts_of(np.arange(len(which))), plan.texts_of(which)
  assert np.array_equal(mine.tokens, theirs.tokens)
  for i in range(1, len(which)):
    same = mine.tokens[i] == mine.tokens[i - 1]
    assert same[: part.shared[i]].all()


def test_it_can_be_reported(finished):
  out, results = finished["embedding_bag"]
  page = reported.check_run(out)
  assert reported.pictures(page) == [
      "Did the student learn, or only flatten?", "Every example that can move",
      "Gap against the number of views", "Gap against the number of segments", "Reliability"]
  assert len(results["examples"]) == results["data"]["test"]["movable"] > 0
