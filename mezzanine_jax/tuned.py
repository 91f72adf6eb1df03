"""What a search for settings found, for its reader: a table, and the best one as a file."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from mezzanine_jax import report

_MOST_ROWS = 40  # of the table


def in_words(setting: Mapping[str, Any]) -> str:
  """A setting as text.

  Example:
    >>> in_words({"crop": 0.1, "rotation": 5})
    'crop=0.1, rotation=5'
  """
  return ", ".join(f"{field}={value}" for field, value in setting.items())


def config_file(found: Mapping[str, Any], config: Any) -> str:
  """The best setting as the text of a file that `mezzanine run --config` takes.

  Args:
    found: from `autotune.tune`, with a best setting.
    config: the configuration of that run; fields that differ from their defaults are written.
  """
  best, maximize = found["best"], found["maximize"]
  fields = {"recipe": found["recipe"]} | {
      f.name: getattr(config, f.name) for f in dataclasses.fields(config)
      if f.name in best["setting"] or getattr(config, f.name) != f.default}
  lines = "".join(f"      {name!r}: {value!r},\n" for name, value in fields.items())
  return (
      f'"""{in_words(best["setting"])}: the best of {_run(found)} that `mezzanine tune` ran.\n\n'
      f"{maximize} = {best['figures'][maximize]:.3g} is the figure of a winner, which tends to be"
      ' too large:\nanother seed measures it again.\n"""\n\n\ndef get_config():\n  return {\n'
      f"{lines}  }}\n")


def show(found: Mapping[str, Any], out: str | pathlib.Path) -> None:
  """Prints the settings with their figures, the best first, and where everything is.

  Args:
    found: from `autotune.tune`.
    out: the search's folder.
  """
  from rich.console import Console
  from rich.table import Table

  console = Console(highlight=False, markup=False, emoji=False)
  console.width = max(console.width, 80)
  figures = list(dict.fromkeys([*(r["figure"] for r in found["within"]), found["maximize"]]))
  table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
  table.add_column("setting", overflow="fold")
  for figure in figures:
    table.add_column("\n".join(figure.rsplit(".", 1)), justify="right", overflow="fold")
  table.add_column("", no_wrap=True)
  run = [t for t in found["tried"] if not t["refused"]]
  for t in run[:_MOST_ROWS]:
    mark = "best" if t == found["best"] else "" if t["within"] else "out of range"
    table.add_row(in_words(t["setting"]), *(report.pm(t["figures"], f) for f in figures), mark)
  console.print()
  console.print(table)
  console.print()
  if len(run) > _MOST_ROWS:
    console.print(f"and {len(run) - _MOST_ROWS} more, all in {pathlib.Path(out) / 'tune.json'}")
  for t in found["tried"]:
    if t["refused"]:
      console.print(f"not run: {in_words(t['setting'])} ({t['refused']})")
  ranges = " and ".join(map(_range, found["within"]))
  where = f" with {ranges}" if ranges else ""
  if found["best"] is None:
    console.print(f"None of {_run(found)}{where}: widen a range, or vary something else.")
    return
  console.print(
      f"The largest {found['maximize']} of {_run(found)}{where}. ± is one standard error; a"
      " winner's figure tends to be too large: measure it again with another --seed.")
  best = pathlib.Path(out) / "best.py"
  console.print(f"mezzanine run --config {best} repeats it", soft_wrap=True)


def _run(found: Mapping[str, Any]) -> str:
  """How many settings were tried, of how many."""
  tried, settings = len(found["tried"]), found["settings"]
  return f"{tried} settings" if tried == settings else f"{tried} of {settings} settings"


def _range(within: Mapping[str, Any]) -> str:
  """`baseline.accuracy from 0.6 to 0.95`."""
  ends = (("from", within["low"]), ("to", within["high"]))
  # An open end is infinite, or null where it was read from a file.
  shown = (f" {word} {end:g}" for word, end in ends if end is not None and math.isfinite(end))
  return within["figure"] + "".join(shown)
