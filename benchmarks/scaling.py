"""Cost of scoring against the number of examples, of views, and the length: linear in rows?

    python benchmarks/scaling.py --json out.json
    python benchmarks/scaling.py --devices 1,2,4 --json out.json

One of the three is swept while the others stay. Every point has a process of its own, so its peak
memory is its own; its first turn compiles and is not counted. The exponent a of seconds ~ rows^a
(for lengths: ~ tokens^a) is a least-squares line through the logarithms: 1 is linear.

With `--devices` the same rows are scored on so many devices instead, rows over the mesh's axis
`data`. On a CPU these are simulated: they share its cores, so that rows a second show what
spreading costs, and not what it gains.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import processes

TINY = "a random model"
_WORDS = "stone river lamp green seven quiet under north apple walks turned early".split()
_MOST_TOKENS = 4096


class Point(NamedTuple):
  """One measurement: examples, views of each, sentences of each passage."""

  examples: int
  views: int
  sentences: int


# What is swept -> its points; each starts where fixed costs no longer count for much.
SWEEPS = {
    "examples": [Point(n, 8, 8) for n in (32, 64, 128, 256)],
    "views": [Point(32, k, 8) for k in (8, 16, 32, 64)],
    "length": [Point(32, 8, s) for s in (8, 16, 32, 64)],
}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
  """Measures, prints, writes."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--model", help=f"as `--lm_name` (default: {TINY})")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--repetitions", type=int, default=3, help="counted turns of each point")
  parser.add_argument("--sweeps", default=",".join(SWEEPS), help="which of them, with commas")
  parser.add_argument("--scale", type=float, default=1.0, help="factor on all examples")
  parser.add_argument("--devices", help="numbers of devices, with commas, instead of the sweeps")
  parser.add_argument("--json", type=pathlib.Path, help="file for every figure")
  args = parser.parse_args(arguments)
  names = args.sweeps.split(",")
  if unknown := set(names) - set(SWEEPS):
    parser.error(f"--sweeps must be of {', '.join(SWEEPS)}, got {', '.join(sorted(unknown))}")
  if args.repetitions < 1 or args.scale <= 0:
    parser.error("--repetitions must be >= 1 and --scale above 0")
  if args.devices:
    return over_devices(parser, args)
  found = {}
  try:
    for name in names:
      points = [p._replace(examples=max(1, round(p.examples * args.scale))) for p in SWEEPS[name]]
      found[name] = [
          processes.once(scored, point, args.model, args.dtype, args.repetitions)
          for point in points
      ]
  except processes.ChildError as error:
    raise SystemExit(f"error: {error}") from None
  results = {
      "benchmark": "scaling", "model": args.model or TINY, "dtype": args.dtype,
      "points": found, "fits": {name: fits(name, rows) for name, rows in found.items()},
  }
  show(results)
  if args.json:
    args.json.write_text(json.dumps(results, indent=2) + "\n")
  return results


def over_devices(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
  """Measures one point on several numbers of devices, prints, writes."""
  counts = args.devices.split(",")
  if not all(count.isdecimal() and int(count) for count in counts):
    parser.error(f"--devices must be numbers >= 1 with commas, got {args.devices!r}")
  point = SWEEPS["examples"][0]
  point = point._replace(examples=max(1, round(point.examples * args.scale)))
  try:
    points = [
        processes.once(scored, point, args.model, args.dtype, args.repetitions, int(count))
        for count in counts
    ]
  except processes.ChildError as error:
    raise SystemExit(f"error: {error}") from None
  results = {"benchmark": "scaling", "model": args.model or TINY, "dtype": args.dtype,
             "devices": points}
  show_devices(points)
  if args.json:
    args.json.write_text(json.dumps(results, indent=2) + "\n")
  return results


def show_devices(points: Sequence[Mapping[str, Any]], file: Any = None) -> None:
  """Rows a second for each number of devices, and how many times those of the first."""
  from rich.console import Console
  from rich.table import Table

  table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
  for column in ("devices", "kind", "rows", "seconds", "rows/s", "times the first"):
    table.add_column(column, justify="right", no_wrap=True)
  first = points[0]["seconds"]
  for p in points:
    table.add_row(f"{p['devices']}", p["kind"], f"{p['rows']:,}", f"{p['seconds']:.2f}",
                  f"{p['rows'] / p['seconds']:.0f}", f"{first / p['seconds']:.2f}")
  Console(width=80, highlight=False, markup=False, emoji=False, file=file).print(table)


def scored(
    point: Point, model: str | None, dtype: str, repetitions: int, devices: int = 1
) -> Callable[[], dict[str, Any]]:
  """For a process of its own: scores one point's rows some times over, on so many devices."""
  import jax

  if devices > 1:
    jax.config.update("jax_num_cpu_devices", devices)  # simulated, where there is nothing else
  from workload import engine

  from mezzanine_jax import mesh
  from mezzanine_jax.models.load import load_lm

  lm, over = load_lm(model, dtype) if model else tiny_lm(dtype), mesh.make_mesh(f"data={devices}")
  if devices > 1:
    lm = dataclasses.replace(lm, params=mesh.place(lm.config, lm.params, over))
  made = engine(lm, passages(point), point.views, 0, min(_MOST_TOKENS, lm.config.max_positions))
  ready = processes.peak_mib()

  def turn() -> dict[str, Any]:
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
      for repetition in range(repetitions + 1):
        started = time.perf_counter()
        made.score(os.path.join(folder, f"{repetition}.zarr"))
        seconds.append(time.perf_counter() - started)
    return {
        **point._asdict(), "devices": devices, "kind": jax.devices()[0].device_kind,
        "rows": len(made.plan.rows.example),
        "tokens": int(made.plan.lengths.sum()), "first_seconds": seconds[0],
        "seconds": statistics.median(seconds[1:]), "ready_mib": ready,
        "peak_mib": processes.peak_mib(),
    }

  return turn


def passages(point: Point) -> list:
  """Examples of random words, of about equal length, all different."""
  from mezzanine_jax.base import Example

  draw, out = np.random.default_rng(0), []
  for n in range(point.examples):
    sentences = [
        " ".join(draw.choice(_WORDS, 5)).capitalize() + f" {i}." for i in range(point.sentences)
    ]
    x = {"passage": " ".join(sentences), "question": f"is number {n} green"}
    out.append(Example(str(n), x, None, str(n)))
  return out


def tiny_lm(dtype: str) -> Any:
  """A random Llama of four layers that reads bytes."""
  import jax
  import tokenizers
  from tokenizers import decoders, models, pre_tokenizers

  from mezzanine_jax.models.load import LanguageModel
  from mezzanine_jax.models.transformer import init_params
  from mezzanine_jax.models.transformer_config import TransformerConfig

  alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
  # A few merges, so that the choices are one token each, as a real model's are.
  merges = [("Ġ", "n"), ("Ġn", "o"), ("Ġ", "y"), ("Ġy", "e"), ("Ġye", "s")]
  vocab = {token: i for i, token in enumerate(alphabet + [a + b for a, b in merges])}
  tokenizer = tokenizers.Tokenizer(models.BPE(vocab, merges))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  config = TransformerConfig(
      vocab_size=len(vocab), width=64, num_layers=4, num_heads=4, num_kv_heads=2, head_dim=16,
      mlp_width=128, max_positions=_MOST_TOKENS,
      rope_frequencies=tuple(float(10000.0 ** (-i / 8)) for i in range(8)),
  )
  params = init_params(config, jax.random.key(0))
  params = jax.tree.map(lambda a: a.astype(dtype) if a.ndim > 1 else a, params)
  return LanguageModel(TINY, config, params, tokenizer, "random")


def fits(name: str, points: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """What grows how: exponents of the seconds, and memory for another thousand rows.

  Args:
    name: the sweep.
    points: as `scored` gives them.
  """
  rows = [p["rows"] for p in points]
  size = [p["tokens"] for p in points] if name == "length" else rows
  found = {"seconds_exponent": exponent(size, [p["seconds"] for p in points])}
  if name != "length":
    slope = np.polyfit(rows, [p["peak_mib"] for p in points], 1)[0]
    found["mib_per_1000_rows"] = 1e3 * float(slope)
  return found


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
  """a of seconds = c sizes^a, by least squares on the logarithms."""
  return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def show(results: Mapping[str, Any], file: Any = None) -> None:
  """One table, 80 columns wide."""
  from rich.console import Console
  from rich.table import Table

  console = Console(width=80, highlight=False, markup=False, emoji=False, file=file)
  table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
  table.add_column("swept")
  for column in ("N", "K", "tokens/row", "rows", "seconds", "ms/row", "peak MiB"):
    table.add_column(column, justify="right", no_wrap=True)
  for name, points in results["points"].items():
    for p in points:
      table.add_row(
          name, f"{p['examples']}", f"{p['views']}", f"{p['tokens'] / p['rows']:.0f}",
          f"{p['rows']:,}", f"{p['seconds']:.2f}", f"{1e3 * p['seconds'] / p['rows']:.2f}",
          f"{p['peak_mib']:,.0f}", end_section=p is points[-1])
  console.print(table)
  console.print()
  for name, fit in results["fits"].items():
    size = "tokens" if name == "length" else "rows"
    memory = fit.get("mib_per_1000_rows")
    more = "" if memory is None else f"; {memory:+.1f} MiB for another 1,000 rows"
    console.print(f"{name}: seconds ~ {size}^{fit['seconds_exponent']:.2f}{more}")


if __name__ == "__main__":
  main()
