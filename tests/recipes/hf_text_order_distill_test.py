"""Example A at a tiny size: what it leaves, who teaches whom, what it refuses."""

import dataclasses
import json

import again
import numpy as np
import pytest
import reported

from mezzanine_jax import (
    base_distill,
    distill_data,
    predict,
    predicted,
    report,
    tracking,
    training,
)
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import hf_text_order_distill as recipe

SIZES = {"n_train": 60, "n_test": 9, "k_train": 2, "k_test": 3, "steps": 40, "eval_every": 10,
         "batch_size": 16, "hidden": 8, "max_shapes": 1, "batch_tokens": 1024,
         "learning_rate": 0.01, "pool": "mean"}


@pytest.fixture(scope="module")
def news(tmp_path_factory) -> str:
  folder = tmp_path_factory.mktemp("data") / "news"
  folder.mkdir()
  for split, count in (("train", 60), ("test", 9)):
    rows = [{"text": f"{('Oak oak oak', 'Stop it', 'Answer, yes')[i % 3]} {split} {i}."
             + f" Tom lives in {split} {i}. Anna owns a red bicycle!" * (i % 3 > 0),
             "label": ("tree", "bush", "pine")[i % 3]} for i in range(count)]
    (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
  return str(folder)


@pytest.fixture(scope="module")
def config(tiny_encoder, news):
  return recipe.Config(dataset=news, model_name=tiny_encoder, **SIZES)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
  out = tmp_path_factory.mktemp("run") / "out"
  return out, recipe.run(config, out)


def test_the_folder_holds_what_a_run_leaves(finished, config):
  out, results = finished
  assert sorted(p.name for p in out.iterdir()) == [
      "config.json", "diagnostics.png", "predictions.json", "results.json", "student", "views.zarr"]
  assert json.loads((out / "results.json").read_text()) == results
  assert results["config"] == dataclasses.asdict(config)
  assert recipe.run(config, out) == results


def test_its_predictions_again(finished, news, tmp_path):
  """Labels by name; the base head was kept, too."""
  out, results = finished
  made = predict.predict(out, f"{news}/test.jsonl")
  again.check_same(out, made, [f"test:{row}" for row in made.ids])
  assert made.who == "base head" and made.choices == ["bush", "pine", "tree"]
  assert '"base_head_probabilities"' in predicted.lines(made)
  accuracy = f"base head: {results['baseline']['accuracy']:.3f}"
  assert accuracy in "\n".join(predicted.summary(made))
  (tmp_path / "new.csv").write_text("text,label\nOak oak. Tom lives,2\nStop it,\n")
  assert predict.predict(out, str(tmp_path / "new.csv")).labels.tolist() == [2, -1]


def test_examples_that_can_move_stand_apart(finished):
  _, results = finished
  parts = results["by_movability"]
  assert parts["movable"]["examples"] == results["data"]["test"]["movable"] == 6
  assert parts["immovable"]["examples"] == 3
  fixed = parts["immovable"]
  assert fixed["baseline"]["nll"] == pytest.approx(fixed["teacher"]["nll"], abs=1e-6)
  for name in ("accuracy", "nll"):
    whole = (6 * parts["movable"]["baseline"][name] + 3 * fixed["baseline"][name]) / 9
    assert whole == pytest.approx(results["baseline"][name], abs=1e-6)
  assert results["baseline"]["gap_movable"]["pairwise_tv"] > 0  # its belief does move
  assert results["data"]["choices"] == ["bush", "pine", "tree"]


def test_the_report_speaks_of_a_base_head(finished, capsys):
  out, results = finished
  report.show(results, out)
  shown = capsys.readouterr().out
  assert "\nbase head " in shown and "LM" not in shown and "…" not in shown
  assert "6 movable test examples" in " ".join(shown.split())


@pytest.mark.slow
@pytest.mark.parametrize("views", base_distill.STUDENT_VIEWS)
def test_no_teacher_is_in_sample(config, views, tmp_path, monkeypatch):
  used = {}

  def train(student, data, parts, config, key, title, *where):
    used[title] = data
    return real(student, data, parts, config, key, title, *where)

  real = training.train
  monkeypatch.setattr(training, "train", train)
  recipe.run(dataclasses.replace(config, student_views=views), tmp_path / "out")
  base, student = used["training the base head"], used["training the student"]
  rows = lambda data: set(np.asarray(data.row)[np.asarray(data.row) >= 0].tolist())
  assert not rows(base) & rows(student)
  assert len(base.row) == len(student.row) == 30
  assert base.row.shape[1] == 1 and student.row.shape[1] == (1 if views == "canonical" else 3)
  # The base head learns labels, the student the mean of what the base head believes.
  np.testing.assert_array_equal(np.exp(base.teacher_log_probs).argmax(1), base.labels)
  assert (np.exp(base.teacher_log_probs).max(1) == 1).all()
  if views == "all":
    own = np.exp(np.asarray(student.log_probs))[student.row]
    weights = np.exp(student.log_weights)[:, :, None]
    mean = np.where(weights > 0, weights * own, 0).sum(1)
    np.testing.assert_allclose(np.exp(student.teacher_log_probs), mean, atol=1e-6)


@pytest.mark.slow
def test_a_stopped_run_continues_to_the_same_figures(finished, config, tmp_path, monkeypatch):
  _, results = finished
  out = tmp_path / "out"
  with monkeypatch.context() as patched:
    patched.setattr(distill_data, "shuffled_targets", None)  # after the student's training
    with pytest.raises(TypeError):
      recipe.run(config, out)
  again = recipe.run(config, out)
  for name in ("baseline", "teacher", "student", "controls", "verdict"):
    assert again[name] == results[name]
  assert again["cost"]["rows_run"] == 0


@pytest.mark.slow
def test_all_trainings_and_the_results_are_logged(config, tmp_path, monkeypatch):
  seen = []
  tracker = tracking.Tracker(lambda *call: seen.append(call), lambda: seen.append("closed"))
  monkeypatch.setitem(tracking._TRACKERS, "wandb", ("json", lambda *about: tracker))
  results = recipe.run(dataclasses.replace(config, log_to="wandb"), tmp_path / "out")
  steps = [0, 10, 20, 30, 40]
  assert [step for _, step in seen[:-2]] == 3 * steps
  names = [name for figures, _ in seen[1:-2:5] for name in figures if name.endswith("valid_kl")]
  assert names == ["baseline.valid_kl", "student.valid_kl", "controls.shuffled_targets.valid_kl"]
  assert seen[-2:] == [(tracking.figures(results), None), "closed"]


def test_a_causal_model_is_an_encoder_too(config, tiny_lm, tmp_path):
  own = dataclasses.replace(config, model_name=tiny_lm, pool="mean_std", hard_label_weight=0.5,
                            student="linear", student_views="all")
  results = recipe.run(own, tmp_path / "out")
  assert results["cost"]["shared_tokens"] > 0 and results["verdict"]


@pytest.mark.parametrize("changes, message", [
    (dict(pool="cls"), "needs an encoder"),
    (dict(pool="mean", layer=9), "layer must be between"),
])
def test_what_a_causal_model_cannot_do_is_refused(config, tiny_lm, changes, message, tmp_path):
  with pytest.raises(InputError, match=message):
    recipe.run(dataclasses.replace(config, model_name=tiny_lm, **changes), tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_views_are_shown(config):
  from rich.console import Console

  console = Console(width=100)
  with console.capture() as captured:
    console.print(recipe.show_views(config, 1))
  assert "[CLS]" in captured.get() and "[SEP]" in captured.get()


def test_it_can_be_reported(finished):
  out, results = finished
  page = reported.check_run(out)
  assert reported.pictures(page) == [
      "Did the student learn, or only flatten?", "Every example that can move",
      "Gap against the number of views", "Gap against the number of segments", "Reliability"]
  assert len(results["examples"]) == results["data"]["test"]["movable"] > 0
