"""Does it fit, and how long will it take: a run's programs compiled from shapes alone.

Compiled are the very functions that a run calls: the recipe's `batch_fn` over the mesh, the step of
the head, and the step of adapters (`finetune`), which no recipe takes by itself. No weights, data
or devices are needed.
"""

import functools
import inspect
import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mezzanine_jax import distill, distill_data, efficiency, estimates, finetune, lora, students
from mezzanine_jax import experiment as experiment_lib
from mezzanine_jax import mesh as mesh_lib
from mezzanine_jax.config import arguments_of
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.attention import Stream
from mezzanine_jax.models.load import load_config
from mezzanine_jax.models.transformer import TransformerConfig
from mezzanine_jax.models.weights import param_shapes
from mezzanine_jax.prompts import make_prompt, make_wordings
from mezzanine_jax.scoring import PackedRows
from mezzanine_jax.symmetries import make_symmetry
from mezzanine_jax.topologies import CPU, Topology

ROW_TOKENS = 170  # mean of BoolQ's prompts (SmolLM2's tokenizer)
_WHOLE = P()  # on every device
_SPARE = 0.9  # share of the room that a suggestion may take
_WORTH = 1.05  # a larger batch is suggested if it is that much faster
_LARGEST = 8  # times the batch that was asked for


class Model(NamedTuple):
  """What `experiment.lm_batch_fn` reads of a language model: its architecture and its dtype."""

  config: TransformerConfig
  dtype: Any


class Layout(NamedTuple):
  """How a model is divided.

  Attributes:
    mesh: its axes are `data` and `model`.
    fully_sharded: see `mesh.param_specs`.
    params: shapes with shardings.
  """

  mesh: Mesh
  fully_sharded: bool
  params: Any

  @property
  def flags(self) -> str:
    """The fields of a run that ask for it."""
    sizes = ",".join(f"{name}={size}" for name, size in self.mesh.shape.items())
    return f"--mesh {sizes}" + (" --fully_sharded true" if self.fully_sharded else "")


class Scoring(NamedTuple):
  """The scoring of views in one layout with one size of batches.

  Attributes:
    layout: of the model.
    batch_tokens: of each batch.
    longest: the program of the longest rows, which needs most memory.
    usual: the program of rows of usual length, which gives the speed.
    rows: that one call of `usual` scores, on all devices.
  """

  layout: Layout
  batch_tokens: int
  longest: estimates.Program
  usual: estimates.Program
  rows: int

  @property
  def fits(self) -> bool:
    """Whether there is room for both programs."""
    return self.longest.fits and self.usual.fits

  @property
  def rows_per_second(self) -> float:
    """At the estimated speed; 0 where it does not fit."""
    return self.rows / self.usual.seconds if self.fits else 0.0


class Training(NamedTuple):
  """A training.

  Attributes:
    layout: of the model.
    batch: rows of a step.
    steps: of the whole training, its control's among them.
    longest: the program of a step with the longest rows.
    usual: the same with rows of usual length.
  """

  layout: Layout
  batch: int
  steps: int
  longest: estimates.Program
  usual: estimates.Program


class Plan(NamedTuple):
  """What `plan` finds.

  Attributes:
    model: name.
    parameters: how many numbers the model has.
    dtype: of its matrices.
    topology: what was compiled for.
    rows: of the run, if no two views of an example are equal.
    row_tokens: of a usual row.
    longest: tokens of the longest row.
    scoring: as it was asked for, in the layout that suits it.
    head: the step of the student; None where the recipe trains none on hidden states.
    adapters: the step of `finetune`, in the layout that suits it.
    better: the suggested scoring; `scoring` where nothing better was found, None where nothing
      fits.
    tried: layouts that were compiled for in vain, in words.
  """

  model: str
  parameters: int
  dtype: str
  topology: Topology
  rows: int
  row_tokens: int
  longest: int
  scoring: Scoring
  head: Training | None
  adapters: Training
  better: Scoring | None
  tried: tuple[str, ...]


class _Task(NamedTuple):
  """All that is the same for every layout."""

  recipe: ModuleType
  config: Any
  model: Model
  topology: Topology
  symmetry: Any
  num_choices: int
  choice_tokens: int
  row_tokens: int
  longest: int

  @property
  def exact(self) -> bool:
    return jnp.dtype(self.model.dtype) == jnp.float32


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
  choices = experiment_lib.CHOICES if config.choices is None else config.choices.split("|")
  task = _Task(
      recipe, config, Model(architecture, jnp.dtype(config.dtype)), topology,
      make_symmetry(config.symmetry, **vars(config)), len(choices), choice_tokens,
      min(row_tokens, longest), longest)
  layouts = _layouts(task, given)
  scoring, tried = _asked(task, layouts)
  rows = config.n_test * (config.k_test + 1)
  if hasattr(config, "k_train"):
    rows += config.n_train * (config.k_train + 1)
  return Plan(
      config.lm_name, efficiency.parameters(layouts[0].params), config.dtype, topology, rows,
      task.row_tokens, longest, scoring, _head(task, scoring.layout, rows),
      _adapters(task, layouts[layouts.index(scoring.layout):]), _better(task, layouts, scoring),
      tried)


def _layouts(task: _Task, given: Sequence[str]) -> list[Layout]:
  """Layouts to try, those with the fewest parts of the model first."""
  devices, config = task.topology.devices, task.config
  if {"mesh", "fully_sharded"} & set(given):
    return [_layout(task, getattr(config, "mesh", mesh_lib.ALL_DEVICES),
                    getattr(config, "fully_sharded", False))]
  ways = [2**i for i in range(len(devices).bit_length()) if len(devices) % 2**i == 0]
  layouts = [_layout(task, f"data=-1,model={m}", False) for m in ways]
  if len(devices) > 1:
    layouts.append(_layout(task, mesh_lib.ALL_DEVICES, True))
  return layouts


def _layout(task: _Task, text: str, fully_sharded: bool) -> Layout:
  """The layout of a mesh."""
  mesh = mesh_lib.make_mesh(text, task.topology.devices)
  config = task.model.config
  shapes = param_shapes(config, task.model.dtype)
  specs = mesh_lib.param_specs(config, shapes, mesh, fully_sharded)
  return Layout(mesh, fully_sharded, jax.tree.map(
      lambda leaf, spec: _struct(mesh, leaf.shape, leaf.dtype, spec), shapes, specs))


def _asked(task: _Task, layouts: list[Layout]) -> tuple[Scoring, tuple[str, ...]]:
  """Scoring with the batches that were asked for, in the layout that suits it."""
  tokens, found, tried = task.config.batch_tokens, [], []
  for layout in layouts:
    if found and not layout.fully_sharded:
      continue  # the model is divided into few enough parts
    own = _scoring(task, layout, tokens)
    if own.fits:
      found.append(own)
      if layout is layouts[0]:
        break
    else:
      tried.append(own)
  words = tuple(f"{t.layout.flags}: {t.longest.needed / 2**30:.3g} GiB a device" for t in tried)
  if found:
    return max(found, key=lambda own: own.rows_per_second), words
  return min(tried, key=lambda own: own.longest.needed), words


def _better(task: _Task, layouts: list[Layout], scoring: Scoring) -> Scoring | None:
  """Larger batches where they are faster; smaller ones where these do not fit."""
  program, asked = scoring.longest, scoring.batch_tokens
  fixed = program.needed - program.temporaries
  spare = (_SPARE * program.room - fixed) / max(program.temporaries, 1.0)  # temporaries grow so far
  if scoring.fits:
    times = 2 ** int(math.log2(min(max(spare, 1.0), _LARGEST)))
    larger = _scoring(task, scoring.layout, times * asked) if times > 1 else scoring
    return larger if larger.rows_per_second > _WORTH * scoring.rows_per_second else scoring
  for layout in reversed(layouts):
    arguments = estimates.bytes_a_device(layout.params)
    if arguments > _SPARE * program.room:
      continue
    tokens = asked // 2
    while tokens >= task.longest:
      smaller = _scoring(task, layout, tokens)
      if smaller.fits:
        return smaller
      tokens //= 2
  return None


def _scoring(task: _Task, layout: Layout, batch_tokens: int) -> Scoring:
  """The recipe's function of a batch, on so many tokens for each group of devices."""
  batch_fn = task.recipe.batch_fn(task.config, task.model, task.symmetry)
  params = layout.params
  if task.topology.name.startswith(CPU):  # what `language.ready` does to values
    bits = lambda leaf: leaf if leaf.dtype != jnp.bfloat16 else leaf.update(dtype=jnp.uint16)
    params = params | {"layers": jax.tree.map(bits, params["layers"])}
  function, programs = mesh_lib.spread(batch_fn, layout.mesh, params), []
  for length in dict.fromkeys((task.longest, task.row_tokens)):
    inputs, size = _inputs(task, layout.mesh, batch_tokens, length)
    programs.append(estimates.program(
        function, (params, *inputs), task.topology, exact=task.exact))
    if not programs[-1].fits:  # then nobody asks how fast it would be
      break
  return Scoring(layout, batch_tokens, programs[0], programs[-1],
                 size * layout.mesh.shape[mesh_lib.DATA])


def _head(task: _Task, layout: Layout, rows: int) -> Training | None:
  """The step of the student that the configuration names, and the table of what it reads."""
  config, mesh = task.config, layout.mesh
  if getattr(config, "student", None) not in students.STUDENTS:
    return None
  batch_fn = task.recipe.batch_fn(config, task.model, task.symmetry)
  inputs, _ = _inputs(task, mesh, task.row_tokens, task.row_tokens)
  one = jax.tree.map(lambda leaf: leaf.update(shape=leaf.shape[1:], sharding=None), inputs)
  scores = jax.eval_shape(batch_fn, param_shapes(task.model.config, task.model.dtype), *one)
  settings = arguments_of(students.STUDENTS[config.student], vars(config))
  student = students.make_student(config.student, num_choices=task.num_choices, **settings)
  distiller = distill.distiller(
      student, distill.warmup_cosine_adamw(config.learning_rate, config.steps, config.weight_decay),
      hard_label_weight=config.hard_label_weight)
  whole = lambda tree: jax.tree.map(lambda leaf: _struct(mesh, leaf.shape, leaf.dtype), tree)
  view = {name: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
          for name, leaf in (("features", scores.features), ("log_probs", scores.log_probs))}
  state = jax.eval_shape(distiller.init, jax.random.key(0), view)
  several = lambda *shape, dtype=jnp.float32: jax.ShapeDtypeStruct(
      (config.batch_size, *shape), dtype)
  batch = distill_data.Batch(
      {name: several(*leaf.shape, dtype=leaf.dtype) for name, leaf in view.items()},
      several(task.num_choices), several(dtype=jnp.int32))
  program = estimates.program(
      distiller.step, whole((state, batch)), task.topology, exact=True, donate=(0,))
  # The table of all rows lies on the device, too: a step draws from it.
  table = rows * sum(leaf.size * leaf.dtype.itemsize for leaf in view.values())
  program = program._replace(arguments=program.arguments + table, needed=program.needed + table)
  return Training(layout, config.batch_size, 2 * config.steps, program, program)


def _adapters(task: _Task, layouts: list[Layout]) -> Training:
  """The step of `finetune` with its own defaults, in the first layout with room for it."""
  defaults = {name: own.default for name, own in inspect.signature(finetune.finetune).parameters
              .items()}
  steps, looks = defaults["steps"], 1 + math.ceil(defaults["steps"] / defaults["eval_every"])
  optimizer = distill.warmup_cosine_adamw(
      defaults["learning_rate"], steps, defaults["weight_decay"])
  batch_fn = experiment_lib.lm_batch_fn(task.config, task.model, task.symmetry, remat=True)
  for layout in layouts:
    mesh = layout.mesh
    adapters = jax.eval_shape(lora.init_adapters, layout.params, jax.random.key(0))
    state = jax.eval_shape(
        functools.partial(finetune.start, optimizer, looks=looks), adapters=adapters)
    state = jax.tree.map(lambda leaf, m=mesh: _struct(m, leaf.shape, leaf.dtype), state)
    step = functools.partial(finetune.step, optimizer, mesh_lib.spread(batch_fn, mesh,
                             layout.params), defaults["alpha"])
    programs = []
    for length in dict.fromkeys((task.longest, task.row_tokens)):
      inputs, size = _inputs(task, mesh, defaults["batch_tokens"], length)
      ways = mesh.shape[mesh_lib.DATA]
      teacher = _struct(mesh, (ways, size, task.num_choices), jnp.float32, P(mesh_lib.DATA))
      programs.append(estimates.program(
          step, (state, layout.params, inputs, teacher, _struct(mesh, (), jnp.float32)),
          task.topology, exact=task.exact, donate=(0,)))
      if not programs[-1].fits:
        break
    found = Training(layout, size * ways, steps, programs[0], programs[-1])
    if found.longest.fits:
      break
  return found


def _inputs(task: _Task, mesh: Mesh, batch_tokens: int, length: int) -> tuple[tuple, int]:
  """Shapes of what `batch_fn` takes behind the parameters, `data` times, and rows of each.

  Rows share nothing here, which is the most that a row can cost.
  """
  ways, places = mesh.shape[mesh_lib.DATA], -(-length // 8) * 8
  extra = task.num_choices * (task.choice_tokens - 1)
  size = max(batch_tokens // (length + extra), 1)
  tokens, wide = max(batch_tokens, size * (places + extra)), places + extra
  whole = lambda *shape: _struct(mesh, (ways, *shape), jnp.int32, P(mesh_lib.DATA))
  stream = Stream(whole(tokens), whole(tokens), whole(size, wide), whole(tokens),
                  whole(size, wide) if extra else None)
  choices = [[0] * task.choice_tokens] * task.num_choices
  prompt = make_wordings([make_prompt([[0]] * 4, [0, 1, 1, 0], choices, [1] * len(choices))])
  elements = jax.tree.map(
      lambda leaf: _struct(mesh, (ways, size, *leaf.shape), leaf.dtype, P(mesh_lib.DATA)),
      jax.eval_shape(task.symmetry.identity, prompt))
  many = whole(size, task.num_choices)
  rows = PackedRows(stream, whole(size), whole(size, *jnp.shape(choices)), many, many)
  return (elements, rows), size


def _struct(mesh: Mesh, shape: Sequence[int], dtype: Any, spec: P = _WHOLE) -> jax.ShapeDtypeStruct:
  """An array's shape on a mesh."""
  return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))
