"""A small search for the settings of a recipe where an effect is large: hard, but not dead.

Each setting is a run of its own in a folder of its own, so that whatever runs survive a search
survives: finished ones are shown again, the others are continued. The settings of the whole grid
are tried in an order by hash: any number of the first ones is a random sample of the grid, and
values that are added later leave the order of the others as it was. No model of the figure says
what to try next: such a search (as optuna's) needs dozens of runs to learn from, and a state
beside the runs, where a grid of a few fields has a dozen settings that are all worth seeing.
"""

import dataclasses
import difflib
import itertools
import json
import logging
import math
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import mezzanine_jax
from mezzanine_jax import config as config_lib
from mezzanine_jax import locks, runs, tracking, tuned
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.untrusted import parse_json
from mezzanine_jax.worlds.world import stable_hash

TUNE, BEST, LOCK = "tune.json", "best.py", "tune.lock"
EFFECT = "baseline.gap.pairwise_tv"
_MOST_SETTINGS = 100_000  # of a grid, all of which are put in order
_LONGEST_NAME = 100  # characters of a folder's name


class Range(NamedTuple):
  """Where a figure of `results.json` must lie, its ends included: `low <= figure <= high`."""

  figure: str
  low: float
  high: float


def parse_vary(texts: Sequence[str]) -> dict[str, list[str]]:
  """Fields and their values, split at `|`, or at commas where there is none.

  Raises:
    InputError: for text of another form, or a field twice.

  Example:
    >>> parse_vary(["crop=0.1,0.2", "symmetry=view|view,dihedral"])
    {'crop': ['0.1', '0.2'], 'symmetry': ['view', 'view,dihedral']}
  """
  found = {}
  for text in texts:
    field, _, values = text.partition("=")
    if not field or not values:
      raise InputError(f"--vary must be FIELD=VALUE,VALUE,... (or split at |), got {text!r}")
    if field in found:
      raise InputError(f"--vary names {field} twice: give all of its values at once")
    found[field] = values.split("|" if "|" in values else ",")
  return found


def parse_within(text: str) -> Range:
  """A figure and its range, of which one end may be open.

  Raises:
    InputError: for text of another form.

  Example:
    >>> parse_within("baseline.accuracy=0.6..0.95")
    Range(figure='baseline.accuracy', low=0.6, high=0.95)
    >>> parse_within("student.fidelity=..1").low
    -inf
  """
  found = re.fullmatch(r"([\w.]+)=(.*)\.\.(.*)", text.replace(" ", ""))
  try:
    low, high = (float(end) if end else sign * math.inf
                 for end, sign in zip(found.groups()[1:], (-1, 1), strict=True))
    if not low <= high or low == -high == -math.inf:
      raise ValueError
  except (AttributeError, ValueError) as error:
    raise InputError(f"--within must be FIGURE=LOW..HIGH, such as baseline.accuracy=0.6..0.95 (one"
                     f" end may be left out), got {text!r}") from error
  return Range(found[1], low, high)


def tune(
    recipe: ModuleType, name: str, fields: Mapping[str, Any],
    vary: Mapping[str, Sequence[Any]], out: str | pathlib.Path, *,
    within: Sequence[Range] = (), maximize: str = EFFECT, most: int | None = None, order: int = 0,
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Runs settings of a grid and finds the one whose figure is largest among those within range.

  A setting that the recipe refuses is noted and passed over. What the folder holds may be asked
  again with other ranges, another figure, more values or a larger `most`: only settings that have
  not been run yet are run.

  Args:
    recipe: a module with `Config` and `run(config, out) -> results`, see `recipes.get_recipe`.
    name: what it is called.
    fields: those of its configuration that are the same in all runs and differ from the defaults.
    vary: field -> its values, as a file or a flag gives them.
    out: the search's folder: one of each setting in it, `tune.json`, and `best.py`, what
      `mezzanine run --config` takes to repeat the best setting.
    within: ranges of figures, by their names in `results.json` with dots.
    maximize: the figure that is to be large.
    most: how many settings are run at most; None: all.
    order: which order of the grid.
    told: called with a line before each run.

  Returns:
    What `tune.json` holds: `tried`, a list of {setting, out, figures, within, refused} with the
    best first, and `best`, the first of them, or None where none lies within.

  Raises:
    InputError: for fields, values or figures that are not there, a folder of something else, or if
      every setting is refused.
  """
  if most is not None and most < 1:
    raise InputError(f"most must be >= 1, got {most}")
  settings = _grid(recipe, fields, vary, order)
  out = pathlib.Path(out)
  base = config_lib.resolve(recipe.Config, fields)
  record = {
      "recipe": name, "version": mezzanine_jax.__version__,
      "fixed": {f.name: getattr(base, f.name) for f in dataclasses.fields(base)
                if f.name not in vary and not f.metadata["runtime"]},
      "vary": {field: list(dict.fromkeys(s[field] for s in settings)) for field in vary},
      # JSON has no infinity: an open end is null there.
      "within": [{"figure": r.figure, "low": r.low, "high": r.high} for r in within],
      "maximize": maximize, "order": order, "settings": len(settings),
  }
  _check_folder(out, record)
  try:
    out.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f"--out {str(out)!r} cannot be written: {error.strerror}") from error
  tried = []
  with locks.only_one(out / LOCK, f"--out {str(out)!r}"):
    if not (out / TUNE).is_file():  # the folder is this search's from now on
      runs.write_json(out / TUNE, record | _ranked(tried, maximize))
    for number, setting in enumerate(settings[:most]):
      told(f"setting {number + 1} of {len(settings[:most])}: {tuned.in_words(setting)}")
      config = config_lib.resolve(recipe.Config, fields, setting)
      tried.append(_try(recipe, config, setting, out, within, maximize))
      found = runs.write_json(out / TUNE, record | _ranked(tried, maximize))
    if all(t["refused"] for t in tried):
      raise InputError(f"no setting can be run; the first, {tuned.in_words(tried[0]['setting'])}:"
                       f" {tried[0]['refused']}")
    if found["best"] is None:
      (out / BEST).unlink(missing_ok=True)  # of an earlier search with other ranges
    else:
      config = config_lib.resolve(recipe.Config, fields, found["best"]["setting"])
      store_lib.write_text(out / BEST, tuned.config_file(found, config))
  return found


def _grid(
    recipe: ModuleType, fields: Mapping[str, Any], vary: Mapping[str, Sequence[Any]], order: int
) -> list[dict[str, Any]]:
  """Every setting, its values in their fields' types, in the order in which they are tried."""
  if not vary:
    raise InputError("nothing varies: give --vary FIELD=VALUE,VALUE,...")
  values = {}
  for field, texts in vary.items():
    own = [getattr(config_lib.resolve(recipe.Config, fields, {field: t}), field) for t in texts]
    if len(set(own)) < len(own) or not own:
      raise InputError(f"the values of {field} must be different ones, got {list(texts)}")
    values[field] = own
  number = math.prod(map(len, values.values()))
  if number > _MOST_SETTINGS:
    raise InputError(f"a grid may have {_MOST_SETTINGS:,} settings, this one has {number:,}: give"
                     " fewer values")
  grid = [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]
  return sorted(grid, key=lambda s: stable_hash(order, json.dumps(s, sort_keys=True)))


def _check_folder(out: pathlib.Path, record: Mapping[str, Any]) -> None:
  """Raises unless the folder is new, empty, or of the same search."""
  if out.exists() and not out.is_dir():
    raise InputError(f"--out {str(out)!r} is a file; give a folder")
  if not (out / TUNE).is_file():
    if out.is_dir() and {p.name for p in out.iterdir()} - {LOCK, TUNE + store_lib.PART}:
      raise InputError(f"--out {str(out)!r} holds other files; give an empty or a new folder")
    return
  found = _json(out / TUNE)
  if found is None:  # it is made of the runs, and can be made again
    return
  before, now = (
      {"recipe": r.get("recipe"), **(r["fixed"] if isinstance(r.get("fixed"), dict) else {})}
      for r in (found, record))
  for field in dict.fromkeys([*now, *before]):
    if before.get(field) != now.get(field):
      raise InputError(
          f"--out {str(out)!r} holds another search ({field} was {before.get(field, 'varied')!r},"
          f" now {now.get(field, 'varied')!r}); give another folder, or the same fields")


def _try(
    recipe: ModuleType, config: Any, setting: dict[str, Any], out: pathlib.Path,
    within: Sequence[Range], maximize: str,
) -> dict[str, Any]:
  """Runs one setting, or looks at its finished run."""
  folder = out / _folder_name(setting)
  tried = {"setting": setting, "out": folder.name, "figures": {}, "within": False, "refused": None}
  _mend(folder)
  try:
    results = recipe.run(config, folder)
  except InputError as error:
    return tried | {"refused": " ".join(str(error).split())}
  for figure in dict.fromkeys([*(r.figure for r in within), maximize]):
    tried["figures"] |= _figure(results, figure)
  lies = all(_is_known(value := tried["figures"][r.figure]) and r.low <= value <= r.high
             for r in within)
  return tried | {"within": lies and _is_known(tried["figures"][maximize])}


def _mend(folder: pathlib.Path) -> None:
  """Takes away what a run in the folder could not read, so that it goes on with the rest."""
  for name, damaged in ((runs.RESULTS, folder / runs.RESULTS), (runs.CONFIG, folder)):
    if (folder / name).is_file() and _json(folder / name) is None:
      what = "its figures are made again" if name == runs.RESULTS else "it is run anew"
      logging.getLogger(__name__).warning("%s is damaged: %s", folder / name, what)
      damaged.unlink() if damaged.is_file() else shutil.rmtree(damaged)


def _json(path: pathlib.Path) -> dict[str, Any] | None:
  """The object that a JSON file holds; None where it is damaged."""
  try:
    found = parse_json(path.read_bytes())
  except ValueError:
    return None
  return found if isinstance(found, dict) else None


def _folder_name(setting: Mapping[str, Any]) -> str:
  """A setting as a folder's name; a hash stands in for what no name can hold."""
  text = tuned.in_words(setting).replace(", ", ",")
  name = re.sub(r"[^\w.,=+-]", "_", text)[:_LONGEST_NAME]
  return name if name == text else f"{name}-{stable_hash(text)[:8]}"


def _figure(results: Mapping[str, Any], figure: str) -> dict[str, float | None]:
  """A figure of the results and its standard error, where it has one."""
  block, (*parents, last) = results, figure.split(".")
  for part in parents:
    block = block.get(part) if isinstance(block, Mapping) else None
  value = block.get(last, "") if isinstance(block, Mapping) else ""
  if not (value is None or isinstance(value, int | float)) or isinstance(value, bool):
    known = [name for name in tracking.figures(results) if not name.endswith("_stderr")]
    near = ", ".join(difflib.get_close_matches(figure, known, n=3, cutoff=0.0))
    raise InputError(f"the results have no figure {figure!r}; near it are {near or 'none'}, and"
                     f" {runs.RESULTS} of a run has them all")
  return {name: block[key] for name, key in ((figure, last), (f"{figure}_stderr", f"{last}_stderr"))
          if key in block}


def _is_known(value: float | None) -> bool:
  """Whether a figure is a number."""
  return value is not None and math.isfinite(value)


def _ranked(tried: Sequence[dict[str, Any]], maximize: str) -> dict[str, Any]:
  """`tried` with the best first, and `best`."""

  def place(t: Mapping[str, Any]) -> tuple:
    value = t["figures"].get(maximize)
    return (bool(t["refused"]), not t["within"], -value if _is_known(value) else math.inf)

  ranked = sorted(tried, key=place)
  return {"tried": ranked, "best": ranked[0] if ranked and ranked[0]["within"] else None}
