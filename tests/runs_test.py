"""The states of an `--out` folder, each told apart, and nothing written by looking."""

import dataclasses
import json
import math

import numpy as np
import pytest

from mezzanine_jax import runs
from mezzanine_jax import store as store_lib
from mezzanine_jax.config import option
from mezzanine_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
  k: int = option(8, "views")
  choices: str = option(" no| yes", "answers")
  rate: float = option(0.1, "rate")
  limit: int | None = option(None, "limit")
  tokens: int = option(2048, "speed only", runtime=True)
  cache_dir: str | None = option(None, "shared rows", runtime=True)


def _look(out, config=None, recipe="r"):
  """`runs.look`, and the proof that it wrote nothing."""
  before = _content(out)
  try:
    return runs.look(out, recipe, Config() if config is None else config)
  finally:
    assert _content(out) == before


def _content(out):
  if out.is_file():
    return out.read_bytes()
  return {p: p.read_bytes() if p.is_file() else None for p in out.rglob("*")}


ROWS = {"views.zarr": "rows"}


@pytest.fixture
def begun(tmp_path):
  """A folder with a run that was begun."""
  out = tmp_path / "a" / "run"
  runs.begin(runs.look(out, "r", Config()), "f", ROWS)
  return out


@pytest.mark.parametrize("empty", [False, True])
def test_a_new_or_empty_folder_is_begun(tmp_path, empty):
  out = tmp_path / "a" / "run"
  if empty:
    out.mkdir(parents=True)
  folder = _look(out)
  assert folder.path == out and folder.results is None and out.exists() == empty
  runs.begin(folder, "f", ROWS)
  written = json.loads((out / "config.json").read_text())
  assert written == {
      "recipe": "r", "config": dataclasses.asdict(Config()), "fingerprint": "f", "rows": ROWS}
  assert [p.name for p in out.iterdir()] == ["config.json"]


def test_what_a_process_left_that_was_killed_at_once_is_no_other_file(tmp_path):
  for name in ("config.json.part", "run.lock"):
    (tmp_path / name).write_text("{")
  runs.begin(_look(tmp_path), "f", ROWS)
  assert json.loads((tmp_path / "config.json").read_text())["fingerprint"] == "f"


def test_rows_without_a_configuration_are_gone_on_with(tmp_path):
  """As they may come into a bucket before it; the store itself refuses another run's."""
  index = {"row": np.zeros((2, 1), np.int32)}
  arrays = {"log_probs": ((2, 2), "float32")}
  store_lib.open_store(tmp_path / "views.zarr", ROWS["views.zarr"], arrays, index)
  (tmp_path / "views.zarr.lock").touch()
  with pytest.raises(InputError, match="holds the rows of another run"):
    runs.begin(_look(tmp_path), "f", {"views.zarr": "others"})
  assert not (tmp_path / "config.json").exists()
  runs.begin(_look(tmp_path), "f", ROWS)
  assert json.loads((tmp_path / "config.json").read_text())["fingerprint"] == "f"


@pytest.mark.parametrize("name", ["views.zarr", "thesis", "era5.zarr"])
def test_a_folder_of_other_folders_is_refused(tmp_path, name):
  (tmp_path / name).mkdir()
  if name == "era5.zarr":  # of somebody else
    (tmp_path / name / "zarr.json").write_text(
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"title": "ERA5"}}))
  with pytest.raises(InputError, match="holds other files; give an empty or a new folder"):
    _look(tmp_path)


def test_an_unfinished_run_is_continued(begun):
  (begun / "views.zarr").write_text("")
  before = _content(begun)
  folder = _look(begun)
  assert folder.results is None and folder.changed == ()
  runs.begin(folder, "f", ROWS)
  assert _content(begun) == before


def test_a_finished_run_has_its_results(begun):
  runs.write_json(begun / "results.json", {"accuracy": 0.5})
  assert _look(begun).results == {"accuracy": 0.5}


def test_other_data_weights_or_version_are_refused(begun):
  folder, before = _look(begun), _content(begun)
  with pytest.raises(InputError, match="cannot be used .other data, weights or version"):
    runs.begin(folder, "g", {"views.zarr": "other"})
  assert _content(begun) == before


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(("change", "message"), [
    ({"k": 9}, "k was 8, now 9"),
    ({"choices": " a| b"}, r"choices was ' no\| yes', now ' a\| b'"),
    ({"limit": 64}, "limit was None, now 64"),
])
def test_another_configuration_is_refused(begun, finished, change, message):
  """A finished run's by looking; another's once its rows turn out to be others."""
  if finished:
    runs.write_json(begun / "results.json", {"accuracy": 0.5})
    with pytest.raises(InputError, match=f"is finished .{message}.; give another .*--cache_dir"):
      _look(begun, Config(**change))
    return
  folder, before = _look(begun, Config(**change)), _content(begun)
  with pytest.raises(InputError, match=f"rows cannot be used .{message}.; give another folder"):
    runs.begin(folder, "g", {"views.zarr": "other"})
  assert _content(begun) == before


def test_other_settings_on_the_same_rows_drop_what_was_learned(begun):
  (begun / "views.zarr").mkdir()
  (begun / "student").mkdir()
  (begun / "student" / "x").write_text("learned")
  runs.begin(_look(begun), "f", ROWS)
  assert (begun / "student" / "x").exists()
  runs.begin(_look(begun, Config(rate=0.2)), "g", ROWS)
  assert sorted(p.name for p in begun.iterdir()) == ["config.json", "views.zarr"]
  assert _look(begun, Config(rate=0.2)).changed == ()


def test_one_process_at_a_time(begun, tmp_path):
  with runs.opened(begun, "r", Config()) as first:
    runs.begin(first, "f", ROWS)
    with (
        runs.opened(begun, "r", Config()) as second,
        pytest.raises(InputError, match=r"run' is being written by process \d+ on \S+; wait"),
    ):
      runs.begin(second, "f", ROWS)
  with runs.opened(begun, "r", Config()) as third:
    assert runs.begin(third, "f", ROWS).record["fingerprint"] == "f"
  assert not (begun / "run.lock").exists()


def test_a_run_that_another_process_finished_meanwhile(begun):
  with runs.opened(begun, "r", Config()) as folder:
    runs.write_json(begun / "results.json", {"accuracy": 0.5})
    with pytest.raises(InputError, match="finished by another process meanwhile"):
      runs.begin(folder, "f", ROWS)


def test_what_changes_speed_only_may_differ(begun):
  runs.write_json(begun / "results.json", {"accuracy": 0.5})
  assert _look(begun, Config(tokens=64)).results == {"accuracy": 0.5}


def test_rows_are_in_the_cache_unless_the_run_has_its_own(tmp_path):
  config = Config(cache_dir=str(tmp_path / "cache"))
  folder = runs.begin(runs.look(tmp_path / "a", "r", config), "f", ROWS)
  assert runs.rows_of(folder) == (tmp_path / "cache" / "rows", "rows")
  (tmp_path / "a" / "views.zarr").mkdir()
  assert runs.rows_of(folder) == (tmp_path / "a" / "views.zarr", "rows")
  folder = runs.begin(runs.look(tmp_path / "b", "r", Config()), "f", ROWS)
  assert runs.rows_of(folder) == (tmp_path / "b" / "views.zarr", "rows")


def test_another_recipe_is_refused_whatever_its_fields(begun):
  with pytest.raises(InputError, match="holds a run of 'r', not 'other'"):
    _look(begun, Config(k=9), "other")


def test_a_field_that_is_no_more_is_another_configuration(begun):
  record = json.loads((begun / "config.json").read_text())
  record["config"]["old"] = 3
  (begun / "config.json").write_text(json.dumps(record))
  assert _look(begun).changed == ("old was 3, now None",)


def test_a_folder_of_other_files_is_refused(tmp_path):
  (tmp_path / "thesis.tex").write_text("x")
  with pytest.raises(InputError, match="holds other files; give an empty or a new folder"):
    _look(tmp_path)


def test_a_file_is_refused(tmp_path):
  (tmp_path / "f").write_text("x")
  with pytest.raises(InputError, match="is a file; give a folder"):
    _look(tmp_path / "f")


def test_a_place_that_cannot_be_written(tmp_path):
  (tmp_path / "f").write_text("x")
  folder = runs.look(tmp_path / "f" / "run", "r", Config())
  with pytest.raises(InputError, match="cannot be written: Not a directory"):
    runs.begin(folder, "f")


@pytest.mark.parametrize("name", ["config.json", "results.json"])
@pytest.mark.parametrize("text", [b'{"recipe": "r", "con', b"", b"[1, 2]", b"\xff\xfe", b"null"])
def test_damaged_files_are_told(begun, name, text):
  (begun / name).write_bytes(text)
  with pytest.raises(InputError, match=rf"{name} is damaged \(.+\); give another --out folder"):
    _look(begun)


@pytest.mark.parametrize("config", [None, [], "x"])
def test_a_record_without_a_configuration_is_damaged(begun, config):
  (begun / "config.json").write_text(json.dumps({"recipe": "r", "config": config}))
  with pytest.raises(InputError, match=r"config.json is damaged \(no configuration\)"):
    _look(begun)


def test_json_is_plain_and_whole(tmp_path):
  value = {"a": np.float32(0.5), "b": [np.int64(3), math.nan, -math.inf], "c": (True, None),
           4: {"d": np.array(2.0)}}
  plain = runs.write_json(tmp_path / "x.json", value)
  assert plain == {"a": 0.5, "b": [3, None, None], "c": [True, None], "4": {"d": 2.0}}
  assert json.loads((tmp_path / "x.json").read_text()) == plain
  with pytest.raises(TypeError):
    runs.write_json(tmp_path / "x.json", {"a": object()})
  assert json.loads((tmp_path / "x.json").read_text()) == plain  # the old one stands
  assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
