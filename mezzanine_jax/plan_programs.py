"""The programs of a run, compiled from shapes: the recipe's scoring, and the steps of trainings.

Compiled are the very functions that a run calls: the recipe's `batch_fn` over the mesh, the step of
its head, and the step of adapters (`finetune`), which the students `lora` and `set` take.
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

from mezzanine_jax import (
    distill,
    distill_data,
    estimates,
    experiment,
    finetune,
    heads,
    lora,
    objectives,
    optimizers,
    ridge,
)
from mezzanine_jax import mesh as mesh_lib
from mezzanine_jax.base import Symmetry
from mezzanine_jax.config import arguments_of
from mezzanine_jax.models.attention import Stream
from mezzanine_jax.models.transformer_config import TransformerConfig
from mezzanine_jax.models.weights import param_shapes
from mezzanine_jax.prompts import make_prompt, make_wordings
from mezzanine_jax.scoring import PackedRows, layers_of
from mezzanine_jax.topologies import CPU, Topology

_WHOLE = P()  # on every device


class Model(NamedTuple):
  """What `experiment.lm_batch_fn` reads of a language model: its architecture and its dtype."""

  config: TransformerConfig
  dtype: Any


class Task(NamedTuple):
  """What is the same in every layout.

  Attributes:
    recipe: has a `batch_fn(config, lm, symmetry)`.
    config: the recipe's.
    model: the language model.
    topology: what is compiled for.
    symmetry: the family of views.
    num_choices: C.
    choice_tokens: tokens of the longest choice, Tc.
    row_tokens: tokens of a usual prompt.
    longest: tokens of the longest one.
    set_orders: those of the sets that a head reads; None where it reads none.
  """

  recipe: ModuleType
  config: Any
  model: Model
  topology: Topology
  symmetry: Symmetry
  num_choices: int
  choice_tokens: int
  row_tokens: int
  longest: int
  set_orders: int | None

  @property
  def exact(self) -> bool:
    """Whether products are exact ones of float32."""
    return jnp.dtype(self.model.dtype) == jnp.float32


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
    rows: that one call of `usual` scores, on all hosts.
    sets: the same of rows that are read as sets; None where there are none, or no room for views.
  """

  layout: Layout
  batch_tokens: int
  longest: estimates.Program
  usual: estimates.Program
  rows: int
  sets: "Scoring | None" = None

  @property
  def largest(self) -> estimates.Program:
    """The program that needs most memory."""
    of_sets = () if self.sets is None else (self.sets.largest,)
    return max((self.longest, self.usual, *of_sets), key=lambda program: program.needed)

  @property
  def fits(self) -> bool:
    """Whether there is room for every program."""
    return self.longest.fits and self.usual.fits and (self.sets is None or self.sets.fits)

  @property
  def rows_per_second(self) -> float:
    """At the estimated speed; 0 where it does not fit."""
    return self.rows / self.usual.seconds if self.fits else 0.0


class Training(NamedTuple):
  """A training.

  Attributes:
    layout: of the model.
    batch: rows of a step.
    steps: of the whole training, its control's among them; of a student that is solved about so
      many.
    program: of a step; with the longest rows, where there are rows of tokens.
  """

  layout: Layout
  batch: int
  steps: int
  program: estimates.Program


def layout_of(task: Task, text: str, fully_sharded: bool) -> Layout:
  """The layout of a mesh of the topology's devices, as a run has it.

  Args:
    task: what is planned.
    text: see `mesh.parse`.
    fully_sharded: see `mesh.param_specs`.
  """
  mesh = mesh_lib.make_mesh(text, task.topology.devices)
  config = task.model.config
  shapes = param_shapes(config, task.model.dtype)
  specs = mesh_lib.param_specs(config, shapes, mesh, fully_sharded)
  return Layout(mesh, fully_sharded, jax.tree.map(
      lambda leaf, spec: _struct(mesh, leaf.shape, leaf.dtype, spec), shapes, specs))


def score(task: Task, layout: Layout, batch_tokens: int) -> Scoring:
  """The recipe's function of a batch, of views and of sets.

  Args:
    task: what is planned.
    layout: of the model.
    batch_tokens: of each batch; so many batches run side by side as `data` is long.
  """
  found = _score(task, layout, batch_tokens, 1)
  if task.set_orders is None or not found.fits:
    return found
  return found._replace(sets=_score(task, layout, batch_tokens, task.set_orders))


def _score(task: Task, layout: Layout, batch_tokens: int, orders: int) -> Scoring:
  """The function of rows that attend in so many orders."""
  batch_fn = task.recipe.batch_fn(task.config, task.model, task.symmetry)
  params = layout.params
  if task.topology.name.startswith(CPU):  # what `language.ready` does to values
    bits = lambda leaf: leaf if leaf.dtype != jnp.bfloat16 else leaf.update(dtype=jnp.uint16)
    params = params | {"layers": jax.tree.map(bits, params["layers"])}
  function, programs = mesh_lib.spread(batch_fn, layout.mesh, params), []
  for length in dict.fromkeys((task.longest, task.row_tokens)):
    inputs, size = _inputs(task, layout.mesh, batch_tokens, length, orders)
    programs.append(estimates.program(
        function, (params, *inputs), task.topology, exact=task.exact))
    if not programs[-1].fits:  # then nobody asks how fast it would be
      break
  return Scoring(layout, batch_tokens, programs[0], programs[-1],
                 size * mesh_lib.data_size(layout.mesh) * task.topology.hosts)


def train_head(task: Task, layout: Layout, rows: int) -> Training | None:
  """The step of the student that the configuration names, and the table of what it reads.

  Args:
    task: what is planned.
    layout: of the model.
    rows: of the table.

  Returns:
    None for a student that is no head on hidden states.
  """
  config, mesh = task.config, layout.mesh
  if getattr(config, "student", None) not in heads.STUDENTS:
    return None
  batch_fn = task.recipe.batch_fn(config, task.model, task.symmetry)
  inputs, _ = _inputs(task, mesh, task.row_tokens, task.row_tokens)
  one = jax.tree.map(lambda leaf: leaf.update(shape=leaf.shape[1:], sharding=None), inputs)
  scores = jax.eval_shape(batch_fn, param_shapes(task.model.config, task.model.dtype), *one)
  sizes = {"width": task.model.config.width,
           "layers": len(layers_of(
               getattr(config, "embed_layer", "-1"), task.model.config.num_layers))}
  settings = arguments_of(heads.STUDENTS[config.student], vars(config) | sizes)
  student = heads.make_student(config.student, num_choices=task.num_choices, **settings)
  whole = lambda tree: jax.tree.map(lambda leaf: _struct(mesh, leaf.shape, leaf.dtype), tree)
  view = {name: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
          for name, leaf in (("features", scores.features), ("log_probs", scores.log_probs))}

  def several(count, *shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct((count, *shape), dtype)

  every = {name: several(rows, *leaf.shape, dtype=leaf.dtype) for name, leaf in view.items()}
  if student.solved:  # each step sees the whole table
    data = distill_data.DistillData(
        **every, row=several(rows, 1, dtype=jnp.int32), log_weights=several(rows, 1),
        teacher_log_probs=several(rows, task.num_choices), labels=several(rows, dtype=jnp.int32))
    params = jax.eval_shape(student.init, jax.random.key(0), view)
    program = estimates.program(
        functools.partial(ridge.loss_and_slope, apply=student.apply),
        whole((params, jax.ShapeDtypeStruct((), jnp.float32), data)), task.topology, exact=True)
    return Training(layout, rows, 2 * ridge.TYPICAL_STEPS, program)
  optimizer = optimizers.warmup_cosine_adamw(
      config.learning_rate, config.steps, config.weight_decay)
  distiller = distill.distiller(
      student, optimizer, hard_label_weight=config.hard_label_weight,
      temperature=config.temperature, consistency_weight=config.consistency_weight)
  state = jax.eval_shape(distiller.init, jax.random.key(0), view)
  size = config.batch_size
  batch = distill_data.Batch(
      {name: several(size, *leaf.shape, dtype=leaf.dtype) for name, leaf in view.items()},
      several(size, task.num_choices), several(size, dtype=jnp.int32))
  program = estimates.program(
      distiller.step, whole((state, batch)), task.topology, exact=True, donate=(0,))
  # The table of all rows lies on the device, too: a step draws from it.
  table = sum(leaf.size * leaf.dtype.itemsize for leaf in every.values())
  program = program._replace(arguments=program.arguments + table, needed=program.needed + table)
  return Training(layout, config.batch_size, 2 * config.steps, program)


def train_adapters(task: Task, layout: Layout) -> Training:
  """The step of `finetune`, by the fields `lora_*` of a configuration that has them.

  Args:
    task: what is planned.
    layout: of the model; the rows of a step are divided over `data`.
  """
  settings = {name: own.default
              for name, own in inspect.signature(finetune.finetune).parameters.items()}
  settings |= {name: getattr(task.config, f"lora_{name}") for name in settings
               if hasattr(task.config, f"lora_{name}")}
  settings["steps"] = max(settings["steps"], 1)
  optimizer = optimizers.warmup_cosine_adamw(
      settings["learning_rate"], settings["steps"], settings["weight_decay"])
  dtype = getattr(task.config, "lora_dtype", None)
  is_set = getattr(task.config, "student", None) == "set"
  batch_fn = experiment.lm_answers(
      task.config, task.model, task.symmetry, dtype=dtype, remat=True)
  mesh, params = layout.mesh, layout.params
  made = {name: getattr(task.config, f"lora_{name}") for name in ("rank", "targets")
          if hasattr(task.config, f"lora_{name}")}
  if "targets" in made:
    made["targets"] = made["targets"].split(",")
  adapters = jax.eval_shape(
      functools.partial(lora.init_adapters, **made), params, jax.random.key(0))
  looks = 1 + math.ceil(settings["steps"] / settings["eval_every"])
  state = jax.eval_shape(functools.partial(finetune.start, optimizer, looks=looks),
                         adapters=adapters)
  state = jax.tree.map(lambda leaf: _struct(mesh, leaf.shape, leaf.dtype), state)
  terms = {name: getattr(task.config, name, settings[name])
           for name in ("temperature", "consistency_weight")}
  objective = functools.partial(objectives.rows_loss, **terms)
  step = functools.partial(
      finetune.step, optimizer, mesh_lib.spread(batch_fn, mesh, params), settings["alpha"],
      objective)
  in_pairs = terms["consistency_weight"] > 0
  rows = finetune.rows_a_step(settings["batch_tokens"], task.longest, in_pairs)
  each = finetune.rows_a_device(rows, mesh, in_pairs)
  inputs, size = _inputs(task, mesh, each * (task.longest + _extra(task)), task.longest,
                         orders=task.config.set_orders if is_set else 1)
  every = size * mesh_lib.data_size(mesh)
  answers = (_struct(mesh, (every, task.num_choices), jnp.float32),
             _struct(mesh, (every,), jnp.float32))
  program = estimates.program(
      step, (state, params, inputs, *answers), task.topology,
      exact=task.exact and dtype != "bfloat16", donate=(0,))
  return Training(layout, rows, settings["steps"], program)


def _inputs(
    task: Task, mesh: Mesh, batch_tokens: int, length: int, orders: int = 1
) -> tuple[tuple, int]:
  """Shapes of what `batch_fn` takes behind the parameters, `data` times, and rows of each.

  Rows share nothing here, which is the most that a row can cost.
  """
  ways, places = mesh_lib.data_size(mesh), -(-length // 8) * 8
  extra = _extra(task)
  size = max(batch_tokens // (length + extra), 1)
  tokens, wide = max(batch_tokens, size * (places + extra)), places + extra
  whole = lambda *shape: _struct(mesh, (ways, *shape), jnp.int32, P(mesh_lib.DATA))
  stream = Stream(whole(tokens), whole(tokens), whole(size, wide), whole(tokens),
                  whole(size, wide) if extra or orders > 1 else None,
                  whole(orders, tokens) if orders > 1 else None)
  choices = [[0] * task.choice_tokens] * task.num_choices
  prompt = make_wordings([make_prompt([[0]] * 4, [0, 1, 1, 0], choices, [1] * len(choices))])
  elements = jax.tree.map(
      lambda leaf: _struct(mesh, (ways, size, *leaf.shape), leaf.dtype, P(mesh_lib.DATA)),
      jax.eval_shape(task.symmetry.identity, prompt))
  many = whole(size, task.num_choices)
  rows = PackedRows(stream, whole(size), whole(size, task.num_choices, task.choice_tokens), many,
                    many, whole(size, len(prompt.current.lengths)))
  return (elements, rows), size


def _extra(task: Task) -> int:
  """Tokens of a row behind its prompt, see `language.extra_tokens`."""
  return task.num_choices * (task.choice_tokens - 1)


def _struct(mesh: Mesh, shape: Sequence[int], dtype: Any, spec: P = _WHOLE) -> jax.ShapeDtypeStruct:
  """An array's shape on a mesh."""
  return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))
