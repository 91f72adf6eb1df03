"""What a compiled program needs and how long it takes, read off the program: nothing is run."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend import core

from mezzanine_jax.topologies import Chip, Topology

# What the TPU's compiler says of a program without room: all of it, or its temporaries alone.
_OUT_OF_MEMORY = re.compile(
    r"Used (?P<all>[\d.]+[KMGT]?) of (?P<room>[\d.]+[KMGT]?) hbm"
    r"|temporaries \((?P<part>[\d.]+[KMGT]?)\) exceeds available HBM \((?P<left>[\d.]+[KMGT]?)\)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8,
          "u64": 8}  # any other type: 4
_COLLECTIVE = re.compile(
    r" = (?P<shapes>[^=]*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all"
    r"|collective-permute)(?P<start>-start)?\(")


class Program(NamedTuple):
  """A program for some devices.

  Attributes:
    arguments: bytes a device, those of donated arguments among them.
    temporaries: bytes a device.
    outputs: bytes a device, without those that take a donated argument's place.
    needed: bytes a device in all, the code among them.
    room: bytes a device that there are.
    flops: of the matrix products, on all devices together.
    seconds: one call; inf where it does not fit.
    by: where `seconds` is from: `compiler` or `roofline`.
  """

  arguments: float
  temporaries: float
  outputs: float
  needed: float
  room: float
  flops: float
  seconds: float
  by: str

  @property
  def fits(self) -> bool:
    """Whether there is room for it."""
    return self.needed <= self.room


def program(
    function: Callable[..., Any], args: tuple[Any, ...], topology: Topology, *,
    exact: bool = False, donate: tuple[int, ...] = (),
) -> Program:
  """Compiles a function ahead of time and reads off what it needs.

  The compiler's estimate is the cycles of every operation, loops' bodies by their number of
  turns. Where there is none: max(FLOPs / peak, bytes / bandwidth), the roofline. Transfers between
  chips, at the links' published rate, are added to either.

  Args:
    function: of pytrees of arrays.
    args: `jax.ShapeDtypeStruct`s with shardings on the topology's devices.
    topology: what is compiled for.
    exact: whether its products are exact ones of float32.
    donate: arguments whose memory the results may take.
  """
  traced = jax.jit(function, donate_argnums=donate).trace(*args)
  flops, count = product_flops(traced.jaxpr), _devices(args)
  lowered, chip = traced.lower(), topology.chip
  arguments = bytes_a_device(args)
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if (found := out_of_memory(str(error), arguments)) is None:
      raise
    needed, room = found
    return Program(arguments, max(needed - arguments, 0.0), 0.0, needed, room, flops, math.inf,
                   "compiler")
  memory = compiled.memory_analysis()
  own = memory.output_size_in_bytes - memory.alias_size_in_bytes
  needed = (memory.argument_size_in_bytes + memory.temp_size_in_bytes + own
            + memory.generated_code_size_in_bytes)
  seconds = compiled_seconds(compiled.as_text(), chip, count) if chip.link else 0.0
  if chip.clock is None:
    seconds += _roofline(compiled.cost_analysis(), flops / count, chip, exact)
  return Program(memory.argument_size_in_bytes, memory.temp_size_in_bytes, own, needed,
                 chip.memory, flops, seconds if needed <= chip.memory else math.inf,
                 "roofline" if chip.clock is None else "compiler")


def out_of_memory(message: str, arguments: float) -> tuple[float, float] | None:
  """Bytes that a program needs, and bytes that there are, out of the compiler's refusal.

  Args:
    message: of the error.
    arguments: bytes of the arguments.

  Returns:
    None where the message is about something else.

  Example:
    >>> out_of_memory("Ran out of memory: Used 20G of 15.75G hbm.", 0.0)
    (21474836480.0, 16911433728.0)
  """
  found = _OUT_OF_MEMORY.search(message)
  if found is None:
    return None
  number = lambda text: float(text.rstrip("KMGT")) * _UNITS[text.lstrip("0123456789.")]
  if found["all"]:
    return number(found["all"]), number(found["room"])
  return arguments + number(found["part"]), number(found["left"])


def product_flops(jaxpr: Any) -> float:
  """FLOPs of the matrix products of a traced program, 2 for a multiplication and an addition.

  Loops of known length count by it, which XLA's own count does not: it takes a loop's body once.

  Args:
    jaxpr: `jax.make_jaxpr(f)(*args)`, or that of `jax.jit(f).trace(*args)`.

  Example:
    >>> import jax.numpy as jnp
    >>> square = lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y @ x, x)
    >>> product_flops(jax.make_jaxpr(square)(jnp.ones((10, 10))))
    6000.0
  """
  total = 0.0
  for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
    settings = equation.params
    if equation.primitive.name == "dot_general":
      (contracted, _), _ = settings["dimension_numbers"]
      sizes = equation.invars[0].aval.shape
      total += 2.0 * equation.outvars[0].aval.size * math.prod(sizes[i] for i in contracted)
    inner = [product_flops(part) for value in settings.values()
             for part in (value if isinstance(value, tuple | list) else (value,))
             if isinstance(part, core.Jaxpr | core.ClosedJaxpr)]
    if equation.primitive.name == "cond":
      total += max(inner)
    else:
      times = {"scan": lambda p: p["length"], "shard_map": lambda p: p["mesh"].size}
      total += sum(inner) * times.get(equation.primitive.name, lambda p: 1)(settings)
  return total


def compiled_seconds(text: str, chip: Chip, count: int) -> float:
  """The compiler's estimate of one call of a TPU program.

  Σ over operations of cycles / clock, each by the turns of the loops around it, plus the transfers
  between chips: of n bytes among g chips, a share (g − 1) / g passes every link of a ring, twice
  for a sum. What transfers and products do at the same time counts twice: it is no lower bound.

  Args:
    text: of the compiled program.
    chip: one without a clock has the transfers alone.
    count: devices.
  """
  bodies = {found[1]: found[2] for found in re.finditer(
      r"^(?:ENTRY )?%?([\w.\-]+) \([^\n]*\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)}
  entry = re.search(r"^ENTRY %?([\w.\-]+) ", text, re.MULTILINE)[1]

  def seconds(name: str) -> float:
    body = bodies[name]
    cycles = sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', body)))
    total = 0.0 if chip.clock is None else cycles / chip.clock
    total += sum(_transfer(line, chip, count) for line in body.splitlines())
    for condition, inner in re.findall(r" while\(.*?condition=%?([\w.\-]+), body=%?([\w.\-]+)",
                                       body):
      turns = max(map(int, re.findall(r" constant\((\d+)\)", bodies[condition])), default=1)
      total += turns * seconds(inner)
    return total + sum(map(seconds, re.findall(r" call\(.*?to_apply=%?([\w.\-]+)", body)))

  return seconds(entry)


def bytes_a_device(args: Any) -> int:
  """Bytes of the largest part of some arrays that one device holds.

  Args:
    args: pytree of arrays or `jax.ShapeDtypeStruct`s with shardings.
  """
  return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
             for leaf in jax.tree.leaves(args))


def _transfer(line: str, chip: Chip, count: int) -> float:
  """Seconds of an operation between chips; 0 for any other."""
  found = _COLLECTIVE.search(line)
  if found is None or not chip.link:
    return 0.0
  sizes = [_shape_bytes(*shape) for shape in re.findall(r"(\w+)\[([\d,]*)\]", found["shapes"])]
  # What was started holds its operand beside its result.
  size = max(sizes) if found["start"] else sum(sizes)
  group = _group(line, count)
  if found["kind"] == "collective-permute":
    return size / chip.link
  size *= group if found["kind"] == "reduce-scatter" else 1
  ways = 2 if group > 2 else 1  # a ring is passed both ways round
  turns = 2 if found["kind"] == "all-reduce" else 1
  return turns * size * (group - 1) / group / (ways * chip.link)


def _group(line: str, count: int) -> int:
  """How many devices an operation is among."""
  if found := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
    return int(found[1])
  if found := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
    return found[1].count(",") + 1
  if found := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", line):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
    return math.prod(int(sizes[name]) for name in re.findall(r"'(\w+)'", found[2]))
  return count


def _roofline(cost: Any, flops: float, chip: Chip, exact: bool) -> float:
  """The larger of the times that products and memory take at their peaks.

  XLA counts a loop's body once; bytes are scaled as the FLOPs are to the true ones.
  """
  counted = cost.get("flops", 0.0)
  scale = max(flops / counted, 1.0) if counted > 0 else 1.0
  peak = chip.float32_flops if exact else chip.flops
  return max(flops / peak, cost.get("bytes accessed", 0.0) * scale / chip.bandwidth)


def _devices(args: Any) -> int:
  """How many devices the arguments are on."""
  return max(len(leaf.sharding.device_set) for leaf in jax.tree.leaves(args))


def _shape_bytes(kind: str, sizes: str) -> int:
  """Bytes of a shape in a program's text, such as `bf16[8,128]`."""
  return _BYTES.get(kind, 4) * math.prod(map(int, sizes.split(",") if sizes else ()))
