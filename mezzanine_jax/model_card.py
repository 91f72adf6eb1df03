"""A model card in Markdown of what a run made, and rows for the table of a paper."""

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mezzanine_jax import clustered, finished, report
from mezzanine_jax.finished import Run, Value

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}


def render(runs: Sequence[Run]) -> str:
  """A card of one run, or the table of several, with rows for LaTeX at its end.

  The card is the student's; of a recipe without one it is a card of the gap.

  Args:
    runs: from `finished.read`.

  Returns:
    Markdown.
  """
  parts = _card(runs[0]) if len(runs) == 1 else ["# Runs side by side", _table(runs)]
  parts += ["## The table for LaTeX", _code(_latex(runs), "latex")]
  return "\n\n".join(parts) + "\n"


def markdown(text: Any) -> str:
  """Text as Markdown shows it: on one line, no character with a meaning of its own.

  Example:
    >>> print(markdown("a|b <i>*c*"))
    a\\|b &lt;i&gt;\\*c\\*
  """
  line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
  line = line.replace(">", "&gt;")
  # A URL would become a link, and an @ on some sites a message to somebody.
  line = re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", line)
  line = line.replace("://", ":&#47;&#47;").replace("@", "&#64;").replace("www.", "www&#46;")
  return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", line)  # neither a list nor a heading


def latex(text: Any) -> str:
  """Text as LaTeX sets it: on one line, no character with a meaning of its own.

  Example:
    >>> print(latex("50% of a_b"))
    50\\% of a\\_b
  """
  return "".join(_LATEX.get(c, c) for c in " ".join(str(text).split()) if c.isprintable())


def _card(run: Run) -> list[str]:
  """The parts of the card of one run."""
  results, config = run.results, run.results["config"]
  student = results.get("student")
  about = markdown(finished.subject(results))
  title = f"# Student of {about}" if student else f"# How far the answers move: {about}"
  parts = [_front(config), title]
  if student:
    parts.append(
        f"A student (`{_word(config.get('student'))}`) that gives in one pass the belief of the"
        f" {markdown(finished.who(results))}, averaged over views that should not change it:"
        f" {markdown(config.get('symmetry'))}.")
  parts += ["## What was found", _list(finished.in_words(results))]
  if results.get("verdict"):
    parts.append(_list([
        f"{check['answer']}: {check['meaning']} ({_interval(check['interval'])})"
        for check in results["verdict"]]))
  parts += [
      "## Figures", _table([run]),
      f"± is one standard error, clustered by {markdown(report.cluster(results))}; behind rates"
      " (accuracy, flips) stands their 95% interval (Wilson's, for as many independent examples as"
      " would have their standard error). Gap (between two views), flips, distance"
      " to the teacher and fidelity are over the examples that can move. Fidelity below 1: the"
      " student's one pass is nearer the teacher than the baseline's.",
      "## How it was made", _list([f"{name}: {shown}" for name, shown in finished.facts(results)]),
  ]
  if results["data"].get("template"):
    template = results["data"]["template"]
    shown = template if isinstance(template, str) else json.dumps(template, ensure_ascii=False)
    parts += ["The prompt:", _code(shown)]
  told = finished.notes(results)
  if told:
    parts += ["## What to know of the data", _list(told)]
  if student:
    parts += ["## How to use it", "On new texts:", _code(
        f"mezzanine predict --student {shlex.quote(run.path)} --data new.jsonl --out preds.jsonl",
        "bash"), "Its weights:", _code(
        "from mezzanine_jax import checkpoints\n"
        f"params, meta = checkpoints.load_student({os.path.join(run.path, 'student')!r})",
        "python"), "`meta` names the student, its settings and the configuration of the run."]
  return [*parts, "## How to repeat it", _code(
      finished.command(results, finished.another(run.path)), "bash")]


def _front(config: Mapping[str, Any]) -> str:
  """The card's header in YAML; JSON's strings are strings of YAML, too."""
  base = str(config.get("lm_name") or config.get("model_name") or "")
  lines = ["library_name: mezzanine_jax"]
  # Only what may be a name on the hub: neither a path nor a package.
  if _HUB_ID.fullmatch(base) and not os.path.exists(base):
    lines.append(f"base_model: {json.dumps(base)}")
  return "\n".join(["---", *lines, "---"])


def _table(runs: Sequence[Run]) -> str:
  """The main table, one row a model."""
  paths, rows = _rows(runs)
  lines = [["", *(finished.label(path) for path in paths)], ["---"] * (len(paths) + 1)]
  lines += [[markdown(name), *(_shown(p, v, " ± ") for p, v in zip(paths, values, strict=True))]
            for name, values in rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _latex(runs: Sequence[Run]) -> str:
  """The same rows, under a comment that names the columns."""
  paths, rows = _rows(runs)
  lines = ["% " + " & ".join(["model", *(finished.label(path) for path in paths)])]
  for name, values in rows:
    # Words would be set as products of variables: a comma for the interval's "to".
    cells = ["$" + _shown(path, v, r" \pm ", ", ") + "$" if v else ""
             for path, v in zip(paths, values, strict=True)]
    lines.append(" & ".join([latex(name), *cells]) + r" \\")
  return "\n".join(lines)


def _rows(runs: Sequence[Run]) -> tuple[list[str], list[tuple[str, list[Value | None]]]]:
  """The figures' paths, and (name, figures) of every model."""
  models = [(run, model, block) for run in runs
            for model, block in finished.models(run.results).items()]
  paths = [path for path in finished.MAIN if any(finished.value(b, path) for *_, b in models)]
  out = []
  for run, model, block in models:
    name = finished.model_name(run.results, model)
    if len(runs) > 1:
      name = f"{finished.subject(run.results)} ({run.path}), {name}"
    out.append((name, [finished.value(block, path) for path in paths]))
  return paths, out


def _shown(path: str, found: Value | None, between: str, to: str = " to ") -> str:
  """A figure and its standard error; a rate and its interval."""
  if found is None:
    return ""
  if path.split(".")[-1] in clustered.RATES and found.interval:
    low, high = map(finished.number, found.interval)
    return f"{finished.number(found.value)} ({low}{to}{high})"
  error = "" if found.stderr is None else between + finished.number(found.stderr)
  return finished.number(found.value) + error


def _interval(interval: Sequence[float | None]) -> str:
  """An interval in words."""
  low, high = interval
  return "not enough data" if low is None or high is None else f"95%: {low:+.3f} to {high:+.3f}"


def _list(lines: Sequence[str]) -> str:
  """Lines as a list."""
  return "\n".join(f"- {markdown(line)}" for line in lines)


def _code(text: str, language: str = "") -> str:
  """A block of code that its own text cannot end."""
  longest = max(map(len, re.findall("`+", text)), default=0)
  fence = "`" * max(3, longest + 1)
  return f"{fence}{language}\n{text}\n{fence}"


def _word(text: Any) -> str:
  """A name for a span of code."""
  return re.sub(r"[^\w.-]", "", str(text))
