"""The `mezzanine` command."""

import argparse
import dataclasses
import errno
import os
import pathlib
import select
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from mezzanine_jax import arguments as arguments_lib
from mezzanine_jax import preemption
from mezzanine_jax.errors import InputError

# What a disk says that takes nothing: it is full, or may only be read.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status.

  2 for bad input or a disk that takes nothing, 130 when interrupted, 143 when terminated, 1 from
  `cache verify` that found damage or `tune` that found no setting within range, and where nobody
  reads any more what is printed (but for `predict`, which says on stderr what it did).
  """
  argv = list(sys.argv[1:] if argv is None else argv)
  if argv[:1] != ["run"]:
    return _guarded(argv)
  from mezzanine_jax import hosts

  try:
    return hosts.leave(_guarded(argv))
  except Exception:
    hosts.fail()
    raise


def _guarded(argv: list[str]) -> int:
  """Runs a command; errors of the user's, the disk and the machine become a sentence."""
  try:
    with preemption.raised():
      try:
        return _run(argv)
      finally:
        # A pipe that nobody reads is noticed here, not when Python ends; there may be no output.
        print(end="", flush=True)
  except InputError as error:
    print(f"mezzanine: {' '.join(str(error).split())}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    wrote = "nothing was written" if argv[:1] == ["predict"] else "the same command continues"
    print(f"mezzanine: stopped; {wrote}", file=sys.stderr)
    return 130
  except preemption.Terminated:
    goes_on = argv[:1] in (["run"], ["tune"])
    saved = "what was done is saved, the same command continues"
    print(f"mezzanine: terminated; {saved if goes_on else 'nothing was written'}", file=sys.stderr)
    return 143
  except BrokenPipeError:
    if not _is_unread():
      raise
    _print_nowhere()
    return 1
  except OSError as error:
    if error.errno not in _DISK:
      raise
    where = f"{error.filename}: " if error.filename else ""
    print(f"mezzanine: {where}{error.strerror}; the same command continues after that is put right",
          file=sys.stderr)
    return 2


def _is_unread() -> bool:
  """Whether standard output is a pipe of which who read it has enough, as `head` does."""
  pipe = select.poll()
  pipe.register(sys.stdout.fileno(), 0)
  return any(event & select.POLLERR for _, event in pipe.poll(0))


def _print_nowhere() -> None:
  """From now on nothing is printed: Python would complain of an unread pipe when it ends."""
  nowhere = os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, sys.stdout.fileno())
  os.close(nowhere)


def _run(argv: list[str]) -> int:
  """Dispatches to the subcommand."""
  parser = argparse.ArgumentParser(
      prog="mezzanine",
      description="Measure how far a model's answer moves over views that should not change it,"
      " and distill the mean into one pass.",
  )
  commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
  commands.add_parser("list", help="recipes, worlds, symmetries, students")
  commands.add_parser(
      "run", add_help=False, help="run, continue or show an experiment (run RECIPE --help)"
  )
  commands.add_parser(
      "tune", add_help=False, help="search settings of a recipe for a large effect (tune --help)")
  new = commands.add_parser("new", help="write the skeleton of a package with a recipe of your own")
  made = new.add_subparsers(dest="what", required=True, metavar="WHAT").add_parser(
      "recipe", help="a package with a recipe, a configuration and a test",
      description="Writes the folder NAME: a package with a small recipe that runs, its"
      " configuration and its test, to be changed into your own.")
  made.add_argument("name", metavar="NAME", help="of the recipe and of its package")
  made.add_argument("--to", metavar="DIR", default=".", help="where it goes (default: here)")
  commands.add_parser(
      "plan", add_help=False,
      help="does it fit, and how long will it take: memory, FLOPs and time before anything runs")
  shown = commands.add_parser(
      "report", help="a page, or a model card, of finished runs",
      description="Writes report.html from the folder of a finished run, or of several side by"
      " side: one file that needs no network. With --format md prints a model card and the rows of"
      " a table, in Markdown and LaTeX.",
  )
  shown.add_argument("outs", nargs="+", metavar="OUT", help="folder of a finished run")
  shown.add_argument("--format", choices=("html", "md"), default="html")
  shown.add_argument("--to", metavar="FILE", help="where it goes (default: OUT/report.html; for"
                     " several runs ./report.html; md: printed)")
  _add_cache(commands)
  applied = commands.add_parser(
      "predict", help="a finished run's student on new texts", allow_abbrev=False,
      usage="mezzanine predict --student OUT --data FILE --out FILE [--overwrite]\n"
      "                         [--FIELD VALUE ...]",
      description="Applies the student of a finished run to the texts of a file: one pass over"
      " each, asked as the run asked. Writes one JSON object a line: id, answer, the probabilities"
      " of the choices and, where the student asks it, those of the model itself. Prints the"
      " accuracy of both where the file has labels, and texts a second.",
      epilog="--FIELD VALUE: fields of the run that differ. What columns are called:"
      " question_field, passage_field, text_field, options_field, answer_field, label_field; how"
      " answers are written: label_map, answer_form; where the same model is now: lm_name,"
      " model_name, encoder_name; speed: batch_tokens, max_shapes.",
  )
  applied.add_argument("--student", required=True, metavar="OUT", help="folder of a finished run")
  applied.add_argument(
      "--data", required=True, metavar="FILE", help="jsonl, json, csv, tsv or parquet file, or a"
      " zip of one, with the columns that the run's own data had; labels may be missing")
  applied.add_argument("--out", required=True, metavar="FILE",
                       help="where the lines go; - prints them")
  applied.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
  # The fields of these two depend on the recipe, so that they parse their own arguments.
  if argv[:1] == ["run"]:
    return _run_recipe(argv[1:])
  if argv[:1] == ["tune"]:
    from mezzanine_jax import tune_command

    return tune_command.main(argv[1:])
  if argv[:1] == ["plan"]:
    return _plan(argv[1:])
  arguments, rest = parser.parse_known_args(argv)
  if arguments.command == "predict":
    return _predict(arguments, arguments_lib.fields(rest))
  if rest:
    parser.error(f"unrecognized arguments: {' '.join(rest)}")
  if arguments.command == "cache":
    return _cache(arguments)
  if arguments.command == "new":
    return _new(arguments)
  return _report(arguments) if arguments.command == "report" else _list()


def _predict(arguments: argparse.Namespace, fields: dict[str, str]) -> int:
  """`mezzanine predict --student OUT --data FILE --out FILE [--overwrite] [--FIELD VALUE …]`."""
  from mezzanine_jax import compile_cache, predict, predicted

  predicted.check_out(arguments.out, arguments.data, arguments.overwrite)
  quiet()
  compile_cache.enable()
  made = predict.predict(arguments.student, arguments.data, **fields)
  shown = sys.stdout
  if arguments.out == "-":
    shown = sys.stderr
    try:
      print(predicted.lines(made), end="", flush=True)
    except BrokenPipeError:
      _print_nowhere()
  else:
    predicted.write(made, arguments.out)
  print("\n".join(predicted.summary(made)), file=shown)
  if arguments.out != "-":
    print(f"wrote {arguments.out}")
  return 0


def _add_cache(commands: Any) -> None:
  """The arguments of `cache`."""
  cache = commands.add_parser(
      "cache", help="rows that runs share: list, verify, prune",
      description="Rows that runs with the same --cache_dir share.")
  what = cache.add_subparsers(dest="what", required=True, metavar="WHAT")
  for name, text in (("list", "every store: model and data, rows, size, days since its last use"),
                     ("verify", "read everything; tell what is damaged (status 1)"),
                     ("prune", "remove stores and say which")):
    part = what.add_parser(name, help=text, description=text)
    part.add_argument("dir", metavar="DIR", help="the --cache_dir of the runs")
  part.add_argument("--older_than", type=float, metavar="DAYS", help="those not used for so long")
  part.add_argument("--unfinished", action="store_true", help="those that lack some of their rows")


def _cache(arguments: argparse.Namespace) -> int:
  """`mezzanine cache list|verify|prune DIR`."""
  from mezzanine_jax import cache, cache_report

  if arguments.what == "list":
    cache_report.show(cache.entries(arguments.dir))
    return 0
  if arguments.what == "verify":
    return cache_report.show_verified(cache.verify(arguments.dir))
  cache_report.show_pruned(
      cache.prune(arguments.dir, arguments.older_than, arguments.unfinished))
  return 0


def _report(arguments: argparse.Namespace) -> int:
  """`mezzanine report OUT… [--format html|md] [--to FILE]`."""
  from mezzanine_jax import finished, html_report, model_card

  if arguments.format == "html":
    print(f"wrote {html_report.write(arguments.outs, arguments.to)}")
    return 0
  text = model_card.render(finished.read(arguments.outs))
  if arguments.to:
    finished.write_text(arguments.to, text)
    print(f"wrote {arguments.to}")
  else:
    # Data may hold halves of surrogate pairs, which no terminal can show.
    print(text.encode("utf-8", "replace").decode(), end="")
  return 0


def _run_recipe(argv: list[str]) -> int:
  """`mezzanine run [RECIPE] [--config FILE] [--out DIR] [--FIELD VALUE …]`."""
  from mezzanine_jax.recipes import recipe_names

  first = argparse.ArgumentParser(
      prog="mezzanine run", add_help=False, allow_abbrev=False,
      usage="mezzanine run [RECIPE]\n"
      "                     [--config FILE] [--out DIR] [--FIELD VALUE ...]",
      description="Runs a recipe (which may be left out where the config names one). An unfinished"
      " run in DIR is continued, a finished one shown again."
      f" Recipes: {', '.join(recipe_names())}. `mezzanine run RECIPE --help` lists every field.",
  )
  first.add_argument("--config", metavar="FILE", help="Python file with get_config()")
  first.add_argument("--out", metavar="DIR", help="folder of the run (default: out/RECIPE)")
  first.add_argument("--show", metavar="N", help="print N test examples with their views, and stop")
  first.add_argument("--coordinator", metavar="HOST:PORT", help="of several processes, the place"
                     " where the first one listens; auto: the cluster tells (TPU pods, SLURM)")
  first.add_argument("--num_processes", metavar="N", type=int, help="how many processes there are")
  first.add_argument("--process_id", metavar="I", type=int, help="which this is, from 0: all"
                     " share the folders, the first trains and reports")
  found = arguments_lib.configured(first, argv)
  if found is None:
    return 0
  known, recipe, module, config, _ = found
  out = known.out or os.path.join("out", recipe)
  quiet()
  if known.show is not None:
    return _show(recipe, module, config, known.show)
  _join(known)

  from mezzanine_jax import compile_cache, hosts, report, runs

  compile_cache.enable()
  finished = os.path.isfile(os.path.join(out, runs.RESULTS))
  try:
    results = module.run(config, out)
  except hosts.Left:
    hosts.wait_for(pathlib.Path(out, runs.RESULTS))
    return 0
  if not hosts.is_first():
    return 0
  if finished:
    print("This run had finished before; its results again:")
  getattr(module, "show", report.show)(results, out)
  return 0


def _new(arguments: argparse.Namespace) -> int:
  """`mezzanine new recipe NAME [--to DIR]`."""
  from mezzanine_jax import new_recipe

  print(new_recipe.in_words(new_recipe.write(arguments.name, arguments.to)))
  return 0


def _plan(argv: list[str]) -> int:
  """`mezzanine plan [RECIPE] --topology T [--config FILE] [--model NAME] [--FIELD VALUE …]`."""
  first = argparse.ArgumentParser(
      prog="mezzanine plan", add_help=False, allow_abbrev=False,
      usage="mezzanine plan [RECIPE] --topology T\n"
      "                      [--config FILE] [--model NAME] [--FIELD VALUE ...]",
      description="Compiles what a run would call, from shapes alone, for devices that need not be"
      " there, and tells whether it fits, what it costs and what would be better. Nothing is run.",
  )
  first.add_argument("--config", metavar="FILE", help="Python file with get_config()")
  first.add_argument("--topology", metavar="T", help="cpu, cpu:N, or a TPU slice such as v5e:2x2"
                     " (pip install 'mezzanine_jax[tpu]')")
  first.add_argument("--model", metavar="NAME", help="instead of the lm_name: gpt2, smollm2-135m,"
                     " tinyllama-1.1b, llama-8b, or anything with a config.json")
  first.add_argument("--row_tokens", metavar="N", type=int, help="tokens of a usual prompt"
                     " (default: 170, as of BoolQ)")
  first.add_argument("--choice_tokens", metavar="N", type=int, default=1,
                     help="tokens of the longest choice")
  found = arguments_lib.configured(first, argv)
  if found is None:
    return 0
  known, _, module, config, given = found
  if known.topology is None:
    raise InputError("plan needs a --topology: cpu, cpu:N, or a TPU slice such as v5e:2x2")
  if known.model is not None:
    config = dataclasses.replace(config, lm_name=known.model)
  quiet()
  import jax

  jax.config.update("jax_platforms", "cpu")  # to plan for a device is not to take it
  from mezzanine_jax import plan, plan_report, topologies

  plan_report.show(plan.plan(
      module, config, topologies.topology(known.topology), given=given,
      row_tokens=plan.ROW_TOKENS if known.row_tokens is None else known.row_tokens,
      choice_tokens=known.choice_tokens))
  return 0


def _join(known: argparse.Namespace) -> None:
  """Joins the other processes, where there are any."""
  numbers = (known.num_processes, known.process_id)
  if known.coordinator is None:
    if numbers != (None, None):
      raise InputError("--num_processes and --process_id need --coordinator HOST:PORT")
    return
  from mezzanine_jax import hosts

  hosts.join(known.coordinator, *numbers)


def _show(recipe: str, module: ModuleType, config: Any, number: str) -> int:
  """`mezzanine run … --show N`: examples as the model sees them."""
  if not number.isdecimal() or int(number) < 1:
    raise InputError(f"--show must be a whole number >= 1, got {number!r}")
  if not hasattr(module, "show_views"):
    raise InputError(f"the recipe {recipe!r} cannot show its views: leave --show out")
  from rich.console import Console

  Console().print(module.show_views(config, int(number)))
  return 0


def _list() -> int:
  """Prints what a configuration may name, other packages' too."""
  from mezzanine_jax import adapters, recipes, symmetries, worlds
  from mezzanine_jax.heads import STUDENTS, VALUE_STUDENTS
  from mezzanine_jax.models.cnn import IMAGE_STUDENTS
  from mezzanine_jax.models.gru import STEP_STUDENTS
  from mezzanine_jax.text_students import TEXT_STUDENTS

  def described(names: Iterable[str], get: Callable[[str], Any]) -> dict[str, str]:
    out = {}
    for name in names:
      try:
        out[name] = next(iter((get(name).__doc__ or "").strip().splitlines()), "")
      except InputError as error:  # of another package: the rest can be named all the same
        out[name] = f"cannot be used: {error}"
    return out

  students = STUDENTS | TEXT_STUDENTS | IMAGE_STUDENTS | STEP_STUDENTS | VALUE_STUDENTS
  groups = {
      "recipes": described(recipes.recipe_names(), recipes.get_recipe),
      "worlds": described(worlds.world_names(), worlds.get_world),
      "symmetries": described(symmetries.symmetry_names(), symmetries.get_symmetry),
      "students": described(students, students.__getitem__) | adapters.NAMES,
  }
  for title, members in groups.items():
    print(title)
    for name, text in members.items():
      print(f"  {name}\n      {text}")
  return 0


def quiet() -> None:
  """Keeps the libraries' chatter off the terminal; warnings and errors stay."""
  import logging

  for name in ("absl", "orbax", "jax", "httpx", "huggingface_hub", "datasets"):
    # absl tells with a traceback in every thread what is raised all the same.
    logging.getLogger(name).setLevel(logging.CRITICAL if name == "absl" else logging.ERROR)


if __name__ == "__main__":
  sys.exit(main())
