"""`plant.png`: an episode as models foresee it, as it is and in the mirror; and retrieval."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import figures, retrieval, values
from mezzanine_jax.base import Array, Example, Symmetry, X
from mezzanine_jax.clustered import Z95
from mezzanine_jax.worlds import cart_pole

_HATCHES = {"with": "", "without": "//", "shuffled": "xx"}
_STEPS = 8  # of the episode; later nobody foresees a pole that swings freely
_WHO = {"baseline": "base model", "student": "student"}


def plant(
    models: Mapping[str, Callable[[Array], Array]], see: Callable[[X], Array],
    test: Sequence[Example], symmetry: Symmetry, parts: Sequence[values.Part],
    found: Mapping[str, Mapping[str, Any]], path: str | pathlib.Path,
) -> None:
  """Draws the first test episode and what the models foresee of it, and how well they retrieve.

  A model is given the first observation and all actions, and its own predictions from then on.
  Once in the episode as it is, and once in its mirror image, mirrored back: the two lines of a
  model that knows of the mirror are one.

  Args:
    models: `baseline` and `student`, `features[D] -> values[C]` in units of their spread.
    see: `x -> features[D]`.
    test: steps, those of an episode one after the other.
    symmetry: with an element True for the mirror image.
    parts: of the values.
    found: model -> what was done to the actions -> `retrieval.block`.
    path: where the picture goes.
  """
  from matplotlib.figure import Figure

  episode = [e for e in test if e.cluster == test[0].cluster][:_STEPS]
  x = {field: np.stack([e.x[field] for e in episode]) for field in episode[0].x}
  true = np.stack([episode[0].x[cart_pole.OBSERVATION], *(e.label for e in episode)])
  spread = np.maximum(true.std(0), 1e-6)
  seconds = cart_pole.SECONDS * np.arange(len(true))
  figure = Figure(figsize=(11, 8), layout="constrained", dpi=120)
  (ax_cart, ax_pole), (ax_errors, ax_found) = figure.subplots(2, 2)
  for name, model in models.items():
    for mirrored, style in ((False, "-"), (True, "--")):
      own = _foreseen(model, see, x, symmetry, parts, mirrored)
      line = {"color": figures.COLOURS[name], "linestyle": style, "marker": ".",
              "label": _WHO[name] + ", in the mirror" * mirrored}
      ax_cart.plot(seconds, own[:, 0], **line)
      ax_pole.plot(seconds, own[:, 1], **line)
      ax_errors.plot(seconds, np.linalg.norm((own - true) / spread, axis=1), **line)
  ax_cart.plot(seconds, true[:, 0], "k-", linewidth=2, label="MuJoCo", zorder=0)
  ax_pole.plot(seconds, true[:, 1], "k-", linewidth=2, zorder=0)
  ax_cart.set_title("Position of the cart [m], foreseen from the first step")
  ax_pole.set_title("Cosine of the pole's angle, 1 is upright")
  ax_errors.set_title("Distance from what happened, in standard deviations")
  ax_errors.set_ylim(bottom=0)
  ax_cart.legend(frameon=False, fontsize=8)
  for ax in (ax_cart, ax_pole, ax_errors):
    ax.set_xlabel("seconds")
  _retrieval(ax_found, found, len(test))
  figure.suptitle("A test episode of the cart-pole, as it is (solid) and in the mirror (dashed)")
  part = pathlib.Path(path).with_suffix(".part.png")
  figure.savefig(part)
  part.replace(path)


def _foreseen(
    model: Callable[[Array], Array], see: Callable[[X], Array], x: X, symmetry: Symmetry,
    parts: Sequence[values.Part], mirrored: bool,
) -> np.ndarray:
  """float[T + 1, D], observations that a model foresees from the first one and the actions."""
  element = jnp.array(mirrored)
  x = jax.vmap(symmetry.act, (None, 0))(element, x)

  def step(now: Array, action: Array) -> tuple[Array, Array]:
    said = model(see({cart_pole.OBSERVATION: now, cart_pole.ACTION: action}))
    after = jnp.concatenate([values.in_units(said, part) for part in parts])
    return after, after

  first = x[cart_pole.OBSERVATION][0]
  _, rest = jax.lax.scan(step, first, x[cart_pole.ACTION])
  return np.asarray(symmetry.align(element, jnp.concatenate([first[None], rest])))


def _retrieval(ax: Any, found: Mapping[str, Mapping[str, Any]], candidates: int) -> None:
  """Recall with, without and with shuffled actions."""
  name = f"recall_at_{retrieval.AT}"
  for m, (model, rows) in enumerate(found.items()):
    for i, (how, own) in enumerate(rows.items()):
      ax.bar(i + 0.4 * m, own[name], 0.38, yerr=Z95 * own[f"{name}_stderr"], capsize=3,
             color=figures.COLOURS[model], hatch=_HATCHES[how], edgecolor="white",
             label=None if i else _WHO[model])
  ax.axhline(retrieval.AT / candidates, color="black", linewidth=0.8, linestyle=":", label="chance")
  ax.set_xticks([0.2, 1.2, 2.2], [f"{how}\naction" for how in _HATCHES])
  ax.set_ylim(0, 1.05)
  ax.set_title(f"R@{retrieval.AT}: the own next observation among {candidates}")
  ax.legend(frameon=False, fontsize=9)
