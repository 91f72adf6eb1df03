"""`mezzanine new recipe`: what it writes works at once; what is there stays."""

import os
import subprocess
import sys
import tomllib

import pytest
from fabricated import entry_points, write_metadata

from mezzanine_jax import cli, new_recipe
from mezzanine_jax import config as config_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import get_recipe


@pytest.fixture
def made(tmp_path, monkeypatch):
  """The folder of a new recipe, installed; what it needs to be found by other processes, too."""
  place = new_recipe.write("made_here", tmp_path)
  project = (place / "pyproject.toml").read_text()
  write_metadata(tmp_path / "site", "made_here", entry_points(project))
  for path in (tmp_path / "site", place):
    monkeypatch.syspath_prepend(str(path))
  old = os.environ.get("PYTHONPATH", "")
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(place), old]))
  yield place
  for name in [n for n in sys.modules if n.partition(".")[0] == "made_here"]:
    sys.modules.pop(name)


def test_every_file_is_there_and_named(made):
  files = sorted(str(p.relative_to(made)) for p in made.rglob("*") if p.is_file())
  assert files == ["config.py", "made_here/__init__.py", "made_here/recipe.py",
                   "made_here/symmetry.py", "made_here/world.py", "pyproject.toml",
                   "tests/made_here_test.py"]
  for path in made.rglob("*.py"):
    assert "$" not in path.read_text() and max(map(len, path.read_text().splitlines())) <= 100
  project = tomllib.loads((made / "pyproject.toml").read_text())
  assert project["project"]["name"] == "made_here"
  assert project["tool"]["setuptools"]["packages"] == ["made_here"]


def test_it_is_found_and_its_configuration_resolves(made, capsys):
  assert cli.main(["list"]) == 0
  shown = capsys.readouterr().out
  for text in ("made_here\n      Noisy signals", "made_here\n      Where a periodic signal begins",
               "made_here\n      Distill a classifier's belief"):
    assert text in shown
  fields = config_lib.read_file(made / "config.py")
  recipe = get_recipe(fields.pop("recipe"))
  assert config_lib.resolve(recipe.Config, fields).k_test == 16
  assert cli.main(["run", "made_here", "--help"]) == 0
  assert "training signals" in capsys.readouterr().out


@pytest.mark.slow
def test_its_own_test_passes_and_its_run_can_be_reported(made, tmp_path, capsys):
  command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(made)]
  done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
  assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr
  out = tmp_path / "out"
  tiny = ("--n_train 40 --n_test 8 --k_train 2 --k_test 3 --steps 20 --eval_every 10"
          " --batch_size 16 --hidden 8").split()
  assert cli.main(["run", "--config", str(made / "config.py"), "--out", str(out), *tiny]) == 0
  shown = capsys.readouterr().out
  assert "\nbase model " in shown and "clustered by signal" in " ".join(shown.split())
  assert cli.main(["report", str(out)]) == 0


def test_the_command_says_what_to_do(tmp_path, capsys):
  assert cli.main(["new", "recipe", "another_one", "--to", str(tmp_path)]) == 0
  shown = capsys.readouterr().out
  assert f"pip install -e {tmp_path / 'another_one'}\n" in shown
  assert f"mezzanine run --config {tmp_path / 'another_one' / 'config.py'} " in shown


def test_what_is_there_stays(tmp_path):
  new_recipe.write("made_here", tmp_path)
  (tmp_path / "made_here" / "config.py").write_text("mine")
  (tmp_path / "a_file").write_text("mine")
  (tmp_path / "empty").mkdir()
  (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
  for name in ("made_here", "a_file", "empty", "dangling"):
    with pytest.raises(InputError, match=f"{name}' is there already: give another name"):
      new_recipe.write(name, tmp_path)
  assert (tmp_path / "made_here" / "config.py").read_text() == "mine"
  assert sorted(os.listdir(tmp_path)) == ["a_file", "dangling", "empty", "made_here"]


def test_nothing_half_written(tmp_path, monkeypatch):
  """What fails midway leaves nothing; what is in the way at the end stays."""
  real = type(tmp_path).write_text
  written = []

  def write_text(path, *more):
    if len(written) == 3:
      raise OSError(28, "No space left on device")
    written.append(path)
    return real(path, *more)

  monkeypatch.setattr(type(tmp_path), "write_text", write_text)
  with pytest.raises(InputError, match="cannot be written: No space left on device"):
    new_recipe.write("made_here", tmp_path)
  assert len(written) == 3 and os.listdir(tmp_path) == []


@pytest.mark.parametrize("name, message", [
    ("My-Recipe", "must be a Python name of lower-case letters"),
    ("1st", "must be a Python name"), ("a/b", "must be a Python name"), ("", "must be a Python"),
    ("class", "must be a Python name"), ("tests", "must be a Python name"),
    ("vision_view_distill", "there is a recipe 'vision_view_distill' already"),
    ("hf_qa", "there is a world 'hf_qa' already"), ("view", "there is a symmetry 'view' already"),
    ("json", "there is a Python module 'json' already"),
])
def test_bad_names(tmp_path, capsys, name, message):
  assert cli.main(["new", "recipe", name, "--to", str(tmp_path)]) == 2
  assert message in capsys.readouterr().err
  assert os.listdir(tmp_path) == []


def test_a_place_that_is_not_there(tmp_path):
  with pytest.raises(InputError, match="nowhere' is no folder: make it first"):
    new_recipe.write("made_here", tmp_path / "nowhere")
