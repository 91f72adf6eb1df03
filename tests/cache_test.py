"""`--cache_dir` and `mezzanine cache`: what is listed, what is found damaged, what is removed."""

import json
import os
import time

import numpy as np
import pytest

from mezzanine_jax import cache, cli, locks
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError

WHOLE, PART, OLD = ("a" * 64, "b" * 64, "c" * 64)
ABOUT = {"recipe": "llm_order_gap", "model": "gpt2", "data": "boolq"}


def _store(folder, fingerprint, done):
  arrays = {"log_probs": ((600, 2), "float32")}
  store = store_lib.open_store(
      folder / fingerprint, fingerprint, arrays, {"row": np.arange(3)}, ABOUT)
  store_lib.write_rows(store, 0, {"log_probs": np.ones((done, 2), np.float32)})
  return folder / fingerprint


@pytest.fixture
def folder(tmp_path):
  """A cache: a whole store, one with 100 of 600 rows, and one of another version, 9 days old."""
  path = tmp_path / "cache"
  cache.make(path)
  _store(path, WHOLE, 600)
  _store(path, PART, 100)
  marker = _store(path, OLD, 600) / "zarr.json"
  group = json.loads(marker.read_text())
  marker.write_text(json.dumps(group | {"attributes": group["attributes"] | {"format": 1}}))
  past = time.time() - 9 * 24 * 60 * 60
  os.utime(marker, (past, past))
  return path


def test_what_is_there(folder):
  whole, part, old = sorted(cache.entries(folder), key=lambda e: e.path)
  assert (whole.rows, whole.done, whole.problem, whole.about) == (600, 600, "", ABOUT)
  assert (part.rows, part.done) == (600, 100) and 0 <= part.age < 0.1
  assert old.done is None and 8.9 < old.age < 9.1 and "another version" in old.problem
  assert whole.size == sum(p.stat().st_size for p in whole.path.rglob("*") if p.is_file())


def test_list(folder, capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "120")
  assert cli.main(["cache", "list", str(folder)]) == 0
  lines = capsys.readouterr().out.splitlines()
  [whole] = [line for line in lines if line.startswith("a" * 12)]
  assert whole.split()[1:5] == ["llm_order_gap", "gpt2", "boolq", "600/600"]
  assert "9 days" in [line for line in lines if line.startswith("c" * 12)][0]
  assert lines[-1].startswith("cccccccccccc: ") and "another version of this package" in lines[-1]


def test_an_empty_cache(tmp_path, capsys):
  cache.make(tmp_path / "c")
  assert cli.main(["cache", "list", str(tmp_path / "c")]) == 0
  assert capsys.readouterr().out == "no rows are kept here yet\n"


def test_verify(folder, capsys):
  chunk = folder / WHOLE / "log_probs" / "c" / "0" / "0"
  assert cli.main(["cache", "verify", str(folder)]) == 1
  lines = sorted(capsys.readouterr().out.splitlines())
  assert lines[0] == "aaaaaaaaaaaa: 600 of 600 rows, undamaged"
  assert lines[1] == "bbbbbbbbbbbb: 100 of 600 rows, undamaged"
  assert "another version" in lines[2] and len(lines) == 3
  data = bytearray(chunk.read_bytes())
  data[0] ^= 1
  chunk.write_bytes(data)
  assert cli.main(["cache", "verify", str(folder)]) == 1
  assert ("aaaaaaaaaaaa: 1 damaged chunk (log_probs 0), 512 of 600 rows lost; the next run that"
          " uses it scores those again") in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("flags", "gone"), [
    (["--older_than", "8"], [OLD]), (["--older_than", "10"], []),
    (["--unfinished"], [PART, OLD]), (["--unfinished", "--older_than", "8"], [OLD]),
    (["--older_than", "0"], [WHOLE, PART, OLD]),
])
def test_prune(folder, flags, gone, capsys):
  assert cli.main(["cache", "prune", str(folder), *flags]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert sorted(line.split(":")[0] for line in lines[:-1]) == [f"removed {n[:12]}" for n in gone]
  assert lines[-1].endswith(" freed") and (lines[-1] == "0 B freed") == (not gone)
  left = {WHOLE, PART, OLD} - set(gone) | {"CACHEDIR.TAG"}
  assert {p.name for p in folder.iterdir()} == left


def test_prune_touches_nothing_else(folder, tmp_path, capsys):
  """Other folders, links, stores in use, and stores that do not say that they are ours."""
  (tmp_path / "elsewhere").mkdir()
  (tmp_path / "elsewhere" / "thesis.tex").write_text("x")
  (folder / ("d" * 64)).symlink_to(tmp_path / "elsewhere")
  (folder / ("e" * 64)).mkdir()
  (folder / ("e" * 64) / "thesis.tex").write_text("x")
  (folder / "notes").mkdir()
  _store(folder, "f" * 64, 5).rename(folder / ("1" * 64))  # of another name than its own
  with locks.only_one(cache.lock_of(folder / PART), "rows"):
    assert cli.main(["cache", "prune", str(folder), "--older_than", "0"]) == 0
  assert f"kept {PART[:12]}: a run is writing it" in capsys.readouterr().out
  assert {p.name for p in folder.iterdir()} == {
      PART, "d" * 64, "e" * 64, "1" * 64, "notes", "CACHEDIR.TAG"}
  assert (tmp_path / "elsewhere" / "thesis.tex").exists()
  assert (folder / ("e" * 64) / "thesis.tex").exists()


@pytest.mark.parametrize("what", ["list", "verify", "prune"])
def test_odd_folders_are_refused(tmp_path, capsys, what):
  flags = ["--unfinished"] if what == "prune" else []
  (tmp_path / "f").write_text("x")
  _store(tmp_path, WHOLE, 5)  # a store of ours in a folder that is no cache
  for path, message in ((tmp_path, "is no cache of rows (it has no CACHEDIR.TAG of this package)"),
                        (tmp_path / "f", "is no folder"), (tmp_path / "none", "is no folder")):
    assert cli.main(["cache", what, str(path), *flags]) == 2
    assert message in capsys.readouterr().err
  assert (tmp_path / WHOLE).exists()


def test_prune_must_be_told_what(folder, capsys):
  assert cli.main(["cache", "prune", str(folder)]) == 2
  assert "say what to remove: --older_than DAYS, --unfinished" in capsys.readouterr().err
  for days in ("-1", "nan"):
    assert cli.main(["cache", "prune", str(folder), f"--older_than={days}"]) == 2
    assert "--older_than must be a number of days >= 0" in capsys.readouterr().err


def test_a_run_refuses_folders_of_others(tmp_path):
  (tmp_path / "f").write_text("x")
  with pytest.raises(InputError, match="--cache_dir '.*' holds other files .and no CACHEDIR.TAG"):
    cache.check(tmp_path)
  with pytest.raises(InputError, match="is a file; give a folder"):
    cache.check(tmp_path / "f")
  assert cache.check(tmp_path / "new") == tmp_path / "new" and not (tmp_path / "new").exists()
  cache.make(tmp_path / "new")
  cache.make(tmp_path / "new")
  assert cache.check(tmp_path / "new") == tmp_path / "new"
  with pytest.raises(InputError, match="f/c cannot be written: Not a directory"):
    cache.make(tmp_path / "f" / "c")
