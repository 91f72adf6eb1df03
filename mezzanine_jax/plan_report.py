"""A plan as a person reads it, at 80 columns."""

import math

from mezzanine_jax.estimates import Program
from mezzanine_jax.plan import Plan
from mezzanine_jax.plan_programs import Scoring
from mezzanine_jax.topologies import CPU

_GIB = 2**30
_HOW = {
    "compiler": "the compiler's estimate of cycles, and transfers at the links' published rate",
    "roofline": "the larger of FLOPs and bytes at their peaks, which is the least it can take",
}


def show(plan: Plan) -> None:
  """Prints a plan."""
  from rich.console import Console
  from rich.padding import Padding
  from rich.table import Table

  console = Console(highlight=False, markup=False, emoji=False, width=80)
  for text in _heading(plan):
    console.print(text)
  columns = {}
  if plan.scoring is not None:
    columns["scoring"] = plan.scoring.longest
    if plan.scoring.sets is not None:
      columns["sets"] = plan.scoring.sets.longest
  if plan.head is not None:
    columns["head step"] = plan.head.program
  if plan.adapters is not None:
    columns["LoRA step"] = plan.adapters.program
  table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
  table.add_column("")
  for name in columns:
    table.add_column(name, justify="right", no_wrap=True)
  for label, cell in (
      ("arguments", lambda p: size(p.arguments)), ("temporaries", lambda p: size(p.temporaries)),
      ("output", lambda p: size(p.outputs)), ("a device, together", lambda p: size(p.needed)),
      ("room on a device", lambda p: size(p.room)), ("fits", lambda p: "yes" if p.fits else "NO"),
      ("TFLOPs a call", lambda p: f"{p.flops / 1e12:.3g}"),
      ("ms a call, longest rows", lambda p: f"{1e3 * p.seconds:.3g}" if p.fits else "-")):
    table.add_row(label, *map(cell, columns.values()))
  console.print(Padding(table, (1, 0)))
  for text in _findings(plan):
    console.print(text)


def size(number: float) -> str:
  """Bytes as a person reads them.

  Example:
    >>> size(3 * 2**30), size(5 * 2**19)
    ('3.00 GiB', '2.50 MiB')
  """
  for unit, least in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
    if number >= least:
      return f"{number / least:.2f} {unit}"
  return f"{number:.0f} B"


def duration(seconds: float) -> str:
  """Seconds as a person reads them.

  Example:
    >>> duration(7.2), duration(150), duration(9000)
    ('7.2 s', '2.5 min', '2.5 h')
  """
  for unit, least in (("days", 2 * 86400), ("h", 7200), ("min", 120)):
    if seconds >= least:
      return f"{seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]:.3g} {unit}"
  return f"{seconds:.3g} s"


def _heading(plan: Plan) -> list[str]:
  """What was planned, and for what."""
  count, hosts, chip = len(plan.topology.devices), plan.topology.hosts, plan.topology.chip
  many = f"{count} device{'s' if count > 1 else ''}"
  many = f"{hosts} hosts of {many}" if hosts > 1 else many
  out = [f"{plan.model}, {plan.parameters:,} parameters in {plan.dtype}, on {plan.topology.name}:"
         f" {many} of {size(chip.memory)} (figures: {chip.source})."]
  if plan.scoring is not None:
    out.append(_layout(plan.scoring) + f" Batches of {plan.scoring.batch_tokens:,} tokens, one for"
               " each part of the axis data; rows of at most"
               f" {plan.longest:,} tokens, {plan.row_tokens} usually.")
  return out


def _layout(scoring: Scoring) -> str:
  """How the model and the rows are divided, in a sentence."""
  layout = scoring.layout
  data, model = layout.mesh.shape["data"], layout.mesh.shape["model"]
  if layout.fully_sharded:
    how = "every matrix is divided over all devices and gathered where it is used"
  elif model > 1:
    how = f"heads, MLP width and vocabulary are divided over {model} devices"
  else:
    how = "every device holds the whole model"
  return f"{layout.flags}: {how}; batches side by side: {data}."


def _findings(plan: Plan) -> list[str]:
  """Whether it fits, how long it takes, and what would be better."""
  scoring, better, out = plan.scoring, plan.better, []
  out += [f"No room: {text}." for text in plan.tried]
  if scoring is not None and scoring.fits:
    out += _times(plan, scoring)
    if better is not scoring:
      gain = better.rows_per_second / scoring.rows_per_second - 1
      out.append(f"Suggested: --batch_tokens {better.batch_tokens} {better.layout.flags}:"
                 f" {better.rows_per_second:,.0f} rows/s, {gain:.0%} more, in"
                 f" {size(better.largest.needed)} a device.")
    else:
      out.append(f"Suggested: --batch_tokens {scoring.batch_tokens} {scoring.layout.flags}, as"
                 " planned: larger batches would not fit, or be less than 5% faster.")
  elif better is not None:
    out.append(f"It does not fit. It would with --batch_tokens {better.batch_tokens}"
               f" {better.layout.flags}: {size(better.largest.needed)} a device,"
               f" {better.rows_per_second:,.0f} rows/s.")
  else:
    out.append("It does not fit, nor does any smaller batch. " + _ways_out(plan))
  if plan.adapters is not None and not plan.adapters.program.fits:
    out.append("The LoRA step does not fit in any layout: " + _ways_out(plan))
  elif plan.adapters is not None and scoring is not None and (
      plan.adapters.layout is not scoring.layout):
    out.append(f"The LoRA step fits with {plan.adapters.layout.flags}.")
  return out


def _times(plan: Plan, scoring: Scoring) -> list[str]:
  """How long the run and its parts take."""
  views = f"Scoring: at most {plan.rows:,} rows (views that are equal run once)"
  total, text = _scoring_time(plan, scoring, plan.rows, views)
  out = [text]
  if scoring.sets is not None:
    seconds, text = _scoring_time(
        plan, scoring.sets, plan.set_rows, f"Sets: at most {plan.set_rows:,}")
    total += seconds
    out.append(text)
  if plan.head is not None and plan.head.program.fits:
    own = plan.head.steps * plan.head.program.seconds
    total += own
    out.append(f"Head: {plan.head.steps:,} steps of student and control in {duration(own)}."
               f" The run: {duration(total)}, without compiling, loading and the host's work.")
  if plan.adapters is not None and plan.adapters.program.fits:
    own = plan.adapters
    out.append(f"LoRA (students lora and set): {own.steps} steps of {own.batch} rows of"
               f" {plan.longest:,} tokens in {duration(own.steps * own.program.seconds)}.")
  busy = " Both were timed just now, and too low on a machine that had other work."
  is_cpu = plan.topology.name.startswith(CPU)
  return [*out, f"Times: {_HOW[scoring.usual.by]}.{busy if is_cpu else ''}"]


def _scoring_time(plan: Plan, own: Scoring, rows: int, what: str) -> tuple[float, str]:
  """Seconds, and how they come about."""
  calls = math.ceil(rows / own.rows)
  seconds = calls * own.usual.seconds
  return seconds, (
      f"{what}, {calls:,} calls of {own.rows:,} rows in {1e3 * own.usual.seconds:.3g} ms:"
      f" {own.rows_per_second:,.0f} rows/s, {duration(seconds)}"
      f" ({_used(own.usual, plan):.0%} of the peak rate).")


def _used(program: Program, plan: Plan) -> float:
  """The share of the devices' peak that a program reaches."""
  chip, count = plan.topology.chip, len(plan.topology.devices)
  peak = chip.float32_flops if plan.dtype == "float32" else chip.flops
  return program.flops / count / program.seconds / peak


def _ways_out(plan: Plan) -> str:
  """What would make a model fit that does not."""
  chip, count = plan.topology.chip, len(plan.topology.devices)
  width = 4 if plan.dtype == "float32" else 2
  devices = 2 ** math.ceil(math.log2(max(plan.parameters * width / (0.5 * chip.memory), 1)))
  ways = ["--dtype bfloat16 halves the weights"] if plan.dtype == "float32" else []
  if devices > count:
    ways.append(f"{devices} devices a host would hold the weights in half of their memory")
  ways.append("shorter rows (--max_length) and smaller batches need less beside them")
  return "; ".join(ways)[0].upper() + "; ".join(ways)[1:] + "."
