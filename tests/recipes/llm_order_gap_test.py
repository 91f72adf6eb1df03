"""Example B at a tiny size: orders of sentences and of options, what is shown, what is left."""

import itertools
import json

import numpy as np
import pytest
import reported
import tokenizers

from mezzanine_jax import cli, gap_report, predictions, report, store
from mezzanine_jax.recipes import llm_order_gap as recipe

SIZES = {"n_test": 6, "k_test": 3, "max_shapes": 1, "batch_tokens": 512}


@pytest.fixture(scope="module")
def finished(tiny_lm, tmp_path_factory):
  out = tmp_path_factory.mktemp("run") / "out"
  return out, recipe.run(recipe.Config(world="evidence_qa", lm_name=tiny_lm, **SIZES), out)


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> str:
  """A file of questions with options."""
  rows = [{"question": f"what is {i}", "options": [f"one {i}", "two", f"three {i}"],
           "answer": i % 3} for i in range(12)]
  file = tmp_path_factory.mktemp("data") / "quiz.jsonl"
  file.write_text("\n".join(map(json.dumps, rows)))
  return str(file)


def test_the_folder_holds_what_a_run_leaves(finished):
  out, results = finished
  assert sorted(p.name for p in out.iterdir()) == [
      "config.json", "diagnostics.png", "predictions.json", "results.json", "views.zarr"]
  assert json.loads((out / "results.json").read_text()) == results


def test_groups_by_segments_make_up_the_whole(finished):
  _, results = finished
  rows = results["gap_by_segments"]
  assert sum(row["examples"] for row in rows) == 6
  assert min(row["segments"] for row in rows) >= 4  # sentences of these passages
  mean = sum(row["examples"] * row["pairwise_tv"] for row in rows) / 6
  np.testing.assert_allclose(mean, results["baseline"]["gap"]["pairwise_tv"], rtol=1e-5)


def test_the_examples_that_move_most_have_two_orders_of_one_text(finished):
  _, results = finished
  gaps = [example["pairwise_tv"] for example in results["examples"]]
  assert gaps == sorted(gaps, reverse=True) and len(gaps) == 6
  for example in results["examples"]:
    first, second = (view["text"] for view in example["views"])
    assert first != second and sorted(first.split()) == sorted(second.split())
    a, b = (np.array(view["probabilities"]) for view in example["views"])
    assert abs(a - b).sum() / 2 >= example["pairwise_tv"]  # the farthest pair
    for view in example["views"]:
      assert example["beliefs"][view["view"]] == view["probabilities"]


def test_options_change_places_and_beliefs_follow_them(tiny_lm, options, tmp_path, capsys):
  config = recipe.Config(world="multiple_choice", dataset=options, lm_name=tiny_lm, n_train=4,
                         n_test=4, k_test=6, symmetry="option_order", batch_tokens=512)
  results = recipe.run(config, tmp_path / "out")
  test = results["data"]["test"]
  assert test["exact_orbits"] == test["movable"] == test["examples"]
  assert results["data"]["choices"] == [" A", " B", " C"]
  assert {row["segments"] for row in results["gap_by_segments"]} == {3}
  assert results["baseline"]["gap"]["pairwise_tv"] > 0

  # PriDe by hand: on line l of the k-th view stands the option that the k-th order names.
  orders = list(itertools.permutations(range(3)))
  priors = []
  for example in results["examples"]:
    by_label = [[belief[option] for option in order]
                for belief, order in zip(example["beliefs"][1:], orders, strict=True)]
    mean = np.exp(np.log(by_label).mean(0))
    priors.append(mean / mean.sum())
  prior = np.mean(priors, 0)
  np.testing.assert_allclose(results["baseline"]["label_prior"], prior, rtol=1e-3)
  kept = predictions.read(tmp_path / "out" / "predictions.json")
  right = (kept["probabilities"]["baseline"] / prior).argmax(1) == kept["label"]
  assert results["baseline"]["pride_accuracy"] == pytest.approx(right.mean())
  assert "PriDe" in reported.check_run(tmp_path / "out").text
  gap_report.show(results, tmp_path / "out")
  shown = capsys.readouterr().out
  assert "POSIX" in shown and report.pm(results["baseline"], "pride_accuracy") in shown


def test_posix_is_that_of_the_rows_on_disk(finished, tiny_lm):
  out, results = finished
  choice_log_probs, index, log_weights = (
      np.asarray(store._open(out / "views.zarr" / name).read().result())
      for name in ("choice_log_probs", "row", "log_weight"))
  tokenizer = tokenizers.Tokenizer.from_file(f"{tiny_lm}/tokenizer.json")
  lengths = [len(tokenizer.encode(choice).ids) for choice in (" no", " yes")]
  found = []
  for rows, weights in zip(index, log_weights, strict=True):
    log_probs = choice_log_probs[rows[np.isfinite(weights)]]
    given = log_probs.argmax(1)
    moved = [abs(log_probs[i, c] - log_probs[j, c]) / lengths[c]
             for i in range(len(given)) for j, c in enumerate(given) if i != j]
    found.append(np.mean(moved))
  assert results["baseline"]["gap"]["posix"] == pytest.approx(np.mean(found), rel=1e-4)
  assert results["baseline"]["gap_movable"]["posix_stderr"] > 0
  assert "pride_accuracy" not in results["baseline"]  # no option changed its label


def test_the_command_prints_within_80_columns(finished, tiny_lm, tmp_path, capsys):
  argv = ["run", "llm_order_gap", "--world", "evidence_qa", "--lm_name", tiny_lm]
  argv += [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
  assert cli.main([*argv, "--out", str(finished[0])]) == 0
  shown = capsys.readouterr().out
  assert "its results again" in shown and shown.count("canonical view") >= 1
  assert max(map(len, shown.splitlines()[:-1])) <= 80
  assert cli.main([*argv, "--show", "2", "--out", str(tmp_path / "none")]) == 0
  assert capsys.readouterr().out.count("canonical view") == 2
  assert not (tmp_path / "none").exists()
  assert cli.main([*argv, "--show", "many"]) == 2
  assert "--show must be a whole number" in capsys.readouterr().err


def test_it_can_be_reported(finished):
  page = reported.check_run(finished[0])
  assert reported.pictures(page) == [
      "Every example that can move", "Gap against the number of views",
      "Gap against the number of segments", "Reliability"]
  assert "no student" in page.text and "POSIX" in page.text and "PriDe" not in page.text
