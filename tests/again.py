"""A finished run's predictions again, by `predict`, beside those that it kept."""

import json
import pathlib

import numpy as np

from mezzanine_jax import experiment, runs


def write_test_part(config, path):
  """Writes the test examples of a run whose answers are no and yes, under its names for them."""
  examples = experiment.only_test(experiment.load_data(config)).examples
  rows = [e.x | {"id": e.id, "answer": bool(e.label)} for e in examples]
  path.write_text("\n".join(map(json.dumps, rows)))
  return str(path)


def check_same(out, made, names=None):
  """Compares with a run's own predictions, which have six digits.

  Args:
    out: the run's folder.
    made: `predict.Predictions` of its whole test part.
    names: the run's name of each, where that is not its id.
  """
  kept = json.loads((pathlib.Path(out) / runs.PREDICTIONS).read_text())
  names = made.ids if names is None else names
  rows = [names.index(name) for name in kept["id"]]
  assert sorted(rows) == list(range(len(made.ids)))
  for model, own in (("student", made.answers.student), ("baseline", made.answers.baseline)):
    expected = np.array(kept["probabilities"][model])
    assert expected.std(0).max() > 1e-5  # they are not all alike
    if own is not None:
      np.testing.assert_allclose(np.exp(own[rows]), expected, atol=2e-6)
  np.testing.assert_array_equal(made.labels[rows], kept["label"])


def without_clock(results):
  """The results but for what differs from one machine or hour to another."""
  kept = {k: v for k, v in results.items() if k != "environment"}
  clock = ("rows_run", "seconds", "views_per_second", "total_seconds", "peak_rss_mb")
  kept["cost"] = {k: v for k, v in results["cost"].items() if k not in clock}
  return kept
