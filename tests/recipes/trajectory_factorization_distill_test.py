"""Plans at a tiny size: what a run leaves, how views are planned, its picture, the LM's form."""

import dataclasses
import json

import numpy as np
import pytest
import reported

from mezzanine_jax import trajectory_figures
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill
from mezzanine_jax.recipes import trajectory_factorization_distill as recipe

SIZES = {"n_train": 200, "n_test": 9, "k_train": 2, "k_test": 12, "steps": 60, "eval_every": 20,
         "batch_size": 16, "hidden": 8, "learning_rate": 0.03, "n_examples": 3}


@pytest.fixture(scope="module")
def config():
  return recipe.Config(**SIZES)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
  out = tmp_path_factory.mktemp("run") / "out"
  return out, recipe.run(config, out)


def test_the_folder_holds_what_a_run_leaves(finished, config):
  out, results = finished
  assert sorted(p.name for p in out.iterdir()) == [
      "config.json", "diagnostics.png", "predictions.json", "results.json", "student",
      "trajectories.png", "views.zarr"]
  assert json.loads((out / "results.json").read_text()) == results
  assert results["config"] == dataclasses.asdict(config)
  assert recipe.run(config, out) == results
  assert {"baseline", "teacher", "student", "controls", "verdict", "gap_by_views",
          "differences", "noise_floor", "cost", "data"} <= set(results)


def test_plans_move_and_few_orders_are_taken_whole(finished):
  _, results = finished
  test = results["data"]["test"]
  assert test["movable"] == 9 and 0 <= test["exact_orbits"] < 9
  assert results["baseline"]["gap"]["pairwise_tv"] > 0
  assert results["cost"]["rows"] <= results["cost"]["views"] <= 200 * 3 + 9 * 13
  assert results["data"]["label_names"] == ["no", "yes"]


def test_it_is_shown_and_can_be_reported(finished, capsys):
  out, results = finished
  recipe.show(results, out)
  shown = capsys.readouterr().out
  assert "\nbase model " in shown and "trajectories.png" in shown and "passage" not in shown
  page = reported.check_run(out)
  assert "clustered by trajectory" in page.text and "gru on grid_trajectories" in page.text
  lines = [view["text"].splitlines() for view in results["examples"][0]["views"]]
  assert sorted(lines[0]) == sorted(lines[1]) and lines[0] != lines[1]


def test_a_run_without_kept_examples_has_an_empty_picture(finished, tmp_path):
  _, results = finished
  trajectory_figures.worst_moved(results | {"examples": []}, [], tmp_path)
  assert (tmp_path / "trajectories.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("changes, message", [
    (dict(world="evidence_qa"), "the data has no trajectories"),
    (dict(design="balanced"), "design 'balanced' needs one family of orders"),
])
def test_what_cannot_be_used_is_refused(config, changes, message, tmp_path):
  with pytest.raises(InputError, match=message):
    recipe.run(dataclasses.replace(config, **changes), tmp_path / "out")
  assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_language_model_is_asked_about_the_same_plans(tiny_lm, tmp_path):
  config = hf_llm_hiddenstate_order_distill.Config(
      world="grid_trajectories", symmetry="factorization", lm_name=tiny_lm, n_train=8, n_test=4,
      k_train=2, k_test=3, steps=4, eval_every=2, batch_size=4, hidden=4, max_shapes=1)
  results = hf_llm_hiddenstate_order_distill.run(config, tmp_path / "out")
  assert (tmp_path / "out" / "trajectories.png").is_file()
  assert results["data"]["choices"] == [" no", " yes"]
  assert results["data"]["prompts"]["tokenized_as_whole_texts"] == 0
  assert np.isfinite(results["baseline"]["gap"]["pairwise_tv"])
