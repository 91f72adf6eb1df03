"""`mezzanine tune [RECIPE] [--config FILE] --vary FIELD=VALUES … [--out DIR] [--FIELD VALUE …]`."""

import argparse
import os
import sys

from mezzanine_jax import arguments, autotune, compile_cache, tuned
from mezzanine_jax.cli import quiet
from mezzanine_jax.errors import InputError


def main(argv: list[str]) -> int:
  """Runs the command; returns 0, or 1 where no setting lies within range."""
  first = argparse.ArgumentParser(
      prog="mezzanine tune", add_help=False, allow_abbrev=False,
      usage="mezzanine tune [RECIPE]\n"
      "                      [--config FILE] --vary FIELD=VALUE,VALUE,...\n"
      "                      [--within FIGURE=LOW..HIGH] [--maximize FIGURE] [--most N]\n"
      "                      [--order N] [--out DIR] [--FIELD VALUE ...]",
      description="Runs a recipe with every setting of some fields, each in a folder of its own,"
      " and finds the one with the largest effect among those whose figures lie within ranges:"
      " hard, but not dead. The same command continues; settings that were run are not run again.",
  )
  first.add_argument("--config", metavar="FILE", help="Python file with get_config()")
  first.add_argument("--out", metavar="DIR", help="folder of the search (default: out/tune_RECIPE)")
  first.add_argument("--vary", metavar="FIELD=VALUES", action="append", default=[],
                     help="values of a field, split at commas, or at | where there is one; may be"
                     " given for several fields")
  first.add_argument("--within", metavar="FIGURE=LOW..HIGH", action="append", default=[],
                     help="range of a figure, by its name in results.json with dots, such as"
                     " baseline.accuracy=0.6..0.95; may be given for several")
  first.add_argument("--maximize", metavar="FIGURE", default=autotune.EFFECT,
                     help="what is to be large (default: %(default)s)")
  first.add_argument("--most", metavar="N", help="settings run at most (default: all)")
  first.add_argument("--order", metavar="N", default="0", help="which random order (default: 0)")
  named = arguments.configured(first, argv)
  if named is None:
    return 0
  known, recipe, module, config, given = named
  for option, least in (("most", 1), ("order", 0)):
    value = getattr(known, option)
    if value is not None and not (value.isdecimal() and int(value) >= least):
      raise InputError(f"--{option} must be a whole number >= {least}, got {value!r}")
  vary = autotune.parse_vary(known.vary)
  within = [autotune.parse_within(text) for text in known.within]
  quiet()
  compile_cache.enable()
  out = known.out or os.path.join("out", f"tune_{recipe}")
  found = autotune.tune(
      module, recipe, {field: getattr(config, field) for field in given}, vary, out, within=within,
      maximize=known.maximize, most=None if known.most is None else int(known.most),
      order=int(known.order), told=lambda line: print(line, file=sys.stderr, flush=True))
  tuned.show(found, out)
  return 0 if found["best"] is not None else 1
