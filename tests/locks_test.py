"""Locks: one process at a time, freed by the death of their holder."""

import multiprocessing
import os
import signal

import pytest

from mezzanine_jax import locks
from mezzanine_jax.errors import InputError


def _hold(path, ready):
  with locks.only_one(path, "it"):
    ready.set()
    signal.pause()


def test_another_process_is_told_who_holds_it_until_it_dies(tmp_path):
  path, spawned = tmp_path / "a.lock", multiprocessing.get_context("spawn")
  ready = spawned.Event()
  holder = spawned.Process(target=_hold, args=(path, ready))
  holder.start()
  try:
    assert ready.wait(120)
    assert locks.is_held(path)
    name = f"process {holder.pid} on {os.uname().nodename}"
    with (
        pytest.raises(InputError, match=f"the rows is being written by {name}; wait until"),
        locks.only_one(path, "the rows"),
    ):
      raise AssertionError
    assert path.read_text().strip() == name  # a refused process does not write it
  finally:
    holder.kill()
    holder.join()
  assert path.exists() and not locks.is_held(path)  # SIGKILL left the file, not the lock
  left = path.with_name("left.lock")
  left.write_bytes(path.read_bytes())
  locks.sweep(left)
  assert not left.exists()
  with locks.only_one(path, "the rows"):
    assert path.read_text().strip() == f"process {os.getpid()} on {os.uname().nodename}"
  assert not path.exists()


def test_what_is_held_is_not_swept_away(tmp_path):
  path = tmp_path / "a.lock"
  with locks.only_one(path, "a"):
    locks.sweep(path)
    assert path.exists() and locks.is_held(path)
  locks.sweep(path)  # nothing there


def test_it_is_free_after_an_error(tmp_path):
  path = tmp_path / "a.lock"
  with pytest.raises(KeyError), locks.only_one(path, "a"):
    raise KeyError
  assert not path.exists()
  with locks.only_one(path, "a"), pytest.raises(InputError), locks.only_one(path, "a"):
    raise AssertionError


def test_a_lock_that_its_holder_removed_is_not_taken_for_held(tmp_path, monkeypatch):
  """Who opened the file just before the holder deleted it must lock the next one."""
  path, real, opened = tmp_path / "a.lock", os.open, []

  def late(*arguments):
    handle = real(*arguments)
    opened.append(handle)
    if len(opened) == 1:
      path.unlink()
    return handle

  monkeypatch.setattr(os, "open", late)
  with locks.only_one(path, "a"):
    assert len(opened) == 2 and os.path.samestat(os.stat(path), os.fstat(opened[1]))


def test_a_folder_that_is_not_there_is_told(tmp_path):
  with (
      pytest.raises(InputError, match="a cannot be written: No such file or directory"),
      locks.only_one(tmp_path / "b" / "a.lock", "a"),
  ):
    raise AssertionError
