"""The recurrent network: padding, order, gradients, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.gru import gru


def test_padding_changes_nothing_and_order_does():
  short, long = gru(3, (4, 5), hidden=6), gru(3, (7, 5), hidden=6)
  steps = jax.random.normal(jax.random.key(0), (4, 5))
  params = short.init(jax.random.key(1), {"features": steps.reshape(-1)})
  # The last layer starts at zero: give it weights, so that answers can differ.
  out = params["params"]["out"]
  out["kernel"] = jax.random.normal(jax.random.key(2), out["kernel"].shape)
  answer = lambda model, x: np.asarray(model.apply(params, {"features": x.reshape(-1)}))
  np.testing.assert_allclose(
      answer(long, jnp.pad(steps, ((0, 3), (0, 0)))), answer(short, steps), atol=1e-6)
  assert np.abs(answer(short, steps[::-1]) - answer(short, steps)).max() > 1e-3
  np.testing.assert_allclose(np.exp(answer(short, steps)).sum(), 1, atol=1e-6)


def test_too_small_settings_are_refused():
  with pytest.raises(InputError, match="hidden must be >= 1, got 0"):
    gru(2, (3, 4), hidden=0)
