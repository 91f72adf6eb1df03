"""Runs that are killed at random points end in the same bits as one that was not."""

import collections
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import numpy as np
import pytest
from dying import PHASES

from mezzanine_jax import checkpoints
from mezzanine_jax import store as store_lib

ARGUMENTS = {
    "world": "evidence_qa", "dataset": "evidence_qa", "n_train": 12, "n_test": 6, "k_train": 2,
    "k_test": 3, "steps": 20, "eval_every": 5, "batch_size": 8, "hidden": 8, "max_shapes": 2,
    "batch_tokens": 512,
}
CLOCK = {"rows_run", "seconds", "views_per_second", "total_seconds", "peak_rss_mb"}
BUCKET = ("rclone", "gcp-storage-emulator", "umount")  # programs


class Run(NamedTuple):
  """Starts of one command: `out`, the log that they share, and the environment."""

  out: pathlib.Path
  log: pathlib.Path
  lm: str
  environment: dict
  more: dict  # arguments beside the usual ones

  def start(self, point=None):
    """(exit status, standard error) of one process."""
    fields = ARGUMENTS | {"lm_name": self.lm} | self.more
    flags = [f"--{name}={value}" for name, value in fields.items()]
    program = pathlib.Path(__file__).with_name("dying.py")
    done = subprocess.run(
        [sys.executable, str(program), json.dumps(point), str(self.log), "run",
         "hf_llm_hiddenstate_order_distill", "--out", str(self.out), *flags],
        env=self.environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr

  def lines(self, word):
    """What follows the word in the lines of the log that begin with it."""
    text = self.log.read_text() if self.log.exists() else ""
    return [line.split(" ", 1)[1] for line in text.splitlines() if line.startswith(word + " ")]


@pytest.fixture(scope="module")
def make_run(tiny_lm, tmp_path_factory):
  compiled = tmp_path_factory.mktemp("compiled")
  environment = os.environ | {
      "XDG_CACHE_HOME": str(compiled), "JAX_ENABLE_COMPILATION_CACHE": "true"}

  def make(name, **more):
    folder = tmp_path_factory.mktemp(name)
    # Batches are told by their numbers in one store, and AdamW has a state to go on with.
    more = {"student": "residual", "student_reads": "view"} | more
    return Run(folder / "out", folder / "log", tiny_lm, environment, more)

  return make


@pytest.fixture(scope="module")
def whole(make_run):
  """A run that nothing interrupted, and how many events each of its phases has."""
  run = make_run("whole")
  status, error = run.start()
  assert status == 0, error
  counts = json.loads(run.lines("counts")[0])
  assert all(counts[phase] >= 4 for phase in PHASES)
  assert len(run.lines("batch")) > 4
  return run, counts


def _figures(out):
  """`results.json` but for the clock, and the predictions."""
  results = json.loads((out / "results.json").read_text())
  results["cost"] = {k: v for k, v in results["cost"].items() if k not in CLOCK}
  results["environment"] = None
  return results, json.loads((out / "predictions.json").read_text())


def _check_same(run, whole):
  """The same figures, rows and params, bit for bit; nothing is left lying about."""
  assert _figures(run.out) == _figures(whole.out)
  for path in whole.out.glob("*.zarr"):
    ours, theirs = (store_lib.reopen(r.out / path.name) for r in (run, whole))
    assert set(ours.arrays) == set(theirs.arrays)
    for name in ours.arrays:
      np.testing.assert_array_equal(store_lib.read(ours, name), store_lib.read(theirs, name))
  params, meta = checkpoints.load_student(run.out / "student")
  same, meant = checkpoints.load_student(whole.out / "student")
  jax.tree.map(np.testing.assert_array_equal, params, same)
  assert meta == meant
  assert _names(run.out) == _names(whole.out)


def _names(out):
  """The files of a run; within checkpoints, some are named at random."""
  return sorted(str(p.relative_to(out)) for how in ("*", "*/*") for p in out.glob(how))


def _check_redone(run, whole, kills):
  """What was written is never run again; a kill costs at most what was being worked on."""
  wrote, batches = run.lines("wrote"), run.lines("batch")
  # A delay may carry a death over into the phase behind its own.
  died = collections.Counter(line.split()[0] for line in run.lines("dies"))
  scoring, training = died["planning"] + died["scoring"], died["scoring"] + died["training"]
  assert died.total() == kills
  assert sorted(set(batches)) == sorted(whole.lines("batch"))
  assert len(batches) <= len(set(batches)) + 2 * scoring  # one that ran, one being written
  assert len(wrote) == len(set(wrote))
  points = collections.Counter(run.lines("point"))
  # From one checkpoint to the next is one point here.
  assert points.total() - len(points) <= training


def _points(seed, counts):
  """A point in each phase, scoring twice: at a random event, or up to 30 ms behind it."""
  draw = random.Random(seed)
  for phase in sorted([*PHASES, "scoring"], key=PHASES.index):
    delay = draw.choice([0, 0, draw.uniform(0, 0.03)])
    event = draw.randint(1, max(counts[phase] // (2 if phase == "scoring" else 1), 1))
    yield {"phase": phase, "event": event, "delay": delay, "signal": "SIGKILL"}


def _survives(run, whole, points):
  """Kills the run at every point in turn, then lets it end."""
  for point in points:
    status, error = run.start(point)
    assert status == -signal.SIGKILL, (point, error)
    assert "Traceback" not in error
  status, error = run.start()
  assert status == 0, error
  _check_same(run, whole)
  _check_redone(run, whole, len(points))


@pytest.mark.slow
def test_killed_while_scoring_and_while_training(make_run, whole):
  reference, counts = whole
  points = [{"phase": phase, "event": counts[phase] // 2, "delay": 0, "signal": "SIGKILL"}
            for phase in ("scoring", "training")]
  _survives(make_run("two"), reference, points)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_points(make_run, whole, seed):
  reference, counts = whole
  _survives(make_run(f"seed{seed}"), reference, list(_points(seed, counts)))


@pytest.mark.slow
def test_adapters_killed_while_they_are_trained_and_while_they_answer(make_run):
  more = {"student": "lora", "lora_steps": 4, "lora_eval_every": 2, "lora_rank": 2}
  reference = make_run("adapters", **more)
  status, error = reference.start()
  assert status == 0, error
  events = json.loads(reference.lines("counts")[0])["training"]
  for event in (events // 3, events - 1):  # the last ones are those of the answers
    run = make_run(f"adapters{event}", **more)
    status, error = run.start(
        {"phase": "training", "event": event, "delay": 0, "signal": "SIGKILL"})
    assert status == -signal.SIGKILL, error
    assert (run.out / "student" / "adapters.safetensors").exists() == (event == events - 1)
    status, error = run.start()
    assert status == 0, error
    _check_same(run, reference)
    ours, theirs = (store_lib.read(store_lib.reopen(r.out / "student" / "rows.zarr"), "log_probs")
                    for r in (run, reference))
    np.testing.assert_array_equal(ours, theirs)
    points = collections.Counter(run.lines("point"))
    # The step that was not kept yet is done again; the one before it is told again, as done.
    assert points.total() - len(points) <= 2


@pytest.mark.slow
def test_killed_while_sets_are_scored(make_run):
  reference = make_run("sets", student="ridge", student_reads="set")
  status, error = reference.start()
  assert status == 0, error
  run = make_run("sets_killed", student="ridge", student_reads="set")
  events = json.loads(reference.lines("counts")[0])["scoring"]  # those of sets come first
  status, error = run.start(
      {"phase": "scoring", "event": events // 4, "delay": 0, "signal": "SIGKILL"})
  assert status == -signal.SIGKILL, error
  assert store_lib.manifest(run.out / "set.zarr") is not None
  assert not (run.out / "views.zarr").exists()
  status, error = run.start()
  assert status == 0, error
  _check_same(run, reference)
  assert len(run.lines("batch")) <= len(reference.lines("batch")) + 2


@pytest.mark.slow
def test_terminated_while_scoring_and_while_training(make_run, whole):
  """SIGTERM: a sentence, status 143, everything saved."""
  reference, counts = whole
  run = make_run("terminated")
  for phase in ("planning", "scoring", "training"):
    status, error = run.start(
        {"phase": phase, "event": counts[phase] // 2, "delay": 0, "signal": "SIGTERM"})
    assert status == 143 and "Traceback" not in error
    assert "mezzanine: terminated; what was done is saved, the same command continues" in error
    assert not (run.out / "run.lock").exists()
  status, error = run.start()
  assert status == 0, error
  _check_same(run, reference)
  _check_redone(run, reference, 3)
  points = collections.Counter(run.lines("point"))
  assert max(points.values()) == 1  # nothing was trained twice


class Bucket(NamedTuple):
  """A bucket of an emulated Cloud Storage as a folder, mounted as a cluster's hosts do."""

  folder: pathlib.Path
  cache: pathlib.Path
  port: int
  mounts: list  # the process of the last mount

  def mount(self):
    """Another host: the folder shows what is in the bucket, and nothing else."""
    url = f"http://127.0.0.1:{self.port}/storage/v1/"
    self.mounts.append(subprocess.Popen(
        ["rclone", "mount", ":gcs:runs", str(self.folder), "--gcs-endpoint", url,
         "--gcs-anonymous", "--gcs-no-check-bucket", "--vfs-cache-mode", "writes",
         "--vfs-write-back", "1s", "--cache-dir", str(self.cache)], stderr=subprocess.DEVNULL))
    _wait_for(lambda: os.path.ismount(self.folder))

  def lose(self):
    """The host dies, with what it had not sent yet."""
    mount = self.mounts.pop()
    mount.kill()
    mount.wait()
    subprocess.run(["umount", "-l", str(self.folder)], check=True)
    shutil.rmtree(self.cache, ignore_errors=True)


def _answers(port):
  with socket.socket() as asked:
    return asked.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(ready, seconds=30):
  end = time.monotonic() + seconds
  while not ready():
    assert time.monotonic() < end
    time.sleep(0.1)


@pytest.fixture
def bucket(tmp_path):
  missing = [name for name in BUCKET if shutil.which(name) is None]
  if missing or not os.access("/dev/fuse", os.W_OK):
    pytest.skip(f"mounting a bucket needs /dev/fuse and {', '.join(BUCKET)}; missing: {missing}")
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  served = subprocess.Popen(
      ["gcp-storage-emulator", "start", f"--port={port}", "--host=127.0.0.1", "--in-memory",
       "--default-bucket=runs"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  found = Bucket(tmp_path / "mounted", tmp_path / "cache", port, [])
  found.folder.mkdir()
  try:
    _wait_for(lambda: _answers(port))
    found.mount()
    yield found
  finally:
    if found.mounts:
      found.lose()
    served.kill()
    served.wait()


@pytest.mark.slow
def test_hosts_that_die_with_a_mounted_bucket(make_run, whole, bucket):
  """Runs in a bucket: the next host goes on from what had come into it."""
  reference, counts = whole
  run = make_run("bucket")._replace(out=bucket.folder / "out")
  for phase in ("scoring", "training", "reporting"):
    status, error = run.start(
        {"phase": phase, "event": counts[phase] // 2, "delay": 0, "signal": "SIGKILL"})
    assert status == -signal.SIGKILL, error
    bucket.lose()
    bucket.mount()
    assert store_lib.manifest(run.out / "views.zarr") is not None  # something had come
  status, error = run.start()
  assert status == 0, error
  _check_same(run, reference)
  # Three and a half times as many where each host had begun anew.
  assert len(run.lines("batch")) < 2.5 * len(reference.lines("batch"))
