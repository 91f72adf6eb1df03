"""A folder of stores that runs share: `--cache_dir DIR`, `mezzanine cache list|verify|prune DIR`.

`DIR/<fingerprint>/` is a store of rows, `DIR/CACHEDIR.TAG` says that the folder is a cache (see
https://bford.info/cachedir/), and that it is one of ours.
"""

import pathlib
import re
import shutil
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from mezzanine_jax import damage, locks
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import check_local, parse_json

_TAG = "CACHEDIR.TAG"
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n# Rows of mezzanine_jax.\n"
_DAY = 24 * 60 * 60


class Entry(NamedTuple):
  """One store of a cache.

  Attributes:
    path: its folder.
    about: what the store says of itself; empty where `problem` is not.
    rows: how many it is for.
    done: how many it holds; None where that cannot be read.
    size: bytes on disk.
    age: days since a run used it.
    problem: why it cannot be used, in a sentence; empty where it can.
  """

  path: pathlib.Path
  about: dict[str, Any]
  rows: int
  done: int | None
  size: int
  age: float
  problem: str


def check(path: str | pathlib.Path) -> pathlib.Path:
  """The folder of a cache that a run may use; it need not exist yet. Writes nothing.

  Raises:
    InputError: if it is a file, holds something else, or is an address such as `gs://bucket`.
  """
  folder = pathlib.Path(path)
  check_local("--cache_dir", path)
  if folder.exists() and not folder.is_dir():
    raise InputError(f"--cache_dir {str(path)!r} is a file; give a folder")
  if folder.is_dir() and any(folder.iterdir()) and not _is_ours(folder):
    raise InputError(
        f"--cache_dir {str(path)!r} holds other files (and no {_TAG} of this package); give an"
        " empty or a new folder")
  return folder


def make(path: pathlib.Path) -> None:
  """Makes the folder of a cache, if it is not there.

  Raises:
    InputError: if it cannot be written.
  """
  if not _is_ours(path):
    try:
      path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise store_lib.unwritable(path, error) from error
    store_lib.write_text(path / _TAG, _SIGNATURE)


def entries(path: str | pathlib.Path) -> list[Entry]:
  """The stores of a cache, the last used first.

  Raises:
    InputError: if the folder is no cache of ours.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    raise InputError(f"{str(path)!r} is no folder; give the --cache_dir of a run")
  if not _is_ours(folder):
    raise InputError(
        f"{str(path)!r} is no cache of rows (it has no {_TAG} of this package); give the"
        " --cache_dir of a run")
  return sorted((_entry(p) for p in folder.iterdir() if _is_entry(p)), key=lambda e: e.age)


def verify(path: str | pathlib.Path) -> Iterator[tuple[Entry, str]]:
  """Reads every store of a cache from end to end; yields what is wrong with each, "" for nothing.

  Raises:
    InputError: if the folder is no cache of ours.
  """
  for entry in entries(path):
    problem = entry.problem
    if not problem:
      try:
        found = damage.inspect(store_lib.reopen(entry.path))
        if found.chunks or found.lost.any():
          problem = f"{damage.describe(found)}; the next run that uses it scores those again"
      except InputError as error:
        problem = str(error)
    yield entry, problem


def prune(
    path: str | pathlib.Path, older_than: float | None = None, unfinished: bool = False
) -> Iterator[tuple[Entry, bool]]:
  """Deletes stores of a cache, and nothing else: no link, no folder that is no store of ours.

  Args:
    path: the cache.
    older_than: days since the last use; those used later stay.
    unfinished: whether only those go that do not hold all of their rows.

  Yields:
    Each store that was meant, and whether it was deleted: one that a run writes is not.

  Raises:
    InputError: if neither is given, or the folder is no cache of ours.
  """
  if older_than is None and not unfinished:
    raise InputError("say what to remove: --older_than DAYS, --unfinished, or both")
  if older_than is not None and not older_than >= 0:
    raise InputError(f"--older_than must be a number of days >= 0, got {older_than}")
  for entry in entries(path):
    old = older_than is None or entry.age > older_than
    if old and not (unfinished and entry.done == entry.rows) and _belongs(entry):
      yield entry, _remove(entry.path)


def _entry(path: pathlib.Path) -> Entry:
  """What is known of a store without reading its rows."""
  files = [p for p in path.rglob("*") if p.is_file()]
  marker = path / store_lib.MARKER
  newest = marker if marker.exists() else path
  age = max(time.time() - newest.stat().st_mtime, 0) / _DAY
  entry = Entry(path, {}, 0, None, sum(p.stat().st_size for p in files), age, "")
  try:
    found = store_lib.manifest(path)
    if found is None:
      return entry._replace(problem=f"{path} is no store of rows (it has no {store_lib.MARKER})")
    if found["fingerprint"] != path.name:
      return entry._replace(problem=f"{path} holds the rows of another fingerprint")
    entry = entry._replace(about=found["about"], rows=found["rows"])
    if not found["complete"]:
      return entry._replace(done=0)
    return entry._replace(done=int(store_lib.done_rows(store_lib.reopen(path)).sum()))
  except InputError as error:
    return entry._replace(problem=str(error))


def _is_ours(folder: pathlib.Path) -> bool:
  """Whether the folder has our tag."""
  tag = folder / _TAG
  return tag.is_file() and tag.read_bytes() == _SIGNATURE.encode()


def _is_entry(path: pathlib.Path) -> bool:
  """Whether this may be a store: a folder, not a link to one, with a fingerprint for its name."""
  return bool(re.fullmatch("[0-9a-f]{64}", path.name)) and path.is_dir() and not path.is_symlink()


def _belongs(entry: Entry) -> bool:
  """Whether the folder says itself that it is the store of its name, of whatever version."""
  try:
    found = parse_json((entry.path / store_lib.MARKER).read_bytes())["attributes"]
    return found["fingerprint"] == entry.path.name
  except (OSError, ValueError, KeyError, TypeError):
    return False


def _remove(path: pathlib.Path) -> bool:
  """Deletes a store that nobody writes; the file by which it is known goes last."""
  lock = lock_of(path)
  if locks.is_held(lock):
    return False
  with locks.only_one(lock, str(path)):
    try:
      for part in path.iterdir():
        if part.is_dir() and not part.is_symlink():
          shutil.rmtree(part)
        elif part.name != store_lib.MARKER:
          part.unlink()
      (path / store_lib.MARKER).unlink()
      path.rmdir()
    except OSError as error:
      raise store_lib.unwritable(path, error) from error
  return True


def lock_of(path: pathlib.Path) -> pathlib.Path:
  """The lock file of a store, beside it."""
  return path.with_name(path.name + ".lock")
