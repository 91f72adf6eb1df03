"""The table fits a terminal, the picture shows something, whatever the results are."""

import json

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

from mezzanine_jax import evaluation, figures, report, runs
from mezzanine_jax.evaluation import Beliefs

MODELS = ("baseline", "student", "constant", "shuffled_targets")


def _beliefs(rng, num, views, choices, movable):
  log_probs = rng.normal(0, 1, (num, views, choices))
  log_probs -= np.log(np.exp(log_probs).sum(-1, keepdims=True))
  real = np.arange(views) < (views if movable else 1)
  log_weights = np.where(real, -np.log(real.sum()), -np.inf) * np.ones((num, 1))
  canonical = log_probs[:, 0].copy()
  log_probs[:, ~real] = np.nan
  marked = np.tile(np.arange(views) == 0, (num, 1))
  size = np.full(num, 120.0 if movable else 1.0)
  return Beliefs(*(a.astype(np.float32) for a in (log_probs, log_weights, size, canonical)), marked)


def _results(movable=True, num=40):
  """Results as the recipe makes them, of random beliefs; and the LM's beliefs."""
  rng = np.random.default_rng(0)
  beliefs = {name: _beliefs(rng, num, 3, 2, movable) for name in MODELS}
  lm, labels = beliefs["baseline"], rng.integers(0, 2, num)
  can_move, names = lm.orbit_size > 1, [f"c{n}" for n in range(num)]
  figures = {
      name: jax.tree.map(np.asarray, evaluation.figures(b, lm, jnp.asarray(labels)))
      for name, b in beliefs.items()
  }
  noise = evaluation.teacher_noise(lm)
  blocks = {
      name: evaluation.model_block(f, figures["baseline"], noise, can_move, names)
      for name, f in figures.items()
  }
  results = {
      "config": {"k_test": 8, "lm_name": "gpt2", "dataset": "../data/boolq"},
      "data": {"choices": [" no", " yes"],
               "test": {"examples": num, "movable": int(can_move.sum())},
               "notes": {"messages": []}, "prompts": {"one_sentence": 3, "truncated_prompts": 0}},
      "baseline": blocks["baseline"] | {"choice_mass": 0.12}, "student": blocks["student"],
      "teacher": evaluation.teacher_block(lm, labels, names),
      "controls": {name: blocks[name] for name in MODELS[2:]},
      "verdict": evaluation.verdict(
          figures["student"], figures["baseline"], figures["constant"], blocks["student"],
          can_move, names),
      "gap_by_views": evaluation.gap_by_views(lm, names, 0),
      "cost": {"rows": 100, "views": 120, "seconds": 12.0, "total_seconds": 15.0},
  }
  return results, lm


@pytest.fixture(scope="module")
def normal():
  return _results()


@pytest.fixture(scope="module")
def still():
  return _results(movable=False)


def _plain(results, tmp_path):
  """What `results.json` gives back: null for NaN."""
  return runs.write_json(tmp_path / "results.json", results)


def _shown(results, capsys, monkeypatch, columns=80):
  monkeypatch.setenv("COLUMNS", str(columns))
  report.show(results, "out/x")
  return capsys.readouterr().out


def _panels(path):
  """Pixels of the four panels: the share that is coloured, which axes and text are not."""
  image = matplotlib.image.imread(path)[..., :3]
  coloured = np.ptp(image, axis=-1) > 0.1
  halves = [half for part in np.array_split(coloured, 2) for half in np.array_split(part, 2, 1)]
  return image, [half.mean() for half in halves]


def test_the_picture_shows_all_four_panels(normal, tmp_path):
  figures.diagnostics(*normal, tmp_path / "d.png")
  assert [p.name for p in tmp_path.iterdir()] == ["d.png"]  # nothing half-written beside it
  _, coloured = _panels(tmp_path / "d.png")
  gap, far, scatter, views = coloured
  assert gap > 0.02 and far > 0.02 and scatter > 2e-4 and views > 2e-4


def test_the_picture_of_three_choices(normal, tmp_path):
  results = normal[0] | {"data": normal[0]["data"] | {"choices": [" a", " b", " c"]}}
  lm = _beliefs(np.random.default_rng(0), 12, 4, 3, movable=True)
  figures.diagnostics(results, lm, tmp_path / "d.png")
  _, coloured = _panels(tmp_path / "d.png")
  assert min(coloured) > 2e-4


@pytest.mark.parametrize("null", [False, True])
def test_the_picture_where_nothing_can_move(still, tmp_path, null):
  results, lm = still
  if null:
    results = _plain(results, tmp_path)
  figures.diagnostics(results, lm, tmp_path / "d.png")
  image, _ = _panels(tmp_path / "d.png")
  assert 0.005 < (image < 0.5).any(-1).mean() < 0.2  # axes and titles, on white


@pytest.mark.parametrize(("student", "reads", "says"), [
    ("residual", "view", "which is the LM itself"), ("set", "set", "the LM that reads a set"),
    ("residual", "set", "the LM that reads a set"),
    ("mlp", "view", "gives every input the same"),
    ("mlp_values", "view", "gives every input the same"),
])
def test_an_untrained_student_is_told_first(normal, tmp_path, capsys, monkeypatch, student,
                                             reads, says):
  results = _plain(normal[0], tmp_path)
  results = results | {"config": results["config"] | {"student": student},
                       "student": results["student"] | {"best_step": 0, "reads": reads}}
  text = " ".join(_shown(results, capsys, monkeypatch).split())
  assert says in text and text.index(says) < text.index("95% interval")


def test_the_table_fits_80_columns(normal, tmp_path, capsys, monkeypatch):
  results = _plain(normal[0], tmp_path)
  text = _shown(results, capsys, monkeypatch)
  lines = text.splitlines()
  assert max(map(len, lines)) <= 80
  header = next(line for line in lines if "accuracy" in line)
  for name in ("accuracy", "NLL", "gap", "flips", "distance", "fidelity"):
    assert name in header
  rows = {label: next(line for line in lines if line.startswith(label))
          for label in ("LM, single view", "teacher, K=8", "student", "constant", "shuffled")}
  assert {label: row.count("±") for label, row in rows.items()} == {
      "LM, single view": 5, "teacher, K=8": 2, "student": 6, "constant": 6, "shuffled": 6
  }
  student = results["student"]
  for figure in (student["accuracy"], student["gap_movable"]["pairwise_tv"]):
    assert f"{figure:.3f}"[1:] + "±" in rows["student"]
  for check in results["verdict"]:
    line = next(line for line in lines if check["meaning"] in line)
    assert line.split()[0] == check["answer"]
    assert line.endswith("{:+.3f} to {:+.3f}".format(*check["interval"]))
  assert "a single sentence, which cannot move: 3" in text and "too long" not in text
  assert lines[-1] == "results.json and diagnostics.png are in out/x"


def test_large_numbers_fit_too(normal, tmp_path, capsys, monkeypatch):
  results = json.loads(json.dumps(_plain(normal[0], tmp_path)))
  results["config"]["k_test"] = 1000
  blocks = [results["baseline"], results["student"], *results["controls"].values()]
  for block in blocks:
    block |= {"accuracy": 0.9996, "accuracy_stderr": 0.0004, "nll": 10.512, "nll_stderr": 3.25}
    block |= {"fidelity": 12.345, "fidelity_stderr": 101.6}
    block["gap_movable"] |= {"flip_rate": 1.0, "flip_rate_stderr": 0.125}
  for check in results["verdict"]:
    check["interval"] = [-12.3456, 100.0]
  lines = _shown(results, capsys, monkeypatch).splitlines()
  assert max(map(len, lines)) <= 80
  row = next(line for line in lines if line.startswith("student")).split()
  assert row[1:3] == ["1.00±.00", "10.5±3.2"] and row[-1] == "12±102"
  assert sum("-12.346 to +100.000" in line for line in lines) == 4


def test_what_is_not_known_is_left_out(still, tmp_path, capsys, monkeypatch):
  text = _shown(_plain(still[0], tmp_path), capsys, monkeypatch)
  assert text.count("not enough data") == 3 and "nan" not in text.lower() and "None" not in text
  assert "0 of which can move" in text


def test_messages_are_printed_as_they_are(normal, tmp_path, capsys, monkeypatch):
  results = json.loads(json.dumps(_plain(normal[0], tmp_path)))
  message = "asked for 99 of [/red] :smile: [bold]'passages'[/bold], took all " + "of them " * 12
  results["data"]["notes"]["messages"] = [message.strip()]
  lines = _shown(results, capsys, monkeypatch).splitlines()
  assert max(map(len, lines)) <= 80
  assert message.strip() in " ".join(" ".join(lines).split())


def test_a_narrow_terminal_loses_no_figure(normal, tmp_path, capsys, monkeypatch):
  results = _plain(normal[0], tmp_path)
  narrow = _shown(results, capsys, monkeypatch, columns=40)
  assert narrow == _shown(results, capsys, monkeypatch, columns=80)


def _with_quality(results):
  """The results with the figures that the second table and the lines below it show."""
  results = json.loads(json.dumps(results))
  quality = ("brier", "ece", "auroc", "batch_calibrated_accuracy", "entropy")
  for n, model in enumerate(("baseline", "teacher", "student")):
    for m, name in enumerate(quality):
      results[model] |= {name: 0.1 * m + 0.011 * n, f"{name}_stderr": 0.01}
  results["student"]["entropy"] = 12.345
  results["baseline"] |= {"representation_gap": 0.0312, "representation_gap_stderr": 0.001}
  results["noise_floor"] = {"mean_tv": 1e-7, "max_tv": 3e-7, "rows": 32}
  return results


def test_a_second_table_shows_how_good_the_answers_are(normal, tmp_path, capsys, monkeypatch):
  results = _with_quality(_plain(normal[0], tmp_path))
  lines = _shown(results, capsys, monkeypatch).splitlines()
  assert max(map(len, lines)) <= 80
  at = next(n for n, line in enumerate(lines) if "Brier" in line)
  assert lines[at].split() == ["Brier", "ECE", "AUROC", "calibrated", "entropy"]
  assert lines[at + 1].split()[-5:] == [
      ".000±.010", ".100±.010", ".200±.010", ".300±.010", ".400±.010"]
  assert lines[at + 2].startswith("teacher ") and ".311±.010" in lines[at + 2]
  assert lines[at + 3].startswith("student ") and lines[at + 3].endswith("12.3±.0")


def test_lines_below_tell_how_views_differ(normal, tmp_path, capsys, monkeypatch):
  results = _with_quality(_plain(normal[0], tmp_path))
  lines = _shown(results, capsys, monkeypatch).splitlines()
  text = " ".join(" ".join(lines).split())
  for name, shown in (("any_flip", "any flip"), ("normalised", "normalised gap")):
    own, other = (report.pm(results[m]["gap_movable"], name) for m in ("baseline", "student"))
    assert any(shown in line and f"LM {own}, student {other}" in line for line in lines)
  assert "representation gap, the same of features: LM .031±.001 " in text
  assert "the same views in other batches: TV 1e-07" in text and "POSIX" not in text
  results["baseline"]["gap_movable"] |= {"posix": 0.25, "posix_stderr": None}
  results["baseline"] |= {"pride_accuracy": 0.5, "pride_accuracy_stderr": 0.02}
  lines = _shown(results, capsys, monkeypatch).splitlines()
  assert max(map(len, lines)) <= 80
  assert any(line.rstrip().endswith("LM .250 nats a token") for line in lines)
  assert any(line.rstrip().endswith("prior: LM .500±.020") for line in lines)
