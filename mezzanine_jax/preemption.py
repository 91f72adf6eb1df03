"""SIGTERM, by which machines are taken away: what is running is saved, then the program ends."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


class Terminated(BaseException):
  """SIGTERM arrived. Like KeyboardInterrupt, no `except Exception` catches it."""


@contextlib.contextmanager
def raised() -> Iterator[None]:
  """Inside, SIGTERM raises `Terminated` in the main thread, at once unless `deferred`."""
  if threading.current_thread() is not threading.main_thread():
    yield  # only the main thread may say what signals do
    return
  before = signal.signal(signal.SIGTERM, _raise)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
  """Inside, SIGTERM waits; yields `arrived()`. The end of the block raises `Terminated` if it is.

  Where `raised` is not in force, signals are left alone.

  Example:
    >>> with deferred() as arrived:
    ...   arrived()
    False
  """
  signals = []
  main = threading.current_thread() is threading.main_thread()
  if not main or signal.getsignal(signal.SIGTERM) is not _raise:
    yield lambda: False
    return
  signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
  try:
    yield lambda: bool(signals)
  finally:
    signal.signal(signal.SIGTERM, _raise)
  if signals:
    raise Terminated


def _raise(*_) -> None:
  """The handler while nothing is deferred."""
  raise Terminated
