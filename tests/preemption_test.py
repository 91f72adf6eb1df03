"""SIGTERM: raised at once, or at the end of what should not be interrupted."""

import os
import signal
import threading

import pytest

from mezzanine_jax import cli, preemption


def _terminate():
  os.kill(os.getpid(), signal.SIGTERM)


def test_raised_at_once_and_only_inside():
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(preemption.Terminated), preemption.raised():
    _terminate()
    raise AssertionError
  assert signal.getsignal(signal.SIGTERM) is before


def test_deferred_to_the_end_of_the_block():
  seen = []
  with pytest.raises(preemption.Terminated), preemption.raised():
    with preemption.deferred() as arrived:
      seen.append(arrived())
      _terminate()
      seen.append(arrived())
    raise AssertionError
  assert seen == [False, True]


def test_an_error_in_the_block_is_not_hidden():
  with pytest.raises(KeyError), preemption.raised(), preemption.deferred():
    _terminate()
    raise KeyError


def test_handlers_of_others_are_left_alone():
  before = signal.getsignal(signal.SIGTERM)
  with preemption.deferred() as arrived:
    assert signal.getsignal(signal.SIGTERM) is before and not arrived()


def test_other_threads_go_without():
  done = []

  def work():
    with preemption.raised(), preemption.deferred() as arrived:
      done.append(arrived())

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert done == [False]


def test_the_command_ends_with_a_sentence(monkeypatch, capsys):
  monkeypatch.setattr(cli, "_list", _terminate)
  assert cli.main(["list"]) == 143
  assert capsys.readouterr().err == "mezzanine: terminated; nothing was written\n"
