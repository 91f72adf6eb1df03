"""From a configuration to prompts: the world's own, or what was asked for."""

import dataclasses

import numpy as np
import pytest
import rich.console

from mezzanine_jax import experiment, show
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe


@pytest.fixture(scope="module")
def config(tiny_lm):
  return recipe.Config(world="evidence_qa", lm_name=tiny_lm, n_train=3, n_test=2, k_test=3)


def test_data_lists_the_training_part_first(config):
  data = experiment.load_data(config)
  assert data.is_test.tolist() == [False] * 3 + [True] * 2
  assert data.labels.tolist() == [e.label for e in data.world.train + data.world.test]


def test_a_field_that_the_world_does_not_know_is_refused(config):
  with pytest.raises(InputError, match="'evidence_qa' has no text_field, got 'body'"):
    experiment.load_data(dataclasses.replace(config, text_field="body"))


def test_the_worlds_prompt_is_used_unless_one_is_given(config):
  asked = experiment.ask(config)
  assert (asked.template, asked.choices) == (experiment.TEMPLATE, [" no", " yes"])
  own = dataclasses.replace(config, template="{question} {passage}\nSo:", choices=" false| true")
  asked = experiment.ask(own)
  assert asked.prepared.tokenized[0].texts[0].pieces[-1].text == "\nSo:"
  assert asked.choices == [" false", " true"]


def test_shots_come_from_the_training_part(config):
  asked = experiment.ask(
      dataclasses.replace(config, shots=1, template="{demonstrations}{question} {passage}\nSo:"),
      lambda data: experiment.only_test(data, 1))
  assert len(asked.prepared.tokenized) == 1
  whole = "".join(p.text for p in asked.prepared.tokenized[0].texts[0].pieces)
  assert any(e.x["question"] in whole for e in asked.data.world.train)


def test_views_that_are_shown_are_those_of_the_examples_asked_for(config):
  console = rich.console.Console(width=80)
  with console.capture() as captured:
    console.print(show.show_views(config, 2))
  shown = captured.get()
  assert shown.count("right answer") == 2 and shown.count("canonical view") == 2
  assert shown.count("view 3") == 2


def test_the_teachers_views_are_balanced_and_those_of_gaps_are_not(config):
  asked = experiment.ask(config)

  def planned(asked=asked, **changes):
    changed = dataclasses.replace(config, k_train=5, k_test=5, **changes)
    return experiment.plan_views(
        changed, asked.data, asked.prepared, asked.lm.tokenizer, asked.symmetry).views

  plain, auto = (planned(design=d).elements for d in ("distinct", "auto"))
  is_test = asked.data.is_test
  np.testing.assert_array_equal(auto[is_test], plain[is_test])
  assert (auto[~is_test] != plain[~is_test]).any((1, 2)).all()
  with pytest.raises(InputError, match="'exact' takes whole orbits, but 5 of 5 examples"):
    planned(design="exact")
  only = asked._replace(
      data=experiment.only_test(asked.data),
      prepared=asked.prepared._replace(tokenized=asked.prepared.tokenized[3:]))
  with pytest.raises(InputError, match="'balanced' is for the teacher of a student"):
    planned(only, design="balanced")
