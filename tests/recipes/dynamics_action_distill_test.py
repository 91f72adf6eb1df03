"""A cart-pole at a tiny size: its mirror image, what actions are worth, and what is refused."""

import json

import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import dynamics_action_distill as recipe

pytest.importorskip("mujoco")
SIZES = {"n_train": 200, "n_test": 40, "steps": 150, "eval_every": 50, "batch_size": 64,
         "hidden": 16, "depth": 1, "learning_rate": 0.01}


@pytest.mark.slow
def test_a_run_leaves_its_figures_and_pictures(tmp_path, capsys):
  config, out = recipe.Config(**SIZES), tmp_path / "out"
  results = recipe.run(config, out)
  assert {"plant.png", "diagnostics.png", "results.json"} <= {p.name for p in out.iterdir()}
  assert json.loads((out / "results.json").read_text()) == results
  # Step and mirror image are all the views there are, and the teacher their mean.
  assert results["data"]["test"] == {"examples": 40, "movable": 40, "exact_orbits": 40}
  assert results["cost"]["rows"] == 2 * 240
  assert results["teacher_by_views"][-1]["fidelity"] == 0
  found = results["retrieval"]
  assert found["candidates"] == 40
  for model in ("baseline", "student"):
    assert found[model]["with"]["median_rank"] < found[model]["shuffled"]["median_rank"]
  assert results["verdict"][-1]["check"] == "actions_matter"
  recipe.show(results, out)
  shown = capsys.readouterr().out
  assert "shuffled action" in shown and "plant.png" in shown


@pytest.mark.parametrize("changes, message", [
    (dict(symmetry="rotation"), "rotation is not of plants; of plants there is mirror"),
    (dict(world="evidence_qa", dataset=None), "the data has no observations and actions"),
    (dict(dataset="walker"), "the world cart_pole has no datasets, got 'walker'"),
])
def test_what_cannot_be_used_is_refused(changes, message, tmp_path):
  with pytest.raises(InputError, match=message):
    recipe.run(recipe.Config(**{**SIZES, **changes}), tmp_path / "out")
  assert not (tmp_path / "out").exists()
