"""Does it fit, and how long will it take: what is known of a run before anything of it runs.

The programs of the run are compiled from shapes alone, see `plan_programs`: no weights, data or
devices are needed. Here they are chosen between.
"""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp

from mezzanine_jax import adapters as adapters_lib
from mezzanine_jax import efficiency, estimates, experiment, progress, sets
from mezzanine_jax import mesh as mesh_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import load_config
from mezzanine_jax.plan_programs import (
    Layout,
    Model,
    Scoring,
    Task,
    Training,
    layout_of,
    score,
    train_adapters,
    train_head,
)
from mezzanine_jax.symmetries import make_symmetry
from mezzanine_jax.topologies import Topology

ROW_TOKENS = 170  # mean of BoolQ's prompts (SmolLM2's tokenizer)
_SPARE = 0.9  # share of the room that weights, or a suggestion, may take
_WORTH = 1.05  # a larger batch is suggested if it is that much faster
_LARGEST = 8  # times the batch that was asked for


class Plan(NamedTuple):
  """What `plan` finds.

  Attributes:
    model: its name.
    parameters: how many numbers it has.
    dtype: of its matrices.
    topology: what was compiled for.
    rows: of the run as they stand, if no two views of an example are equal.
    set_rows: of the run that are read as sets, too; 0 where no head reads any.
    row_tokens: of a usual row.
    longest: tokens of the longest row.
    scoring: as it was asked for, in the layout that suits it; None where in no layout the weights
      alone fit.
    head: the training of the student; None where the recipe trains none on hidden states.
    adapters: that of `finetune`, in the first layout with room for it, or else the last one.
    better: the suggested scoring; `scoring` where nothing better was found, None where nothing
      fits.
    tried: layouts without room, in words.
  """

  model: str
  parameters: int
  dtype: str
  topology: Topology
  rows: int
  set_rows: int
  row_tokens: int
  longest: int
  scoring: Scoring | None
  head: Training | None
  adapters: Training | None
  better: Scoring | None
  tried: tuple[str, ...]


def plan(
    recipe: ModuleType, config: Any, topology: Topology, *, given: Sequence[str] = (),
    row_tokens: int = ROW_TOKENS, choice_tokens: int = 1,
) -> Plan:
  """Compiles what a run would call, for devices that need not be there.

  The layout is the one with the fewest parts of the model that fits; where the model must be
  divided, the faster one of dividing its matrices (`model`) and of gathering them in every layer
  (`fully_sharded`). A layout among the fields that were given is the only one.

  Args:
    recipe: has a `batch_fn(config, lm, symmetry)`.
    config: of the recipe.
    topology: see `topologies.topology`.
    given: names of the fields that somebody chose.
    row_tokens: tokens of a usual row, its choices not counted.
    choice_tokens: tokens of the longest choice.

  Raises:
    InputError: for a recipe without a language model to ask, a model that is not found, or a
      setting out of range.
  """
  if not hasattr(recipe, "batch_fn"):
    raise InputError(
        f"a plan is of recipes that ask a language model, which {recipe.__name__.split('.')[-1]}"
        " does not; there are hf_llm_hiddenstate_order_distill, llm_belief_distill and"
        " llm_order_gap")
  for name, value in (("row_tokens", row_tokens), ("choice_tokens", choice_tokens)):
    if value < 1:
      raise InputError(f"{name} must be >= 1, got {value}")
  architecture = load_config(config.lm_name)
  if not architecture.causal:
    raise InputError(f"{config.lm_name!r} is an encoder; a causal language model is needed here")
  longest = min(config.max_length or architecture.max_positions, architecture.max_positions)
  choices = experiment.CHOICES if config.choices is None else config.choices.split("|")
  reads_sets = getattr(config, "student_reads", "view") != "view" and not (
      config.student in adapters_lib.NAMES or sets.why_no_head(config))
  task = Task(
      recipe, config, Model(architecture, jnp.dtype(config.dtype)), topology,
      make_symmetry(config.symmetry, **vars(config)), len(choices), choice_tokens,
      min(row_tokens, longest), longest, config.set_orders if reads_sets else None)
  rows = config.n_test * (config.k_test + 1)
  if hasattr(config, "k_train"):
    rows += config.n_train * (config.k_train + 1)
  rows += config.n_train * getattr(config, "extra_questions", 0) * (
      getattr(config, "k_extra", 0) + 1)
  set_rows = 0
  if reads_sets:  # one of every example, and all views of a few
    set_rows = config.n_train * (config.extra_questions + 1)
    set_rows += config.n_test + min(sets.CHECKED, config.n_test) * config.k_test
  every = _layouts(task, given)
  layouts, tried = _with_room(every, topology)
  with progress.bar("compiling the scoring"):
    scoring, vain = _asked(task, layouts)
  with progress.bar("compiling the trainings"):
    head = None if scoring is None else train_head(task, scoring.layout, set_rows or rows)
    adapters = _adapters(task, layouts)
  with progress.bar("compiling other batches"):
    better = _better(task, layouts, scoring)
  return Plan(
      config.lm_name, efficiency.parameters(every[0].params), config.dtype, topology, rows,
      set_rows, task.row_tokens, longest, scoring, head, adapters, better, tried + vain)


def _layouts(task: Task, given: Sequence[str]) -> list[Layout]:
  """Layouts to try, those with the fewest parts of the model first."""
  config, count = task.config, len(task.topology.devices)
  if {"mesh", "fully_sharded"} & set(given):
    return [layout_of(task, config.mesh, config.fully_sharded)]
  ways = [2**i for i in range(count.bit_length()) if count % 2**i == 0]
  layouts = [layout_of(task, f"data=-1,model={m}", False) for m in ways]
  return layouts + [layout_of(task, mesh_lib.ALL_DEVICES, True)] * (count > 1)


def _with_room(layouts: list[Layout], topology: Topology) -> tuple[list[Layout], tuple[str, ...]]:
  """Layouts whose weights leave room for anything else; of the others, why not."""
  found, words = [], []
  for layout in layouts:
    size = estimates.bytes_a_device(layout.params)
    if size > _SPARE * topology.chip.memory:
      words.append(f"{layout.flags}: {size / 2**30:.3g} GiB of weights a device")
    else:
      found.append(layout)
  return found, tuple(words)


def _asked(task: Task, layouts: list[Layout]) -> tuple[Scoring | None, tuple[str, ...]]:
  """Scoring with the batches that were asked for, in the layout that suits it."""
  found, vain = [], []
  for layout in layouts:
    if found and not layout.fully_sharded:
      continue  # the model is divided into few enough parts
    own = score(task, layout, task.config.batch_tokens)
    (found if own.fits else vain).append(own)
    if own.fits and layout.mesh.shape[mesh_lib.MODEL] == 1:
      break
  words = tuple(f"{own.layout.flags}: {own.largest.needed / 2**30:.3g} GiB"
                " a device" for own in vain)
  if found:
    return max(found, key=lambda own: own.rows_per_second), words
  return min(vain, key=lambda own: own.largest.needed, default=None), words


def _better(task: Task, layouts: list[Layout], scoring: Scoring | None) -> Scoring | None:
  """Larger batches where they are faster; smaller ones where these do not fit."""
  if scoring is None:
    return None
  program, asked = scoring.largest, scoring.batch_tokens
  if not scoring.fits:
    smaller = (asked // 2**i for i in range(1, asked.bit_length()))
    tries = ((layout, tokens) for tokens in smaller if tokens >= task.longest
             for layout in reversed(layouts))
    return next((own for own in (score(task, *a) for a in tries) if own.fits), None)
  # Temporaries grow with the batch, arguments hardly do.
  fixed = program.needed - program.temporaries
  spare = (_SPARE * program.room - fixed) / max(program.temporaries, 1.0)
  times = 2 ** int(math.log2(min(max(spare, 1.0), _LARGEST)))
  if times == 1:
    return scoring
  larger = score(task, scoring.layout, times * asked)
  return larger if larger.rows_per_second > _WORTH * scoring.rows_per_second else scoring


def _adapters(task: Task, layouts: list[Layout]) -> Training | None:
  """The training of adapters in the first layout with room for it."""
  found = None
  for layout in layouts:
    found = train_adapters(task, layout)
    if found.program.fits:
      break
  return found
