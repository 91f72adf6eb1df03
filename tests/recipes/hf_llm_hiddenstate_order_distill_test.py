"""Example D at a tiny size: what it leaves, what continues it, what it refuses."""

import contextlib
import dataclasses
import json
import pathlib

import again
import jax
import numpy as np
import pytest
import reported

from mezzanine_jax import checkpoints, heads, lora, predict, progress, store
from mezzanine_jax.errors import InputError
from mezzanine_jax.models import load
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe

SIZES = {"n_train": 12, "n_test": 6, "k_train": 2, "k_test": 3, "steps": 20, "eval_every": 5,
         "batch_size": 8, "hidden": 8, "max_shapes": 2, "batch_tokens": 512}


@pytest.fixture(scope="module")
def config(tiny_lm):
  return recipe.Config(world="evidence_qa", dataset="evidence_qa", lm_name=tiny_lm,
                       student="residual", student_reads="view", **SIZES)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
  out = tmp_path_factory.mktemp("run") / "out"
  return out, recipe.run(config, out)


def test_the_folder_holds_what_a_run_leaves(finished, config):
  out, results = finished
  assert sorted(p.name for p in out.iterdir()) == [
      "config.json", "diagnostics.png", "predictions.json", "results.json", "student", "views.zarr"
  ]
  assert json.loads((out / "results.json").read_text()) == results
  written = json.loads((out / "config.json").read_text())
  assert written["config"] == dataclasses.asdict(config) == results["config"]


def test_every_figure_has_its_standard_error(finished):
  _, results = finished
  blocks = [results["baseline"], results["student"], *results["controls"].values()]
  for block in blocks:
    for part in (block["gap"], block["gap_movable"]):
      names = {n for n in part if not n.endswith(("_stderr", "_interval"))}
      assert names == {
          "pairwise_tv", "tv_to_mean", "tv_to_mean_plugin", "jensen_shannon", "flip_rate",
          "any_flip", "normalised",
      }
      assert {f"{n}_stderr" for n in names} <= set(part)
    for name in ("accuracy", "nll", "tv_to_teacher", "kl_to_teacher", "tv_to_teacher_movable"):
      assert np.isfinite(block[name]) and np.isfinite(block[f"{name}_stderr"])
  assert {"fidelity", "fidelity_stderr", "tv_ratio"} <= set(results["student"])
  figures = {"accuracy", "nll", "brier", "ece", "auroc", "batch_calibrated_accuracy", "entropy"}
  with_errors = figures | {f"{name}_stderr" for name in figures}
  for name in ("baseline", "teacher", "student"):
    assert with_errors <= set(results[name])
    assert all(np.isfinite(results[name][figure]) for figure in with_errors)
    assert ("over_views" in results[name]) == (name != "teacher")
  for name in ("baseline", "student"):
    assert with_errors <= set(results[name]["over_views"])
  for name in figures:
    apart = results["student"][name] - results["baseline"][name]
    assert results["differences"][name] == pytest.approx(apart, abs=1e-6)
    low, high = results["differences"][f"{name}_interval"]
    assert low <= results["differences"][name] <= high
  assert 0 < results["baseline"]["representation_gap"] < 1
  assert results["noise_floor"]["rows"] == 30 or results["noise_floor"]["rows"] == 32
  assert 0 <= results["noise_floor"]["max_tv"] < 1e-5
  assert {c["check"] for c in results["verdict"]} == {
      "gap_fell", "nearer_teacher_than_single_view", "beats_constant", "accuracy_kept"
  }
  assert 0 < results["baseline"]["choice_mass"] < 1
  assert results["controls"]["constant"]["gap"]["pairwise_tv"] == 0
  assert results["baseline"]["gap"]["pairwise_tv"] > 0.001  # this model's answers do move


def test_cost_counts_what_was_run(finished):
  _, results = finished
  cost = results["cost"]
  assert cost["views"] == 12 * 3 + 6 * 4
  assert cost["rows"] <= cost["views"] and cost["shared_tokens"] > 0
  assert cost["tokens"] - cost["shared_tokens"] <= cost["padded_tokens"]
  assert cost["compiled_shapes"] <= 2


def test_a_finished_run_is_shown_again(finished, config, monkeypatch):
  out, results = finished
  monkeypatch.setattr(load, "load_lm", None)  # nothing is loaded any more
  assert recipe.run(config, out) == results


def test_runtime_fields_may_differ(finished, config):
  out, results = finished
  assert recipe.run(dataclasses.replace(config, batch_tokens=64), out) == results


def test_other_settings_are_refused(finished, config):
  out, _ = finished
  with pytest.raises(InputError, match="another run, which is finished .k_train was 2, now 3."):
    recipe.run(dataclasses.replace(config, k_train=3), out)


def test_other_weights_are_refused(finished, config, monkeypatch, tmp_path):
  out, _ = finished
  record = json.loads((out / "config.json").read_text())
  record["rows"]["views.zarr"] = "another"
  (tmp_path / "config.json").write_text(json.dumps(record))
  with pytest.raises(InputError, match="other data, weights or version"):
    recipe.run(config, tmp_path)


def test_other_training_of_the_same_rows(config, tmp_path, monkeypatch):
  """An unfinished run goes on with another student; a second run finds all rows in the cache."""
  config = dataclasses.replace(config, cache_dir=str(tmp_path / "cache"))
  with monkeypatch.context() as patch:
    patch.setattr(checkpoints, "save_student", _stop)
    with pytest.raises(_Stop):
      recipe.run(config, tmp_path / "a")
  other = dataclasses.replace(config, learning_rate=0.01, student="linear", batch_tokens=400)
  there = recipe.run(other, tmp_path / "a")
  assert there["cost"]["rows_run"] == 0
  fresh = recipe.run(dataclasses.replace(other, cache_dir=None, batch_tokens=512), tmp_path / "b")
  assert fresh["cost"]["rows_run"] == fresh["cost"]["rows"]
  assert there["student"]["history"] == fresh["student"]["history"]
  with pytest.raises(InputError, match="rows cannot be used .k_test was 3, now 4"):
    (tmp_path / "a" / "results.json").unlink()
    recipe.run(dataclasses.replace(other, k_test=4), tmp_path / "a")


class _Stop(Exception):
  pass


def _stop(*_):
  raise _Stop


@pytest.mark.parametrize(("title", "calls"), [
    ("scoring views", 2),
    pytest.param("training the student", 3, marks=pytest.mark.slow),
    pytest.param("training the control", 1, marks=pytest.mark.slow),
])
def test_a_stopped_run_continues_to_the_same_figures(
    finished, config, tmp_path, monkeypatch, title, calls
):
  _, results = finished
  out, real = tmp_path / "out", progress.bar

  @contextlib.contextmanager
  def bar(shown, total=None):
    with real(shown, total) as advance:
      left = [calls]

      def counted(n=1):
        advance(n)
        left[0] -= 1
        if shown == title and left[0] == 0:
          raise _Stop

      yield counted

  monkeypatch.setattr(progress, "bar", bar)
  with pytest.raises(_Stop):
    recipe.run(config, out)
  assert not (out / "results.json").exists()
  monkeypatch.setattr(progress, "bar", real)
  assert again.without_clock(recipe.run(config, out)) == again.without_clock(results)


def test_the_saved_student_can_be_used_again(finished):
  out, results = finished
  params, meta = checkpoints.load_student(out / "student")
  student = heads.make_student(
      meta["name"], num_choices=meta["num_choices"], **meta["settings"]
  )
  features = np.zeros(meta["feature_size"], np.float32)
  log_probs = student.apply(params, {"features": features, "log_probs": np.zeros(2)})
  np.testing.assert_allclose(np.exp(log_probs).sum(), 1, rtol=1e-5)
  assert meta["config"] == results["config"]


def test_its_predictions_again(finished, config, tmp_path):
  out, _ = finished
  again.check_same(
      out, predict.predict(out, again.write_test_part(config, tmp_path / "new.jsonl")))


@pytest.mark.slow
@pytest.mark.parametrize("student", ["set", "lora"])
def test_the_language_model_itself_as_the_student(config, tmp_path, student):
  own = dataclasses.replace(
      config, student=student, student_reads="auto", lora_rank=2, lora_steps=6, lora_eval_every=3,
      lora_batch_tokens=256, lora_learning_rate=1e-2, lora_control=student == "lora")
  results = recipe.run(own, tmp_path / "out")
  block = results["student"]
  assert len(block["history"]) == 3 and block["chosen_by"] == "validation"
  assert 0 <= block["fidelity"] < 10 and ("shuffled_targets" in results["controls"]) == (
      student == "lora")
  if student == "set":
    assert block["order_blind"]["views"] > 10 and block["order_blind"]["max_tv"] < 1e-5
    assert block["gap"]["pairwise_tv"] == 0 < results["baseline"]["gap"]["pairwise_tv"]
  store.reopen(tmp_path / "out/student/rows.zarr")  # a whole store, though of some rows only
  adapters, alpha = lora.load_adapters(tmp_path / "out/student/adapters.safetensors")
  saved, _ = checkpoints.load_student(tmp_path / "out/student")
  jax.tree.map(np.testing.assert_array_equal, adapters, saved)
  assert alpha == own.lora_alpha
  again.check_same(tmp_path / "out", predict.predict(
      tmp_path / "out", again.write_test_part(own, tmp_path / "new.jsonl")))
  reported.check_run(tmp_path / "out")
  if student == "set":  # the orders are those of the student, not of today's settings
    kept = tmp_path / "out/student/student.json"
    meta = json.loads(kept.read_text())
    for change, says in (({"set_orders": 0}, "damaged"), ({}, "kept by an earlier version")):
      made = {k: v for k, v in meta["settings"].items() if k != "set_orders"} | change
      kept.write_text(json.dumps(meta | {"settings": made}))
      with pytest.raises(InputError, match=says):
        predict.predict(tmp_path / "out", str(tmp_path / "new.jsonl"))


def test_attention_over_sentences_as_the_student(config, tmp_path):
  own = dataclasses.replace(config, student="attention", embed_mode="segments", embed_layer="1,-1",
                            consistency_weight=0.5, temperature=2.0)
  results = recipe.run(own, tmp_path / "out")
  assert results["student"]["fidelity"] < 3
  part = again.write_test_part(own, tmp_path / "new.jsonl")
  made = predict.predict(tmp_path / "out", part)
  again.check_same(tmp_path / "out", made)
  # Texts of other lengths have fewer sentences, or more.
  row = json.loads(pathlib.Path(part).read_text().splitlines()[0])
  short, long = ({**row, "passage": "The elm is tall. " * n} for n in (1, 40))
  (tmp_path / "short.jsonl").write_text(json.dumps(short))
  assert predict.predict(tmp_path / "out", str(tmp_path / "short.jsonl")).answers.student.shape == (
      1, 2)
  (tmp_path / "long.jsonl").write_text(json.dumps(long))
  with pytest.raises(InputError, match="segments with its question, more than the"):
    predict.predict(tmp_path / "out", str(tmp_path / "long.jsonl"))


@pytest.mark.parametrize("fields", [
    {}, {"student_reads": "set"},
    {"student": "lora", "lora_steps": 2, "lora_dtype": "bfloat16", "consistency_weight": 1.0}])
def test_other_questions_are_learned_from_only(config, tmp_path, fields):
  found = recipe.run(dataclasses.replace(
      config, extra_questions=1, k_extra=2, embed_layer="-1", **fields), tmp_path / "out")
  extra = found["data"]["train"]["extra"]
  assert extra > 0 and np.isfinite(found["student"]["fidelity"])
  if "student_reads" in fields:
    assert found["student"]["reads"] == "set" and found["cost"]["sets"]["rows"] > extra + 12 + 6
  # Nor does the constant control, which stands for examples like those of the test part, know them.
  plain = recipe.run(dataclasses.replace(config, embed_layer="-1", steps=1), tmp_path / "plain")
  constant, own = (r["controls"]["constant"]["nll"] for r in (found, plain))
  assert abs(constant - own) < 1e-5


@pytest.mark.parametrize(("fields", "says"), [
    ({"student": "lora", "consistency_weight": 1.0, "student_views": "canonical"}, "two views"),
    ({"student": "attention"}, "needs the states of the prompt's segments, got embed_mode 'last_m"),
    ({"student": "lora", "lora_targets": "q,w"}, "there is no matrix 'w' to adapt"),
    ({"student": "lora", "hard_label_weight": 0.5}, "from the teacher alone, got hard"),
    ({"student": "set", "student_reads": "auto", "symmetry": "segment_order,demonstration_order"},
     "only the views of"),
    ({"student": "lora", "student_reads": "set"}, "'set' is for heads, got the student 'lora'"),
    ({"student": "set", "student_reads": "view"}, "'view' is for heads, got the student 'set'"),
    ({"student_reads": "set", "symmetry": "paraphrase"}, "cannot be: only the views of"),
    ({"student_reads": "set", "keep_last": 1}, "leave some of the evidence in place; use view"),
    ({"student_reads": "set", "consistency_weight": 1.0}, "and a set has one view; use view"),
    ({"student": "set", "student_reads": "auto", "keep_first": 1}, "keep_last leave some of the"),
])
def test_students_that_cannot_be_are_refused_before_anything_is_written(
    config, tmp_path, fields, says):
  with pytest.raises(InputError, match=says):
    recipe.run(dataclasses.replace(config, **fields), tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_options_that_change_places_are_refused(config, tmp_path):
  moved = dataclasses.replace(config, symmetry="paraphrase, option_order")
  with pytest.raises(InputError, match="option_order moves the answers"):
    recipe.run(moved, tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_one_passage_only_is_refused(config, tiny_lm, tmp_path):
  rows = [{"passage": "A b. C d.", "question": f"is it {i}", "answer": i % 2 == 0}
          for i in range(6)]
  for split, part in (("train", rows[:4]), ("validation", rows[4:])):
    lines = [json.dumps(r | {"passage": r["passage"] + split}) for r in part]
    (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
  local = dataclasses.replace(config, world="hf_qa", dataset=str(tmp_path))
  with pytest.raises(InputError, match="all training examples are about one passage"):
    recipe.run(local, tmp_path / "out")


def test_passages_that_cannot_move(config, tmp_path):
  """One-sentence, empty and non-ASCII passages: no gap, no crash, counted."""
  passages = ["Только одно предложение.", "", "Un café.", "One sentence only", "🙂", "x. "] * 2
  rows = [{"passage": p + "y" * i, "question": "", "answer": i % 2 == 0}
          for i, p in enumerate(passages)]
  for split, part in (("train", rows[:8]), ("validation", rows[8:])):
    (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, part)))
  local = dataclasses.replace(config, world="hf_qa", dataset=str(tmp_path))
  results = recipe.run(local, tmp_path / "out")
  assert results["data"]["test"]["movable"] == 0
  assert results["baseline"]["gap"]["pairwise_tv"] == 0
  assert results["student"]["fidelity"] is None
  assert {c["check"]: c["answer"] for c in results["verdict"]}["gap_fell"] == "unsure"


def test_it_can_be_reported(finished):
  out, results = finished
  page = reported.check_run(out)
  assert reported.pictures(page) == [
      "Did the student learn, or only flatten?", "Every example that can move",
      "Gap against the number of views", "Gap against the number of segments", "Reliability"]
  assert len(results["examples"]) == results["data"]["test"]["movable"] > 0
