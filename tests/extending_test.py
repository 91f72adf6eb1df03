"""The example of docs/extending.md, installed and run as the page says."""

import json
import pathlib
import re
import sys

import numpy as np
import pytest
from fabricated import entry_points, write_package

from mezzanine_jax import cli
from mezzanine_jax.recipes import get_recipe
from mezzanine_jax.symmetries import get_symmetry
from mezzanine_jax.worlds import load_world

PAGE = (pathlib.Path(__file__).parents[1] / "docs/extending.md").read_text("utf-8")


def _block(language: str) -> str:
  """The page's first block of code in a language."""
  return re.search(rf"```{language}\n(.*?)```", PAGE, re.S)[1]


@pytest.fixture
def package(tmp_path, monkeypatch):
  """The package of the page, installed."""
  write_package(tmp_path / "site", "bars", _block("python"), entry_points(_block("toml")))
  monkeypatch.syspath_prepend(str(tmp_path / "site"))
  yield
  sys.modules.pop("bars", None)


def test_it_is_short_and_named():
  assert len(_block("python").splitlines()) < 75
  for command in re.findall(r"^mezzanine .*", PAGE, re.M):
    assert command.split()[1] in ("run", "tune", "new")


def test_it_is_listed(package, capsys):
  assert cli.main(["list"]) == 0
  shown = capsys.readouterr().out
  for text in ("A level (label 0) or an upright bar", "An image rolled down and to the right",
               "How far a classifier of bars moves"):
    assert text in shown


def test_it_runs(package, tmp_path, capsys):
  out = tmp_path / "out"
  command = ["run", "bars", "--out", str(out), "--n_test", "40"]
  assert cli.main(command) == 0
  shown = capsys.readouterr().out
  results = json.loads((out / "results.json").read_text())
  assert results["config"]["n_test"] == 40 and results["recipe"] == "bars"
  baseline = results["baseline"]
  # Bars stand where the classifier expects them, until they are rolled away.
  assert baseline["accuracy"] > 0.9 and 0.1 < baseline["gap"]["pairwise_tv"] < 0.9
  assert baseline["gap"]["flip_rate_stderr"] > 0
  assert shown.startswith("accuracy ") and "gap ." in shown
  assert cli.main(command) == 0
  assert capsys.readouterr().out == "This run had finished before; its results again:\n" + shown
  assert cli.main([*command, "--k_test", "3"]) == 2
  assert "k_test was 16, now 3" in capsys.readouterr().err


@pytest.mark.slow
def test_the_figures_are_those_of_all_views(package, tmp_path):
  """The gap over many draws is that over all 64 places, by hand."""
  recipe, roll = get_recipe("bars"), get_symmetry("roll")()
  world = load_world("bars", n_train=60, n_test=5, seed=3)
  images = {part: np.stack([e.x["image"] for e in own]) / np.float32(255)
            for part, own in (("train", world.train), ("test", world.test))}
  labels = np.array([e.label for e in world.train])
  means = [images["train"][labels == label].mean(0) for label in (0, 1)]
  gaps = []
  for x in images["test"]:
    seen = [np.asarray(roll.act(np.array([i, j]), x)) for i in range(8) for j in range(8)]
    logit = np.array([((m0 - x) ** 2 - (m1 - x) ** 2).sum()
                      for x in seen for m0, m1 in [means]])
    p = 1 / (1 + np.exp(-logit))
    gaps.append(np.abs(p[:, None] - p[None]).mean())
  config = recipe.Config(n_train=60, n_test=5, k_test=400, seed=3)
  found = recipe.run(config, tmp_path / "out")["baseline"]["gap"]["pairwise_tv"]
  assert found == pytest.approx(np.mean(gaps), abs=0.04)


@pytest.mark.slow
def test_its_world_and_symmetry_in_a_built_in_recipe(package, tmp_path):
  command = ("run vision_view_distill --world bars --symmetry roll --n_train 60 --n_test 9"
             " --k_train 2 --k_test 3 --steps 10 --eval_every 5 --batch_size 16 --width 4"
             " --blocks 1 --hidden 8 --out").split()
  assert cli.main([*command, str(tmp_path / "out")]) == 0
  results = json.loads((tmp_path / "out" / "results.json").read_text())
  assert results["data"]["test"] == {"examples": 9, "movable": 9, "exact_orbits": 0}
