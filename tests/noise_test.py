"""The noise floor: the same rows again, in other batches."""

import numpy as np
import pytest

from mezzanine_jax import experiment, noise
from mezzanine_jax.recipes import llm_order_gap as recipe


@pytest.fixture(scope="module")
def made(tiny_lm):
  config = recipe.Config(world="evidence_qa", lm_name=tiny_lm, n_train=2, n_test=7, k_test=4,
                         max_shapes=1, batch_tokens=512)
  asked = experiment.ask(config, experiment.only_test)
  plan = experiment.plan_views(
      config, asked.data, asked.prepared, asked.lm.tokenizer, asked.symmetry)
  return asked, plan, experiment.lm_batch_fn(config, asked.lm, asked.symmetry)


@pytest.mark.slow  # every recipe's test looks at the figure in the fast tier
def test_the_rows_are_the_same_and_the_batches_others(made):
  asked, plan, batch_fn = made
  seen = []

  def spied(params, elements, rows):
    seen.append(rows.lengths.shape)
    return batch_fn(params, elements, rows)

  again = noise.rescore(plan, spied, asked.lm.params)
  assert len(again.rows) == min(32, (len(plan.rows.example) + 1) // 2)
  assert (np.diff(again.rows) >= 2).all()  # nobody stands beside the row it stood beside
  assert seen and seen[0][0] not in {batch.size for batch in plan.batches}
  twice = noise.rescore(plan, spied, asked.lm.params)
  np.testing.assert_array_equal(twice.values.log_probs, again.values.log_probs)
  probs = np.exp(again.values.log_probs)
  np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
  assert probs[:, 0].std() > 1e-4  # rows that could be mistaken for each other would not show


def test_a_model_that_sees_its_batch_is_found_out():
  block = noise.noise_block(np.log([[0.5, 0.5], [0.2, 0.8]]), np.log([[0.5, 0.5], [0.3, 0.7]]))
  assert block == {"rows": 2, "mean_tv": pytest.approx(0.05), "max_tv": pytest.approx(0.1)}
