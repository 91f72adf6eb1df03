"""Finished runs in words, and the command that repeats one."""

import dataclasses
import shlex

import pytest

import mezzanine_jax
from mezzanine_jax import cli, finished
from mezzanine_jax.recipes import RECIPES, get_recipe

CHANGES = {"template": "-Q: {passage}\n'$x'\nA:", "choices": " no| yes", "max_length": None,
           "chat": True, "learning_rate": 3e-5, "dataset": "a b/c;d", "seed": 7}


@pytest.mark.parametrize("version", [mezzanine_jax.__version__, "0.0.1"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_command_gives_the_same_configuration(recipe, version, monkeypatch):
  schema = get_recipe(recipe).Config
  known = {f.name for f in dataclasses.fields(schema)}
  config = schema(**{name: own for name, own in CHANGES.items() if name in known})
  results = {"recipe": recipe, "version": version, "config": dataclasses.asdict(config)}
  words = shlex.split(finished.command(results, "out/-x y"))
  seen = []
  monkeypatch.setattr(get_recipe(recipe), "run", lambda c, out: seen.append((c, out)) or {})
  monkeypatch.setattr(get_recipe(recipe), "show", lambda results, out: None, raising=False)
  assert cli.main(words[1:]) == 0
  assert seen == [(config, "out/-x y")]


def test_defaults_are_left_out():
  config = get_recipe("llm_order_gap").Config(lm_name="gpt2", n_test=9)
  results = {"recipe": "llm_order_gap", "version": mezzanine_jax.__version__,
             "config": dataclasses.asdict(config)}
  assert finished.command(results, "o") == "mezzanine run llm_order_gap --n_test 9 --out o"


def test_a_value_without_a_standard_error_has_no_interval():
  block = {"a": 1.0, "a_stderr": None, "b": None, "c": 2.0, "c_stderr": 0.5, "d": float("nan")}
  assert finished.value(block, "a") == finished.Value(1.0, None, None)
  assert finished.value(block, "b") is finished.value(block, "d") is None
  assert finished.value(block, "c").interval == pytest.approx((1.02, 2.98))


def test_the_interval_of_a_rate_stays_inside():
  block = {"accuracy": 0.99, "accuracy_stderr": 0.01, "nll": 0.01, "nll_stderr": 0.01}
  low, high = finished.value(block, "accuracy").interval  # of a run that kept none
  assert 0.9 < low < 0.97 and 0.99 < high < 1
  assert finished.value(block, "nll").interval[0] < 0
  kept = block | {"accuracy_interval": [0.5, 1.0]}
  assert finished.value(kept, "accuracy").interval == (0.5, 1.0)
