"""Figures reach TensorBoard and Weights & Biases under the names that they have in the results."""

import dataclasses
import importlib.util
import json
import struct
import sys
import types

import numpy as np
import pytest

from mezzanine_jax import heads, runs, settings, tracking, training
from mezzanine_jax.config import option
from mezzanine_jax.distill_data import DistillData
from mezzanine_jax.errors import InputError

STEPS = [0, 10, 20]
MODELS = ("student", "controls.shuffled_targets")


@pytest.mark.parametrize(("log_to", "message"), [
    ("tensorbord", "log_to must be tensorboard or wandb, or several with commas, got 'tensorbord'"),
    ("wandb,", "got 'wandb,'"), ("", "got ''"),
])
def test_other_names_are_refused_before_anything_is_written(tmp_path, log_to, message):
  with pytest.raises(InputError, match=message):
    runs.look(tmp_path / "out", "r", Config(log_to=log_to))
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, package):
  monkeypatch.delitem(sys.modules, package, raising=False)
  monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(InputError, match=rf"needs the package {package}: pip install '.*\[{name}\]'"):
    tracking.check(name)


def test_figures_have_the_names_of_the_results():
  found = tracking.figures({
      "recipe": "r", "config": {"seed": 1}, "environment": {"device_count": 2},
      "verdict": [{"a": 1}],
      "baseline": {"gap": {"pairwise_tv": 0.25}, "auroc": None, "chosen_by": "validation"},
      "noise_floor": {"rows": 32}, "flag": True})
  assert found == {"baseline.gap.pairwise_tv": 0.25, "noise_floor.rows": 32}


class _Wandb(types.ModuleType):
  """What is used of `wandb`, and what was asked of it."""

  def __init__(self, error=None):
    super().__init__("wandb")
    self.errors = types.SimpleNamespace(Error=RuntimeError)
    self.calls, self.axes, self.history, self.summary, self.finished = [], {}, [], {}, 0
    self._error = error

  def init(self, **settings):
    if self._error:
      raise self.errors.Error(self._error)
    self.calls.append(settings)
    return types.SimpleNamespace(
        define_metric=lambda name, step_metric: self.axes.update({name: step_metric}),
        log=self.history.append, summary=self.summary, finish=self._finish)

  def _finish(self):
    self.finished += 1


@dataclasses.dataclass(frozen=True)
class Config(settings.RunFields, settings.TrainingFields):
  """What a training needs."""

  seed: int = option(0, "seed")


def _data():
  """Six examples of one view, with random features and teachers."""
  rng = np.random.default_rng(0)
  log_probs = rng.dirichlet([1, 1], 6).astype(np.float32)
  return DistillData(
      rng.normal(size=(6, 4)).astype(np.float32), np.log(log_probs), np.arange(6)[:, None],
      np.zeros((6, 1), np.float32), np.log(log_probs), np.full(6, -1))


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
  """A training that logs to a pretended wandb, and to TensorBoard where that is installed."""
  out, module = tmp_path_factory.mktemp("run") / "out", _Wandb()
  places = "wandb" if importlib.util.find_spec("tensorboardX") is None else "tensorboard, wandb"
  config = Config(steps=20, eval_every=10, batch_size=4, log_to=places)
  with pytest.MonkeyPatch.context() as patched:
    patched.setitem(sys.modules, "wandb", module)
    patched.delenv("WANDB_PROJECT", raising=False)
    folder = runs.begin(runs.look(out, "r", config), runs.fingerprint("r", config))
    parts = np.arange(4), np.arange(4, 6)
    trained = training.train_with_controls(
        heads.linear_head(2), _data(), parts, config, folder)
    results = runs.finish(folder, {
        "student": training.history_block(trained.result) | {"nll": 0.5, "auroc": float("nan")},
        "baseline": {"gap": {"pairwise_tv": np.float32(0.125)}}, "config": {"steps": 20}})
  return config, out, results, module


def test_a_run_is_logged_while_it_goes_on_and_at_its_end(logged):
  _, out, results, wandb = logged
  [asked] = wandb.calls
  assert asked["name"] == "out" and asked["dir"] == str(out)
  assert asked["config"]["recipe"] == "r" and asked["config"]["steps"] == 20
  assert asked["resume"] == "auto" and asked["project"] == "mezzanine_jax"
  for model in MODELS:
    seen = [row for row in wandb.history if f"{model}.valid_kl" in row]
    assert [row[f"{model}.step"] for row in seen] == STEPS
    assert wandb.axes[f"{model}.valid_kl"] == wandb.axes[f"{model}.train_loss"] == f"{model}.step"
    if model == "student":
      history = results["student"]["history"]
      assert [row["student.valid_kl"] for row in seen] == [p["valid_kl"] for p in history]
      assert seen[1]["student.train_loss"] == history[1]["train_loss"]
  assert "student.train_loss" not in wandb.history[0]  # nothing was learned from yet
  best = results["student"]["best_step"]
  assert wandb.summary == {
      "baseline.gap.pairwise_tv": 0.125, "student.nll": 0.5, "student.best_step": best}
  assert wandb.finished == 1


def test_a_run_that_logs_is_the_run_that_does_not(logged):
  config, out, results, _ = logged
  quiet = dataclasses.replace(config, log_to=None)
  assert runs.look(out, "r", quiet).results == results
  assert runs.fingerprint("r", quiet) == runs.fingerprint("r", config)


def test_what_wandb_refuses_is_a_sentence(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "wandb", _Wandb("api_key not configured"))
  with pytest.raises(InputError, match="api_key not configured.*WANDB_MODE=offline"):
    tracking.start("wandb", tmp_path, "r", {})


def _events(folder):
  """{name: [(step, value)]} and the texts of the one file of events, read record by record."""
  from tensorboardX.proto import event_pb2

  [file] = folder.iterdir()
  data, at, scalars, texts = file.read_bytes(), 0, {}, {}
  while at < len(data):
    (size,) = struct.unpack_from("<Q", data, at)
    event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
    at += size + 16
    for value in event.summary.value:
      if value.tensor.string_val:
        texts[value.tag] = value.tensor.string_val[0].decode()
      else:
        scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
  return scalars, texts


def test_tensorboard_can_be_read_back(logged):
  pytest.importorskip("tensorboardX")
  _, out, results, _ = logged
  scalars, texts = _events(out / "tensorboard")
  for model in MODELS:
    assert [step for step, _ in scalars[f"{model}.valid_kl"]] == STEPS
  kls = [value for _, value in scalars["student.valid_kl"]]
  assert kls == pytest.approx([p["valid_kl"] for p in results["student"]["history"]], rel=1e-6)
  for name, value in tracking.figures(results).items():
    assert scalars[name] == [(0, pytest.approx(value, rel=1e-6))], name
  [(_, text)] = texts.items()
  assert json.loads(text)["config"]["steps"] == 20
