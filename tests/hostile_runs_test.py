"""Folders and commands of strangers: runs, students, stores, caches, configurations."""

import dataclasses
import json
import pathlib
import shutil

import made_up_run
import numpy as np
import pytest
from hostile import DEEP, bounded, refused, short, write_jsonl

from mezzanine_jax import (
    asking,
    cache,
    checkpoints,
    cli,
    config,
    damage,
    finished,
    heads,
    html_report,
    locks,
    model_card,
    predict,
    predictions,
    runs,
)
from mezzanine_jax import store as store_lib
from mezzanine_jax.recipes import get_recipe
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe
from mezzanine_jax.symmetries import make_symmetry
from mezzanine_jax.worlds import get_world

ROWS, INDEX = {"log_probs": ((70, 2), "float32")}, {"row": np.arange(6, dtype=np.int32)}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
  """A finished run, of whose files each test spoils its own copy."""
  folder = tmp_path_factory.mktemp("runs") / "run"
  made_up_run.write(folder)
  return folder


@pytest.fixture
def run(run_folder, inside):
  return pathlib.Path(shutil.copytree(run_folder, inside / "run"))


def card(folder):
  """What reads a finished run for its card."""
  model_card.render(finished.read([folder]))


def page(folder):
  """What reads it for its page."""
  html_report.render(finished.read([folder]))


def put(value, path, new):
  """The value with another one at a path such as `data.test`."""
  *parents, name = path.split(".")
  at = value
  for parent in parents:
    at = at[int(parent) if isinstance(at, list) else parent]
  at[int(name) if isinstance(at, list) else name] = new
  return value


@pytest.mark.parametrize("content", [
    "", "[]", "null", "3", DEEP, b"\xff\xfe", "{}", '{"recipe": 3}'], ids=short)
def test_results_that_are_none(content, run):
  (run / "results.json").write_bytes(content.encode() if isinstance(content, str) else content)
  refused("results.json (is damaged|holds no)", card, run)


@pytest.mark.parametrize("render", [card, pytest.param(page, marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", [
    "recipe", "config", "data", "data.test", "data.test.movable", "data.choices", "data.choices.0",
    "data.notes", "data.notes.messages", "data.prompts", "environment", "environment.packages",
    "cost", "cost.seconds", "baseline", "baseline.gap_movable", "student", "controls",
    "controls.constant", "verdict", "verdict.0", "verdict.0.interval", "verdict.0.answer",
    "gap_by_views", "gap_by_views.0", "gap_by_segments", "gap_by_segments.0.segments", "examples",
    "examples.0", "examples.0.views", "examples.0.views.0.probabilities", "examples.0.pairwise_tv",
    "differences", "who", "teacher_by_views",
])
def test_results_of_other_types(path, render, run):
  """Each entry in turn is a text, a list, an object, a number: a sentence, or a report."""
  results = json.loads((run / "results.json").read_text())
  outcomes = []
  for new in ("\0", ["\0"], {"a": {"b": "\0"}}, -3, [], {}, True, 1e999):
    changed = put(json.loads(json.dumps(results)), path, new)
    (run / "results.json").write_text(json.dumps(changed))
    try:
      with bounded():
        finished.read([run])
    except runs.InputError as error:
      outcomes.append(str(error))
      assert "\n" not in str(error) and "results.json" in str(error), error
    else:
      with bounded():
        render(run)
  assert len(outcomes) >= 4


@pytest.mark.parametrize(("path", "new"), [
    ("label", 3), ("label", ["a"] * 12), ("movable", [[True]] * 12), ("lowest", [[0.1]] * 12),
    ("lowest", [[0.1, 0.2, float("nan")]] * 12), ("highest", [["x"] * 3] * 12), ("id", "abc"),
    ("id", [1] * 12), ("cluster", [[]] * 12), ("probabilities", []), ("probabilities.teacher", {}),
    ("probabilities.baseline", [[2.0, -1.0, 0.0]] * 12), ("probabilities.student", [[0.5] * 3]),
    ("label", [10**30] * 12), ("probabilities.baseline", [[]] * 12),
])
def test_predictions(path, new, run):
  kept = put(json.loads((run / "predictions.json").read_text()), path, new)
  (run / "predictions.json").write_text(json.dumps(kept))
  refused("predictions.json is damaged", predictions.read, run / "predictions.json")


@pytest.mark.parametrize("content", ["", "[]", "3", DEEP, b"\xff\xfe"], ids=short)
def test_predictions_that_are_none(content, run):
  (run / "predictions.json").write_bytes(
      content.encode() if isinstance(content, str) else content)
  refused("predictions.json is damaged", card, run)


@pytest.mark.parametrize("content", [
    "", "[]", DEEP, b"\xff", '{"recipe": "r"}', '{"config": [], "recipe": "r"}',
    '{"config": {}, "recipe": "../r"}', '{"config": {}, "recipe": {"a": "\\n\\n"}}',
], ids=short)
def test_configs_of_runs(content, inside):
  (inside / "config.json").write_bytes(content.encode() if isinstance(content, str) else content)
  (inside / "other").write_text("")
  refused("config.json is damaged|holds a run of", runs.look, inside, recipe.NAME, recipe.Config())


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_names_of_folders(name, inside):
  refused("cannot be the name of a folder", runs.look, name, recipe.NAME, recipe.Config())
  refused("is no folder", runs.finished, name)
  refused("does not exist", config.read_file, name)


@pytest.mark.parametrize(
    "name", ["../secret", "os", "mezzanine_jax.cli", "", "a\0b", "x" * 5000, 3], ids=short)
def test_names_of_recipes_worlds_and_symmetries(name):
  for get in (get_recipe, get_world, make_symmetry):
    if get is get_recipe or isinstance(name, str):
      refused("unknown (recipe|world|symmetry)", get, name)


def test_links_are_not_followed_out_of_a_folder(inside):
  """Neither the lock nor a file that is being written; `inside` compares what is beside."""
  (inside / "run.lock").symlink_to("../secret.json")
  with bounded(), pytest.raises(runs.InputError, match="cannot be written"), \
      locks.only_one(inside / "run.lock", "it"):
    pass
  (inside / "config.json.part").symlink_to("../secret.json")
  store_lib.write_text(inside / "config.json", "{}")
  assert (inside / "config.json").read_text() == "{}"


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
  """The folder of a run with a student that was never trained."""
  import jax

  folder = tmp_path_factory.mktemp("student") / "out"
  settings = recipe.Config(dataset="gone", lm_name="./gone", hidden=4)
  student = heads.mlp_head(2, hidden=4)
  asked = asking.record(settings, asking.Asking("{passage}\nA:", "passage", [" no", " yes"]))
  checkpoints.save_student(folder / runs.STUDENT, student.init(
      jax.random.key(0), {"features": np.zeros(8)}), {
          "name": "mlp", "settings": {"hidden": 4}, "num_choices": 2, "feature_size": 8,
          "model_digest": "0" * 64, "asking": asked})
  record = {"recipe": recipe.NAME, "config": dataclasses.asdict(settings)}
  runs.write_json(folder / runs.CONFIG, record)
  runs.write_json(folder / runs.RESULTS, record | {"baseline": {"accuracy": 1}, "data": {"a": 1}})
  return folder


def use(folder):
  """What `predict` does before it loads the model."""
  saved = predict.load_saved(folder)
  predict.load_head(saved.params, saved.meta)
  predict.load_same_lm(saved)


@pytest.mark.parametrize(("path", "new", "message"), [
    ("format", 99, "a student of format 99, this version reads 1"),
    ("format", {"a": "\n"}, "a student of format"),
    ("name", "../mlp", "student must be one of|unknown"),
    ("name", 3, "student.json says"),
    ("settings", [], "student.json says"),
    ("settings", {"hidden": 10**15}, "student.json says|cannot be"),
    ("settings", {"hidden": "x"}, "hidden"),
    ("feature_size", 10**15, "student.json says"),
    ("feature_size", -1, "student.json says"),
    ("num_choices", 3, "is damaged: it has 3 choices, its prompts 2"),
    ("asking", [], "of its prompts is damaged"),
    ("asking.choices", [" no", 3], "of its prompts is damaged"),
    ("asking.template", "x", "of its prompts is damaged"),
    ("asking.around", ["a"], "of its prompts is damaged"),
    ("asking.demonstrations", [{"id": "a"}], "of its prompts is damaged"),
    ("model_digest", 3, "was kept without its prompts"),
    ("feature_size", 8, "there is no model folder './gone'"),
], ids=short)
def test_students(path, new, message, finished_run, inside):
  folder = pathlib.Path(shutil.copytree(finished_run, inside / "out"))
  meta = folder / runs.STUDENT / "student.json"
  meta.write_text(json.dumps(put(json.loads(meta.read_text()), path, new)))
  refused(message, use, folder)


def _cut(folder):
  for file in folder.rglob("*"):
    if file.is_file():
      file.write_bytes(file.read_bytes()[:-3])


def _junk(folder):
  for file in folder.rglob("*"):
    if file.is_file():
      file.write_bytes(b"\xff" * 64)


def _empty(folder):
  shutil.rmtree(folder)
  folder.mkdir()


@pytest.mark.parametrize("harm", [_cut, _junk, _empty])
def test_checkpoints(harm, finished_run, inside):
  folder = pathlib.Path(shutil.copytree(finished_run, inside / "out"))
  harm(folder / runs.STUDENT / "best")
  refused("best cannot be read: train the student again", use, folder)


def test_a_student_json_that_is_none(finished_run, inside):
  folder = pathlib.Path(shutil.copytree(finished_run, inside / "out"))
  for content in (DEEP, "[]", "", "{}"):
    (folder / runs.STUDENT / "student.json").write_text(content)
    refused("student.json is (not valid json|incomplete)", use, folder)


def test_a_checkpoint_of_terabytes(inside):
  """It holds no value: what is not on disk would be filled in."""
  import tensorstore as ts

  checkpoints.save_best(inside, {"w": np.zeros(4, np.float32)})
  spec = {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": f"file://{inside}/best/",
                                        "path": "w/"}}
  ts.open(spec | {"metadata": {"shape": [2**40], "dtype": "<f4", "chunks": [2**20]},
                  "create": True, "delete_existing": True}).result()
  (inside / "student.json").write_text(json.dumps({
      "format": 1, "name": "linear", "settings": {}, "num_choices": 2, "feature_size": 4}))
  refused("best cannot be read", checkpoints.load_student, inside)


@pytest.fixture
def store(inside):
  """A cache with one store."""
  folder = inside / "cache" / ("0" * 64)
  cache.make(folder.parent)
  made = store_lib.open_store(folder, "0" * 64, ROWS, INDEX)
  store_lib.write_rows(made, 0, {"log_probs": np.zeros((70, 2), np.float32)})
  return folder


@pytest.mark.parametrize(("path", "new"), [
    ("rows", 10**15), ("rows", -1), ("rows", "70"), ("rows", 71), ("row_arrays", "log_probs"),
    ("row_arrays", ["../../../secret"]), ("row_arrays", ["gone"]), ("row_arrays", [3]),
    ("row_arrays", ["/etc"]), ("index", [["row"]]), ("index", ["log_probs", ".."]),
    ("about", []), ("complete", "yes"), ("fingerprint", 3), ("fingerprint", "1" * 64),
    ("format", [2]),
])
def test_stores_that_say_something_else(path, new, store):
  """`mezzanine cache` tells of it; nothing is read or deleted that is not in the store."""
  marker = store / "zarr.json"
  marker.write_text(json.dumps(put(json.loads(marker.read_text()), f"attributes.{path}", new)))
  with bounded():
    [(entry, problem)] = cache.verify(store.parent)
  assert problem and "\n" not in problem and entry.path == store


@pytest.mark.parametrize(("name", "path", "new"), [
    ("done", "shape", [2**40]), ("done", "data_type", "float64"),
    ("log_probs", "shape", [70, 2**40]),
    ("log_probs", "shape", []), ("log_probs", "shape", [2**62, 2**62]), ("row", "shape", [2**40]),
    ("log_probs", "chunk_grid.configuration.chunk_shape", [1, 1]),
    ("log_probs", "chunk_grid.configuration.chunk_shape", [2**40, 2]),
    ("log_probs", "chunk_grid.configuration.chunk_shape", [0, 2]),
    ("log_probs", "data_type", "complex64"), ("log_probs", "data_type", "string"),
    ("log_probs", "codecs", [{"name": "bytes"}]), ("log_probs", "codecs", []),
    ("log_probs", "codecs", [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 9}}]),
    ("log_probs", "node_type", "group"), ("log_probs", "zarr_format", 2),
    ("log_probs", "fill_value", "x"), ("log_probs", "dimension_names", 3),
])
def test_arrays_that_say_something_else(name, path, new, store):
  file = store / name / "zarr.json"
  file.write_text(json.dumps(put(json.loads(file.read_text()), path, new)))
  with bounded():
    [(entry, problem)] = cache.verify(store.parent)
    assert not damage.is_whole(store, "0" * 64)
  assert "damaged" in problem and "\n" not in problem
  with bounded():  # a run makes the array anew, or refuses the store in a sentence
    try:
      damage.mend(store_lib.open_store(store, "0" * 64, ROWS, INDEX), INDEX)
    except runs.InputError as error:
      assert "\n" not in str(error)


@pytest.mark.parametrize("content", ["", "[]", DEEP, b"\xff", '{"attributes": [2]}'], ids=short)
def test_markers_that_are_none(content, store):
  (store / "zarr.json").write_bytes(content.encode() if isinstance(content, str) else content)
  refused("zarr.json is damaged", store_lib.open_store, store, "0" * 64, ROWS, INDEX)
  with bounded():
    [(_, problem)] = cache.verify(store.parent)
    assert "zarr.json is damaged" in problem
    assert not list(cache.prune(store.parent, older_than=0.0))  # it does not say that it is ours


@pytest.mark.parametrize(("content", "message"), [
    ("def get_config(): return [1]", "cannot be used: TypeError"),
    ("def get_config(): return {3: 4}", "unknown field '3'"),
    ("def get_config(): return {'k_train': [4]}", r"k_train must be int, got \[4\]"),
    ("def get_config(): return {'k_train': 4.0}", "k_train must be int, got 4.0"),
    ("def get_config(): return {'learning_rate': float('nan')}", "must be float, got nan"),
    ("def get_config(): return {'lm_name': None}", "lm_name must be str, got None"),
    ("def get_config(): return {'k_train': 'x' * 10**6}", "k_train must be int, got 'xxx"),
    ("def get_config(): return {'k_train': '9' * 5000}", "k_train must be int, got '999"),
    ("def get_config(): return {'x' * 10**6: 1}", "unknown field 'xxx"),
    ("def get_config(): return get_config()", "cannot be used: RecursionError"),
    ("def get_config(): raise ValueError('a\\nb')", "cannot be used: ValueError: a b"),
    ("get_config = 3", "cannot be used: TypeError"),
    ("x = 1", r"has no get_config\(\)"),
    ("(" * 500, "cannot be used"),
    ("\0", "cannot be used"),
    ("a = '\\ud800'\ndef get_config(): return {a: 1}", "unknown field"),
], ids=short)
def test_configuration_files(content, message, inside):
  (inside / "c.py").write_text(content)
  refused(message, lambda: config.resolve(recipe.Config, config.read_file(inside / "c.py")))


@pytest.mark.parametrize(("argv", "message"), [
    (["run", "../secret"], "unknown recipe '../secret'"),
    (["run", "configs/quickstart.py"], "give a configuration file as --config"),
    (["run", recipe.NAME, "--dataset", "../nowhere.jsonl"], "does not exist"),
    (["run", recipe.NAME, "--dataset", "bad.parquet"], "it is not a parquet file"),
    (["run", recipe.NAME, "--dataset", "bad.csv"], "bad.csv is malformed"),
    (["run", recipe.NAME, "--dataset", "nan.jsonl"], "has no answer in field 'answer'"),
    (["run", recipe.NAME, "--dataset", "good.jsonl", "--lm_name", "bad.gguf"], "readable GGUF"),
    (["run", recipe.NAME, "--dataset", "good.jsonl", "--lm_name", "."], "holds no config.json"),
    (["run", recipe.NAME, "--out", "x" * 5000], "cannot be the name of a folder"),
    (["run", recipe.NAME, "--out", "good.jsonl"], "is a file; give a folder"),
    (["run", recipe.NAME, "--out", "gs://bucket/run"], "is an address, but runs are kept in"),
    (["run", recipe.NAME, "--out", "run2", "--cache_dir", "gs://bucket"], "mount the bucket"),
    (["run", recipe.NAME, "--config", "bad.csv"], "must be a Python file"),
    (["run", recipe.NAME, "--k_train", "9" * 5000], "k_train must be int"),
    (["report", "run"], "results.json is damaged"),
    (["report", "run", "--format", "md"], "results.json is damaged"),
    (["report", "../nowhere"], "is no folder"),
    (["predict", "--student", "run", "--data", "nan.jsonl", "--out", "-"], "is damaged"),
    (["predict", "--student", "..", "--data", "a", "--out", "b"], "is no folder of a run"),
    (["cache", "verify", "."], "is no cache of rows"),
    (["cache", "prune", "..", "--older_than", "nan"], "must be a number of days >= 0"),
], ids=short)
def test_commands(argv, message, run, inside, capsys):
  """Status 2 and one sentence, whatever is given; nothing is left behind."""
  (run / "results.json").write_text(DEEP)
  (inside / "bad.parquet").write_bytes(b"PAR1")
  (inside / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 64)
  (inside / "bad.csv").write_text("a,b\n1,2,3,4\n")
  good = [{"passage": f"One {i}. Two.", "question": "q", "answer": True} for i in range(9)]
  write_jsonl(inside / "good.jsonl", good)
  write_jsonl(inside / "nan.jsonl", [good[0] | {"answer": float("nan")}])
  before = sorted(inside.rglob("*"))
  with bounded():
    assert cli.main(argv) == 2
  told = capsys.readouterr()
  lines = [line for line in told.err.splitlines() if line.startswith("mezzanine:")]
  assert len(lines) == 1 and message in lines[0] and "Traceback" not in told.err
  assert not told.out and sorted(inside.rglob("*")) == before
