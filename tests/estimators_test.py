"""The estimators against exact orbits of random transformers, and the table that shows it."""

import math
import pathlib
import sys

import numpy as np
import pytest

BENCHMARKS = str(pathlib.Path(__file__).parents[1] / "benchmarks")
sys.path.insert(0, BENCHMARKS)

import estimators  # noqa: E402

# Each K is a program of its own: one of them is compiled in the fast tier.
CASES = [
    pytest.param(*case, marks=() if case[0] < 5 and case[1] == 8 else pytest.mark.slow)
    for case in estimators.cases()
]


@pytest.mark.parametrize(("sentences", "num_views", "repeats"), CASES)
def test_figures_are_right_on_average(sentences, num_views, repeats):
  found = estimators.simulate(sentences, num_views, repeats, estimators.NUM_DRAWS)
  for name in estimators.UNBIASED:
    own = found[name]
    assert abs(own.mean - own.exact) <= 3 * own.stderr + 1e-6, name
    assert own.stderr < 0.03 * own.exact or name == "squared_distance"  # the test can fail
  for name in estimators.BIAS_REDUCED:
    own, plugin = found[name], found[f"{name}_plugin"]
    left, before = (abs(e.mean / e.exact - 1) for e in (own, plugin))
    if num_views >= 8:
      assert left < 0.02, name
      assert left < before or before < 1e-4, name


def test_the_orbits_are_those_of_the_model_and_differ():
  for sentences in (3, 4):
    log_probs = estimators.orbit(sentences)
    assert log_probs.shape == (math.factorial(sentences), estimators.NUM_CHOICES)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-5)
    assert len(np.unique(log_probs.round(4), axis=0)) == len(log_probs)
    assert len(set(log_probs.argmax(1))) > 1


def test_the_table_is_printed(capsys, monkeypatch):
  monkeypatch.setattr(estimators, "cases", lambda: [(4, 8, False)])
  rows = estimators.main(["--draws", "2000"])
  shown = capsys.readouterr().out
  assert "| without repeats | 24 | 8 |" in shown and len(rows) == 1
  with pytest.raises(SystemExit):
    estimators.main(["--draws", "1"])
