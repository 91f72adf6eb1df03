"""The estimators against exact orbits of random transformers, and the table that shows it."""

import math
import pathlib
import sys

import jax
import numpy as np
import pytest

BENCHMARKS = str(pathlib.Path(__file__).parents[1] / "benchmarks")
sys.path.insert(0, BENCHMARKS)

import estimators  # noqa: E402

from mezzanine_jax import gap  # noqa: E402

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


@pytest.mark.parametrize("orbit_size", [9.0, np.inf])
def test_kl_to_the_teacher_against_a_loop(orbit_size):
  views = estimators.orbit(3)[:5]
  q = estimators.orbit(3)[5]
  compared = (np.arange(5) == 2) & np.isfinite(orbit_size)
  p, uniform = np.exp(views.astype(np.float64)), np.full(5, -np.log(5), np.float32)
  others, keep = p[~compared], 1 - 1 / orbit_size

  def plug_in(others):
    teacher = p[2] / orbit_size + keep * others.mean(0)
    return (teacher * (np.log(teacher) - q)).sum()

  num = len(others)
  left = np.mean([plug_in(np.delete(others, i, 0)) for i in range(num)])
  expected = plug_in(others) + (num - 1) * (1 - num / (orbit_size - 1)) * (plug_in(others) - left)
  kl = jax.jit(gap.kl_to_teacher)
  np.testing.assert_allclose(
      kl(q, views, uniform, orbit_size, compared, views[2]), expected, rtol=1e-3)
  # The whole orbit but for the compared view is as good as all of it.
  teacher = p.mean(0)
  but_one = np.where(np.arange(5) == 2, -np.inf, -np.log(4)).astype(np.float32)
  for drawn in (but_one, uniform):
    found = kl(q, views, drawn, 5.0, np.arange(5) == 2, views[2])
    np.testing.assert_allclose(found, (teacher * (np.log(teacher) - q)).sum(), rtol=1e-4)


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
