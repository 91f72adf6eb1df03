"""Many processes, on one host or several: each scores its share, process 0 does the rest.

They share a folder, and what process 0 tells all of them when scoring begins. Where one dies, the
others are ended by `jax.distributed` when its heartbeat fails, or at once if it was process 0.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from mezzanine_jax.errors import InputError

AUTO = "auto"
_HEARTBEAT = 30  # seconds of silence after which a process counts as dead
_JOINING = 300  # seconds that processes wait for each other to start
_LEAVING = 30 * 24 * 60 * 60  # seconds that the others wait for process 0 to end


class Left(BaseException):
  """This process has done its share; what follows is for process 0. Like KeyboardInterrupt."""


class Processes(NamedTuple):
  """Those that a run consists of.

  Attributes:
    index: which one this is.
    count: how many there are.
    tell: `(array) -> array`, what process 0 gives; all of them call it, with arrays of one shape.
  """

  index: int
  count: int
  tell: Callable[[np.ndarray], np.ndarray]


ALONE = Processes(0, 1, lambda values: values)


def here() -> Processes:
  """The processes of this run."""
  if jax.process_count() == 1:
    return ALONE
  from jax.experimental import multihost_utils

  return Processes(jax.process_index(), jax.process_count(),
                   lambda values: np.asarray(multihost_utils.broadcast_one_to_all(values)))


def is_first() -> bool:
  """Whether this process keeps the run: writes its folder, trains, reports."""
  return jax.process_index() == 0


def join(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
  """Joins the other processes of a run, before anything of JAX is used.

  Args:
    coordinator: `HOST:PORT` that process 0 listens at, the same for all; or `auto`, where the
      cluster tells (TPU pods, SLURM, Open MPI, Kubernetes), and the other two are left out.
    num_processes: how many there are.
    process_id: which one this is, from 0.

  Raises:
    InputError: for arguments that do not fit, or processes that do not meet.
  """
  numbers = (num_processes, process_id)
  if coordinator == AUTO and numbers != (None, None):
    raise InputError("with --coordinator auto the cluster says which processes there are: leave"
                     " --num_processes and --process_id out, or give HOST:PORT")
  if coordinator != AUTO:
    if None in numbers or not coordinator.rpartition(":")[2].isdecimal():
      raise InputError("--coordinator must be HOST:PORT, with --num_processes and --process_id; or"
                       f" auto; got {coordinator!r}, {num_processes} and {process_id}")
    if not 0 <= process_id < num_processes:
      raise InputError(f"--process_id must lie in 0..{num_processes - 1}, got {process_id}")
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
  try:
    jax.distributed.initialize(
        None if coordinator == AUTO else coordinator, num_processes, process_id,
        initialization_timeout=_JOINING, heartbeat_timeout_seconds=_HEARTBEAT,
        shutdown_timeout_seconds=_LEAVING)
    # They are connected now, while all are at one point: later one may be far behind.
    here().tell(np.zeros(1, np.uint8))
  except (ValueError, RuntimeError) as error:
    raise InputError(f"the processes do not meet at {coordinator}: {str(error).splitlines()[0]}"
                     ) from error


def leave(status: int) -> int:
  """Ends a process of several; alone, gives the status back.

  Where all is well, the others wait for process 0. Whoever fails goes at once, and they follow.
  """
  if not jax.distributed.is_initialized():
    return status
  if status:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the usual way out waits for the others, who wait for this one
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_DFL)  # nothing is left that could be saved
  return status


def fail() -> None:
  """Ends a process of several by the error that is being handled; alone, does nothing."""
  if jax.distributed.is_initialized():
    traceback.print_exc()
    leave(1)
