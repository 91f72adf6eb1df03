"""A run's `--out` folder: begun, continued, finished, or somebody else's."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import mezzanine_jax
from mezzanine_jax import cache, hosts, locks, results_shape, tracking
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import check_local, find_path, parse_json, shown

CONFIG, RESULTS, STORE, STUDENT = "config.json", "results.json", "views.zarr", "student"
DIAGNOSTICS, PREDICTIONS = "diagnostics.png", "predictions.json"
LOCK = "run.lock"
# What a process may leave that was killed before it wrote `config.json`.
_LEFT = {LOCK, CONFIG + store_lib.PART}
_LONGEST_NAME = 255  # bytes, of a file on any usual system

Results = dict[str, Any]  # what `results.json` holds
Run = Callable[[Any, "str | pathlib.Path"], Results]  # (configuration, folder) -> results


class Folder(NamedTuple):
  """An `--out` folder that may be used.

  Attributes:
    path: the folder; it need not exist yet.
    record: what `config.json` says or will say.
    results: the results of a finished run, else None.
    changed: how the configuration differs from that of the run that is continued.
    cache: the folder whose stores runs share; None: the run's rows are in its own.
    held: keeps the folder's lock; None for a look only.
    tracker: where its figures are logged; nowhere until it is begun.
  """

  path: pathlib.Path
  record: dict[str, Any]
  results: dict[str, Any] | None
  changed: tuple[str, ...] = ()
  cache: pathlib.Path | None = None
  held: contextlib.ExitStack | None = None
  tracker: tracking.Tracker = tracking.NOWHERE


@contextlib.contextmanager
def opened(out: str | pathlib.Path, recipe: str, config: Any) -> Iterator[Folder]:
  """`look`, for a run: once it has begun, no other process may write the folder until the end.

  Args:
    out: the folder.
    recipe: the recipe's name.
    config: its configuration.

  Raises:
    InputError: as `look` does.
  """
  folder = look(out, recipe, config)
  with contextlib.ExitStack() as held:
    yield folder._replace(held=held)


def in_folder(recipe: str) -> Callable[[Callable[[Any, Folder], Results]], Run]:
  """Makes a recipe's `run(config, out)` of a function that runs it in a folder that is its own.

  Args:
    recipe: the recipe's name.

  Example:
    >>> @in_folder("bars")
    ... def run(config, folder):
    ...   return {"path": folder.path}
    >>> run.__doc__.splitlines()[0]
    'Runs the experiment, or continues it, or returns the results of a finished one.'
  """

  def named(body: Callable[[Any, Folder], Results]) -> Run:
    def run(config: Any, out: str | pathlib.Path) -> Results:
      """Runs the experiment, or continues it, or returns the results of a finished one.

      Args:
        config: the recipe's `Config`.
        out: the run's folder.

      Returns:
        What `results.json` holds.

      Raises:
        InputError: for input that cannot be used; nothing is written then, but for scores or a
          loss that turn out not to be finite.
      """
      with opened(out, recipe, config) as folder:
        return body(config, folder) if folder.results is None else folder.results

    run.__module__ = body.__module__
    return run

  return named


def look(out: str | pathlib.Path, recipe: str, config: Any) -> Folder:
  """Looks whether a run may use the folder; writes nothing.

  Fields of the configuration that change no figure may differ from those of a finished run. A
  run that is not finished may go on with other ones, as long as its rows are the same: `begin`
  sees to that.

  Args:
    out: the folder.
    recipe: the recipe's name.
    config: its configuration, a dataclass of `config.option` fields.

  Raises:
    InputError: if the folder is a file, holds another run, or holds other files; or if `log_to`
      names what cannot be logged to.
  """
  path = pathlib.Path(out)
  check_local("--out", out)
  if "\0" in str(path) or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
    raise InputError(f"--out {shown(out)!r} cannot be the name of a folder; give another one")
  tracking.check(getattr(config, "log_to", None))
  record = {"recipe": recipe, "config": dataclasses.asdict(config)}
  if path.exists() and not path.is_dir():
    raise InputError(f"--out {str(out)!r} is a file; give a folder")
  where = getattr(config, "cache_dir", None)
  where = None if where is None else cache.check(where)
  if not path.is_dir() or all(map(_is_left, path.iterdir())):
    return Folder(path, record, None, cache=where)
  if not (path / CONFIG).is_file():
    raise InputError(f"--out {str(out)!r} holds other files; give an empty or a new folder")
  found = _read(path / CONFIG)
  if not isinstance(found.get("config"), dict):
    raise InputError(f"{path / CONFIG} is damaged (no configuration); give another --out folder")
  if found.get("recipe") != recipe:
    raise InputError(f"--out {str(out)!r} holds a run of {shown(repr(found.get('recipe')))}, not"
                     f" {recipe!r}")
  changed = []
  for name in dict.fromkeys([*record["config"], *found["config"]]):
    a, b = (r["config"].get(name) for r in (found, record))
    if a != b and not _is_runtime(config, name):
      changed.append(f"{shown(name)} was {shown(repr(a))}, now {shown(repr(b))}")
  results = _read(path / RESULTS) if (path / RESULTS).is_file() else None
  if results is not None and changed:
    raise InputError(
        f"--out {str(out)!r} holds another run, which is finished ({changed[0]}); give another"
        " folder, or the same settings to see it again (runs with the same --cache_dir share"
        " their rows)"
    )
  return Folder(path, record, results, tuple(changed), where)


def finished(out: str | pathlib.Path) -> dict[str, Any]:
  """The results of a finished run.

  Args:
    out: its folder.

  Raises:
    InputError: if the folder holds no finished run, or its results are damaged.
  """
  path = find_path(str(out))
  if path is None or not (path / CONFIG).is_file():
    is_folder = path is not None and path.is_dir()
    what = "is no folder of a run (it has no config.json)" if is_folder else "is no folder"
    raise InputError(f"{shown(out)!r} {what}; give the --out folder of a finished `mezzanine run`")
  if not (path / RESULTS).is_file():
    raise InputError(
        f"{str(out)!r} holds a run that is not finished (no results.json): its command, given"
        " again, continues it"
    )
  results = _read(path / RESULTS)
  for name, kind in (("recipe", str), ("config", dict), ("baseline", dict), ("data", dict)):
    if not results.get(name) or not isinstance(results[name], kind):
      raise InputError(f"{path / RESULTS} holds no {name!r}: it is damaged, or of a recipe that"
                       " cannot be reported")
  if (wrong := results_shape.mismatch(results)) is not None:
    raise InputError(f"{path / RESULTS} is damaged ({wrong}); its command, given again to another"
                     " folder, makes it anew")
  return results


def fingerprint(recipe: str, config: Any, **facts: Any) -> str:
  """A name for everything that changes a run's numbers.

  Args:
    recipe: the recipe's name.
    config: its configuration; fields that change no figure do not count.
    **facts: digests of the model, of the data, of the rows: whatever json can hold.
  """
  fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)
            if not f.metadata["runtime"]}
  facts |= {"recipe": recipe, "version": mezzanine_jax.__version__, "config": fields}
  return store_lib.fingerprint(facts)


def begin(
    folder: Folder, fingerprint: str, rows: Mapping[str, str] | None = None
) -> Folder:
  """Makes the folder and writes `config.json`, or checks that its rows can be gone on with.

  What was learned from the rows under other settings is deleted, and learned anew; so are rows that
  only the student of other settings reads (all but those of `STORE`). Of several
  processes, the first does this; the others read and write nothing here.

  Args:
    folder: from `opened`, which holds it until the run ends, or from `look`.
    fingerprint: of everything that changes the figures.
    rows: the fingerprint of each store of rows, by its name in the folder.

  Returns:
    The folder, its record as it was written, with its tracker, which `finish` closes.

  Raises:
    InputError: if the folder's run had other rows, another process writes it, it cannot be
      written, or what `log_to` names cannot be opened.
  """
  path = folder.path
  record = folder.record | {"fingerprint": fingerprint, "rows": dict(rows or {})}
  if not hosts.is_first():
    return folder._replace(record=record)
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f"--out {str(path)!r} cannot be written: {error.strerror}") from error
  if folder.held is not None:
    folder.held.enter_context(locks.only_one(path / LOCK, f"--out {str(path)!r}"))
  before = _read(path / CONFIG) if (path / CONFIG).is_file() else None
  if before is None:
    for left in path.glob("*.zarr"):
      if store_lib.manifest(left)["fingerprint"] != record["rows"].get(left.name):
        raise InputError(f"--out {str(path)!r} holds the rows of another run ({left.name}); give"
                         " another folder")
  else:
    if (path / RESULTS).is_file():
      raise InputError(
          f"--out {str(path)!r} was finished by another process meanwhile; the same command shows"
          " its results"
      )
    kept = before.get("rows") or {}
    if kept.get(STORE) != record["rows"].get(STORE):
      why = ", ".join(folder.changed) or "other data, weights or version of this package"
      raise InputError(
          f"--out {str(path)!r} holds another run, whose rows cannot be used ({why}); give another"
          " folder, or the same settings to continue it"
      )
    if before.get("fingerprint") != fingerprint and (path / STUDENT).exists():
      shutil.rmtree(path / STUDENT)
    for name in kept:  # how a student reads is its own
      if kept[name] != record["rows"].get(name) and (path / name).exists():
        shutil.rmtree(path / name)
  if folder.cache is not None:
    cache.make(folder.cache)
  write_json(path / CONFIG, record)
  config = folder.record["config"]
  return folder._replace(record=record, tracker=tracking.start(
      config.get("log_to"), path, folder.record["recipe"], config))


def rows_of(folder: Folder, name: str = STORE) -> tuple[pathlib.Path, str]:
  """Where a store of the run's rows is, and its fingerprint.

  With a cache it is there, unless the run was begun without one.

  Args:
    folder: from `begin`.
    name: of the store.
  """
  fingerprint, own = folder.record["rows"][name], folder.path / name
  return (own if folder.cache is None or own.exists() else folder.cache / fingerprint), fingerprint


def about(folder: Folder) -> dict[str, str]:
  """What a store of the run's rows says of itself: recipe, model and data by their names."""
  config = folder.record["config"]
  model = config.get("lm_name") or config.get("model_name")
  return {"recipe": folder.record["recipe"], "model": model,
          "data": config.get("dataset") or config.get("world")}


def finish(folder: Folder, results: Mapping[str, Any]) -> dict[str, Any]:
  """Writes `results.json`, last of all: where it stands, the run is finished. Logs its figures.

  Args:
    folder: from `begin`.
    results: of the run.

  Returns:
    What `results.json` holds.
  """
  shown = write_json(folder.path / RESULTS, results)
  folder.tracker.scalars(tracking.figures(shown), None)
  folder.tracker.close()
  return shown


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> dict[str, Any]:
  """Writes indented JSON, whole or not at all, and returns it; NaN and infinity become null."""
  shown = plain(value)
  store_lib.write_text(path, json.dumps(shown, indent=1, allow_nan=False) + "\n")
  return shown


def plain(value: Any) -> Any:
  """The value with JSON's types only."""
  if isinstance(value, Mapping):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [plain(v) for v in value]
  if hasattr(value, "item"):
    value = value.item()
  if isinstance(value, float) and not (abs(value) < float("inf")):
    return None
  return value


def _read(path: pathlib.Path) -> dict[str, Any]:
  """A JSON object, or a sentence about the file."""
  try:
    value = parse_json(path.read_bytes())
  except (OSError, ValueError) as error:
    raise InputError(
        f"{path} is damaged ({shown(error, 200)}); give another --out folder") from error
  if not isinstance(value, dict):
    raise InputError(f"{path} is damaged (not an object); give another --out folder")
  return value


def _is_left(path: pathlib.Path) -> bool:
  """Whether the file may be of a run whose `config.json` is not there, or not yet.

  A store of rows can come first where a host died whose mount of a bucket sends files when it
  likes. By its fingerprint `begin` sees whose it is.
  """
  if path.name in _LEFT:
    return True
  try:
    return path.name.removesuffix(".lock").endswith(".zarr") and (
        path.suffix == ".lock" or store_lib.manifest(path) is not None)
  except InputError:  # of others
    return False


def _is_runtime(config: Any, name: str) -> bool:
  """Whether the field changes no figure."""
  return any(f.name == name and f.metadata["runtime"] for f in dataclasses.fields(config))
