"""The benchmark of students: its figures are those of the run, its table fits a terminal."""

import importlib.util
import pathlib
import sys
import types

import jax
import numpy as np
import pytest

from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe

pytestmark = pytest.mark.slow  # many programs to compile
FOLDER = pathlib.Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def fidelity():
  spec = importlib.util.spec_from_file_location("fidelity", FOLDER / "fidelity.py")
  module = importlib.util.module_from_spec(spec)
  sys.modules["fidelity"] = module
  spec.loader.exec_module(module)
  module.GRID = module.GRID[:1]  # every setting of every student is a program to compile
  every = module.contenders
  names = {"mlp, last", "ridge, all", "mlp residual, all", "set: linear residual, last"}
  module.contenders = lambda table: [own for own in every(table) if own.name in names]
  return module


@pytest.fixture(scope="module")
def run(tiny_lm, tmp_path_factory):
  out = tmp_path_factory.mktemp("fidelity") / "run"
  results = recipe.run(recipe.Config(
      world="evidence_qa", dataset="evidence_qa", lm_name=tiny_lm, n_train=12, n_test=6, k_train=2,
      k_test=3, steps=20, eval_every=5, batch_size=8, hidden=8, max_shapes=2, batch_tokens=512,
      embed_layer="1,-1", embed_mode="last_mean"), out)
  return out, results


def test_the_table_has_the_students_and_the_runs_own_figures(fidelity, run, tmp_path, capsys):
  out, of_run = run
  found = fidelity.main(["--run", str(out), "--seeds", "2", "--steps", "30", "--curve", "4,8",
                         "--budget", "8", "--adapters", "set,lora", "--field", "lora_steps=2",
                         "--work", str(tmp_path), "--json", str(tmp_path / "f.json")])
  first, *others = found["students"]
  assert first["fidelity"] == pytest.approx(1) and first["gap_ratio"] == pytest.approx(1)
  assert first["pairwise_tv"] == pytest.approx(
      of_run["baseline"]["gap_movable"]["pairwise_tv"], rel=1e-5)
  assert first["tv_to_teacher"] == pytest.approx(
      of_run["baseline"]["tv_to_teacher_movable"], rel=1e-5)
  as_set, *others = others
  control = of_run["controls"]["set"]
  assert as_set["student"] == "the model, as a set"
  assert as_set["fidelity"] == pytest.approx(control["fidelity"], rel=1e-5)
  assert as_set["pairwise_tv"] == 0
  names = [own["student"] for own in others]
  assert names == [
      "mlp, last", "mlp, last", "ridge, all", "ridge, all",
      "mlp residual, all", "mlp residual, all",
      "set: linear residual, last", "set: linear residual, last", "  2 views a passage",
      "set, 2 steps", "set, 2 steps", "lora, 2 steps", "lora, 2 steps"]
  for own in others:
    low, high = own["fidelity_interval"]
    assert low <= own["fidelity"] <= high and np.isfinite(own["pairwise_tv"])
  assert [own["passages"] for own in others] == [4, 8, 4, 8, 4, 8, 4, 8, 4, 4, 8, 4, 8]
  assert [own["seeds"] for own in others[:3]] == [2, 2, 1]
  lines = capsys.readouterr().out.splitlines()
  shown = [line for line in lines if line.startswith(tuple(names))]
  assert len(shown) == len(names) and max(map(len, [*lines[:3], *shown])) <= 80
  assert (tmp_path / "f.json").is_file()


def test_sets_stay_those_of_their_examples_where_long_ones_are_left_out(fidelity, run):
  out, _ = run
  whole = fidelity.read(out, None)
  part = fidelity.read(out, int(np.median(whole.plan.lengths[whole.plan.rows.canonical_row])))
  assert 0 < len(part.test) < len(whole.test)
  np.testing.assert_array_equal(part.set_rows, whole.set_rows)
  np.testing.assert_array_equal(
      part.set_rows[part.set_data.row[:, 0]], whole.plan.rows.canonical_row)


def test_heads_are_chosen_by_name(fidelity, run, capsys):
  out, _ = run
  found = fidelity.main(["--run", str(out), "--seeds", "1", "--steps", "2", "--heads",
                         "mlp residual, all"])
  assert [own["student"] for own in found["students"][2:]] == ["mlp residual, all"]
  with pytest.raises(SystemExit, match="there is no head mpl; there are mlp, last"):
    fidelity.main(["--run", str(out), "--heads", "mlp, last;mpl"])


def test_in_folds_every_passage_is_answered_by_what_learned_from_others(
    fidelity, run, monkeypatch, capsys):
  out, _ = run
  table = fidelity.read(out, None)
  own = {each.name: each for each in fidelity.contenders(table)}["set: linear residual, last"]
  clusters, labels, seen = np.asarray(table.asked.data.clusters), table.data.labels, []

  def as_it_starts(own, data, learned, valid, args):
    seen.append(set(clusters[learned]) | set(clusters[valid]))
    assert len(valid) and not set(clusters[learned]) & set(clusters[valid])
    first = {"features": data.features[0], "log_probs": data.log_probs[0]}
    params = own.student.init(jax.random.key(0), first)
    return [types.SimpleNamespace(params=params)], None, own.student

  monkeypatch.setattr(fidelity, "fit", as_it_starts)
  args = fidelity.parse(["--run", str(out), "--folds", "3"])
  found = fidelity.accuracy_in_folds(table, own, args)
  held = [set(clusters) - learned for learned in seen]
  assert sorted(name for part in held for name in part) == sorted(set(clusters))
  of_set, of_lm = ((np.asarray(read.log_probs)[row].argmax(1) == labels).mean() for read, row in (
      (table.set_data, table.set_data.row[:, 0]), (table.data, table.plan.rows.canonical_row)))
  assert found["examples"] == len(labels) == 18
  assert found["accuracy_difference"] == pytest.approx(of_set - of_lm)
  fidelity.show_folds(found)
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith("  in 3 folds") and len(line) <= 80
  with pytest.raises(SystemExit):
    fidelity.parse(["--run", str(out), "--folds", "1"])


def test_trainings_of_other_settings_do_not_meet(fidelity, run, tmp_path):
  out, _ = run
  args = ["--run", str(out), "--heads", "none", "--adapters", "set", "--work", str(tmp_path)]
  found = [fidelity.main([*args, "--field", "lora_steps=0", "--field", f"set_orders={orders}"])
           for orders in (1, 2, 2)]
  sorted_only, first, again = (own["students"][2] for own in found)
  assert len(list(tmp_path.iterdir())) == 2
  assert first["fidelity"] == again["fidelity"] != sorted_only["fidelity"]
  (point,) = first["history"]  # one look, by which orders are chosen
  assert point["valid_kl"] > 0 and first["model_valid_kl"] > 0
