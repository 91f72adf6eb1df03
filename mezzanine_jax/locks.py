"""One writer at a time: a lock file that the system frees however its process ends."""

import contextlib
import errno
import os
import pathlib
import socket
from collections.abc import Iterator

from mezzanine_jax.errors import InputError

try:
  import fcntl
except ImportError:  # a platform without them: nothing is locked there
  fcntl = None

# File systems without locks (some that stand for buckets) say one of these; they go without.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def only_one(path: pathlib.Path, what: str) -> Iterator[None]:
  """Holds the lock file `path`, which says by which process and is gone afterwards.

  Args:
    path: the lock file, in a folder that exists.
    what: what it guards, for the error.

  Raises:
    InputError: if another process holds it, or the folder cannot be written.

  Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   with only_one(pathlib.Path(folder, "a.lock"), "a"):
    ...     print(os.listdir(folder))
    ['a.lock']
  """
  if fcntl is None:
    yield
    return
  handle = _acquire(path, what)
  try:
    yield
  finally:
    # It is still held: whoever opened it meanwhile sees that the name is gone, and tries again.
    try:
      path.unlink(missing_ok=True)
    finally:
      os.close(handle)


def sweep(path: pathlib.Path) -> None:
  """Removes the lock file that a killed process left, if nobody holds it and it can be removed."""
  if path.exists():
    with contextlib.suppress(InputError, OSError), only_one(path, str(path)):
      pass  # it is gone afterwards


def is_held(path: pathlib.Path) -> bool:
  """Whether a process holds that lock file now."""
  if fcntl is None or not path.exists():
    return False
  handle = os.open(path, os.O_RDONLY)
  try:
    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except BlockingIOError:
    return True
  finally:
    os.close(handle)
  return False


def _acquire(path: pathlib.Path, what: str) -> int:
  """The open lock file, locked, with this process's name in it."""
  while True:
    try:
      # A link would be followed out of the folder, and what it leads to emptied.
      handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
      raise InputError(f"{what} cannot be written: {error.strerror}") from error
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      holder = os.pread(handle, 300, 0).decode(errors="replace").strip() or "another process"
      os.close(handle)
      raise InputError(
          f"{what} is being written by {holder}; wait until that is done, or give another folder"
      ) from error
    except OSError as error:
      if error.errno not in _NO_LOCKS:
        os.close(handle)
        raise
    try:
      same = os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
      same = False
    if same:
      os.ftruncate(handle, 0)
      os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
      return handle
    os.close(handle)
