"""`mezzanine predict`: the run's own predictions again, from the files that it left."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from mezzanine_jax import cli, predict, predicted, runs
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe

SIZES = {"n_train": 12, "n_test": 9, "k_train": 2, "k_test": 3, "steps": 20, "eval_every": 5,
         "batch_size": 8, "hidden": 8, "max_shapes": 2, "batch_tokens": 512}


def _rows(count, part):
  people, things = ("Anna", "Tom", "Nora"), ("bicycle", "oak", "elm")
  return [{"passage": f"{people[i % 3]} of {part} {i} owns a red {things[i % 2]}. Tom lives in Oslo."
                      + " The elm is tall." * (i % 3),
           "question": f"does {people[i % 2]} own it", "answer": bool(i % 2)}
          for i in range(count)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  for split, count in (("train", 12), ("validation", 9)):
    (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, _rows(count, split))))
  return folder


@pytest.fixture(scope="module")
def config(tiny_lm, data):
  return recipe.Config(dataset=str(data), lm_name=tiny_lm, **SIZES)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
  out = tmp_path_factory.mktemp("run") / "out"
  recipe.run(config, out)
  return out


def _same_as_the_run(out, made):
  """The predictions are those that the run kept of its test part, to their six digits."""
  kept = json.loads((pathlib.Path(out) / runs.PREDICTIONS).read_text())
  rows = [int(name.partition(":")[2]) for name in kept["id"]]
  assert sorted(rows) == list(range(len(made.ids)))
  for model, own in (("student", made.answers.student), ("baseline", made.answers.baseline)):
    expected = np.array(kept["probabilities"][model])
    np.testing.assert_allclose(np.exp(own[rows]), expected, atol=2e-6)
    assert expected.std(0).max() > 1e-4  # they are not all alike
  np.testing.assert_array_equal(made.labels[rows], kept["label"])


def test_a_runs_own_predictions(finished, data):
  _same_as_the_run(finished, predict.predict(finished, str(data / "validation.jsonl")))
