"""What training and students leave on disk: orbax checkpoints and one json file, no pickle."""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mezzanine_jax.base import Params
from mezzanine_jax.errors import InputError
from mezzanine_jax.store import unwritable, write_text
from mezzanine_jax.untrusted import parse_json, shown

FORMAT = 1
_BEST = "best"
_LAST = "last"
_META = "student.json"
_MOST_BYTES = 2**31  # of a student's parameters; what is not on disk would be filled in
_REQUIRED = ("name", "settings", "num_choices", "feature_size")


def save_best(directory: str | os.PathLike, params: Params) -> None:
  """Writes params to `directory/best`, over an older one.

  Args:
    directory: made where it does not exist.
    params: pytree of arrays (nested dicts).

  Raises:
    InputError: if there is no room or no right to write them.
  """
  import orbax.checkpoint as ocp

  directory = _folder(directory)
  # Arrays of the host carry no sharding: they load again on any number of devices.
  params = jax.device_get(params)
  with _writing(directory), _checkpointer() as checkpointer:
    checkpointer.save(directory / _BEST, args=ocp.args.StandardSave(params), force=True)


def save_student(directory: str | os.PathLike, params: Params, meta: dict[str, Any]) -> None:
  """Writes a student: `best` (orbax) and `student.json`, all that is needed to use it again.

  Args:
    directory: made where it does not exist.
    params: what `Student.init` returns, trained; constants included.
    meta: `name` and `settings` as `heads.make_student` takes them (num_choices apart),
      `num_choices`, `feature_size`, and whatever else json can hold; `format` is added.

  Raises:
    InputError: meta lacks a field or holds what json cannot; or there is no room to write it.
  """
  missing = [field for field in _REQUIRED if field not in meta]
  if missing:
    raise InputError(f"meta of a student needs {', '.join(missing)}")
  try:
    text = json.dumps({"format": FORMAT, **meta}, indent=2, allow_nan=False) + "\n"
  except (TypeError, ValueError) as error:
    raise InputError(f"meta of a student must be plain json: {error}") from error
  directory = _folder(directory)
  # The json file is written last and in one move: where it stands, the student is complete.
  (directory / _META).unlink(missing_ok=True)
  save_best(directory, params)
  write_text(directory / _META, text)


def load_student(directory: str | os.PathLike) -> tuple[Params, dict[str, Any]]:
  """Reads what `save_student` wrote.

  `make_student(meta["name"], num_choices=meta["num_choices"], **meta["settings"]).apply` is the
  function of the params.

  Args:
    directory: the student's folder.

  Returns:
    (params as numpy arrays, meta).

  Raises:
    InputError: the folder is missing, incomplete, broken, or of a newer format.
  """
  import orbax.checkpoint as ocp

  directory = Path(directory).absolute()
  if not directory.is_dir():
    raise InputError(f"no student in {directory}: the folder does not exist")
  if not (directory / _META).is_file() or not (directory / _BEST).is_dir():
    raise InputError(f"no complete student in {directory}: it needs {_META} and {_BEST}/")
  try:
    meta = parse_json((directory / _META).read_bytes())
  except (OSError, ValueError) as error:
    raise InputError(f"{directory / _META} is not valid json: train the student again") from error
  if not isinstance(meta, dict) or any(field not in meta for field in (*_REQUIRED, "format")):
    raise InputError(f"{directory / _META} is incomplete: train the student again")
  if meta["format"] != FORMAT:
    raise InputError(
      f"{directory} holds a student of format {shown(repr(meta['format']))}, this version reads"
      f" {FORMAT}"
    )
  try:
    with _checkpointer() as checkpointer:
      leaves = jax.tree.leaves(checkpointer.metadata(directory / _BEST).item_metadata)
      size = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)
      if size > _MOST_BYTES:
        raise ValueError(f"{size:,} bytes")
      params = checkpointer.restore(directory / _BEST, args=ocp.args.StandardRestore())
  except Exception as error:  # Storage layers raise many types; all mean the same here.
    raise InputError(f"{directory / _BEST} cannot be read: train the student again") from error
  return params, meta


def save_last(directory: str | os.PathLike, fingerprint: str, step: int, state: Any) -> None:
  """Writes a running training's state to `directory/last`, in the place of the one before.

  orbax writes under a temporary name and renames, so what was cut off is never read; the older
  state goes only when the new one is complete.

  Args:
    directory: made where it does not exist.
    fingerprint: names everything that decides the run's numbers.
    step: how many steps the state has behind it.
    state: pytree of arrays.

  Raises:
    InputError: if there is no room or no right to write it.
  """
  import orbax.checkpoint as ocp

  if jax.process_count() > 1:  # orbax takes arrays of one host's devices for a mistake there
    state = jax.device_get(state)
  items = ocp.args.Composite(
    state=ocp.args.StandardSave(state), run=ocp.args.JsonSave({"fingerprint": fingerprint})
  )
  with _writing(directory), _manager(directory) as manager:
    if step not in manager.all_steps():
      manager.save(step, args=items)


def restore_last(directory: str | os.PathLike, fingerprint: str, like: Any) -> Any | None:
  """Reads the newest complete state that `save_last` left.

  Args:
    directory: as for `save_last`.
    fingerprint: of the run that wants to continue.
    like: a state of the same structure, shapes and devices.

  Returns:
    The state, or None where there is none that can be read.

  Raises:
    InputError: the state belongs to another run.
  """
  if not (Path(directory) / _LAST).is_dir():
    return None
  import orbax.checkpoint as ocp

  many = jax.process_count() > 1
  target = jax.tree.map(ocp.utils.to_shape_dtype_struct, jax.device_get(like) if many else like)
  state = None
  with _manager(directory) as manager:
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        run = manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore())).run
        found = run["fingerprint"]
        if found == fingerprint:
          item = ocp.args.Composite(state=ocp.args.StandardRestore(target))
          state = manager.restore(step, args=item).state
      except Exception:  # Storage layers raise many types; all mean that it cannot be read.
        # An older state, or the start, leads to the same numbers; its place is wanted again.
        shutil.rmtree(_folder(directory) / _LAST / str(step))
        continue
      break
    else:
      return None
  if found != fingerprint:
    raise InputError(
      f"{Path(directory) / _LAST} holds a training of other data or settings: "
      "choose another folder, or train with resume=False to start over"
    )
  return jax.tree.map(lambda a, b: jax.device_put(a, b.sharding), state, like) if many else state


def fingerprint(settings: str, arrays: Any) -> str:
  """A name for everything that decides a run's numbers.

  Args:
    settings: a text that differs where the settings differ.
    arrays: pytree of arrays: the data, the key, the first params.

  Returns:
    SHA-256 as hex digits.
  """
  digest = hashlib.sha256(settings.encode())
  for leaf in jax.tree.leaves(arrays):
    leaf = np.ascontiguousarray(leaf)
    digest.update(f"{leaf.shape}{leaf.dtype}".encode())
    digest.update(leaf.reshape(-1).view(np.uint8))
  return digest.hexdigest()


def clear_last(directory: str | os.PathLike) -> None:
  """Deletes what `save_last` left, if anything."""
  path = Path(directory).absolute() / _LAST
  if path.exists():
    shutil.rmtree(path)


def _manager(directory: str | os.PathLike) -> Any:
  """An orbax manager that writes before it returns and clears what was cut off."""
  import orbax.checkpoint as ocp

  options = ocp.CheckpointManagerOptions(
    max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True, create=False,
    multiprocessing_options=_this_process(),
  )
  return ocp.CheckpointManager(_folder(Path(directory) / _LAST), options=options)


def _checkpointer() -> Any:
  """An orbax checkpointer of one pytree."""
  import orbax.checkpoint as ocp

  own = _this_process()
  return ocp.Checkpointer(
    ocp.StandardCheckpointHandler(multiprocessing_options=own), multiprocessing_options=own)


def _this_process() -> Any:
  """Orbax options by which this process writes by itself, whether there are others or not."""
  import orbax.checkpoint as ocp

  own = jax.process_index()
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  return ocp.options.MultiprocessingOptions(
    primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process{own}")


@contextlib.contextmanager
def _writing(directory: str | os.PathLike) -> Iterator[None]:
  """Tells of a disk that takes nothing in a sentence; what was written before stays."""
  try:
    yield
  except (OSError, ValueError) as error:
    if isinstance(error, ValueError) and "os_error_code" not in str(error):
      raise
    raise unwritable(directory, error) from error


def _folder(directory: str | os.PathLike) -> Path:
  """An absolute path to a folder that exists (orbax takes no relative ones)."""
  directory = Path(directory).absolute()
  with _writing(directory):
    directory.mkdir(parents=True, exist_ok=True)
  return directory
