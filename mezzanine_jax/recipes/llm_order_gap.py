"""Measure how far a causal LM's answer moves over views that should not change it. No training.

1. Examples of any world, as prompts; a symmetry says what may change places.
2. The canonical prompt and K views of each go through the LM once.
3. The gap with its standard error, how often the answer flips, the gap against the number of
   segments that may change places, and the examples that move most.
"""

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np

from mezzanine_jax import (
    comparison,
    experiment,
    gap_report,
    language,
    moved,
    predictions,
    report,
    runs,
    scoring,
)
from mezzanine_jax import store as store_lib
from mezzanine_jax.config import option
from mezzanine_jax.settings import LmFields, RunFields, SymmetryFields, WorldFields

NAME = "llm_order_gap"
show = gap_report.show
show_views = experiment.show_views


@dataclasses.dataclass(frozen=True)
class Config(RunFields, SymmetryFields, LmFields, WorldFields):
  """Every field of the recipe."""

  n_train: int = option(64, "training examples, which shots are taken from", at_least=1)


def run(config: Config, out: str | pathlib.Path) -> dict[str, Any]:
  """Runs the experiment, or continues it, or returns the results of a finished one.

  Args:
    config: see `Config`.
    out: the run's folder.

  Returns:
    What `results.json` holds.

  Raises:
    InputError: for input that cannot be used; nothing is written then, but for scores that turn
      out not to be finite.
  """
  started = time.monotonic()
  folder = runs.look(out, NAME, config)
  if folder.results is not None:
    return folder.results

  # Everything that can be wrong with the input shows before anything is written.
  asked = experiment.ask(config, experiment.only_test)
  data, lm = asked.data, asked.lm
  plan = experiment.plan_views(config, data, asked.prepared, lm.tokenizer, asked.symmetry)
  fingerprint = runs.fingerprint(
      NAME, config, model=lm.digest, data=data.world.digests, rows=language.digest(plan))
  runs.begin(folder, fingerprint)
  scored = experiment.score(
      folder, fingerprint, plan,
      _choices_only(experiment.lm_batch_fn(config, lm, asked.symmetry)), lm.params,
      [e.id for e in data.examples])

  beliefs, clusters = scored.beliefs, data.clusters
  blocks = comparison.gap_blocks(beliefs, data.labels, clusters, config.seed)
  mass = store_lib.read(scored.store, "choice_mass")[plan.rows.canonical_row]
  blocks["baseline"] |= comparison.choice_mass_block(mass, clusters)
  results = report.header(NAME, config) | blocks | {
      **moved.blocks(asked, plan, beliefs, np.arange(len(clusters)), config.n_examples),
      "noise_floor": scored.noise_floor,
      "data": experiment.data_block(asked, plan),
      "cost": scored.cost | {
          "total_seconds": time.monotonic() - started, "peak_rss_mb": report.peak_rss_mb()
      },
  }
  predictions.write(folder.path / runs.PREDICTIONS, data.examples, {"baseline": beliefs})
  gap_report.diagnostics(
      results, beliefs, comparison.example_gaps(beliefs), folder.path / runs.DIAGNOSTICS)
  # Last of all: where results.json stands, the run is finished.
  return runs.write_json(folder.path / runs.RESULTS, results)


def _choices_only(batch_fn):
  """The same scores without hidden states, which nobody reads."""

  def apply(params, elements, rows):
    return scoring.Answers(*batch_fn(params, elements, rows)[:3])

  return apply
