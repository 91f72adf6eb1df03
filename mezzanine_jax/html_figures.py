"""The pictures of a report: SVG whose colours are the page's, so that they follow its theme."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mezzanine_jax import finished, report
from mezzanine_jax.clustered import Z95
from mezzanine_jax.finished import Run
from mezzanine_jax.metrics import NUM_BINS
from mezzanine_jax.predictions import reliability

_MOST_POINTS = 300  # of a scatter: more make a page large and tell no more
# Colours that stand for the page's own, by which they are replaced.
_INK, _MUTED, _PAPER = "#010101", "#010102", "#010103"
_MODELS = {"baseline": "#010201", "teacher": "#010202", "student": "#010203",
           "constant": "#010204", "shuffled_targets": "#010205"}
_OTHER = "#010206"
_RUNS = [f"#0103{n:02x}" for n in range(6)]
_VARIABLES = {
    _INK: "--ink", _MUTED: "--muted", _PAPER: "--card", _OTHER: "--constant",
    **{colour: f"--{name.replace('_', '-')}" for name, colour in _MODELS.items()},
    **{colour: f"--run-{n}" for n, colour in enumerate(_RUNS)},
}
_MARKERS = {"baseline": "o", "teacher": "*", "student": "D", "constant": "s",
            "shuffled_targets": "^"}
_STYLE = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 10, "axes.titlesize": 10,
    "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _MUTED, "xtick.color": _MUTED,
    "ytick.color": _MUTED, "xtick.labelcolor": _INK, "ytick.labelcolor": _INK,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "legend.fontsize": 9, "figure.facecolor": "none", "axes.facecolor": "none",
    "savefig.facecolor": "none", "axes.grid": True, "grid.color": _MUTED, "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
}


class Picture(NamedTuple):
  """A picture with what is written beside it.

  Attributes:
    title: a few words.
    caption: how to read it.
    svg: an `<svg>` element, safe to put into a page.
  """

  title: str
  caption: str
  svg: str


def pictures(runs: Sequence[Run]) -> tuple[list[Picture], list[str]]:
  """The pictures of one run or of several beside each other, the main one first.

  Args:
    runs: finished runs.

  Returns:
    The pictures, and a sentence for each that cannot be drawn.
  """
  makers = [_flattening, _scatter, _by_views, _by_segments, _reliability]
  if len(runs) > 1:
    makers = [_flattening, _gaps, _by_views, _by_segments, _reliability]
  made = [make(runs) for make in makers]
  found = [m for m in made if isinstance(m, Picture)]
  return found, [m for m in made if isinstance(m, str)]


def _flattening(runs: Sequence[Run]) -> Picture | str:
  """Distance to the teacher against the gap, one point a model."""
  points = [
      (run, model, *(finished.of_kind(block, path)
                     for path in ("gap_movable.pairwise_tv", "tv_to_teacher_movable")))
      for run in runs for model, block in finished.models(run.results).items()
  ]
  few = ("baseline", "student", "constant")  # of several runs: more would hide each other
  points = [p for p in points if p[2] and p[3] and (len(runs) == 1 or p[1] in few)]
  if not any(model == "student" for _, model, *_ in points):
    return ("There is no picture of distance to the teacher against gap: no student whose gap can"
            " be told was trained in " + ("these runs." if len(runs) > 1 else "this run."))

  def draw(ax: Any) -> None:
    ax.plot([0], [0], linestyle="none", marker="*", markersize=13, color=_MODELS["teacher"],
            label="the teacher itself", clip_on=False, zorder=4)
    for run, model, gap, far in points:
      colour = _MODELS.get(model, _OTHER) if len(runs) == 1 else _RUNS[_at(runs, run)]
      ax.errorbar(
          [gap.value], [far.value], xerr=Z95 * (gap.stderr or 0), yerr=Z95 * (far.stderr or 0),
          fmt=_MARKERS.get(model, "v"), markersize=7, capsize=2, color=colour, zorder=3,
          label=_named(runs, run, _plain(finished.model_name(run.results, model))))
    for run in runs:
      ends = {m: (g.value, f.value) for r, m, g, f in points if r is run}
      if {"baseline", "student"} <= set(ends):
        ax.annotate("", ends["student"], ends["baseline"], zorder=2, arrowprops={
            "arrowstyle": "->", "color": _MUTED, "linestyle": "--", "shrinkA": 6, "shrinkB": 6})
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    real = all(report.is_real(run.results) for run in runs)
    ax.set_xlabel(f"gap: {'squared distance of' if real else 'TV between'} two views")
    ax.set_ylabel(f"{'squared distance' if real else 'TV'} of the one pass to the teacher")

  return Picture(
      "Did the student learn, or only flatten?",
      "Down is nearer to the teacher, left is steadier. A model that always answers the same has"
      " no gap and lies far from the teacher: a student is worth having where it is lower than the"
      " baseline, not only to the left of it. Bars are 95% intervals.",
      _svg(draw, "flattening", legend=True, rows=len(points) + 1))


def _gaps(runs: Sequence[Run]) -> Picture | str:
  """The gap of baseline and student of every run."""
  rows = [(run, model, finished.of_kind(block, "gap_movable.pairwise_tv"))
          for run in runs for model, block in finished.models(run.results).items()
          if model in ("baseline", "student")]
  rows = [row for row in rows if row[2]]
  if not rows:
    return "There is no picture of the gaps: no example of these runs can move."

  def draw(ax: Any) -> None:
    for y, (run, model, gap) in enumerate(rows):
      ax.errorbar([gap.value], [y], xerr=Z95 * (gap.stderr or 0), fmt=_MARKERS[model], capsize=3,
                  markersize=7, color=_RUNS[_at(runs, run)])
    names = [_named(runs, r, _plain(finished.model_name(r.results, m))) for r, m, _ in rows]
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    ax.set_xlabel("gap between two views")

  return Picture("The gaps side by side", "Bars are 95% intervals.",
                 _svg(draw, "gaps", height=1.1 + 0.32 * len(rows)))


def _scatter(runs: Sequence[Run]) -> Picture | str:
  """One run's movable examples: canonical belief against the mean, with all views."""
  [run] = runs
  kept = run.predictions
  if kept is None:
    return ("There is no picture of single examples, and none of reliability: this run kept no"
            " predictions.json (an earlier version made it).")
  movable = np.flatnonzero(kept["movable"])
  if not len(movable):
    return "There is no picture of single examples: none can move."
  step = -(-len(movable) // _MOST_POINTS)
  at = movable[::step]
  mean, canonical = (kept["probabilities"][name][at] for name in ("teacher", "baseline"))
  # Two choices: the belief in the last one; more: in the teacher's first choice.
  two = mean.shape[1] == 2
  which = (np.arange(len(at)), np.ones(len(at), int) if two else mean.argmax(1))
  x, y = canonical[which], mean[which]
  low, high = kept["lowest"][at][which], kept["highest"][at][which]

  def draw(ax: Any) -> None:
    ax.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, transform=ax.transAxes, zorder=1)
    spread = [np.maximum(y - low, 0), np.maximum(high - y, 0)]
    ax.errorbar(x, y, yerr=spread, fmt="o", markersize=3.5, linewidth=0.7, alpha=0.75,
                color=_MODELS["baseline"], ecolor=_MUTED)
    ends = [min(low.min(), x.min()), max(high.max(), x.max())]
    room = 0.04 * (ends[1] - ends[0]) + 1e-3
    for limits in (ax.set_xlim, ax.set_ylim):
      limits(ends[0] - room, ends[1] + room)
    ax.set_xlabel("belief on the canonical view")
    ax.set_ylabel("mean over the views; line: all views")

  answer = run.results["data"].get("choices", ["", "the last"])[1].strip() if two else ""
  what = f"the belief in the answer {answer!r}" if two else "the belief in the mean's first answer"
  part = f" Every {step}th is drawn." if step > 1 else ""
  return Picture(
      "Every example that can move",
      f"A point is an example: {what} of one pass over the canonical view (across) and on average"
      " over the views (up); its line reaches from the lowest view to the highest. Without a gap"
      f" all lie on the diagonal, without lines.{part}", _svg(draw, "scatter"))


def _by_views(runs: Sequence[Run]) -> Picture | str:
  """The gap as estimated from fewer views."""
  shown = {"pairwise_tv": ("pairwise TV (unbiased)", "o-")}
  if len(runs) == 1:
    shown["tv_to_mean_plugin"] = ("TV to the mean, plug-in", "s--")
    if report.is_real(runs[0].results):
      shown = {"pairwise_square": ("squared distance of two views (unbiased)", "o-")}
  lines = _lines(runs, "gap_by_views", shown)
  if not lines:
    return "There is no picture of the gap against the number of views: no example can move."

  def draw(ax: Any) -> None:
    ticks = sorted({row["views"] for rows, *_ in lines for row in rows})
    for n, (rows, name, text, style, colour) in enumerate(lines):
      aside = 1.03**n if len(runs) > 1 else 1  # lines that are alike stay visible
      _line(ax, [row["views"] * aside for row in rows], rows, name, text, style, colour)
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_ylim(bottom=0)
    ax.set_xlabel("views K")
    ax.set_ylabel("gap")

  more = (" The plug-in distance to the mean of the same views grows with K by its own bias."
          if "tv_to_mean_plugin" in shown else "")
  return Picture(
      "Gap against the number of views",
      "The gap of the single view as it would have been estimated from fewer views: an unbiased"
      f" estimate stays where it is.{more} Bars are 95% intervals.",
      _svg(draw, "views", legend=True, rows=len(lines)))


def _by_segments(runs: Sequence[Run]) -> Picture | str:
  """The gap against the number of segments that may change places."""
  lines = _lines(runs, "gap_by_segments", {"pairwise_tv": ("", "o-")})
  if not lines:
    return "There is no picture of the gap against the number of segments: no run counted them."

  def draw(ax: Any) -> None:
    ticks = {}
    for n, (rows, name, text, style, colour) in enumerate(lines):
      rows = [row for row in rows if finished.value(row, name)]
      ticks |= {r["segments"]: f"{r['segments']}{'+' if r['or_more'] else ''}" for r in rows}
      _line(ax, [row["segments"] + 0.06 * n for row in rows], rows, name, text, style, colour)
    ax.set_xticks(sorted(ticks), [ticks[t] for t in sorted(ticks)])
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    ax.set_xlabel("segments that may change places")
    ax.set_ylabel("gap")

  counts = ""
  if len(runs) == 1:
    rows = lines[0][0]
    counts = " Examples: " + ", ".join(
        f"{row['examples']} of {row['segments']}{'+' if row['or_more'] else ''}" for row in rows
    ) + "."
  return Picture("Gap against the number of segments",
                 f"Baseline, all test examples.{counts} Bars are 95% intervals.",
                 _svg(draw, "segments", legend=len(runs) > 1, rows=len(lines)))


def _reliability(runs: Sequence[Run]) -> Picture | str:
  """How often answers of like confidence are right."""
  shown = ("baseline", "teacher", "student") if len(runs) == 1 else ("baseline", "student")
  lines = []
  for run in runs:
    if run.predictions is None:
      continue
    kept, few = run.predictions, len(runs) == 1
    for model in (name for name in shown if name in kept["probabilities"]):
      rows = reliability(kept["probabilities"][model], kept["label"], kept["cluster"])
      colour = _MODELS[model] if few else _RUNS[_at(runs, run)]
      name = _named(runs, run, _plain(finished.model_name(run.results, model)))
      lines.append((rows, name, _MARKERS[model] + ("--" if model == "student" else "-"), colour))
  if not any(rows for rows, *_ in lines):
    return ("There is no reliability diagram: no run kept its predictions with known right"
            " answers.")

  def draw(ax: Any) -> None:
    ax.axline((0, 0), slope=1, color=_INK, linewidth=0.8)
    for rows, name, style, colour in lines:
      x = [row["confidence"] for row in rows]
      ends = np.array([row["accuracy_interval"] for row in rows]).reshape(-1, 2)
      errors = np.nan_to_num(np.abs(ends - [[row["accuracy"]] for row in rows])).T
      ax.errorbar(x, [row["accuracy"] for row in rows], yerr=errors, fmt=style, markersize=5,
                  linewidth=1.2, capsize=2, color=colour, label=name)
      most = max((row["examples"] for row in rows), default=1)
      ax.scatter(x, [row["accuracy"] for row in rows], color=colour, alpha=0.25, linewidths=0,
                 s=[400 * row["examples"] / most for row in rows])
    low = min(row["confidence"] for rows, *_ in lines for row in rows)
    ax.set_xlim(max(0, low - 0.08), 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("confidence")
    ax.set_ylabel("share of right answers")

  return Picture(
      "Reliability",
      f"On the canonical view, in bins of confidence of width 1/{NUM_BINS}: on the diagonal a model"
      " is right as often as it is sure, below it too sure of itself. A disc's area is the share of"
      " the examples; bars are 95% intervals, where a bin has two passages or more.",
      _svg(draw, "reliability", legend=True, rows=len(lines)))


def _lines(runs, block: str, shown: dict[str, tuple[str, str]]) -> list[tuple]:
  """(rows, figure, label, style, colour) of every run that has rows."""
  out = []
  for run in runs:
    rows = run.results.get(block) or []
    for n, (name, (text, style)) in enumerate(shown.items()):
      if any(finished.value(row, name) for row in rows):
        colour = [_MODELS["baseline"], _MODELS["constant"]][n]
        if len(runs) > 1:
          colour, text = _RUNS[_at(runs, run)], _named(runs, run, "")
        out.append((rows, name, text, style, colour))
  return out


def _line(ax: Any, x: list[float], rows: list[dict], name: str, text: str, style: str,
          colour: str) -> None:
  """A line of figures with their intervals; none where one is not known."""
  found = [finished.value(row, name) for row in rows]
  known = [(at, own) for at, own in zip(x, found, strict=True) if own]
  ax.errorbar([at for at, _ in known], [own.value for _, own in known],
              yerr=[Z95 * (own.stderr or 0) for _, own in known], fmt=style, markersize=4.5,
              capsize=3, linewidth=1.3, color=colour, label=text or None)


def _svg(draw: Callable[[Any], None], name: str, height: float = 3.2, legend: bool = False,
         rows: int = 0) -> str:
  """Draws on axes and returns an `<svg>` element in the page's colours.

  Nothing of the data's texts is drawn but through `_plain`; the element refers to nothing outside.
  """
  import matplotlib
  from matplotlib.container import ErrorbarContainer
  from matplotlib.figure import Figure

  with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
    height += 0.19 * -(-rows // 2) if legend else 0
    figure = Figure(figsize=(4.8, height), layout="constrained")
    ax = figure.subplots()
    draw(ax)
    if legend:
      # A marker's bars say nothing in a legend, and hide it.
      handles, labels = ax.get_legend_handles_labels()
      handles = [own[0] if isinstance(own, ErrorbarContainer) else own for own in handles]
      figure.legend(handles, labels, loc="outside lower center", ncols=2, handlelength=1.6,
                    columnspacing=1.2)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={
        "Date": None, "Creator": None, "Format": None, "Type": None})
  svg = file.getvalue()
  svg = svg[svg.index("<svg"):]
  # Its style sheet would hold for the whole page; what it says stands in the page's own.
  svg = re.sub(r"<(metadata|style).*?</\1>", "", svg, flags=re.S)
  svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.S)
  svg = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", svg)
  svg = re.sub(r' width="[^"]*pt"| height="[^"]*pt"', "", svg, count=2)
  svg = re.sub(r" ?font-family: [^;\"]*;", "", svg)  # the page's own
  # Several pictures are in one page, and their names must not meet.
  svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", svg)
  for colour, variable in _VARIABLES.items():
    svg = svg.replace(colour, f"var({variable})")
  return svg


def _named(runs: Sequence[Run], run: Run, text: str) -> str:
  """The text, behind the run's letter where there are several."""
  return f"{run.letter}: {text}".removesuffix(": ") if len(runs) > 1 else text


def _at(runs: Sequence[Run], run: Run) -> int:
  """The number of a run's colour."""
  return [r.letter for r in runs].index(run.letter) % len(_RUNS)


def _plain(text: str) -> str:
  """A name as a picture's font can write it, not too long."""
  plain = "".join(c if " " <= c <= "~" else "?" for c in text)
  return plain if len(plain) <= 32 else plain[:29] + "..."
