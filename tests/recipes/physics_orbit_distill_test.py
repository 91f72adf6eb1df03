"""Clusters at a tiny size: what a run leaves, what it compares, and what it refuses."""

import dataclasses
import json

import numpy as np
import pytest

from mezzanine_jax import finished, html_report, model_card, symmetries
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import physics_orbit_distill as recipe

SIZES = {"n_train": 200, "n_test": 8, "k_train": 2, "k_test": 3, "steps": 150, "eval_every": 50,
         "batch_size": 32, "hidden": 16, "depth": 1, "particles": 2, "learning_rate": 0.01}


@pytest.mark.slow
def test_a_run_leaves_its_figures_and_pictures(tmp_path, capsys):
  config, out = recipe.Config(**SIZES), tmp_path / "out"
  results = recipe.run(config, out)
  assert sorted(p.name for p in out.iterdir()) == [
      "config.json", "diagnostics.png", "predictions.json", "results.json", "student",
      "turning.png", "views.zarr"]
  assert json.loads((out / "results.json").read_text()) == results
  assert recipe.run(config, out) == results
  assert {"baseline", "teacher", "student", "controls", "verdict", "gap_by_views", "noise_floor",
          "teacher_by_views", "cost", "data"} <= set(results)
  assert results["data"]["test"] == {"examples": 8, "movable": 8, "exact_orbits": 0}
  assert results["cost"]["rows"] == 200 * 3 + 8 * 4
  assert results["baseline"]["gap"]["pairwise_square"] > 0
  assert results["controls"]["constant"]["gap"]["pairwise_square"] < 1e-12
  assert results["noise_floor"]["max_distance"] < 1e-4
  kept = json.loads((out / "predictions.json").read_text())["values"]
  assert np.shape(kept["baseline"]) == np.shape(kept["teacher"]) == (8, 7)
  page = html_report.render(finished.read([out]))
  assert "squared distance" in page and "total variation" not in page
  assert "mlp_values on lennard_jones" in page
  assert "forces_rmse" in results["teacher"] and "| RMSE |" in model_card.render(
      finished.read([out]))
  recipe.show(results, out)
  shown = capsys.readouterr().out
  assert "\nbase model " in shown and "forces" in shown and "turning.png" in shown


@pytest.mark.slow
def test_what_is_seen_as_differences_does_not_move(tmp_path):
  results = recipe.run(recipe.Config(**SIZES, symmetry="translation"), tmp_path / "out")
  assert results["baseline"]["best_step"] > 0
  assert results["baseline"]["gap"]["pairwise_square"] < 1e-8


@pytest.mark.parametrize("changes, message", [
    (dict(symmetry="segment_order"), "segment_order is not of points; of points there are rot"),
    (dict(world="evidence_qa", dataset=None), "the data has no particles"),
    (dict(dataset="argon"), "the world lennard_jones has no datasets, got 'argon'"),
    (dict(n_train=4, text_field="body"), "the world 'lennard_jones' has no text_field"),
])
def test_what_cannot_be_used_is_refused(changes, message, tmp_path):
  with pytest.raises(InputError, match=message):
    recipe.run(recipe.Config(**{**SIZES, **changes}), tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_answers_align_whatever_their_units():
  config = recipe.Config(**SIZES)
  symmetry = symmetries.make_symmetry("particle_order", **dataclasses.asdict(config))
  aligned = recipe._of_numbers(symmetry.align)(np.array([1, 0]), np.arange(7.0))
  assert aligned.tolist() == [0, 4, 5, 6, 1, 2, 3]
