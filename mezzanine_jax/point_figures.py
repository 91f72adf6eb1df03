"""`turning.png`: what models say of one cluster while it is turned, against what is exact."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import figures, values
from mezzanine_jax.base import Array, Symmetry
from mezzanine_jax.symmetries.rotation import rotation
from mezzanine_jax.transforms import view_log_probs, views
from mezzanine_jax.worlds import lennard_jones

_ANGLES = 181
_TEACHER = "#54a24b"


def turning(
    models: Mapping[str, Callable[[Array], Array]], see: Callable[[Array], Array],
    positions: np.ndarray, symmetry: Symmetry, parts: Sequence[values.Part], config: Any,
    path: str | pathlib.Path,
) -> None:
  """Draws energy and force, predicted and exact, while a cluster turns once about an axis.

  Above, what `baseline` and `student` say in one pass; the teacher is the base model's mean over
  `k_test` views of the cluster at each angle. Below, the length of the error of all forces.

  Args:
    models: `features[D] -> values[C]` of one view, not aligned, in units of their spread.
    see: `positions -> features[D]`.
    positions: float[n, 3], the cluster.
    symmetry: the family of the views.
    parts: of the values: energy, then forces.
    config: has a seed and `k_test`; its `inputs` are named.
    path: where the picture goes.
  """
  from matplotlib.figure import Figure

  angles = np.linspace(0, 2 * np.pi, _ANGLES)
  quaternions = np.stack([0 * angles, 0 * angles, np.sin(angles / 2), np.cos(angles / 2)], 1)
  turn = rotation()
  turned = jax.vmap(turn.act, (0, None))(jnp.asarray(quaternions, jnp.float32), positions)
  key = jax.random.fold_in(jax.random.key(config.seed), 3)

  def seen(model: Callable[[Array], Array], x: Array) -> lennard_jones.Answer:
    found = model(see(x))
    # In the units of the answer: forces have no shift, so that they turn as they are.
    return lennard_jones.Answer(*(
        values.in_units(found, part).reshape(shape)
        for part, shape in zip(parts, ((), x.shape), strict=True)))

  def mean(x: Array) -> lennard_jones.Answer:
    predict = lambda params, x: seen(models["baseline"], x)
    drawn = views(symmetry, config.k_test)(key, x)
    every = view_log_probs(predict, symmetry)(None, drawn, x)
    return jax.tree.map(lambda a: a.mean(0), every)

  back = jax.vmap(turn.align)
  curves = {name: lambda x, own=own: seen(own, x) for name, own in models.items()}
  curves["teacher"] = mean
  curves = {name: back(jnp.asarray(quaternions, jnp.float32), jax.jit(jax.vmap(own))(turned))
            for name, own in curves.items()}
  exact = jax.tree.map(np.asarray, lennard_jones.answer(positions))

  figure = Figure(figsize=(11, 8), layout="constrained", dpi=120)
  (ax_cluster, ax_energy), (ax_force, ax_error) = figure.subplots(2, 2)
  _cluster(ax_cluster, positions, exact.forces)
  degrees = np.rad2deg(angles)
  who = {"baseline": "base model, one pass", "teacher": f"teacher, {config.k_test} views",
         "student": "student, one pass"}
  strongest = np.unravel_index(np.abs(exact.forces).argmax(), exact.forces.shape)
  for name in ("baseline", "teacher", "student"):
    own = jax.tree.map(np.asarray, curves[name])
    style = {"color": figures.COLOURS.get(name, _TEACHER), "linewidth": 1.4, "label": who[name]}
    ax_energy.plot(degrees, own.energy, **style)
    ax_force.plot(degrees, own.forces[:, *strongest], **style)
    ax_error.plot(degrees, np.sqrt(((own.forces - exact.forces) ** 2).sum((1, 2))), **style)
  for ax, value in ((ax_energy, exact.energy), (ax_force, exact.forces[strongest])):
    ax.axhline(value, color="black", linewidth=1, linestyle="--", label="exact")
  axis = "xyz"[strongest[1]]
  ax_energy.set_title("Energy [epsilon]: turning should not change it")
  ax_force.set_title(
      f"Force on particle {strongest[0]} along its {axis}, turned back [epsilon / sigma]")
  ax_error.set_title("Error of all forces, length [epsilon / sigma]")
  ax_error.set_ylim(bottom=0)
  for ax in (ax_energy, ax_force, ax_error):
    ax.set_xlabel("the cluster is turned by [degrees]")
    ax.set_xticks(range(0, 361, 60))
  ax_energy.legend(frameon=False, fontsize=9)
  figure.suptitle(
      f"One test cluster of {len(positions)} particles while it turns; the network sees its"
      f" {config.inputs}")
  part = pathlib.Path(path).with_suffix(".part.png")
  figure.savefig(part)
  part.replace(path)


def _cluster(ax: Any, positions: np.ndarray, forces: np.ndarray) -> None:
  """The cluster as seen along the axis that it is turned about, with the exact forces."""
  order = np.argsort(positions[:, 2])
  ax.scatter(*positions[order, :2].T, s=1800, c=positions[order, 2], cmap="Blues", vmin=-2, vmax=1,
             edgecolors="black")
  length = np.abs(forces).max()
  for n in order:
    ax.annotate("", positions[n, :2] + forces[n, :2] / length, positions[n, :2],
                arrowprops={"arrowstyle": "->", "color": figures.COLOURS["student"],
                            "linewidth": 2})
    ax.annotate(str(n), positions[n, :2], ha="center", va="center", fontsize=9)
  ax.set_aspect("equal")
  ax.margins(0.45)
  ax.set_xlabel("x [sigma]")
  ax.set_ylabel("y [sigma]")
  ax.set_title(f"The cluster and its forces (longest: {length:.1f} epsilon / sigma)")
