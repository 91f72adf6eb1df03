"""`report.html`: one page that shows a run, or several side by side, and needs no network."""

import base64
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mezzanine_jax import finished, html_figures, report
from mezzanine_jax.finished import Run, Value

PAGE = "report.html"
_MOST_ANSWERS = 6  # of an example that are shown, the likeliest


def write(outs: Sequence[str | pathlib.Path], to: str | pathlib.Path | None = None) -> pathlib.Path:
  """Writes the page of one run, or of several side by side.

  Args:
    outs: folders of finished runs.
    to: the file; None is `report.html` in the folder of the one run, or here for several.

  Returns:
    Where it was written.

  Raises:
    InputError: for runs that cannot be shown, or a place that cannot be written.
  """
  runs = finished.read(outs)
  path = pathlib.Path(to) if to else pathlib.Path(outs[0] if len(outs) == 1 else ".") / PAGE
  finished.write_text(path, render(runs))
  return path


def render(runs: Sequence[Run]) -> str:
  """The page as text.

  Args:
    runs: from `finished.read`.
  """
  import jinja2

  pages = pathlib.Path(__file__).parent / "pages"
  # Everything that is not marked as safe is escaped: examples are other people's texts.
  environment = jinja2.Environment(
      loader=jinja2.FileSystemLoader(pages), autoescape=True, trim_blocks=True,
      lstrip_blocks=True, undefined=jinja2.StrictUndefined)
  script = (pages / "report.js").read_text()
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  pictures, missing = html_figures.pictures(runs)
  examples, without = _examples(runs)
  several = len(runs) > 1
  subjects = list(dict.fromkeys(finished.subject(run.results) for run in runs))
  return environment.get_template(PAGE).render(
      title=" and ".join(subjects) if len(subjects) <= 3 else f"{len(runs)} runs",
      several=several,
      clusters=" or ".join(dict.fromkeys(report.cluster(run.results) for run in runs)),
      runs=[_run(run, several) for run in runs],
      table=_table(runs),
      other_data=_other_data(runs),
      pictures=pictures,
      examples=examples,
      missing=missing + without,
      style=(pages / "report.css").read_text(),
      script=script,
      script_digest=digest,
  )


def _run(run: Run, several: bool) -> dict[str, Any]:
  """What the page says of one run."""
  results = run.results
  models = finished.models(results)
  names = [finished.model_name(results, model) for model in models]
  blocks = [*models.values()]
  if results.get("differences"):
    names.append(f"student minus {finished.who(results)}")
    blocks.append(results["differences"])
  paths = finished.figure_paths(blocks)
  return {
      "letter": run.letter,
      "path": run.path,
      "subject": finished.subject(results),
      "words": finished.in_words(results),
      "facts": finished.facts(results),
      "notes": finished.notes(results),
      "template": results["data"].get("template"),
      "verdict": [_check(check) for check in results.get("verdict", [])],
      "command": finished.command(results, finished.another(run.path)),
      "models": names,
      "figures": [
          {"label": finished.label(path), "meaning": finished.meaning(path),
           "cells": [_cell(finished.value(block, path)) for block in blocks]}
          for path in paths
      ],
  }


def _table(runs: Sequence[Run]) -> dict[str, Any]:
  """The main table: a row a model, with intervals."""
  rows = [(run, *row) for run in runs for row in _rows(run.results)]
  paths = [path for path in finished.MAIN
           if any(finished.value(block, path) for *_, block in rows)]
  return {
      "columns": [(finished.label(path), finished.meaning(path)) for path in paths],
      "rows": [
          {"letter": run.letter, "first": first, "name": name,
           "cells": [_cell(finished.value(block, path)) for path in paths]}
          for run, first, name, block in rows
      ],
  }


def _rows(results: Mapping[str, Any]) -> list[tuple[bool, str, Mapping[str, Any]]]:
  """Whether it is the first, name and block of every model; teachers of fewer views among them."""
  out = []
  for model, block in finished.models(results).items():
    if model == "teacher":
      out += [(False, name, row) for name, row in report.teachers(results)]
    else:
      out.append((model == "baseline", finished.model_name(results, model), block))
  return out


def _cell(found: Value | None) -> dict[str, str] | None:
  """A figure and its interval as texts."""
  if found is None:
    return None
  interval = ""
  if found.interval:
    interval = "{} to {}".format(*map(finished.number, found.interval))
  return {"value": finished.number(found.value), "interval": interval}


def _check(check: Mapping[str, Any]) -> dict[str, str]:
  """One question of the verdict."""
  low, high = check["interval"]
  known = low is not None and high is not None
  answer = check["answer"] if check["answer"] in ("yes", "no", "unsure") else "unsure"
  return {
      "answer": answer, "meaning": check["meaning"],
      "interval": f"{low:+.3f} to {high:+.3f}" if known else "not enough data",
  }


def _other_data(runs: Sequence[Run]) -> bool:
  """Whether the runs were judged by different test examples."""
  judged = [(r.results["data"].get("sha256"), r.results["config"].get("seed"),
             r.results["data"].get("test", {}).get("examples")) for r in runs]
  return any(own != judged[0] for own in judged)


def _examples(runs: Sequence[Run]) -> tuple[list[dict[str, Any]], list[str]]:
  """The examples that move most, and a sentence where there are none."""
  out = []
  for run in runs:
    choices = [str(c).strip() for c in run.results["data"].get("choices", [])]
    for example in run.results.get("examples") or []:
      own = [str(c).strip() for c in example.get("choices", choices)]
      out.append({"letter": run.letter} | _example(example, own))
  out.sort(key=lambda example: -example["gap"])
  if out:
    return out, []
  return [], ["There are no single examples to show: the run kept none, or none can move."]


def _example(example: Mapping[str, Any], choices: Sequence[str]) -> dict[str, Any]:
  """An example with its two views that differ most, and what all views say."""
  views = example["views"]
  first = [view["probabilities"] for view in views]
  names = [choices[c] if c < len(choices) else str(c) for c in range(len(first[0]))]
  label = example.get("label")
  # Of many answers, those that any of the views thinks likely.
  most = sorted(range(len(names)), key=lambda c: -max(p[c] for p in first))[:_MOST_ANSWERS]
  # The answer whose probability moves most over all views is drawn as a strip.
  beliefs = example.get("beliefs") or first
  spread = [max(p[c] for p in beliefs) - min(p[c] for p in beliefs) for c in range(len(names))]
  moving = spread.index(max(spread)) if len(names) > 2 else len(names) - 1
  return {
      "id": str(example["id"]),
      "answer": finished.answer(label, names),
      "gap": example["pairwise_tv"],
      "gap_text": finished.number(example["pairwise_tv"]),
      "moving": names[moving],
      "strip": [round(float(p[moving]), 4) for p in beliefs],
      "views": [
          {"name": "canonical view" if view["view"] == 0 else f"view {view['view']}",
           "answers": [(names[c], round(float(view["probabilities"][c]), 4), c == label)
                       for c in sorted(most)],
           "text": view["text"].strip()}
          for view in views
      ],
  }
