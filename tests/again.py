"""A finished run's predictions again, by `predict`, beside those that it kept."""

import json
import pathlib

import numpy as np

from mezzanine_jax import runs


def check_same(out, made, place_of):
  """Compares with a run's own predictions, which have six digits.

  Args:
    out: the run's folder.
    made: `predict.Predictions` of its whole test part.
    place_of: from the run's name of an example to its place in `made`.
  """
  kept = json.loads((pathlib.Path(out) / runs.PREDICTIONS).read_text())
  rows = [place_of(name) for name in kept["id"]]
  assert sorted(rows) == list(range(len(made.ids)))
  for model, own in (("student", made.answers.student), ("baseline", made.answers.baseline)):
    expected = np.array(kept["probabilities"][model])
    assert expected.std(0).max() > 1e-5  # they are not all alike
    if own is not None:
      np.testing.assert_allclose(np.exp(own[rows]), expected, atol=2e-6)
  np.testing.assert_array_equal(made.labels[rows], kept["label"])
