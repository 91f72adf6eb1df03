"""JAX's cache of compiled programs on disk, so that a second run compiles nothing.

A library must not turn it on for its caller; the command line does.
"""

import hashlib
import os
import pathlib
import platform
import sys
import tempfile
import warnings

import jax

_CPU_FACTS = ("model name", "flags", "Features")  # lines of /proc/cpuinfo that decide the code


def enable() -> pathlib.Path | None:
  """Turns JAX's persistent compilation cache on for this process, for every program.

  JAX's own settings win: `JAX_COMPILATION_CACHE_DIR` names the folder, and
  `JAX_ENABLE_COMPILATION_CACHE=false` keeps the cache off. Otherwise the folder lies in the
  user's cache directory (`XDG_CACHE_HOME`), one for each kind of CPU. A folder that cannot be
  written leaves the cache off; an entry that cannot be read or written is compiled instead.

  Returns:
    The folder, or None where the cache stays off.

  Example:
    >>> import jax
    >>> jax.config.update("jax_enable_compilation_cache", False)
    >>> print(enable())
    None
  """
  if not jax.config.jax_enable_compilation_cache:
    return None
  chosen = jax.config.jax_compilation_cache_dir
  path = pathlib.Path(chosen) if chosen else _default_folder()
  if path is None or not (_is_remote(chosen) or _is_writable(path)):
    # JAX would warn of a folder that cannot be written at every program.
    jax.config.update("jax_enable_compilation_cache", False)
    return None
  if not chosen:
    jax.config.update("jax_compilation_cache_dir", str(path))
  # A run has a hundred small programs: each takes less than JAX's threshold of a second, and
  # together they take longer than the large ones.
  for name, everything in (("jax_persistent_cache_min_compile_time_secs", 0.0),
                           ("jax_persistent_cache_min_entry_size_bytes", -1)):
    if name.upper() not in os.environ:
      jax.config.update(name, everything)
  # An entry cut off by a kill, or a full disk: the program is compiled, which is no news.
  warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
  _quiet_loader()
  return path


def _quiet_loader() -> None:
  """Keeps XLA from logging at every program that it loads.

  On CPUs that LLVM tunes for, it takes the tuning (+prefer-no-gather) for a feature that the CPU
  lacks, and says so in long lines (github.com/openxla/xla/issues/44565).
  """
  asked = {"TF_CPP_MIN_LOG_LEVEL", "JAX_LOGGING_LEVEL"} & set(os.environ)
  if not asked and jax.default_backend() == "cpu":
    jax.config.update("jax_logging_level", "CRITICAL")


def _default_folder() -> pathlib.Path | None:
  """The folder for this kind of machine in the user's cache directory; None without a home."""
  try:
    return _user_cache() / "mezzanine_jax" / f"compiled-{_machine()}"
  except RuntimeError:  # there is no home directory
    return None


def _user_cache() -> pathlib.Path:
  """Where the platform keeps what may be deleted at any time."""
  given = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
  if given.is_absolute():  # the specification says that other values are ignored
    return given
  if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
    return pathlib.Path(os.environ["LOCALAPPDATA"])
  return pathlib.Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _machine() -> str:
  """A name for the CPU's kind: compiled programs use the instructions that it has.

  Some versions of JAX leave the CPU out of their own keys, and home directories are shared.
  """
  facts = [platform.system(), platform.machine(), platform.processor()]
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
  except OSError:
    lines = []
  facts += sorted({line for line in lines if line.startswith(_CPU_FACTS)})
  return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _is_remote(path: str | None) -> bool:
  """Whether the folder is in a bucket, which JAX writes by itself."""
  return bool(path) and "://" in path


def _is_writable(path: pathlib.Path) -> bool:
  """Whether files can be made in the folder, which is made where it is missing."""
  try:
    # Who writes here can have code run by the owner of the process.
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
      return True
  except OSError:
    return False
