"""Two real processes on loopback: the figures of one, and an end for both when one is killed."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from mezzanine_jax import checkpoints
from mezzanine_jax import store as store_lib

RECIPE = "hf_llm_hiddenstate_order_distill"
ARGUMENTS = {
    "world": "evidence_qa", "dataset": "evidence_qa", "n_train": 12, "n_test": 6, "k_train": 2,
    "k_test": 3, "steps": 20, "eval_every": 5, "batch_size": 8, "hidden": 8, "max_shapes": 2,
    "batch_tokens": 512,
}
CLOCK = {"seconds", "views_per_second", "total_seconds", "peak_rss_mb", "rows_run"}
_BOUND = 120  # seconds after which nobody may be left waiting; the heartbeat's are 30


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
  compiled = tmp_path_factory.mktemp("compiled")
  flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
  return os.environ | {"XDG_CACHE_HOME": str(compiled), "JAX_ENABLE_COMPILATION_CACHE": "true",
                       "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


@pytest.fixture
def start(tiny_lm, tmp_path, environment):
  """`start(out, number, points)`: so many processes of one run; those left over are killed."""
  started = []

  def start(out, number, points=()):
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      port = free.getsockname()[1]
    flags = [f"--{name}={value}" for name, value in (ARGUMENTS | {"lm_name": tiny_lm}).items()]
    program = str(pathlib.Path(__file__).with_name("dying.py"))
    for i in range(number):
      point = json.dumps(dict(points).get(i))
      joined = ["--coordinator", f"127.0.0.1:{port}", f"--num_processes={number}",
                f"--process_id={i}"] if number > 1 else []
      log = str(tmp_path / f"{out.name}.log{i}")
      started.append(subprocess.Popen(
          [sys.executable, program, point, log, "run", RECIPE, "--out", str(out), *flags, *joined],
          env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    return started[-number:]

  yield start
  for process in started:
    process.kill()
    process.communicate()


def _lines(log, word):
  """What follows the word in the lines of a log that begin with it."""
  return [line.partition(" ")[2] for line in log.read_text().splitlines()
          if line.startswith(word + " ")]


def _ended(process, seconds=600):
  """(status, standard error) of a process that ends in time."""
  error = process.communicate(timeout=seconds)[1]
  return process.returncode, error


def _check_same(out, reference):
  """The figures, the rows and the student of a run of one process."""
  for name in ("results.json", "predictions.json"):
    found, expected = (json.loads((o / name).read_text()) for o in (out, reference))
    for results in (found, expected):
      results.pop("environment", None)
      if "cost" in results:
        results["cost"] = {k: v for k, v in results["cost"].items() if k not in CLOCK}
    assert found == expected
  ours, theirs = (store_lib.reopen(o / "views.zarr") for o in (out, reference))
  for name in theirs.arrays:
    np.testing.assert_array_equal(store_lib.read(ours, name), store_lib.read(theirs, name))
  params, _ = checkpoints.load_student(out / "student")
  jax.tree.map(np.testing.assert_array_equal, params,
               checkpoints.load_student(reference / "student")[0])
  names = [sorted(p.name for p in o.glob("views.zarr/*")) for o in (out, reference)]
  assert names[0] == names[1]  # no parts are left


@pytest.mark.slow
def test_two_processes_and_a_killed_one(start, tmp_path):
  """One run by one process, one by two, and one whose second process is killed.

  Each process has two devices. When one is killed the other ends by itself, and one process goes
  on with what both had scored.
  """
  (alone,) = start(tmp_path / "one", 1)
  status, error = _ended(alone)
  assert status == 0, error

  both = start(tmp_path / "two", 2)
  for process in both:
    status, error = _ended(process)
    assert status == 0, error
  _check_same(tmp_path / "two", tmp_path / "one")
  assert all(len(_lines(tmp_path / f"two.log{i}", "wrote")) > 1 for i in (0, 1))

  # Before its last write: it has written rows of its own, and process 0 waits for the rest.
  counts = json.loads(_lines(tmp_path / "two.log1", "counts")[0])
  point = {"phase": "scoring", "event": counts["scoring"] - 3, "delay": 0, "signal": "SIGKILL"}
  first, second = start(tmp_path / "killed", 2, {1: point})
  assert _ended(second)[0] == -signal.SIGKILL
  died = time.monotonic()
  status, error = _ended(first, _BOUND)
  assert status != 0 and time.monotonic() - died < _BOUND
  assert not (tmp_path / "killed" / "results.json").exists()
  assert _lines(tmp_path / "killed.log1", "wrote")

  (again,) = start(tmp_path / "killed", 1)
  status, error = _ended(again)
  assert status == 0, error
  _check_same(tmp_path / "killed", tmp_path / "one")
  batches = _lines(tmp_path / "killed.log0", "batch")  # of both starts; the first is for shapes
  assert len(set(batches)) < len(_lines(tmp_path / "one.log0", "wrote"))  # those of the dead stay


@pytest.mark.slow
def test_the_first_process_dies_while_the_other_waits_for_it(start, tmp_path):
  point = {"phase": "planning", "event": 2, "delay": 0, "signal": "SIGKILL"}
  first, second = start(tmp_path / "out", 2, {0: point})
  assert _ended(first)[0] == -signal.SIGKILL
  status, _ = _ended(second, _BOUND)
  assert status != 0
