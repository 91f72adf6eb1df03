"""A run's `--out` folder: begun, continued, finished, or somebody else's."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import mezzanine_jax
from mezzanine_jax import store as store_lib
from mezzanine_jax import tracking
from mezzanine_jax.errors import InputError

CONFIG, RESULTS, STORE, STUDENT = "config.json", "results.json", "views.zarr", "student"
DIAGNOSTICS, PREDICTIONS = "diagnostics.png", "predictions.json"


class Folder(NamedTuple):
  """An `--out` folder that may be used.

  Attributes:
    path: the folder; it need not exist yet.
    record: what `config.json` says or will say.
    results: the results of a finished run, else None.
    tracker: where its figures are logged; nowhere until it is begun.
  """

  path: pathlib.Path
  record: dict[str, Any]
  results: dict[str, Any] | None
  tracker: tracking.Tracker = tracking.NOWHERE


def look(out: str | pathlib.Path, recipe: str, config: Any) -> Folder:
  """Looks whether a run may use the folder; writes nothing.

  Fields of the configuration that change no figure may differ from those of a run that is
  continued.

  Args:
    out: the folder.
    recipe: the recipe's name.
    config: its configuration, a dataclass of `config.option` fields.

  Raises:
    InputError: if the folder is a file, holds another run, or holds other files; or if `log_to`
      names what cannot be logged to.
  """
  path = pathlib.Path(out)
  tracking.check(getattr(config, "log_to", None))
  record = {"recipe": recipe, "config": dataclasses.asdict(config)}
  if path.exists() and not path.is_dir():
    raise InputError(f"--out {str(out)!r} is a file; give a folder")
  if not path.is_dir() or not any(path.iterdir()):
    return Folder(path, record, None)
  if not (path / CONFIG).is_file():
    raise InputError(f"--out {str(out)!r} holds other files; give an empty or a new folder")
  found = _read(path / CONFIG)
  if not isinstance(found.get("config"), dict):
    raise InputError(f"{path / CONFIG} is damaged (no configuration); give another --out folder")
  if found.get("recipe") != recipe:
    raise InputError(f"--out {str(out)!r} holds a run of {found.get('recipe')!r}, not {recipe!r}")
  for name in [*record["config"], *found["config"]]:
    a, b = (r["config"].get(name) for r in (found, record))
    if a != b and not _is_runtime(config, name):
      raise InputError(
          f"--out {str(out)!r} holds another run ({name} was {a!r}, now {b!r}); give another"
          " folder, or the same settings to continue it"
      )
  results = _read(path / RESULTS) if (path / RESULTS).is_file() else None
  if "fingerprint" in found:
    record["fingerprint"] = found["fingerprint"]
  return Folder(path, record, results)


def finished(out: str | pathlib.Path) -> dict[str, Any]:
  """The results of a finished run.

  Args:
    out: its folder.

  Raises:
    InputError: if the folder holds no finished run, or its results are damaged.
  """
  path = pathlib.Path(out)
  if not (path / CONFIG).is_file():
    what = "is no folder of a run (it has no config.json)" if path.is_dir() else "is no folder"
    raise InputError(f"{str(out)!r} {what}; give the --out folder of a finished `mezzanine run`")
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


def begin(folder: Folder, fingerprint: str) -> Folder:
  """Makes the folder and writes `config.json`, or checks that the data and weights are the same.

  Args:
    folder: from `look`.
    fingerprint: of everything that changes the numbers.

  Returns:
    The folder with its tracker, which `finish` closes.

  Raises:
    InputError: if the folder's run had other data or weights, the folder cannot be written, or
      what `log_to` names cannot be opened.
  """
  before = folder.record.get("fingerprint", fingerprint)
  if before != fingerprint:
    raise InputError(
        f"--out {str(folder.path)!r} holds a run on other data, weights or version of this"
        " package; give another folder"
    )
  try:
    folder.path.mkdir(parents=True, exist_ok=True)
    write_json(folder.path / CONFIG, folder.record | {"fingerprint": fingerprint})
  except OSError as error:
    raise InputError(f"--out {str(folder.path)!r} cannot be written: {error.strerror}") from error
  config = folder.record["config"]
  return folder._replace(tracker=tracking.start(
      config.get("log_to"), folder.path, folder.record["recipe"], config))


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
    value = json.loads(path.read_text())
  except ValueError as error:
    raise InputError(f"{path} is damaged ({error}); give another --out folder") from error
  if not isinstance(value, dict):
    raise InputError(f"{path} is damaged (not an object); give another --out folder")
  return value


def _is_runtime(config: Any, name: str) -> bool:
  """Whether the field changes no figure."""
  return any(f.name == name and f.metadata["runtime"] for f in dataclasses.fields(config))
