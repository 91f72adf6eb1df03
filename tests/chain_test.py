"""Chains: the order of samples, of alignments and of orbits."""

import jax
import jax.numpy as jnp
import numpy as np
from tiny import random_prompt

from mezzanine_jax.base import Symmetry
from mezzanine_jax.prompts import pack
from mezzanine_jax.symmetries import chain, segment_order

PROMPT = random_prompt(np.random.default_rng(0), sentences=4)


def test_chain_samples_on_the_acted_input_and_aligns_in_reverse():
  seen = []

  def part(name, shift):
    def sample(key, x):
      seen.append((name, x.tolist()))
      return jnp.array(shift)

    return Symmetry(
        identity=lambda x: jnp.array(0),
        sample=sample,
        act=lambda e, x: x * 2 + e,
        align=lambda e, p: (p - e) / 2,
    )

  both = chain(part("a", 1), part("b", 3))
  x = jnp.array([1.0])
  element = both.sample(jax.random.key(0), x)
  assert seen == [("a", [1.0]), ("b", [3.0])]
  acted = both.act(element, x)
  assert acted.tolist() == [9.0]
  assert both.align(element, acted).tolist() == [1.0]


def test_chained_orbits_multiply():
  prompt = PROMPT._replace(group=np.array([0, 1, 1, 2, 2, 0]))
  both = chain(segment_order(), segment_order(group=2))
  views = both.orbit(prompt, 10)
  assert both.orbit_size(prompt) == 4 and views.log_weights.shape == (4,)
  tokens = {tuple(pack(both.act(e, prompt))[0].tolist()) for e in zip(*views.elements, strict=True)}
  assert len(tokens) == 4
  np.testing.assert_allclose(np.exp(views.log_weights), 0.25, rtol=1e-6)
  assert both.orbit(prompt, 3) is None
