"""What a person looks at: the table on the terminal, its words, the machine's description."""

import dataclasses
import pathlib
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

import mezzanine_jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers")
# What each model is called.
NAMES = {
    "baseline": "LM, single view", "student": "student", "constant": "constant",
    "shuffled_targets": "shuffled", "set": "LM, as a set",
}


def header(recipe: str, config: Any) -> dict[str, Any]:
  """What every `results.json` begins with: recipe, version, configuration, environment."""
  return {
      "recipe": recipe,
      "version": mezzanine_jax.__version__,
      "config": dataclasses.asdict(config),
      "environment": environment(),
  }


def environment() -> dict[str, Any]:
  """Versions, device and, where the package lies in a git checkout, its revision."""
  here = pathlib.Path(__file__).resolve().parent
  # Of a checkout that tracks this very file: not of a project whose environment it lies in.
  git = "git ls-files --error-unmatch report.py && git describe --always --dirty --abbrev=40"
  found = subprocess.run(git, shell=True, cwd=here, capture_output=True, text=True, check=False)
  revision = found.stdout.split()[-1] if found.returncode == 0 else None
  device = jax.devices()[0]
  return {
      "python": platform.python_version(),
      "packages": {name: metadata.version(name) for name in _PACKAGES},
      "device": device.device_kind,
      "platform": device.platform,
      "device_count": jax.device_count(),
      "git_revision": revision,
  }


_COUNTED = {  # names in the results -> what they count
    "truncated_prompts": "prompts that were too long",
    "truncated_texts": "texts that were too long",
    "dropped_sentences": "sentences left out of them",
    "dropped_units": "sentences left out of them",
    "dropped_demonstrations": "demonstrations left out of them",
    "cut_first_units": "first sentences that were cut themselves",
    "tokenized_as_whole_texts": "texts that are tokenized as a whole",
    "without_evidence": "texts without evidence, which cannot move",
    "empty_texts": "empty texts",
    "one_sentence": "texts of a single sentence, which cannot move",
    "one_unit": "texts of a single sentence, which cannot move",
}


def peak_rss_mb() -> float:
  """The most memory this process has had resident, in MiB."""
  import resource  # not on every platform

  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak / (1024**2 if sys.platform == "darwin" else 1024)


def show(results: Mapping[str, Any], out: str | pathlib.Path) -> None:
  """Prints the results: the table, the verdict, what the data and the run were."""
  from rich.console import Console
  from rich.table import Table
  from rich.text import Text

  # Texts of the data are printed as they are, and the table is whole on any terminal.
  console = Console(highlight=False, markup=False, emoji=False)
  console.width = max(console.width, 80)
  models, who = model_blocks(results), results.get("who", "LM")
  table = Table(title=None, box=None, pad_edge=False, header_style="bold", padding=(0, 1))
  columns = _columns(results)
  for column in ("", *columns):
    table.add_column(column, justify="left" if not column else "right", no_wrap=True)
  for label, block in [*models.items()][:1] + teachers(results) + [*models.items()][1:]:
    found = block.get("gap_movable", {}) | block
    table.add_row(model_name(results, label), *(
        pm(found, name, 2 if name == "flip_rate" else 3) for name in columns.values()))
  data, test = results["data"], results["data"]["test"]
  console.print()
  console.print(table)
  console.print(
      f"\n{test['examples']} test examples, {test['movable']} of which can move: {_units(results)}"
      " and fidelity are over these. ± is one standard"
      f" error, clustered by {cluster(results)}. Fidelity: distance of the one pass to the teacher"
      f" over the {who}'s own, 1 is no nearer than asking the {who} once; a teacher of K views is"
      " still off by the luck of the draw. Controls: the constant always answers the mean teacher,"
      f" the shuffled one learned from other examples' targets.{_set_control(results)}\n"
  )
  shown = {f"{who}, single view": results["baseline"], "teacher": results["teacher"],
           "student": results["student"]}
  if any("brier" in block for block in shown.values()):
    console.print(quality_table(shown))
    console.print()
  if results["student"].get("best_step") == 0:
    console.print(
        f"Nothing was learned: the student is the untrained one, which {_untrained(results)}."
        " Nothing tried was nearer the teacher on the held-out training examples.\n")
  checks, notes = Table.grid(padding=(0, 2)), Table.grid(padding=(0, 2))
  checks.add_column(justify="right", min_width=6)
  checks.add_column()
  checks.add_column("95% interval", justify="right", no_wrap=True)
  checks.show_header = True
  for check in results["verdict"]:
    low, high = check["interval"]
    interval = "not enough data" if low is None else f"{low:+.3f} to {high:+.3f}"
    colour = {"yes": "green", "no": "red", "unsure": "yellow"}[check["answer"]]
    checks.add_row(Text(check["answer"], colour), check["meaning"], interval)
  console.print(checks)
  notes.add_column(justify="right", min_width=6)
  mass = results["baseline"].get("choice_mass")
  if mass is not None:
    notes.add_row(
        "note", f"the choices hold {mass:.1%} of the LM's belief in its whole vocabulary")
  for line in spread_lines({who: results["baseline"], "student": results["student"]}):
    notes.add_row("note", line)
  for part, figure in _parts(results).items():
    shown = ((label, results[label]) for label in ("baseline", "teacher", "student"))
    notes.add_row("note", f"RMSE of {part}: " + ", ".join(
        f"{who if label == 'baseline' else label} {pm(block, figure)}" for label, block in shown))
  if "noise_floor" in results:
    notes.add_row("note", noise_text(results["noise_floor"]))
  for part, own in results.get("by_movability", {}).items():
    shown = ", ".join(f"{name} {pm(own[name], 'accuracy')}"
                      for name in ("baseline", "teacher", "student") if name in own)
    if shown:
      notes.add_row("note", f"accuracy on the {own['examples']} {part} test examples: {shown}")
  for message in data["notes"].get("messages", []):
    notes.add_row("note", message)
  for line in prompt_lines(data["prompts"]):
    notes.add_row("note", line)
  console.print(notes)
  cost = results["cost"]
  console.print(
      f"\n{cost['rows']} rows of {cost['views']} views, {cost['seconds']:.0f} s to score,"
      f" {cost['total_seconds']:.0f} s in all"
  )
  # A path that is cut cannot be copied.
  console.print(f"results.json and diagnostics.png are in {out}", soft_wrap=True)


def prompt_lines(counts: Mapping[str, int]) -> list[str]:
  """What happened to texts on their way to prompts, a sentence for each count that is not 0.

  Example:
    >>> prompt_lines({"truncated_prompts": 0, "one_sentence": 2})
    ['texts of a single sentence, which cannot move: 2']
  """
  return [f"{_COUNTED.get(name, name.replace('_', ' '))}: {count}"
          for name, count in counts.items() if count]


def is_real(results: Mapping[str, Any]) -> bool:
  """Whether the predictions are real values, rather than beliefs over choices."""
  return "rmse" in results["baseline"]


def _columns(results: Mapping[str, Any]) -> dict[str, str]:
  """What the columns of the table are called -> the figure of each."""
  if not is_real(results):
    return {"accuracy": "accuracy", "NLL": "nll", "gap": "pairwise_tv", "flips": "flip_rate",
            "distance": "tv_to_teacher_movable", "fidelity": "fidelity"}
  parts = _parts(results)
  return (parts if len(parts) <= 2 else {}) | {  # no more fit into 80 columns
      "RMSE": "rmse", "gap": "pairwise_square", "distance": "square_to_teacher_movable",
      "fidelity": "fidelity"}


def _parts(results: Mapping[str, Any]) -> dict[str, str]:
  """What the parts of real values are called -> the figure of their error."""
  names = (name for name in results["baseline"] if name.endswith("_rmse"))
  return {name.removesuffix("_rmse").replace("_", " "): name for name in names}


def _set_control(results: Mapping[str, Any]) -> str:
  """Words for the control of a student that reads sets, where there is one."""
  if "set" not in results["controls"]:
    return ""
  return (f" {NAMES['set']}: the {_reader(results)} asked about the sets that the student reads,"
          " without the head; no order moves what reads sets, by construction.")


def _reader(results: Mapping[str, Any]) -> str:
  """Who reads what a head gets."""
  with_adapters = " with adapters" if results["student"].get("adapters") else ""
  return results.get("who", "LM") + with_adapters


def _untrained(results: Mapping[str, Any]) -> str:
  """What a student does before its first step."""
  own, who = results["config"], _reader(results)
  if own.get("student") not in ("residual", "ridge", "attention", "lora", "set"):
    return "gives every input the same answer"
  is_set = results["student"].get("reads") == "set"
  return f"is the {who} that reads a set" if is_set else f"is the {who} itself"


def _units(results: Mapping[str, Any]) -> str:
  """What gap and distance are."""
  if not is_real(results):
    return "gap (pairwise TV), flips, distance to the teacher (TV)"
  parts = ", ".join(_parts(results))
  return (f"RMSE to what is exact ({parts}: of a number, in its own unit; together: in units of"
          " their spread over the training examples), gap (squared distance of two views, as a"
          " share of the variance), squared distance to the teacher")


def teachers(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
  """The teachers of 2, 4, 8, ... views, by what they are called."""
  found = [row for row in results.get("teacher_by_views", []) if row["views"] > 1]
  found = found or [{"views": results["config"]["k_test"]} | results["teacher"]]
  return [(f"teacher, K={row['views']}", row) for row in found]


def quality_table(blocks: Mapping[str, Mapping[str, Any]]) -> Any:
  """A table of how good the answers are on the canonical view.

  Args:
    blocks: what each row is called -> a model's block of the results.

  Returns:
    A `rich` table, at most 80 columns wide.
  """
  from rich.table import Table

  table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
  columns = {"Brier": "brier", "ECE": "ece", "AUROC": "auroc",
             "calibrated": "batch_calibrated_accuracy", "entropy": "entropy"}
  for column in ("", *columns):
    table.add_column(column, justify="right" if column else "left", no_wrap=True)
  for label, block in blocks.items():
    table.add_row(label, *(pm(block, name) for name in columns.values()))
  table.caption = "calibrated: accuracy after batch calibration; entropy in nats"
  table.caption_justify, table.caption_style = "left", "none"
  return table


def spread_lines(blocks: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """How the views of an example differ, beyond the main table: a line a figure that is known.

  Args:
    blocks: what each model is called -> its block of the results.
  """
  moved = {who: block.get("gap_movable", {}) for who, block in blocks.items()}
  found = (
      ("any flip, views of an example disagree", moved, "any_flip", ""),
      ("normalised gap, share of the variance", moved, "normalised", ""),
      ("representation gap, the same of features", blocks, "representation_gap", ""),
      ("POSIX, change of the answers' log-probability", moved, "posix", " nats a token"),
      ("PriDe, accuracy without the labels' prior", blocks, "pride_accuracy", ""),
  )
  out = []
  for meaning, parts, name, unit in found:
    known = [(who, pm(part, name)) for who, part in parts.items() if pm(part, name)]
    if known:
      out.append(f"{meaning}: " + ", ".join(f"{who} {text}" for who, text in known) + unit)
  return out


def noise_text(block: Mapping[str, float]) -> str:
  """The noise floor in a line: `same views in other batches: TV 1e-07 (at most 3e-07, 32 rows)`."""
  if "mean_distance" in block:
    return (f"the same views in other batches: distance {block['mean_distance']:.1g}"
            f" (at most {block['max_distance']:.1g}, {block['rows']} rows)")
  return (f"the same views in other batches: TV {block['mean_tv']:.1g}"
          f" (at most {block['max_tv']:.1g}, {block['rows']} rows)")


def subject(results: Mapping[str, Any]) -> str:
  """Model and data in a few words, such as `gpt2 on boolq`."""
  config = results["config"]
  names = (model(config) or "?", config["dataset"] or config["world"])
  return " on ".join(pathlib.Path(name).name for name in names)


def model(config: Mapping[str, Any]) -> str | None:
  """The model that a run measured, by whichever field of its configuration names it."""
  named = (config.get(field) for field in ("lm_name", "model_name", "base"))
  return next(filter(None, named), None)


def cluster(results: Mapping[str, Any]) -> str:
  """What examples that are not independent share, such as `passage`."""
  return str((results["data"].get("notes") or {}).get("cluster", "passage"))


def model_name(results: Mapping[str, Any], model: str) -> str:
  """What a model of the results is called."""
  who = results.get("who", "LM")
  return who if model == "baseline" and who != "LM" else NAMES.get(model, model)


def model_blocks(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
  """Baseline, student and controls, in the order they are shown."""
  return {"baseline": results["baseline"], "student": results["student"], **results["controls"]}


def pm(block: Mapping[str, Any], name: str, digits: int = 3) -> str:
  """`.123±.004` or `1.23±.04`, or nothing where the block has no such figure."""
  value, stderr = block.get(name), block.get(f"{name}_stderr")
  if value is None or value != value:
    return ""
  parts = [value] if stderr is None or stderr != stderr else [value, stderr]
  # The larger of the two says how many decimals fit, so that a column never grows.
  whole = len(f"{max(map(abs, parts)):.{digits}f}".split(".")[0].lstrip("0"))
  shown = (f"{part:.{max(digits - whole, 0)}f}" for part in parts)
  return "±".join(re.sub(r"^(-?)0\.", r"\1.", text) for text in shown)
