"""Controls and retrieval: what is taken away, and how much worse an answer is found."""

import jax
import numpy as np

from mezzanine_jax import controls, retrieval

STEPS = {"observation": np.arange(12.0).reshape(6, 2), "action": np.arange(6.0)[:, None]}


def test_shuffled_actions_are_all_anothers():
  control = controls.action_shuffle()
  for seed in range(20):
    element = control.sample(jax.random.key(seed), STEPS)
    shuffled = control.act(element, STEPS)
    assert sorted(shuffled["action"].ravel().tolist()) == list(range(6))
    assert (np.asarray(shuffled["action"]) != STEPS["action"]).all()
    np.testing.assert_array_equal(shuffled["observation"], STEPS["observation"])


def test_without_actions_all_have_one():
  without = controls.no_action().act((), STEPS)
  np.testing.assert_array_equal(without["action"], np.full((6, 1), 2.5))


def test_ranks_by_hand():
  true = np.array([[0.0], [1.0], [2.0], [3.0]])
  assert retrieval.ranks(true, true).tolist() == [1, 1, 1, 1]
  assert retrieval.ranks(true[::-1], true).tolist() == [4, 2.5, 2.5, 4]
  assert retrieval.ranks(np.full((4, 1), 1.5), true).tolist() == [3.5, 1.5, 1.5, 3.5]
  found = retrieval.block(np.array([1.0, 20.0, 5.0, 40.0]), list("abcd"))
  assert found["recall_at_10"] == 0.5 and found["median_rank"] == 12.5
