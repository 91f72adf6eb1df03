"""`diagnostics.png` of beliefs; colours, bars and the saving that other pictures share."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mezzanine_jax import report
from mezzanine_jax.clustered import Z95
from mezzanine_jax.evaluation import Beliefs, teacher

COLOURS = {
    "baseline": "#4c78a8", "student": "#e45756", "constant": "#9d9d9d",
    "shuffled_targets": "#c9b37c", "set": "#72b7b2",
}


def diagnostics(results: Mapping[str, Any], lm: Beliefs, path: str | pathlib.Path) -> None:
  """Draws `diagnostics.png`.

  Gap and distance to the teacher side by side for every model with 95% intervals; canonical
  belief against teacher belief of every movable example with the spread of its views; gap
  against the number of views.

  Args:
    results: what `results.json` will hold.
    lm: the language model's beliefs on the test part.
    path: where the picture goes.
  """
  figure, (ax_far, ax_scatter, ax_views) = four_panels(
      results, ("pairwise_tv", "Gap: pairwise TV between two views"),
      ("tv_to_teacher_movable", "Distance of the one pass to the teacher (TV)"))
  ax_far.axhline(_floats([results["baseline"]], "tv_to_teacher_movable")[0],
                 color=COLOURS["baseline"], linewidth=1, linestyle="--")
  scatter(ax_scatter, results, lm)
  against_views(ax_views, results["gap_by_views"])
  save(figure, results, path)


def four_panels(
    results: Mapping[str, Any], gap: tuple[str, str], distance: tuple[str, str]
) -> tuple[Any, tuple[Any, Any, Any]]:
  """A picture that begins with every model's gap and distance to the teacher, side by side.

  Args:
    results: what `results.json` will hold.
    gap: the name of the first figure in the models' `gap_movable`, and a title.
    distance: that of the second in their blocks, and a title.

  Returns:
    The picture, and the axes of the distances and of the two panels below, which are empty.
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(11, 8.5), layout="constrained", dpi=120)
  (ax_gap, ax_far), (ax_left, ax_right) = figure.subplots(2, 2)
  blocks = report.model_blocks(results)
  names = {model: report.model_name(results, model) for model in blocks}
  bars(ax_gap, names, [block["gap_movable"] for block in blocks.values()], *gap)
  bars(ax_far, names, [*blocks.values()], *distance)
  return figure, (ax_far, ax_left, ax_right)


def save(figure: Any, results: Mapping[str, Any], path: str | pathlib.Path) -> None:
  """Writes a picture, under a title that says what it is of; never half of it."""
  test = results["data"]["test"]
  figure.suptitle(
      f"{report.subject(results)}: {test['movable']} test examples that can move, bars are ± 1.96"
      " standard errors", fontsize=12,
  )
  part = pathlib.Path(path).with_suffix(".part.png")
  figure.savefig(part)
  part.replace(path)


def _floats(blocks: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
  """One figure of some blocks, 0 where it is not known (null or NaN)."""
  return np.nan_to_num(np.array([block[name] for block in blocks], float))


def bars(ax, names, blocks: Sequence[Mapping[str, Any]], name: str, title: str) -> None:
  """One bar a model with its 95% interval."""
  values, errors = _floats(blocks, name), Z95 * _floats(blocks, f"{name}_stderr")
  colours = [COLOURS[m] for m in names]
  ax.bar(range(len(values)), values, yerr=errors, color=colours, capsize=4)
  controls = [m for m in names if m not in ("baseline", "student")]
  labels = [own.replace(" ", "\n", 1) + "\n(control)" * (m in controls)
            for m, own in names.items()]
  ax.set_xticks(range(len(values)), labels)
  for i, (block, value, error) in enumerate(zip(blocks, values, errors, strict=True)):
    unknown = block[name] is None or block[name] != block[name]
    ax.annotate("not known" if unknown else f"{value:.3f}", (i, value + error), ha="center",
                va="bottom", fontsize=9, xytext=(0, 2), textcoords="offset points")
  ax.set_title(title)
  ax.margins(y=0.15)
  ax.set_ylim(bottom=min(0.0, *(values - errors)))


def scatter(ax: Any, results: Mapping[str, Any], lm: Beliefs) -> None:
  """Canonical against teacher belief, with the spread of the views."""
  movable = np.flatnonzero(np.asarray(lm.orbit_size) > 1)
  choices = results["data"]["choices"]
  mean = np.exp(np.asarray(teacher(lm)))[movable]
  canonical = np.exp(np.asarray(lm.canonical))[movable]
  probs = np.exp(np.asarray(lm.log_probs))[movable]
  real = np.isfinite(np.asarray(lm.log_weights))[movable]
  # Two choices: the belief in the last one; more: in the teacher's first choice.
  choice = np.full(len(movable), 1) if len(choices) == 2 else mean.argmax(1)
  at = np.arange(len(movable))
  x, y = canonical[at, choice], mean[at, choice]
  views = probs[at, :, choice]
  low = np.where(real, views, np.inf).min(1, initial=np.inf)
  high = np.where(real, views, -np.inf).max(1, initial=-np.inf)
  spread = [np.maximum(y - low, 0), np.maximum(high - y, 0)]
  ax.errorbar(x, y, yerr=spread, fmt="o", markersize=3, linewidth=0.7, alpha=0.6,
              color=COLOURS["baseline"], ecolor="#b0b0b0")
  ends = [min(low.min(initial=1), x.min(initial=1)), max(high.max(initial=0), x.max(initial=0))]
  ax.plot(ends, ends, color="black", linewidth=0.8)
  what = f"p({choices[1].strip()})" if len(choices) == 2 else "p(the teacher's first choice)"
  ax.set_xlabel(f"{what} on the canonical view")
  ax.set_ylabel(f"{what} of the teacher; line: all views")
  ax.set_title("Every movable example: one pass against the mean")


def against_views(ax: Any, rows: Sequence[Mapping[str, float]]) -> None:
  """The gap as estimated from fewer views."""
  views = [row["views"] for row in rows]
  for name, label, style in (
      ("pairwise_tv", "pairwise TV (unbiased)", "o-"),
      ("tv_to_mean_plugin", "TV to the mean of the K views (plug-in, grows with K)", "s--"),
  ):
    ax.errorbar(views, _floats(rows, name), yerr=Z95 * _floats(rows, f"{name}_stderr"),
                capsize=3, fmt=style, markersize=4, label=label)
  if rows:
    ax.set_xscale("log", base=2)
    ax.set_xticks(views, [str(v) for v in views])
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=9)
  else:
    ax.text(0.5, 0.5, "no example can move", transform=ax.transAxes, ha="center")
  ax.set_xlabel("views K")
  ax.set_title("Gap of the single view against the number of views")
