"""Measure how far a causal LM's answer moves over views. No training.

1. Examples of any world, as prompts; a symmetry says what may change places.
2. The canonical prompt and K views of each go through the LM once.
3. The gap with its standard error, how often the answer flips, the gap against
   the number of segments that may change places, and the examples that move
   most.
"""

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from mezzanine_jax import (
    comparison,
    experiment,
    gap_report,
    language,
    moved,
    predictions,
    quality,
    report,
    runs,
)
from mezzanine_jax import show as show_lib
from mezzanine_jax import store as store_lib
from mezzanine_jax.config import option
from mezzanine_jax.settings import LmFields, RunFields, SymmetryFields, WorldFields

NAME = "llm_order_gap"
show = gap_report.show
show_views = show_lib.show_views
batch_fn = experiment.lm_answers


@dataclasses.dataclass(frozen=True)
class Config(RunFields, SymmetryFields, LmFields, WorldFields):
  """Every field of the recipe."""

  n_train: int = option(64, "training examples, which shots are taken from", at_least=1)


@runs.in_folder(NAME)
def run(config: Config, folder: runs.Folder) -> dict[str, Any]:
  """The run in a folder that is its own; its results."""
  started = time.monotonic()
  # Everything that can be wrong with the input shows before anything is written.
  asked = experiment.ask(config, experiment.only_test)
  data, lm = asked.data, asked.lm
  plan = experiment.plan_views(config, data, asked.prepared, lm.tokenizer, asked.symmetry)
  fingerprint = runs.fingerprint(
      NAME, config, model=lm.digest, data=data.world.digests, rows=language.digest(plan))
  rows_fingerprint = experiment.rows_fingerprint(
      config, asked, plan, choice_norm=config.choice_norm, features=None)
  folder = runs.begin(folder, fingerprint, {runs.STORE: rows_fingerprint})
  scored = experiment.score(
      folder, plan, batch_fn(config, lm, asked.symmetry), lm.params,
      [e.id for e in data.examples])

  beliefs, clusters = scored.beliefs, data.clusters
  blocks = comparison.gap_blocks(beliefs, data.labels, clusters, config.seed)
  mass = store_lib.read(scored.store, "choice_mass")[plan.rows.canonical_row]
  blocks["baseline"] |= comparison.choice_mass_block(mass, clusters)
  blocks["baseline"] = _with_published(config, asked, plan, scored, blocks["baseline"])
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
  if data.world.draw is not None:
    data.world.draw(results, data.examples, folder.path)
  return runs.finish(folder, results)


def _with_published(
    config: Config, asked: experiment.Asked, plan: language.Plan, scored: experiment.Scored,
    block: dict[str, Any],
) -> dict[str, Any]:
  """The model's block with POSIX, and with PriDe's accuracy where options change places."""
  rows, beliefs, data = plan.rows, scored.beliefs, asked.data
  align = jax.vmap(asked.symmetry.align)
  views = np.where(rows.row >= 0, rows.row, rows.canonical_row[:, None])  # padding is weighed 0
  lengths = np.asarray(align(rows.elements, language.choice_lengths(plan)))
  movable = np.asarray(beliefs.orbit_size) > 1
  found = comparison.posix_blocks(
      store_lib.read(scored.store, "choice_log_probs")[views], lengths[views],
      plan.views.log_weights, movable, data.clusters)
  block = block | {part: block[part] | own for part, own in found.items()}
  if "option_order" in [name.strip() for name in config.symmetry.split(",")]:
    log_probs = store_lib.read(scored.store, "log_probs")
    labels = np.broadcast_to(np.arange(log_probs.shape[1]), log_probs.shape)
    option_at = np.argsort(align(rows.elements, labels), 1)  # which option stands under a label
    by_label = np.take_along_axis(log_probs, option_at, 1)
    block |= quality.pride_block(
        by_label[views], plan.views.log_weights, beliefs.canonical, data.labels, data.clusters,
        config.seed)
  return block
