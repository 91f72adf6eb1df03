"""What a person looks at after a gap was measured: the table, the examples, the picture."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mezzanine_jax import finished
from mezzanine_jax.clustered import Z95
from mezzanine_jax.evaluation import Beliefs
from mezzanine_jax.figures import against_views, save, scatter
from mezzanine_jax.report import (
    noise_text,
    pm,
    prompt_lines,
    quality_table,
    spread_lines,
    subject,
)

_COLOUR = "#4c78a8"
_SHOWN = 3  # examples on the terminal; the page of `mezzanine report` has them all


def show(results: Mapping[str, Any], out: str | pathlib.Path) -> None:
  """Prints the gap, how it grows with the segments, and the examples that move most."""
  from rich.console import Console
  from rich.table import Table

  # Texts of the data are printed as they are, and the table is whole on any terminal.
  console = Console(highlight=False, markup=False, emoji=False)
  console.width = max(console.width, 80)
  lm, test, k = results["baseline"], results["data"]["test"], results["config"]["k_test"]
  table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
  for column in ("", "gap", "flips", "JS (nats)", "accuracy", "NLL"):
    table.add_column(column, justify="right" if column else "left", no_wrap=True)
  for label, gap, block in (
      ("LM, all examples", lm["gap"], lm), ("LM, those that move", lm["gap_movable"], {}),
      (f"mean of K={k} views", {}, results["teacher"]),
  ):
    table.add_row(label, pm(gap, "pairwise_tv"), pm(gap, "flip_rate"), pm(gap, "jensen_shannon"),
                  pm(block, "accuracy"), pm(block, "nll"))
  console.print(f"\n{subject(results)}, symmetry {results['config']['symmetry']}\n")
  console.print(table)
  console.print(
      f"\n{test['examples']} examples, {test['movable']} of which can move. Gap: pairwise TV of two"
      " views. Flips: how often a view's answer is not the canonical view's. ± is one standard"
      " error, clustered by passage.\n"
  )
  rows = {"LM, all examples": lm, f"mean of K={k} views": results["teacher"]}
  if any("brier" in block for block in rows.values()):
    console.print(quality_table(rows))
    console.print()
  grown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
  for column in ("segments", "examples", "gap", "flips"):
    grown.add_column(column, justify="right", no_wrap=True)
  for row in results["gap_by_segments"]:
    grown.add_row(_segments(row), str(row["examples"]), pm(row, "pairwise_tv"),
                  pm(row, "flip_rate"))
  console.print(grown)
  for example in results["examples"][:_SHOWN]:
    console.print()
    console.print(_side_by_side(Table, example, results["data"]["choices"]))
  console.print()
  mass = f"the choices hold {lm['choice_mass']:.1%} of the LM's belief in its whole vocabulary"
  odd = prompt_lines(results["data"]["prompts"])
  floor = noise_text(results["noise_floor"])
  messages = results["data"]["notes"].get("messages", [])
  for note in (*spread_lines({"LM": lm}), mass, floor, *messages, *odd):
    console.print(f"note: {note}")
  cost = results["cost"]
  console.print(
      f"\n{cost['rows']} rows of {cost['views']} views, {cost['seconds']:.0f} s to score,"
      f" {cost['total_seconds']:.0f} s in all"
  )
  console.print(f"results.json and diagnostics.png are in {out}", soft_wrap=True)


def diagnostics(
    results: Mapping[str, Any], lm: Beliefs, gaps: np.ndarray, path: str | pathlib.Path
) -> None:
  """Draws `diagnostics.png`.

  Gap against the number of segments with 95% intervals; how the gaps of the examples are
  distributed; canonical belief against the mean of the views; gap against the number of views.

  Args:
    results: what `results.json` will hold.
    lm: the model's beliefs.
    gaps: float[N], every example's pairwise TV.
    path: where the picture goes.
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(11, 8.5), layout="constrained", dpi=120)
  (ax_segments, ax_gaps), (ax_scatter, ax_views) = figure.subplots(2, 2)
  rows = results["gap_by_segments"]
  values = np.array([row["pairwise_tv"] for row in rows], float)
  errors = Z95 * np.nan_to_num([row["pairwise_tv_stderr"] for row in rows])
  ax_segments.errorbar(range(len(rows)), values, yerr=errors, fmt="o-", capsize=4, color=_COLOUR)
  ax_segments.set_xticks(range(len(rows)), [f"{_segments(r)}\n({r['examples']})" for r in rows])
  ax_segments.set_xlabel("segments that may change places (examples)")
  ax_segments.set_title("Gap against the number of segments")
  ax_segments.set_ylim(bottom=min(0.0, *(values - errors)))
  moved = gaps[np.asarray(lm.orbit_size) > 1]
  ax_gaps.hist(moved, bins=30, color=_COLOUR)
  ax_gaps.set_xlabel("pairwise TV of an example's views")
  ax_gaps.set_ylabel("examples that can move")
  ax_gaps.set_title("How the examples differ")
  scatter(ax_scatter, results, lm)
  against_views(ax_views, results["gap_by_views"])
  save(figure, results, path)


def _segments(row: Mapping[str, Any]) -> str:
  """`3`, or `10+` for the last group."""
  return f"{row['segments']}{'+' if row['or_more'] else ''}"


def _side_by_side(table: Any, example: Mapping[str, Any], choices: Sequence[str]) -> Any:
  """The two views of an example that differ most, each under its belief."""
  choices = example.get("choices", choices)
  answer = finished.answer(example["label"], choices)
  shown = table(
      title=f"{example['id']}: gap {example['pairwise_tv']:.3f}, right answer {answer}",
      title_justify="left", show_lines=False, width=80,
  )
  for view in example["views"]:
    name = "canonical view" if view["view"] == 0 else f"view {view['view']}"
    belief = ", ".join(
        f"{c.strip()} {p:.2f}" for c, p in zip(choices, view["probabilities"], strict=True))
    shown.add_column(f"{name}\n{belief}", ratio=1, overflow="fold")
  shown.add_row(*(view["text"] for view in example["views"]))
  return shown
