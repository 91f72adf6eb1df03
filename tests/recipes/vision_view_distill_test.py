"""Images at a tiny size: what a run leaves, who teaches whom, that it needs nothing of texts."""

import dataclasses
import importlib
import json
import pathlib
import runpy
import subprocess
import sys

import jax
import numpy as np
import pytest
import reported
from safetensors.numpy import save_file

from mezzanine_jax import distill_data, training
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.models import vision
from mezzanine_jax.recipes import vision_view_distill as recipe
from mezzanine_jax.worlds import load_world

GOLDENS_FOLDER = pathlib.Path(__file__).parent.parent / "goldens"
GOLDENS = runpy.run_path(str(GOLDENS_FOLDER / "make_goldens.py"))

SIZES = {"n_train": 60, "n_test": 9, "k_train": 2, "k_test": 3, "steps": 30, "eval_every": 15,
         "batch_size": 16, "width": 4, "blocks": 1, "hidden": 8, "learning_rate": 0.01,
         "n_examples": 5}
# Whatever only texts need: their modules, and the packages that those import.
TEXT_MODULES = (
    "chat demonstration_order encoding evidence_qa factorization gguf hf_qa hf_text joins language"
    " language_model load multiple_choice option_order packing paraphrase prompts scoring"
    " segment_order sentences show templates text_features text_students texts tokenization"
    " tokenizer transformer view_texts vision weights blocks families")
TEXT_PACKAGES = "transformers tokenizers syntok gguf safetensors sentencepiece"


@pytest.fixture(scope="module")
def config():
  return recipe.Config(student_views="all", **SIZES)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
  out = tmp_path_factory.mktemp("run") / "out"
  return out, recipe.run(config, out)


def test_the_folder_holds_what_a_run_leaves(finished, config):
  out, results = finished
  assert sorted(p.name for p in out.iterdir()) == [
      "config.json", "diagnostics.png", "predictions.json", "results.json", "student", "views.png",
      "views.zarr"]
  assert json.loads((out / "results.json").read_text()) == results
  assert results["config"] == dataclasses.asdict(config)
  assert recipe.run(config, out) == results
  assert {"baseline", "teacher", "student", "controls", "verdict", "gap_by_views",
          "differences", "noise_floor", "cost", "data"} <= set(results)


def test_every_image_can_move_and_does(finished):
  _, results = finished
  assert results["data"]["test"] == {"examples": 9, "movable": 9, "exact_orbits": 0}
  assert results["baseline"]["gap"]["pairwise_tv"] > 0
  assert 0 < results["baseline"]["representation_gap"] < 1
  assert results["noise_floor"]["max_tv"] < 1e-5
  assert [row["views"] for row in results["gap_by_views"]] == [2, 3]
  assert results["cost"]["rows"] == results["cost"]["views"] == 60 * 3 + 9 * 4
  assert results["data"]["base_examples"] + results["data"]["distill_examples"] == 60


def test_it_is_shown_and_can_be_reported(finished, capsys):
  out, results = finished
  recipe.show(results, out)
  shown = capsys.readouterr().out
  assert "\nbase model " in shown and "LM" not in shown and "views.png" in shown
  assert "passage" not in shown and "immovable" not in shown
  page = reported.check_run(out)
  assert "clustered by image" in page.text and "cnn on digits" in page.text
  assert "turned by" in results["examples"][0]["views"][1]["text"]
  assert reported.pictures(page) == [
      "Did the student learn, or only flatten?", "Every example that can move",
      "Gap against the number of views", "Reliability"]


@pytest.mark.slow
def test_no_teacher_is_in_sample(config, tmp_path, monkeypatch):
  used = {}

  def train(student, data, parts, config, key, title, *where):
    used[title] = data
    return real(student, data, parts, config, key, title, *where)

  real = training.train
  monkeypatch.setattr(training, "train", train)
  own = dataclasses.replace(
      config, student="mlp", symmetry="dihedral", k_train=8, k_test=8, steps=2, eval_every=2)
  results = recipe.run(own, tmp_path / "out")
  base, student = used["training the base model"], used["training the student"]
  rows = lambda data: set(np.asarray(data.row)[np.asarray(data.row) >= 0].tolist())
  assert not rows(base) & rows(student)
  assert base.row.shape == (30, 1) and student.row.shape == (30, 8)
  np.testing.assert_array_equal(np.exp(base.teacher_log_probs).argmax(1), base.labels)
  # The orbit of eight is whole, and the teacher its mean: the image as it is, is one of them.
  assert results["data"]["test"]["exact_orbits"] == 9
  assert results["cost"]["rows"] == 69 * 8
  mean = np.exp(np.asarray(student.log_probs))[student.row].mean(1)
  np.testing.assert_allclose(np.exp(student.teacher_log_probs), mean, atol=1e-6)


@pytest.mark.slow
def test_a_stopped_run_continues_to_the_same_figures(finished, config, tmp_path, monkeypatch):
  _, results = finished
  out = tmp_path / "out"
  with monkeypatch.context() as patched:
    patched.setattr(distill_data, "shuffled_targets", None)  # after the student's training
    with pytest.raises(TypeError):
      recipe.run(config, out)
  again = recipe.run(dataclasses.replace(config, batch_views=7), out)
  for name in ("baseline", "teacher", "student", "controls", "verdict"):
    assert again[name] == results[name]
  assert again["cost"]["rows_run"] == 0


@pytest.mark.parametrize("changes, message", [
    (dict(symmetry="segment_order"), "segment_order is of texts; of images there are view, dihed"),
    (dict(symmetry="view", design="balanced"), "design 'balanced' needs one family of orders"),
    (dict(symmetry="view", design="exact"), "design 'exact' takes whole orbits"),
    (dict(world="evidence_qa", dataset=None), "the data has no images"),
    (dict(blocks=4), "4 blocks halve an image 4 times, but the images are 8 x 8"),
    (dict(n_train=4, text_field="body"), "the world 'images' has no text_field"),
])
def test_what_cannot_be_used_is_refused(config, changes, message, tmp_path):
  with pytest.raises(InputError, match=message):
    recipe.run(dataclasses.replace(config, **changes), tmp_path / "out")
  assert not (tmp_path / "out").exists()


@pytest.fixture
def frozen(tmp_path):
  """A folder with a tiny random ViT."""
  golden = GOLDENS["read"](GOLDENS_FOLDER / "vit.safetensors")
  folder = tmp_path / "tiny_vit"
  folder.mkdir()
  (folder / "config.json").write_text(json.dumps(golden.config))
  (folder / "preprocessor_config.json").write_text(
      json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
  save_file(golden.weights, folder / "model.safetensors")
  return str(folder)


@pytest.mark.slow
def test_heads_on_a_frozen_model(config, frozen, tmp_path):
  """Its rows are the model's features of the views, its pictures the views themselves."""
  own = dataclasses.replace(
      config, model_name=frozen, base="linear", student="mlp", pool="mean", batch_views=50)
  results = recipe.run(own, tmp_path / "out")
  assert results["baseline"]["gap"]["pairwise_tv"] > 0
  assert 0 < results["baseline"]["representation_gap"] < 1
  assert results["noise_floor"]["max_tv"] < 1e-5
  assert (tmp_path / "out" / "views.png").is_file()
  # The canonical rows are what the model gives for the images as they are.
  model, world = vision.load_vision(frozen), load_world("images", n_train=60, n_test=9)
  images = np.stack([e.x["image"] for e in world.test]) / np.float32(255)
  expected = jax.jit(vision.encoder(model, pooling="mean"))(model.params, images)
  store = store_lib.reopen(tmp_path / "out" / "views.zarr")
  rows = store_lib.read(store, "canonical_row")[60:]
  np.testing.assert_allclose(store_lib.read(store, "features")[rows], expected, atol=1e-5)
  page = reported.check_run(tmp_path / "out")
  assert "tiny_vit on digits" in page.text
  again = recipe.run(own, tmp_path / "out")
  assert again == results


@pytest.mark.parametrize("changes, message", [
    (dict(student="mlp"), "base 'cnn' reads pixels, but .* gives features: give --base linear or"),
    (dict(base="mlp"), "student 'cnn' reads pixels"),
    (dict(base="mlp", student="mlp", layer=5), "layer must be between -3 and 2"),
    (dict(base="mlp", student="mlp", model_size=9), "must be a multiple of 4, the side of"),
    (dict(base="mlp", student="mlp", model_name="./nowhere/there"), "there is no model folder"),
])
def test_a_frozen_model_that_cannot_be_used(config, frozen, changes, message, tmp_path):
  with pytest.raises(InputError, match=message):
    recipe.run(dataclasses.replace(config, **{"model_name": frozen} | changes), tmp_path / "out")
  assert not (tmp_path / "out").exists()


BLOCK = """
import importlib.abc, json, sys
names, packages = set({names!r}.split()), set({packages!r}.split())
class Block(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    first, _, last = name.partition(".")[0], "", name.rpartition(".")[2]
    if first in packages or (first == "mezzanine_jax" and last in names):
      raise ImportError(f"{{name}} is of texts")
sys.meta_path.insert(0, Block())
"""


def _without_texts(program: str, *arguments: str, but: str = "") -> str:
  """Runs Python in a process where the modules of texts, `but` one, cannot be imported."""
  names = " ".join(name for name in TEXT_MODULES.split() if name != but)
  program = BLOCK.format(names=names, packages=TEXT_PACKAGES) + program
  done = subprocess.run(
      [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  return done.stdout


def test_it_imports_nothing_of_texts():
  program = """
import mezzanine_jax.cli
from mezzanine_jax import finished, html_report, model_card, report, symmetries, worlds
from mezzanine_jax.recipes import (
    dynamics_action_distill, physics_orbit_distill, vision_view_distill)
assert vision_view_distill.Config().crop == 0.1 and symmetries.view and worlds.get_world("images")
try:
  import mezzanine_jax.prompts
except ImportError as error:
  print(error)
"""
  assert _without_texts(program) == "mezzanine_jax.prompts is of texts\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "vision_view", "physics_orbit", "dynamics_action", "trajectory_factorization"])
def test_recipes_run_and_are_reported_where_texts_cannot_be_imported(name, tmp_path):
  if name == "dynamics_action":
    pytest.importorskip("mujoco")
  program = """
import jax
jax.config.update("jax_enable_compilation_cache", False)
from mezzanine_jax import cli
assert cli.main(["run", *sys.argv[2:], "--out", sys.argv[1]]) == 0
assert cli.main(["report", sys.argv[1]]) == 0
"""
  own = importlib.import_module(f"{name}_distill_test").SIZES
  sizes = [word for field, value in own.items() for word in (f"--{field}", str(value))]
  # The symmetry of plans is that of texts with facts, too.
  _without_texts(program, str(tmp_path / "out"), f"{name}_distill", *sizes, but="factorization")
  assert (tmp_path / "out" / "report.html").is_file()
