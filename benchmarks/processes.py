"""Contenders in processes of their own, which work one at a time and wait in between.

Each is a fresh interpreter, so its peak memory is its own; it stays alive between its turns, so
that repetitions can be interleaved and what slows the machine for a while slows all of them.
"""

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# Nothing may be fetched, and the terminal belongs to the table.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "LMEVAL_LOG_LEVEL": "ERROR",
}
_SETTLE = 0.5  # seconds of rest before a turn: thread pools stop spinning some time after work


class Child(NamedTuple):
  """A running process and the pipe to it."""

  process: Any
  pipe: Any


class ChildError(RuntimeError):
  """What was wrong with what a child was asked, or its traceback."""


def start(make: Callable[..., Callable[..., Any]], *args: Any) -> Child:
  """Starts a process that calls `make(*args)` and then answers turns; waits until it is ready.

  Args:
    make: a function of a module, which imports and loads what it needs and returns the
      contender, `turn(*args) -> result`.
    *args: picklable.

  Raises:
    ChildError: if `make` fails.
  """
  context = multiprocessing.get_context("spawn")
  ours, theirs = context.Pipe()
  process = context.Process(target=_serve, args=(theirs, make, args), daemon=True)
  before = {name: os.environ.get(name) for name in _ENVIRONMENT}
  os.environ.update(_ENVIRONMENT)  # read when libraries are imported, so set before the start
  try:
    process.start()
  finally:
    for name, value in before.items():
      os.environ.pop(name)
      if value is not None:
        os.environ[name] = value
  theirs.close()
  child = Child(process, ours)
  try:
    _receive(child)
  except BaseException:
    stop(child)
    raise
  return child


def turn(child: Child, *args: Any) -> Any:
  """The contender's answer to `turn(*args)`; nobody else works meanwhile.

  Raises:
    ChildError: if the contender fails or its process ends.
  """
  time.sleep(_SETTLE)
  child.pipe.send(args)
  return _receive(child)


def stop(child: Child) -> None:
  """Ends a child."""
  try:
    child.pipe.send(None)
    child.process.join(10)
  except OSError:  # it has ended already
    pass
  if child.process.is_alive():
    child.process.terminate()
  child.process.join()
  child.pipe.close()


def once(make: Callable[..., Callable[..., Any]], *args: Any) -> Any:
  """One turn without arguments of a process that ends after it."""
  child = start(make, *args)
  try:
    return turn(child)
  finally:
    stop(child)


def interleaved(
    children: Sequence[Child], repetitions: int, report: Callable[[int, int, Any], None]
) -> list[list[Any]]:
  """A B C A B C ...: the answers to `turn()` of every child, [child][repetition].

  Args:
    children: who takes turns, in this order.
    repetitions: how many turns each has.
    report: called with repetition, child and answer after every turn.
  """
  answers = [[] for _ in children]
  for repetition in range(repetitions):
    for number, child in enumerate(children):
      answers[number].append(turn(child))
      report(repetition, number, answers[number][-1])
  return answers


def peak_mib() -> float:
  """The most memory this process has had resident, in MiB.

  `ru_maxrss` survives exec on Linux and so starts with the parent's; VmHWM does not.
  """
  try:
    with open("/proc/self/status") as status:
      return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
  except (OSError, StopIteration):
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _receive(child: Child) -> Any:
  """What the child sends next."""
  try:
    good, value = child.pipe.recv()
  except (EOFError, ConnectionError):
    child.process.join()
    raise ChildError(f"a contender's process ended with code {child.process.exitcode}") from None
  if not good:
    raise ChildError(value)
  return value


def _serve(pipe: Any, make: Callable[..., Callable[..., Any]], args: tuple) -> None:
  """The child: gets ready, then answers turn after turn until it is sent None."""
  try:
    contender = make(*args)
    pipe.send((True, None))
    while (request := pipe.recv()) is not None:
      pipe.send((True, contender(*request)))
  except EOFError:  # the parent is gone
    pass
  except ValueError as error:  # of what was asked for (InputError too): its sentence is enough
    pipe.send((False, str(error)))
  except Exception:
    pipe.send((False, traceback.format_exc()))
