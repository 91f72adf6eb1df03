"""Other questions about the same evidence."""

from collections import Counter

import numpy as np
import pytest

from mezzanine_jax import experiment
from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe
from mezzanine_jax.worlds.pairs import other_questions


def _examples(clusters):
  return [Example(f"e{n}", {"passage": f"passage {c}", "question": f"question {n}"}, n % 2, c)
          for n, c in enumerate(clusters)]


def test_each_passage_gets_so_many_other_questions_and_each_question_is_asked_as_often():
  examples = _examples("abcdefgh")
  found = other_questions(examples, "passage", 3, seed=1)
  assert Counter(e.cluster for e in found) == dict.fromkeys("abcdefgh", 3)
  assert Counter(e.x["question"] for e in found) == {f"question {n}": 3 for n in range(8)}
  assert all(e.label is None and e.x["passage"] == f"passage {e.cluster}" for e in found)
  pairs = {(e.x["passage"], e.x["question"]) for e in found}
  assert len(pairs) == 24 == len({e.id for e in found})
  assert not pairs & {(e.x["passage"], e.x["question"]) for e in examples}
  assert found == other_questions(examples, "passage", 3, seed=1)
  assert found != other_questions(examples, "passage", 3, seed=2)


def test_questions_of_the_same_passage_are_none_of_others():
  found = other_questions(_examples("aaabc"), "passage", 10)
  assert {(e.cluster, e.x["question"]) for e in found} == {
      ("a", "question 3"), ("a", "question 4"),
      *(("b", f"question {n}") for n in (0, 1, 2, 4)),
      *(("c", f"question {n}") for n in (0, 1, 2, 3))}


def test_extra_examples_are_learned_from_only():
  config = recipe.Config(world="evidence_qa", n_train=20, n_test=5, extra_questions=2, k_extra=3,
                         k_train=4, k_test=5)
  data = experiment.load_data(config)
  # Two for each of the 16 passages that are learned from; none about one that chooses the step.
  assert (~data.is_test).sum() == 52 and data.is_extra.sum() == 32 and data.is_test[-5:].all()
  train, valid = experiment.split_training(config, data)
  assert not data.is_extra[valid].any() and len(valid) == 4
  assert data.is_extra[train].sum() == 32
  assert not {data.clusters[n] for n in train} & {data.clusters[n] for n in valid}
  assert experiment.drawn(config, data)["num_views"].tolist() == [4] * 20 + [3] * 32 + [5] * 5
  only = experiment.only_test(data)
  np.testing.assert_array_equal(only.is_extra, np.zeros(5, bool))


def test_there_must_be_a_question_and_no_paraphrases_and_none_is_asked_twice():
  with pytest.raises(InputError, match="a field beside the evidence"):
    other_questions([Example("a", {"text": "One."}, 0, "a")], "text", 1)
  config = recipe.Config(world="evidence_qa", extra_questions=1, paraphrases="others")
  with pytest.raises(InputError, match="leave out one of extra_questions and paraphrases"):
    experiment.load_data(config)
  found = other_questions(_examples("aaabc"), "passage", 2)
  asked = [(e.x["passage"], e.x["question"]) for e in found]
  assert len(asked) == len(set(asked)) == 2 + 4  # of a, which has two others only; of b and c
  empty = Example("e", {"passage": "", "question": "Why?"}, 0, "e")
  assert not any(e.cluster == "e" for e in other_questions([*_examples("ab"), empty], "passage", 3))


def test_a_world_without_evidence_has_no_other_questions():
  with pytest.raises(InputError, match="no evidence"):
    experiment.load_data(recipe.Config(world="images", n_train=4, n_test=2, extra_questions=1))
