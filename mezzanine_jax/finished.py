"""Finished runs as a reader meets them: what was run, its models, its figures in words."""

import dataclasses
import math
import os
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import mezzanine_jax
from mezzanine_jax import clustered, predictions, report, runs
from mezzanine_jax.clustered import Z95
from mezzanine_jax.errors import InputError

# Where a figure lies in a model's block -> what it is called, and what it means.
FIGURES = {
    "accuracy": ("accuracy", "share of right answers"),
    "batch_calibrated_accuracy": ("accuracy, calibrated", "after batch calibration"),
    "pride_accuracy": ("accuracy, PriDe", "after the labels' prior is taken out"),
    "nll": ("NLL", "negative log-probability of the right answer, nats"),
    "brier": ("Brier", "mean squared error of the probabilities"),
    "ece": ("ECE", "expected calibration error"),
    "auroc": ("AUROC", "area under the ROC curve"),
    "entropy": ("entropy", "of the belief, nats"),
    "choice_mass": ("mass on the choices", "share of the belief over the whole vocabulary"),
    "rmse": ("RMSE", "to what is exact, in units of its spread over the training examples"),
    "squared_error": ("squared error", "to what is exact, as a share of its variance"),
    "gap_movable.pairwise_square": (
        "gap", "squared distance of two views, as a share of the variance of what is exact"),
    "square_to_teacher_movable": ("distance", "squared, of the one pass to the teacher"),
    "gap_movable.pairwise_tv": ("gap", "total variation between two views, examples that can move"),
    "gap_movable.flip_rate": ("flips", "share of views with another answer than the canonical"),
    "gap_movable.any_flip": ("any flip", "share of examples with more than one answer"),
    "gap_movable.normalised": ("gap, normalised", "share of the variance that is between views"),
    "gap_movable.posix": ("POSIX", "change of the answers' log-probability, nats a token"),
    "gap_movable.tv_to_mean": ("TV to the mean", "of a view, its bias at finite K reduced"),
    "gap_movable.tv_to_mean_plugin": ("TV to the mean, plug-in", "uncorrected"),
    "gap_movable.jensen_shannon": ("Jensen-Shannon", "between the views, nats"),
    "gap.pairwise_tv": ("gap, all examples", "those that cannot move count as 0"),
    "gap.flip_rate": ("flips, all examples", "those that cannot move count as 0"),
    "gap.any_flip": ("any flip, all examples", "those that cannot move count as 0"),
    "gap.posix": ("POSIX, all examples", "those that cannot move count as 0"),
    "representation_gap": ("representation gap", "share of the features' variance between views"),
    "tv_to_teacher_movable": ("distance", "TV of the one pass to the teacher"),
    "kl_to_teacher_movable": ("KL to the teacher", "of the one pass, nats"),
    "tv_to_teacher": ("distance, all examples", "TV of the one pass to the teacher"),
    "kl_to_teacher": ("KL, all examples", "of the one pass to the teacher, nats"),
    "fidelity": ("fidelity", "distance to the teacher over the baseline's own; below 1 is nearer"),
    "tv_ratio": ("TV ratio", "the same as a plain ratio of TVs"),
}
_OVER_VIEWS = "over_views."  # quality on every view, beside that on the canonical one
MAIN = ("accuracy", "nll", "rmse", "gap_movable.pairwise_tv", "gap_movable.pairwise_square",
        "gap_movable.flip_rate", "tv_to_teacher_movable", "square_to_teacher_movable", "fidelity")
# What gap and distance to the teacher are, where they are of real values.
OF_VALUES = {"gap_movable.pairwise_tv": "gap_movable.pairwise_square",
             "tv_to_teacher_movable": "square_to_teacher_movable"}


class Run(NamedTuple):
  """A finished run.

  Attributes:
    path: its folder, as it was given.
    letter: A, B, …, what it is called beside others.
    results: what `results.json` holds.
    predictions: see `predictions.read`; None where the run kept none.
  """

  path: str
  letter: str
  results: dict[str, Any]
  predictions: dict[str, Any] | None


class Value(NamedTuple):
  """A figure with its standard error and 95% interval, each None where it is not known."""

  value: float
  stderr: float | None
  interval: tuple[float, float] | None


def read(outs: Sequence[str | pathlib.Path]) -> list[Run]:
  """Reads finished runs that can stand side by side.

  Args:
    outs: their folders, 26 at most.

  Raises:
    InputError: if one is no finished run, is given twice, or measured another kind of thing.
  """
  if not 1 <= len(outs) <= 26:
    raise InputError(f"give 1 to 26 folders of finished runs, got {len(outs)}")
  found, seen = [], {}
  for letter, out in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", outs, strict=False):
    results = runs.finished(out)
    real = pathlib.Path(out).resolve()
    if real in seen:
      raise InputError(f"{seen[real]!r} and {str(out)!r} are one folder; give each run once")
    seen[real] = str(out)
    kept = predictions.read(pathlib.Path(out) / runs.PREDICTIONS)
    found.append(Run(str(out), letter, results, kept))
  for run in found[1:]:
    kinds = [who(r.results) for r in (found[0], run)]
    if kinds[0] != kinds[1]:
      raise InputError(
          f"{found[0].path!r} ({found[0].results['recipe']}) is about its {kinds[0]} and"
          f" {run.path!r} ({run.results['recipe']}) about its {kinds[1]}: their figures cannot"
          " stand side by side; report them one by one"
      )
  return found


def who(results: Mapping[str, Any]) -> str:
  """What the baseline is, such as `LM`."""
  return str(results.get("who", "LM"))


def models(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
  """The blocks of the models that there are: baseline, teacher, student, controls."""
  named = {name: results.get(name) for name in ("baseline", "teacher", "student")}
  return {name: block for name, block in (named | results.get("controls", {})).items() if block}


def model_name(results: Mapping[str, Any], model: str) -> str:
  """What a model is called in a table."""
  if model == "baseline":
    return f"{who(results)}, single view"
  if model == "teacher":
    return f"teacher, K={results['config'].get('k_test', '?')}"
  name = report.NAMES.get(model, model.replace("_", " "))
  return f"control: {name}" if model in results.get("controls", {}) else name


def value(block: Mapping[str, Any], path: str) -> Value | None:
  """A figure of a block, by its path in `FIGURES`; None where it is missing or not known."""
  *parents, name = path.split(".")
  for parent in parents:
    block = block.get(parent) or {}
  found, stderr = block.get(name), block.get(f"{name}_stderr")
  if not _is_number(found):
    return None
  if not _is_number(stderr):
    return Value(found, None, None)
  own = block.get(f"{name}_interval")  # better than the normal one, where there is one
  if isinstance(own, list) and len(own) == 2 and all(map(_is_number, own)):
    return Value(found, stderr, (own[0], own[1]))
  if name in clustered.RATES and 0 <= found <= 1:  # of a run that kept no intervals
    return Value(found, stderr, tuple(
        clustered.rate_interval(clustered.Estimate(found, stderr))))
  return Value(found, stderr, (found - Z95 * stderr, found + Z95 * stderr))


def of_kind(block: Mapping[str, Any], path: str) -> Value | None:
  """A figure of beliefs, or what stands for it in a block of real values; see `value`."""
  found = value(block, path)
  return value(block, OF_VALUES[path]) if found is None and path in OF_VALUES else found


def figure_paths(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
  """The figures that any of the blocks has: those of `FIGURES`, then others with errors."""
  known = [path for path in FIGURES if any(value(block, path) for block in blocks)]
  others = {}
  for block in blocks:
    parts = {"": block} | {f"{n}.": block.get(n) or {} for n in ("gap_movable", "over_views")}
    for prefix, part in parts.items():
      named = [name for name in part if f"{name}_stderr" in part and prefix + name not in FIGURES]
      others |= {prefix + name: None for name in named if value(block, prefix + name)}
  return known + list(others)


def label(path: str) -> str:
  """What a figure is called."""
  if path.startswith(_OVER_VIEWS):
    return f"{label(path.removeprefix(_OVER_VIEWS))}, over views"
  return FIGURES[path][0] if path in FIGURES else path.split(".")[-1].replace("_", " ")


def meaning(path: str) -> str:
  """What a figure means, as far as that is known."""
  return FIGURES.get(path.removeprefix(_OVER_VIEWS), ("", ""))[1]


def number(x: float) -> str:
  """Three decimals, fewer for what is large.

  Example:
    >>> number(0.0312), number(12.345), number(-0.0001)
    ('0.031', '12.3', '0.000')
  """
  digits = 3 if abs(x) < 10 else 1 if abs(x) < 1000 else 0
  shown = f"{x:.{digits}f}"
  return shown.lstrip("-") if not float(shown) else shown


def subject(results: Mapping[str, Any]) -> str:
  """Model and data in a few words; see `report.subject`."""
  config = results["config"]
  names = (report.model(config) or results["recipe"],
           config.get("dataset") or config.get("world") or "its own data")
  return " on ".join(pathlib.PurePath(str(name)).name or str(name) for name in names)


def in_words(results: Mapping[str, Any]) -> list[str]:
  """What the figures say, for someone who reads nothing else."""
  baseline, test = results["baseline"], results["data"].get("test", {})
  gap, flips = (of_kind(baseline, f"gap_movable.{n}") for n in ("pairwise_tv", "flip_rate"))
  out = []
  if gap is None:
    return ["No test example can move, so there is no gap to measure."]
  counts = ""
  if "movable" in test and "examples" in test:
    counts = f", over the {test['movable']} of {test['examples']} test examples that can move"
  unit = "in total variation"
  if report.is_real(results):
    unit = "of the variance of what is exact (squared distance)"
  out.append(f"Two views of one example, which should be answered alike, differ by {_pm(gap)}"
             f" {unit}{counts}.")
  if flips:
    out.append(f"The {who(results)}'s answer to a random view differs from its answer to the"
               f" canonical one in {flips.value:.0%} of cases.")
  student = results.get("student")
  own = student and of_kind(student, "gap_movable.pairwise_tv")
  if own:
    out.append(f"The student's gap is {_pm(own)}.")
  near = student and value(student, "fidelity")
  if near:
    check = {c["check"]: c["answer"] for c in results.get("verdict", [])}
    meaning = {
        "yes": f"it is worth having: its one pass is nearer the mean over the views than the"
               f" {who(results)}'s",
        "no": f"asking the {who(results)} once is the better estimate of the mean over the views",
    }.get(check.get("nearer_teacher_than_single_view"), "too few examples to be sure which is"
          " nearer")
    out.append(f"The student's one pass is {number(near.value)} times as far from the teacher as"
               f" the {who(results)}'s own: {meaning}.")
  return out


def facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
  """What was run, as names and values."""
  config, data = results["config"], results["data"]
  environment, cost = results.get("environment", {}), results.get("cost", {})
  test = data.get("test", {})
  packages = environment.get("packages", {})
  training = data.get("train", {}).get("examples")
  found = [
      ("recipe", results["recipe"]),
      ("model", report.model(config)),
      ("student", config.get("student") if results.get("student") else None),
      ("it reads", "sets" if (results.get("student") or {}).get("reads") == "set" else None),
      ("data", config.get("dataset") or config.get("world")),
      ("symmetry", config.get("symmetry")),
      ("answers", " | ".join(c.strip() for c in data.get("choices", []))),
      ("views", _joined({"of a training example": config.get("k_train") if training else None,
                         "of a test example": config.get("k_test")})),
      ("examples", _joined({"training": training or None, "test": test.get("examples"),
                            "test that can move": test.get("movable")})),
      ("scored", _joined({"rows": cost.get("rows"), "seconds": cost.get("seconds") and
                          round(cost["seconds"]), "seconds in all": cost.get("total_seconds") and
                          round(cost["total_seconds"])})),
      ("same views again", _noise(results.get("noise_floor") or {})),
      ("on", f"{environment['device_count']} x {environment.get('device')}"
       if environment.get("device_count") else None),
      ("version", ", ".join([f"mezzanine_jax {results.get('version', '?')}"]
                            + [f"{n} {packages[n]}" for n in ("jax", "flax") if n in packages])),
      ("git revision", environment.get("git_revision")),
      ("seed", config.get("seed")),
  ]
  return [(name, str(shown)) for name, shown in found if shown not in (None, "")]


def notes(results: Mapping[str, Any]) -> list[str]:
  """What happened to data and prompts that a reader must know."""
  data = results["data"]
  messages = [str(m) for m in (data.get("notes") or {}).get("messages", [])]
  return messages + report.prompt_lines(data.get("prompts", {}))


def command(results: Mapping[str, Any], out: str) -> str:
  """The command that repeats a run, for a POSIX shell, from where it was started.

  Fields that have their default value are left out, unless the run was made by another version,
  whose defaults may have been others.

  Args:
    results: of the run.
    out: where the repetition goes.

  Example:
    >>> command({"recipe": "llm_order_gap", "version": "?", "config": {"choices": " no| yes"}}, "o")
    "mezzanine run llm_order_gap --choices ' no| yes' --out o"
  """
  from mezzanine_jax.recipes import get_recipe

  try:
    fields = dataclasses.fields(get_recipe(results["recipe"]).Config)
  except InputError:  # a recipe of a package that is not here
    fields = ()
  defaults = {field.name: field.default for field in fields}
  same = bool(fields) and results.get("version") == mezzanine_jax.__version__
  words = ["mezzanine", "run", results["recipe"]]
  for name, own in results["config"].items():
    if own == defaults.get(name) and (own is None or same):  # None may not be said everywhere
      continue
    text = "none" if own is None else str(own)
    words += [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]
  words += [f"--out={out}"] if out.startswith("-") else ["--out", out]
  return shlex.join(words)


def another(out: str) -> str:
  """A folder beside the run's own, in which the same command would show it again.

  Example:
    >>> another("out/mine/")
    'out/mine-again'
    >>> another(".")
    'run-again'
  """
  path = pathlib.PurePath(out)
  return f"{path if path.name not in ('', '..') else 'run'}-again"


def answer(label: Any, choices: Sequence[str]) -> str:
  """The right answer, or `unknown` where the label is none of the choices.

  Example:
    >>> answer(1, [" no", " yes"]), answer(-1, [" no", " yes"]), answer(None, [])
    ('yes', 'unknown', 'unknown')
  """
  known = isinstance(label, int) and 0 <= label < len(choices)
  return choices[label].strip() if known else "unknown"


def write_text(path: str | pathlib.Path, text: str, option: str = "--to") -> None:
  """Writes a report whole or not at all.

  Args:
    path: the file.
    text: what it will hold.
    option: of the command line, that names another place.

  Raises:
    InputError: if the place cannot be written.
  """
  path = pathlib.Path(path)
  part = path.parent / f"{path.name}.part"
  try:
    # Data may hold halves of surrogate pairs, which no file can.
    part.write_bytes(text.encode("utf-8", "replace"))
    os.replace(part, path)
  except OSError as error:
    if part.is_file():
      part.unlink()
    raise InputError(
        f"{str(path)!r} cannot be written: {error.strerror}; give another place with {option} FILE"
    ) from error


def _pm(found: Value) -> str:
  """`0.038 ± 0.001`."""
  return number(found.value) + (f" ± {number(found.stderr)}" if found.stderr is not None else "")


def _noise(floor: Mapping[str, Any]) -> str:
  """How far views differ from themselves, scored again in other batches."""
  if not all(_is_number(floor.get(name)) for name in ("mean_tv", "max_tv")):
    return ""
  return f"differ by TV {floor['mean_tv']:.0e}, {floor['max_tv']:.0e} at most (rounding)"


def _joined(counts: Mapping[str, Any]) -> str:
  """`512 training, 500 test`, of those that are known."""
  return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count is not None)


def _is_number(x: Any) -> bool:
  """Whether it is a finite number."""
  return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
