"""Figures of a run in TensorBoard or Weights & Biases, as they happen and at its end.

Names are those of `results.json`, with dots: `baseline.gap.pairwise_tv`, `student.valid_kl`.
"""

import importlib.util
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mezzanine_jax.errors import InputError

_FLUSH_SECONDS = 5  # what a process that is killed may lose
_PROJECT = "mezzanine_jax"  # at Weights & Biases, unless WANDB_PROJECT names one
_NO_FIGURES = ("config", "environment")  # blocks of the results with numbers that none measured


class Tracker(NamedTuple):
  """Where figures go.

  Attributes:
    scalars: `(figures, step)`: names and numbers of a step of the training, or of the run as a
      whole where the step is None.
    close: writes what is still held; nothing can be logged behind it.
  """

  scalars: Callable[[Mapping[str, float], int | None], None]
  close: Callable[[], None]


NOWHERE = Tracker(lambda figures, step: None, lambda: None)


def check(log_to: str | None) -> list[str]:
  """The places that a configuration's `log_to` names.

  Args:
    log_to: `tensorboard`, `wandb`, or both with a comma; None for nowhere.

  Raises:
    InputError: for another name, or a package that is not installed.

  Example:
    >>> check(None)
    []
  """
  names = [name.strip() for name in log_to.split(",")] if log_to is not None else []
  if not set(names) <= set(_TRACKERS):
    raise InputError(
        f"log_to must be {' or '.join(_TRACKERS)}, or several with commas, got {log_to!r}")
  for name in names:
    package, _ = _TRACKERS[name]
    # What is imported already is there, whether or not it can be looked for.
    if package not in sys.modules and importlib.util.find_spec(package) is None:
      raise InputError(
          f"log_to={name} needs the package {package}: pip install 'mezzanine_jax[{name}]'")
  return list(dict.fromkeys(names))


def start(
    log_to: str | None, path: str | pathlib.Path, name: str, config: Mapping[str, Any]
) -> Tracker:
  """Opens every place of `log_to`; a run that is continued goes on in the same places.

  Args:
    log_to: see `check`.
    path: the run's folder; each place has a folder of its name in it.
    name: of the recipe.
    config: the run's configuration, to be shown beside the figures.

  Raises:
    InputError: as `check`, and if a place cannot be opened.
  """
  places = [_TRACKERS[place][1](pathlib.Path(path), name, config) for place in check(log_to)]

  def scalars(figures: Mapping[str, float], step: int | None) -> None:
    for place in places:
      place.scalars(figures, step)

  def close() -> None:
    for place in places:
      place.close()

  return Tracker(scalars, close) if places else NOWHERE


def figures(results: Mapping[str, Any]) -> dict[str, float]:
  """Every number of the results under its name with dots; lists have no such name.

  Args:
    results: what `results.json` holds.

  Example:
    >>> figures({"teacher": {"nll": 0.5, "auroc": None}, "recipe": "r", "config": {"seed": 3}})
    {'teacher.nll': 0.5}
  """
  found = {}

  def visit(value: Any, name: str) -> None:
    if isinstance(value, Mapping):
      for key, own in value.items():
        visit(own, f"{name}.{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
      found[name] = value

  for key, value in results.items():
    if key not in _NO_FIGURES:
      visit(value, key)
  return found


def _tensorboard(path: pathlib.Path, name: str, config: Mapping[str, Any]) -> Tracker:
  """A file of events in the folder `tensorboard`."""
  import tensorboardX

  writer = tensorboardX.SummaryWriter(
      logdir=str(path / "tensorboard"), flush_secs=_FLUSH_SECONDS)
  text = json.dumps({"recipe": name, "config": config}, indent=1, default=str)
  writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()), 0)

  def scalars(figures: Mapping[str, float], step: int | None) -> None:
    for figure, value in figures.items():
      writer.add_scalar(figure, value, 0 if step is None else step)

  return Tracker(scalars, writer.close)


def _wandb(path: pathlib.Path, name: str, config: Mapping[str, Any]) -> Tracker:
  """A run of Weights & Biases, its local files in the folder `wandb`; WANDB_MODE is obeyed."""
  import wandb

  try:
    # "auto": a run that was stopped is known by what it left in the folder.
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT), name=path.resolve().name, dir=str(path),
        config={"recipe": name, **config}, resume="auto", reinit="create_new")
  except wandb.errors.Error as error:
    raise InputError(
        f"log_to=wandb cannot log: {error}; use `wandb login`, or set WANDB_MODE=offline"
    ) from error
  counted = set()

  def scalars(figures: Mapping[str, float], step: int | None) -> None:
    if step is None:
      run.summary.update(figures)
      return
    # Several trainings each count from 0, but the run's own step only grows: each has its axis.
    axes = {figure: figure.rpartition(".")[0] + ".step" for figure in figures}
    for figure in axes.keys() - counted:
      run.define_metric(figure, step_metric=axes[figure])
      counted.add(figure)
    run.log({**figures, **dict.fromkeys(axes.values(), step)})

  return Tracker(scalars, run.finish)


# Name and extra -> the package that it needs, and what opens it.
_TRACKERS = {"tensorboard": ("tensorboardX", _tensorboard), "wandb": ("wandb", _wandb)}
