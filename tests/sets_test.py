"""Example D where its student reads sets: what it leaves, and when it does."""

import dataclasses
import json
import pathlib

import again
import numpy as np
import pytest
import reported

from mezzanine_jax import experiment, predict
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe


@pytest.fixture(scope="module")
def config(tiny_lm):
  return recipe.Config(
      world="evidence_qa", dataset="evidence_qa", lm_name=tiny_lm, student_reads="view", n_train=12,
      n_test=6, k_train=2, k_test=3, steps=20, eval_every=5, batch_size=8, hidden=8, max_shapes=2,
      batch_tokens=512)


@pytest.fixture(scope="module")
def plain(config, tmp_path_factory):
  """The results of a student that reads texts as they stand."""
  return recipe.run(config, tmp_path_factory.mktemp("plain") / "out")


def test_a_set_without_training_is_the_models_own_reading(config, tmp_path):
  found = {}
  for orders in (1, 4):
    own = dataclasses.replace(
        config, student="set", student_reads="auto", lora_steps=0, set_orders=orders)
    block = recipe.run(own, tmp_path / str(orders))["student"]
    assert block["best_step"] == 0 and len(block["history"]) == 1
    assert block["order_blind"]["max_tv"] < 1e-5 and 0 <= block["fidelity"] < 10
    found[orders] = block["fidelity"]
  assert found[1] != found[4]  # two readings of the same rows


def test_a_head_that_reads_sets(plain, config, tmp_path):
  """No order of the text changes its answer; everything else is as it was."""
  results = recipe.run(dataclasses.replace(config, student_reads="auto"), tmp_path / "out")
  assert results["student"]["reads"] == "set" and plain["student"]["reads"] == "view"
  assert results["baseline"] == plain["baseline"]
  for own, other in ((results["student"], plain["student"]),
                     *((r["controls"]["shuffled_targets"] for r in (results, plain)),)):
    assert own["gap"]["pairwise_tv"] == 0 < other["gap"]["pairwise_tv"]
    assert 0 < own["tv_to_teacher"] != other["tv_to_teacher"]
  control = results["controls"]["set"]
  assert control["gap"]["pairwise_tv"] == 0
  assert 0 < control["fidelity"] != results["student"]["fidelity"]
  *same, beats = results["verdict"]
  assert [c["check"] for c in same] == [c["check"] for c in plain["verdict"]]
  apart = (results["student"]["tv_to_teacher_movable"] - control["tv_to_teacher_movable"])
  assert beats["check"] == "beats_set" and beats["value"] == pytest.approx(apart, abs=1e-6)
  assert results["student"]["order_blind"]["views"] > 10
  assert results["student"]["order_blind"]["max_tv"] < 1e-5
  assert results["cost"]["rows"] == plain["cost"]["rows"]
  examples = results["data"]["test"]["examples"] + results["data"]["train"]["examples"]
  assert results["cost"]["sets"]["rows"] > examples
  assert results["cost"]["sets"]["tokens"] > 0 and "sets" not in plain["cost"]
  kept = json.loads((tmp_path / "out/predictions.json").read_text())
  part = pathlib.Path(again.write_test_part(config, tmp_path / "new.jsonl"))
  rows = list(map(json.loads, part.read_text().splitlines()))
  turned = [r | {"passage": ". ".join(reversed(r["passage"].rstrip(".").split(". "))) + "."}
            for r in rows]
  assert turned != rows
  (tmp_path / "turned.jsonl").write_text("\n".join(map(json.dumps, turned)))
  for name in ("new.jsonl", "turned.jsonl"):
    made = predict.predict(tmp_path / "out", str(tmp_path / name))
    order = [made.ids.index(i) for i in kept["id"]]
    np.testing.assert_allclose(
        np.exp(made.answers.student)[order], kept["probabilities"]["student"], atol=2e-6)
    assert made.who == "LM as a set"
    as_set = np.array(kept["probabilities"]["set"])
    np.testing.assert_allclose(np.exp(made.answers.baseline)[order], as_set, atol=2e-6)
  reported.check_run(tmp_path / "out")


@pytest.mark.parametrize(("fields", "reads"), [
    ({}, "set"), ({"student": "mlp"}, "set"), ({"student": "lora"}, "view"),
    ({"symmetry": "segment_order,paraphrase"}, "view"), ({"keep_first": 1}, "view"),
    ({"consistency_weight": 1.0}, "view")])
def test_sets_are_read_where_they_are_sets(config, fields, reads):
  own = dataclasses.replace(config, student_reads="auto", **fields)
  asked = experiment.ask(dataclasses.replace(own, symmetry="segment_order"))
  is_set, why = recipe._reads_sets(own, asked)
  assert is_set == (reads == "set")
  assert (why is None) == (is_set or own.student == "lora")


def test_how_a_student_reads_may_change_until_it_is_finished(plain, config, tmp_path):
  """The rows of the views are gone on with; those of other sets are not."""
  fields = ({"student_reads": "auto", "set_orders": 2}, {"student_reads": "auto"},
            {"student_reads": "view"})
  for own in fields:
    results = recipe.run(dataclasses.replace(config, **own), tmp_path / "out")
    assert (tmp_path / "out/set.zarr").exists() == (own["student_reads"] == "auto")
    assert results["cost"]["rows_run"] == (results["cost"]["rows"] if own is fields[0] else 0)
    (tmp_path / "out/results.json").unlink()
  assert again.without_clock(results) == again.without_clock(plain)


def test_a_run_says_why_it_reads_no_sets(config, tmp_path):
  own = dataclasses.replace(
      config, student="residual", student_reads="auto", consistency_weight=1.0)
  results = recipe.run(own, tmp_path / "out")
  assert results["student"]["reads"] == "view"
  assert "consistency_weight is above 0" in results["data"]["notes"]["messages"][-1]
