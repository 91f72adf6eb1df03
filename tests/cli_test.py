"""The command line: help, bad input in one sentence, nothing half-written."""

import json
import os
import subprocess
import sys

import pytest

from mezzanine_jax import cli

RECIPE = "hf_llm_hiddenstate_order_distill"


@pytest.fixture
def world(tmp_path):
  """`world(rows)` writes a folder with train and validation files of such rows."""

  def write(rows, name="data"):
    folder = tmp_path / name
    folder.mkdir()
    for split, part in (("train", rows), ("validation", rows)):
      part = [r | {"passage": f"{r['passage']} {split}"} if "passage" in r else r for r in part]
      (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, part)))
    return str(folder)

  return write


ROWS = [{"passage": f"Item {i} is red. It is old.", "question": "is it red", "answer": i % 2 == 0}
        for i in range(4)]


def _refused(capsys, *argv):
  """The one sentence that a bad command prints."""
  assert cli.main(["run", RECIPE, *argv]) == 2
  captured = capsys.readouterr()
  lines = [line for line in captured.err.splitlines() if line.startswith("mezzanine:")]
  assert len(lines) == 1 and "Traceback" not in captured.err
  return lines[0]


@pytest.mark.parametrize(("argv", "message"), [
    (["--k_trian", "4"], "unknown field 'k_trian' (did you mean 'k_train'?)"),
    (["--k_train", "0"], "k_train must be >= 1, got 0"),
    (["--k_test", "2"], "k_test must be >= 3, got 2"),
    (["--seed", "9" * 23], "seed must be <= 4294967295"),
    (["--k_train", "many"], "k_train must be int, got 'many'"),
    (["--learning_rate", "nan"], "learning_rate must be float, got 'nan'"),
    (["--embed_mode", "first"],
     "embed_mode must be one of last, mean, mean_std, last_mean, segments, got 'first'"),
    (["--symmetry", "segment_ordre"], "unknown symmetry 'segment_ordre' (did you mean"),
    (["--student", "forest"],
     "student must be one of linear, mlp, residual, ridge, attention, lora, set, got"),
    (["--world", "real"], "unknown world 'real'; there are: evidence_qa"),
    (["--k_train"], "--k_train needs a value"),
    (["k_train", "4"], "expected --FIELD VALUE, got 'k_train'"),
])
def test_bad_fields(capsys, tmp_path, argv, message):
  out = tmp_path / "out"
  assert message in _refused(capsys, *argv, "--out", str(out))
  assert not out.exists()


def _row(**change):
  return [{k: v for k, v in (r | change).items() if v is not ...} for r in ROWS]


@pytest.mark.parametrize(("rows", "argv", "message"), [
    (_row(answer="perhaps"), [], "label_map"),
    (_row(passage=...), [], "passage"),
    (_row(answer=None), [], "answer"),
    ([], [], "empty"),
    (ROWS, ["--question_field", "questoin"], "questoin"),
    (ROWS, ["--choices", " no|"], "tokenizes to nothing"),
    (ROWS, ["--choices", " no| no"], "are the same tokens"),
    (ROWS, ["--choices", " no"], "2 labels"),
    (ROWS, ["--template", "Q: {question}\nA:"], "nothing that can move: give it"),
    (ROWS, ["--template", "{passage} {title}\nA:"], "'title'"),
    (ROWS, ["--embed_layer", "7"], "embed_layer must lie in -3..2"),
    (ROWS, ["--train_split", "trian"], "trian"),
])
def test_bad_data(capsys, tmp_path, world, tiny_lm, rows, argv, message):
  out = tmp_path / "out"
  flags = ["--dataset", world(rows), "--lm_name", tiny_lm, "--out", str(out)]
  assert message in _refused(capsys, *flags, *argv)
  assert not out.exists()


@pytest.mark.parametrize(("lm_name", "message"), [
    ("pkg:no_such_package_here", "no_such_package_here"),
    ("./no/such/folder", "no/such/folder"),
])
def test_bad_models(capsys, tmp_path, world, lm_name, message):
  out = tmp_path / "out"
  assert message in _refused(
      capsys, "--dataset", world(ROWS), "--lm_name", lm_name, "--out", str(out)
  )
  assert not out.exists()


def test_bad_weights(capsys, tmp_path, world, tiny_lm):
  import pathlib
  import shutil

  import numpy as np
  from safetensors.numpy import load_file, save_file

  out = tmp_path / "out"
  flags = ["--dataset", world(ROWS), "--out", str(out)]

  def with_weights(name, change):
    folder = pathlib.Path(shutil.copytree(tiny_lm, tmp_path / name))
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    return _refused(capsys, *flags, "--lm_name", str(folder))

  assert "ln_f.bias" in with_weights("missing", lambda w: w.pop("ln_f.bias"))
  assert "extra.weight" in with_weights(
      "extra", lambda w: w.update({"extra.weight": np.ones(3, np.float32)}))
  assert "wpe.weight" in with_weights(
      "shape", lambda w: w.update({"wpe.weight": np.ones((4, 32), np.float32)}))
  assert "wte.weight" in with_weights("nan", lambda w: w["wte.weight"].fill(np.nan))
  folder = pathlib.Path(shutil.copytree(tiny_lm, tmp_path / "family"))
  (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
  assert "'mamba'" in (line := _refused(capsys, *flags, "--lm_name", str(folder)))
  assert "gpt2" in line and "llama" in line
  assert not out.exists()


def test_an_unknown_recipe_or_command(capsys):
  assert cli.main(["run", "hf_llm_hiddenstate"]) == 2
  assert f"did you mean '{RECIPE}'" in capsys.readouterr().err
  assert cli.main(["run"]) == 2
  assert "name a recipe" in capsys.readouterr().err
  with pytest.raises(SystemExit) as stop:
    cli.main(["walk"])
  assert stop.value.code == 2


def test_help_lists_every_field(capsys):
  from mezzanine_jax.recipes import get_recipe

  assert cli.main(["run", RECIPE, "--help"]) == 0
  text = capsys.readouterr().out
  for name in get_recipe(RECIPE).Config.__dataclass_fields__:
    assert f"--{name} " in text


@pytest.mark.parametrize("command", ["run", "plan", "tune"])
def test_help_is_80_columns_wide(command, monkeypatch, capsys):
  from mezzanine_jax.recipes import recipe_names

  monkeypatch.setenv("COLUMNS", "80")
  for recipe in ([], *([name] for name in recipe_names())):
    assert cli.main([command, *recipe, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_list_names_everything(capsys):
  assert cli.main(["list"]) == 0
  text = capsys.readouterr().out
  for name in (RECIPE, "evidence_qa", "hf_qa", "segment_order", "mlp"):
    assert name in text


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("argv", [["list"], ["--help"], ["run", RECIPE, "--help"]])
def test_a_reader_may_have_enough(argv, buffered):
  call = f"import sys, mezzanine_jax.cli as c; sys.exit(c.main({argv}))"
  flags = [] if buffered else ["-u"]
  env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
  with subprocess.Popen([sys.executable, *flags, "-c", call], stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, env=env) as process:
    process.stdout.close()
    assert process.stderr.read() == b""
  # argparse itself takes no notice of a write that fails.
  assert process.returncode == 1 or "--help" in argv


def test_there_may_be_no_output_at_all():
  call = "import sys, mezzanine_jax.cli as c; sys.exit(c.main(['list']))"
  program = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, call]
  found = subprocess.run(program, capture_output=True, check=False)
  assert (found.returncode, found.stderr) == (0, b"")


def test_other_broken_pipes_are_errors(monkeypatch):
  def broken(argv):
    raise BrokenPipeError("of a socket")

  monkeypatch.setattr(cli, "_run", broken)
  monkeypatch.setattr(cli, "_is_unread", lambda: False)
  with pytest.raises(BrokenPipeError, match="of a socket"):
    cli.main(["list"])


def test_defaults_file_flags(tmp_path, monkeypatch, capsys):
  """Flags come over the file, the file over the defaults; a file may name the recipe."""
  from mezzanine_jax import report
  from mezzanine_jax.recipes import get_recipe

  seen = {}
  monkeypatch.setattr(get_recipe(RECIPE), "run", lambda c, out: seen.update(config=c, out=out))
  monkeypatch.setattr(report, "show", lambda results, out: None)
  path = tmp_path / "c.py"
  path.write_text(
      f"def get_config():\n  return dict(recipe={RECIPE!r}, k_train=4, k_test=5, choices=' a| b')\n"
  )
  assert cli.main(["run", "--config", str(path), "--k_test=6", "--embed_layer", "-2"]) == 0
  config = seen["config"]
  assert (config.k_train, config.k_test, config.n_train) == (4, 6, 2048)
  assert config.choices == " a| b" and config.embed_layer == "-2"
