"""`trajectories.png`: the plans judged most differently by their order, drawn on their grids."""

import pathlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mezzanine_jax import report
from mezzanine_jax.base import Example
from mezzanine_jax.worlds import grid_world as grid

PICTURE = "trajectories.png"
_EXAMPLES = 2
_ACCENT, _WRONG = "#4c78a8", "#c0392b"
_COLOURS = dict(zip(  # of places, their ways and their tools
    grid.PLACES, ("#f7f5f0", "#e45756", "#4c78a8", "#54a24b", "#8a9a5b", "#8d6e63", "#7e57c2"),
    strict=True))


def worst_moved(
    results: Mapping[str, Any], examples: Sequence[Example], folder: str | pathlib.Path
) -> None:
  """Draws the plans that move most, each in the two orders that are answered most differently.

  A row a plan: the map with the agent's way in one order, that order in words (crossed steps
  could not be done) under its probability, then the same of the other order.

  Args:
    results: what `results.json` will hold, with its block `examples`.
    examples: of the world `grid_trajectories`, those of the block among them.
    folder: where the picture goes.
  """
  from matplotlib.figure import Figure

  named = {e.id: e for e in examples}
  found = results["examples"][:_EXAMPLES]
  figure = Figure(figsize=(17, 5.2 * max(len(found), 1) + 0.6), layout="constrained", dpi=100)
  if not found:
    figure.text(0.5, 0.4, "no plan can move, or none was kept (n_examples)", ha="center")
  axes = figure.subplots(max(len(found), 1), 4, squeeze=False, width_ratios=[1.15, 1, 1.15, 1])
  for ax in axes.flat:
    ax.set_axis_off()
  for entry, own in zip(found, axes, strict=False):
    example = named[entry["id"]]
    for view, (on_map, in_words) in zip(entry["views"], own.reshape(2, 2), strict=True):
      lines = view["text"].splitlines()
      order = np.argsort([lines.index(fact) for fact in example.x["facts"]])
      done, agent = _simulated(example, order)
      _map(on_map, example, order, done, agent)
      _words(in_words, example, order, done, view, entry)
  figure.suptitle(
      f"{report.subject(results)}: the plans whose order moves the {results.get('who', 'LM')} most;"
      " both orders of a plan come to the same", fontsize=13)
  path = pathlib.Path(folder) / PICTURE
  part = path.with_suffix(".part.png")
  figure.savefig(part)
  part.replace(path)


def _simulated(example: Example, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Which steps could be done in this order, and where the agent stood after each."""
  world = grid.Map(*(example.x[name] for name in grid.Map._fields))
  # Padded as they are, so that all plans share one compiled shape.
  actions = example.x["actions"].copy()
  actions[: len(order)] = actions[order]
  _, (done, agent) = grid.simulate(world, actions)
  return np.asarray(done), np.asarray(agent)


def _map(
    ax: Any, example: Example, order: np.ndarray, done: np.ndarray, agent: np.ndarray
) -> None:
  """The grid with everything where it was, and the agent's way through it."""
  from matplotlib.colors import to_rgb

  ground = example.x["ground"]
  pixels = np.empty((*ground.shape, 3))
  pixels[:] = to_rgb(_COLOURS["hall"])
  pixels[ground == grid.WALL] = to_rgb("#37474f")
  for place in range(1, len(grid.PLACES)):
    pixels[ground == place] = to_rgb(_COLOURS[grid.PLACES[place]])
  ax.imshow(pixels, interpolation="nearest")
  for place, (row, column) in enumerate(example.x["barriers"][1:], 1):
    ax.text(column, row, grid.BARRIERS[place].replace(" ", "\n"), fontsize=5.5, ha="center",
            va="center", color="white", weight="bold", linespacing=0.9)
  open_ways, at = {0}, tuple(example.x["barriers"][0])
  ax.plot(at[1], at[0], "o", color="black", ms=7)
  ax.text(at[1], at[0] + 0.45, "start", fontsize=6, ha="center", va="top")
  ax.text(*grid.GUARD[::-1], "guard", fontsize=6, ha="center", va="center")
  for thing, (row, column) in enumerate(example.x["things"]):
    name = grid.THINGS[thing]
    treasure = name in grid.TREASURES
    colour = "#b8860b" if treasure else _COLOURS[grid.PLACES[thing + 1]]
    ax.text(column, row + 0.3, name.replace(" ", "\n"), fontsize=6.5, ha="center", va="center",
            color=colour, weight="bold" if treasure else "normal", linespacing=0.9)
  for number, s in enumerate(order):
    verb, what = example.x["actions"][s]
    if not done[number]:
      continue
    if verb == grid.OPEN:
      open_ways.add(int(what))
    goal = tuple(agent[number])
    way = np.array(_way(ground, open_ways, at, goal), float)
    shift = 0.06 * (number - len(order) / 2)  # ways through the same cells lie side by side
    ax.plot(way[:, 1] + shift, way[:, 0] + shift, color=_ACCENT, lw=1.3, alpha=0.75)
    ax.text(goal[1] + 0.3, goal[0] - 0.28, str(number + 1), fontsize=7, color="white",
            ha="center", va="center",
            bbox={"boxstyle": "circle,pad=0.15", "color": _ACCENT, "lw": 0})
    at = goal
  ax.set_title("\n".join(_split(example.x["question"])), fontsize=9)


def _way(ground: np.ndarray, open_ways: set[int], start: tuple, goal: tuple) -> list[tuple]:
  """The cells of a shortest way over open cells."""
  came, queue = {start: None}, deque([start])
  while queue:
    here = queue.popleft()
    for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
      cell = here[0] + step[0], here[1] + step[1]
      if cell not in came and int(ground[cell]) in open_ways:
        came[cell] = here
        queue.append(cell)
  way = [goal]
  while way[-1] != start:
    way.append(came[way[-1]])
  return way[::-1]


def _words(
    ax: Any, example: Example, order: np.ndarray, done: np.ndarray, view: Mapping[str, Any],
    entry: Mapping[str, Any],
) -> None:
  """The steps in this order, and what was answered."""
  yes = view["probabilities"][1]
  right = (yes > 0.5) == (example.label == 1)
  title = "as it is" if view["view"] == 0 else f"view {view['view']}"
  ax.text(0, 0.97, f"{title}: p(yes) = {report.pm({'p': yes}, 'p', 2)}", fontsize=13, va="top",
          color="black" if right else _WRONG, weight="bold", transform=ax.transAxes)
  truth = "yes" if example.label == 1 else "no"
  ax.text(0, 0.89, f"the simulation says {truth}; gap over all views"
          f" {report.pm({'gap': entry['pairwise_tv']}, 'gap', 2)}", fontsize=9, va="top",
          transform=ax.transAxes)
  for number, s in enumerate(order):
    ax.text(0, 0.79 - 0.08 * number, f"{number + 1}. {example.x['facts'][s]}"
            + ("" if done[number] else "  (cannot be done)"), fontsize=8.5, va="top",
            color="black" if done[number] else "#888888", transform=ax.transAxes)


def _split(text: str) -> list[str]:
  """A question in two lines of words."""
  words = text.split()
  return [" ".join(words[:5]), " ".join(words[5:])] if len(words) > 7 else [text]
