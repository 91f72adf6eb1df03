"""`views.png`: the images whose views are answered most differently, as a person sees them."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mezzanine_jax import comparison, figures, report
from mezzanine_jax.evaluation import Beliefs, select, teacher

_EXAMPLES = 8
_VIEWS = 4  # shown beside each image as it is
_BARS = 5  # of the likeliest answers
_MAGNIFIED = 64  # pixels, below which an image's pixels are shown as squares


def worst_moved(
    results: Mapping[str, Any], lm: Beliefs, look: Callable[[int], np.ndarray],
    canonical_row: np.ndarray, row: np.ndarray, labels: np.ndarray, path: str | pathlib.Path,
) -> None:
  """Draws the images that move most: as they are, in the views that differ most, and in numbers.

  A row an image: the image, the two views that differ most, two more, each with its two likeliest
  answers; then bars of the image's own belief and of the teacher's.

  Args:
    results: what `results.json` will hold, with the answers' names.
    lm: the base model's beliefs on n test images.
    look: row -> float[H, W, channels] in [0, 1], see `images.looker`.
    canonical_row: int[n], the rows of the images as they are.
    row: int[n, K], the rows of their views, -1 for padding.
    labels: int[n], -1 where unknown.
    path: where the picture goes.
  """
  from matplotlib.figure import Figure

  found = comparison.most_moved(lm, _EXAMPLES)
  names = [str(c).strip() for c in results["data"]["choices"]]
  figure = Figure(
      figsize=(2 * _VIEWS + 5, 1.9 * max(len(found), 1) + 0.6), layout="constrained", dpi=110)
  if not found:
    figure.text(0.5, 0.4, "no image can move", ha="center")
  axes = figure.subplots(
      max(len(found), 1), _VIEWS + 2, squeeze=False, width_ratios=[1] * (_VIEWS + 1) + [1.6])
  for ax in axes.flat:
    ax.set_axis_off()
  mean = np.exp(np.asarray(teacher(select(lm, np.array([f["example"] for f in found], int)))))
  for at, (entry, own) in enumerate(zip(found, axes, strict=False)):
    n = entry["example"]
    probs = np.exp(np.vstack([lm.canonical[n][None], lm.log_probs[n]]))
    rows = np.concatenate([canonical_row[n : n + 1], row[n]])
    for ax, k in zip(own, _which(entry["views"], rows), strict=False):
      _image(ax, look(int(rows[k])), "as it is" if k == 0 else f"view {k}",
             _likeliest(probs[k], names), labels[n] == probs[k].argmax() or labels[n] < 0)
    own[0].text(-0.12, 0.5, f"{names[labels[n]] if labels[n] >= 0 else '?'}\ngap"
                f" {report.pm({'gap': entry['pairwise_tv']}, 'gap')}", ha="right", va="center",
                fontsize=10, transform=own[0].transAxes)
    _bars(own[-1], probs[0], mean[at], names, first=at == 0)
  figure.suptitle(
      f"{report.subject(results)}: the images whose views the {results['who']} answers most"
      " differently (red: not the label)", fontsize=11)
  part = pathlib.Path(path).with_suffix(".part.png")
  figure.savefig(part)
  part.replace(path)


def _which(pair: Sequence[int], rows: np.ndarray) -> list[int]:
  """The image as it is, the two views that differ most, and the first others."""
  real = [k for k in range(1, len(rows)) if rows[k] >= 0]
  order = dict.fromkeys([0, *pair, *real])
  return [*order][: _VIEWS + 1]


def _image(ax: Any, pixels: np.ndarray, title: str, answers: str, right: bool) -> None:
  """One view with its answers below."""
  ax.set_axis_on()
  ax.imshow(
      pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=1,
      interpolation="nearest" if max(pixels.shape) < _MAGNIFIED else "antialiased")
  ax.set_xticks([])
  ax.set_yticks([])
  ax.set_title(title, fontsize=8, pad=2)
  ax.set_xlabel(answers, fontsize=8, color="black" if right else "#c0392b", labelpad=2)


def _likeliest(probs: np.ndarray, names: Sequence[str]) -> str:
  """The two likeliest answers: `3 .91, 5 .07`."""
  best = np.argsort(-probs, kind="stable")[:2]
  return ", ".join(f"{names[c]} {report.pm({'p': float(probs[c])}, 'p', 2)}" for c in best)


def _bars(
    ax: Any, canonical: np.ndarray, mean: np.ndarray, names: Sequence[str], first: bool
) -> None:
  """The belief on the image as it is beside the teacher's."""
  ax.set_axis_on()
  best = np.argsort(-np.maximum(canonical, mean), kind="stable")[:_BARS]
  at = np.arange(len(best))
  ax.bar(at - 0.2, canonical[best], 0.4, color=figures.COLOURS["baseline"], label="as it is")
  ax.bar(at + 0.2, mean[best], 0.4, color="#54a24b", label="mean of the views")
  ax.set_xticks(at, [names[c] for c in best], fontsize=8)
  ax.set_ylim(0, 1)
  ax.tick_params(axis="y", labelsize=7)
  ax.spines[["top", "right"]].set_visible(False)
  if first:
    ax.legend(fontsize=7, frameon=False)
