"""The search for a large effect, on a recipe of another package whose figures are known."""

import json
import sys

import pytest
from fabricated import write_package

from mezzanine_jax import autotune, cli, config
from mezzanine_jax.autotune import Range
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import get_recipe

CODE = '''
"""Accuracy falls with `noise`, the gap grows with it, and `width` is worth a little."""

import dataclasses
import math

from mezzanine_jax import runs
from mezzanine_jax.config import option
from mezzanine_jax.errors import InputError

RAN = []


@dataclasses.dataclass(frozen=True)
class Config:
  noise: float = option(0.0, "how hard it is", at_least=0.0)
  width: int = option(1, "how large it is", at_least=1)
  kind: str = option("a", "what it is")
  seed: int = option(0, "the seed")
  speed: int = option(1, "changes no figure", runtime=True)


def run(config, out):
  with runs.opened(out, "hard", config) as folder:
    if folder.results is not None:
      return folder.results
    if config.width == 7:
      raise InputError("width 7 is one\\ntoo many")
    folder = runs.begin(folder, runs.fingerprint("hard", config))
    RAN.append((config.noise, config.width))
    if config.width == 9:
      raise KeyboardInterrupt
    gap = config.noise / 2 + config.width / 100 if config.width != 5 else math.nan
    return runs.finish(folder, {
        "baseline": {"accuracy": 1 - config.noise, "accuracy_stderr": 0.01,
                     "gap": {"pairwise_tv": gap}}})
'''
ACCURACY = Range("baseline.accuracy", 0.5, 0.9)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
  """The recipe `hard`, as an installed package has it."""
  write_package(tmp_path / "site", "hard_one", CODE, "[mezzanine.recipes]\nhard = hard_one\n")
  monkeypatch.syspath_prepend(str(tmp_path / "site"))
  yield get_recipe("hard")
  sys.modules.pop("hard_one", None)


def _tune(recipe, out, vary=None, fields=(), **more):
  vary = {"noise": [0.0, "0.2", 0.4, 0.6], "width": ["1", "2"]} if vary is None else vary
  return autotune.tune(recipe, "hard", dict(fields), vary, out, **more)


def _settings(found):
  return [tuple(t["setting"].values()) for t in found["tried"]]


def test_the_best_within_range_is_found(recipe, tmp_path):
  found = _tune(recipe, tmp_path / "out", within=[ACCURACY])
  # noise .6 has the largest gap, but is dead; of those alive (.2, .4) the largest is .4 and 2.
  assert found["best"]["setting"] == {"noise": 0.4, "width": 2}
  assert _settings(found)[:4] == [(0.4, 2), (0.4, 1), (0.2, 2), (0.2, 1)]
  assert [t["within"] for t in found["tried"]] == [True] * 4 + [False] * 4
  assert found["best"]["figures"] == pytest.approx({
      "baseline.accuracy": 0.6, "baseline.accuracy_stderr": 0.01,
      "baseline.gap.pairwise_tv": 0.22})
  assert json.loads((tmp_path / "out" / "tune.json").read_text()) == found
  assert (tmp_path / "out" / "noise=0.4,width=2" / "results.json").is_file()


def test_best_py_is_the_best_run(recipe, tmp_path, capsys):
  out = tmp_path / "out"
  _tune(recipe, out, fields={"kind": 'it\'s "b"'}, within=[ACCURACY])
  again = config.read_file(out / "best.py")
  assert again == {"recipe": "hard", "noise": 0.4, "width": 2, "kind": 'it\'s "b"'}
  done = json.loads((out / "noise=0.4,width=2" / "config.json").read_text())["config"]
  assert vars(config.resolve(recipe.Config, {k: v for k, v in again.items() if k != "recipe"})) == (
      done)


def test_only_what_has_not_run_is_run(recipe, tmp_path):
  """More of the same order, more values, another goal: the runs that are there stay."""
  out = tmp_path / "out"
  few = _tune(recipe, out, most=3)
  assert len(recipe.RAN) == 3 and len(few["tried"]) == 3 and few["settings"] == 8
  _tune(recipe, out, most=5, fields={"speed": 4})
  assert len(recipe.RAN) == 5
  _tune(recipe, out)
  assert len(recipe.RAN) == 8 == len(set(recipe.RAN))
  lowest = _tune(recipe, out, maximize="baseline.accuracy")
  assert lowest["best"]["setting"]["noise"] == 0 and len(recipe.RAN) == 8
  more = _tune(recipe, out, {"noise": [0, 0.2, 0.4, 0.6], "width": [1, 2, 3]})
  assert len(recipe.RAN) == 12 and len(more["tried"]) == 12


def test_the_order_is_random_and_stays(recipe, tmp_path):
  plain = [(n, w) for n in (0.0, 0.2, 0.4, 0.6) for w in (1, 2)]
  orders = {}
  for order in (0, 1):
    recipe.RAN.clear()
    _tune(recipe, tmp_path / str(order), order=order)
    orders[order] = list(recipe.RAN)
    assert sorted(recipe.RAN) == plain != recipe.RAN
  assert orders[0] != orders[1]
  recipe.RAN.clear()
  _tune(recipe, tmp_path / "more", {"noise": [0.6, 0.0, 0.2, 0.4, 0.9], "width": [2, 1]})
  assert [s for s in recipe.RAN if s[0] != 0.9] == orders[0]


def test_an_interrupted_search_continues(recipe, tmp_path):
  out = tmp_path / "out"
  with pytest.raises(KeyboardInterrupt):
    _tune(recipe, out, {"width": [1, 2, 3, 9]}, order=1)
  assert [width for _, width in recipe.RAN] == [2, 1, 9]
  found = _tune(recipe, out, {"width": [1, 2, 3]}, order=1)
  assert [width for _, width in recipe.RAN] == [2, 1, 9, 3]
  assert found["best"]["setting"] == {"width": 3}


@pytest.mark.parametrize("name, text, again, warning", [
    ("results.json", "{", 1, "its figures are made again"),
    ("results.json", None, 1, None),
    ("config.json", "[]", 1, "it is run anew"),
    ("../tune.json", "{", 0, None),
])
def test_what_is_damaged_is_made_again(recipe, tmp_path, caplog, name, text, again, warning):
  before = _tune(recipe, tmp_path / "out")
  path = tmp_path / "out" / "noise=0.2,width=2" / name
  path.unlink() if text is None else path.write_text(text)
  recipe.RAN.clear()
  assert _tune(recipe, tmp_path / "out") == before
  assert len(recipe.RAN) == again and set(recipe.RAN) <= {(0.2, 2)}
  assert (warning or "") in caplog.text and bool(caplog.text) == bool(warning)


def test_a_refused_setting_is_passed_over(recipe, tmp_path):
  found = _tune(recipe, tmp_path / "out", {"width": [7, 3, 5]})
  assert _settings(found) == [(3,), (5,), (7,)]  # 5: its gap is not a number
  assert found["tried"][2]["refused"] == "width 7 is one too many"
  assert found["tried"][1]["figures"] == {"baseline.gap.pairwise_tv": None}
  assert not found["tried"][1]["within"] and found["best"]["setting"] == {"width": 3}
  with pytest.raises(InputError, match="no setting can be run; the first, width=7: width 7 is one"):
    _tune(recipe, tmp_path / "none", {"width": [7]})


def test_names_that_are_no_folders(recipe, tmp_path):
  found = _tune(recipe, tmp_path / "out", {"kind": ["a/b", "a_b", "../c", "x" * 300]})
  folders = {t["out"] for t in found["tried"]}
  assert len(folders) == 4 and "kind=a_b" in folders
  assert {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()} == folders


@pytest.mark.parametrize("change, message", [
    (dict(vary={}), "nothing varies: give --vary"),
    (dict(vary={"nois": [1]}), r"unknown field 'nois' \(did you mean 'noise'\?\)"),
    (dict(vary={"width": ["one"]}), "width must be int, got 'one'"),
    (dict(vary={"noise": [-1]}), "noise must be >= 0.0, got -1.0"),
    (dict(vary={"noise": ["1", "1.0"]}), "the values of noise must be different ones"),
    (dict(vary={"noise": range(400), "width": range(1, 400)}), "100,000 settings, this one has 15"),
    (dict(most=0), "most must be >= 1, got 0"),
    (dict(fields={"colour": 1}), "unknown field 'colour'"),
])
def test_refused_before_anything_is_written(recipe, tmp_path, change, message):
  with pytest.raises(InputError, match=message):
    _tune(recipe, tmp_path / "out", **change)
  assert not (tmp_path / "out").exists() and not recipe.RAN


def test_a_figure_that_is_not_there(recipe, tmp_path):
  for figure in ("baseline.acuracy", "baseline.gap", "recipe"):
    with pytest.raises(InputError, match=f"no figure '{figure}'; near it are .*baseline.accuracy"):
      _tune(recipe, tmp_path / "out", maximize=figure)
  assert len(recipe.RAN) == 1  # it shows after the first run, which stays


def test_folders_of_something_else(recipe, tmp_path):
  out = tmp_path / "out"
  _tune(recipe, out, {"width": [1]}, fields={"kind": "b"})
  for vary, fields, message in (
      ({"width": [1]}, {"kind": "c"}, "kind was 'b', now 'c'"),
      ({"noise": [1]}, {"kind": "b"}, "width was 'varied', now 1"),
  ):
    with pytest.raises(InputError, match=f"holds another search .{message}"):
      _tune(recipe, out, vary, fields=fields)
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "a.txt").touch()
  with pytest.raises(InputError, match="holds other files"):
    _tune(recipe, tmp_path / "other")
  with pytest.raises(InputError, match="is a file"):
    _tune(recipe, tmp_path / "other" / "a.txt")


def _command(tmp_path, *argv):
  return cli.main(["tune", "hard", "--out", str(tmp_path / "out"), *argv])


def test_the_command(recipe, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "60")
  argv = ["--vary", "noise=0,0.2,0.4,0.6", "--vary", "width=1|2|7", "--kind", "b", "--within",
          "baseline.accuracy=0.5..0.9"]
  assert _command(tmp_path, *argv) == 0
  shown = capsys.readouterr()
  assert max(map(len, shown.out.splitlines()[:-1])) <= 80
  rows = [line.split() for line in shown.out.splitlines() if line.startswith("noise=")]
  assert rows[0] == ["noise=0.4,", "width=2", ".600±.010", ".220", "best"]
  assert rows[1][:3] == ["noise=0.4,", "width=1", ".600±.010"] and len(rows) == 8
  assert "out of range" in shown.out and shown.out.count("(width 7 is one too many)") == 4
  assert "of 12 settings with baseline.accuracy from 0.5 to 0.9. ±" in " ".join(shown.out.split())
  assert "setting 12 of 12: " in shown.err
  best = tmp_path / "out" / "best.py"
  assert f"mezzanine run --config {best} " in shown.out
  assert config.read_file(best)["kind"] == "b"
  # Where nothing lies within range, there is no best one, nor a file of an earlier.
  assert _command(tmp_path, *argv, "--most", "3", "--within", "baseline.accuracy=..0.1") == 1
  assert "None of 3 of 12 settings" in capsys.readouterr().out and not best.exists()


@pytest.mark.parametrize("argv, message", [
    (["--vary", "noise"], "--vary must be FIELD=VALUE,VALUE,... (or split at |), got 'noise'"),
    (["--vary", "noise=1", "--vary", "noise=2"], "--vary names noise twice"),
    (["--within", "baseline.accuracy=0.6"], "--within must be FIGURE=LOW..HIGH, such as"),
    (["--within", "baseline.accuracy=1..0"], "got 'baseline.accuracy=1..0'"),
    (["--within", "baseline.accuracy=.."], "got 'baseline.accuracy=..'"),
    (["--most", "0"], "--most must be a whole number >= 1, got '0'"),
    (["--order", "first"], "--order must be a whole number >= 0, got 'first'"),
])
def test_bad_arguments(recipe, tmp_path, capsys, argv, message):
  assert _command(tmp_path, *argv) == 2
  assert message in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def test_help(recipe, capsys):
  assert cli.main(["tune", "--help"]) == 0
  assert "hard, but not dead" in " ".join(capsys.readouterr().out.split())
  assert cli.main(["tune", "hard", "--help"]) == 0
  shown = " ".join(capsys.readouterr().out.split())
  assert "mezzanine tune hard [--config FILE]" in shown and "--noise float" in shown


@pytest.mark.slow
def test_a_real_recipe(tmp_path):
  """The digits at a tiny size: what is looked at again is what the runs themselves hold."""
  fields = {"n_train": 60, "n_test": 9, "k_train": 2, "k_test": 3, "steps": 30, "eval_every": 15,
            "batch_size": 16, "student": "mlp", "width": 4, "blocks": 1, "hidden": 8}
  found = autotune.tune(
      get_recipe("vision_view_distill"), "vision_view_distill", fields, {"rotation": [0, 40]},
      tmp_path / "out", within=[Range("baseline.accuracy", 0.0, 1.0)])
  gaps = {}
  for t in found["tried"]:
    results = json.loads((tmp_path / "out" / t["out"] / "results.json").read_text())
    gaps[results["config"]["rotation"]] = results["baseline"]["gap"]["pairwise_tv"]
  assert found["best"]["setting"] == {"rotation": max(gaps, key=gaps.get)}
  assert found["best"]["figures"]["baseline.gap.pairwise_tv"] == max(gaps.values())
