"""FLOPs against XLA's own count; speed counts texts."""

import jax
import jax.numpy as jnp
import pytest

from mezzanine_jax import efficiency, heads
from mezzanine_jax.models.attention import one_row
from mezzanine_jax.models.transformer import Transformer, unembed
from mezzanine_jax.models.transformer_config import TransformerConfig


def _xla(function, *args):
  return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


def test_a_head_has_the_flops_that_xla_counts():
  student = heads.mlp_head(3, hidden=64, depth=2)
  inputs = {"features": jnp.ones(128)}
  params = student.init(jax.random.key(0), inputs)
  ours = efficiency.student_flops(
      "mlp", {"feature_size": 128, "hidden": 64, "depth": 2}, 3, 0)
  assert ours == pytest.approx(_xla(student.apply, params, inputs), rel=0.15)


def test_a_pass_has_the_flops_that_xla_counts():
  config = TransformerConfig(500, 64, 1, 4, 2, 16, 256, 64, positions="learned", causal=False)
  tokens = jnp.arange(32)
  stream = one_row(tokens, tokens)
  model = Transformer(config)
  params = model.init(jax.random.key(0), stream)["params"]

  def run(params):
    hidden, = model.apply({"params": params}, stream, layers=(-1,))
    return unembed(config, params, hidden[-1:])

  ours = efficiency.transformer_flops(config, 32, 1)
  assert ours == pytest.approx(_xla(run, params), rel=0.15)


def test_speed_is_of_texts_and_leaves_out_the_first_call():
  calls = []
  speed = efficiency.texts_per_second(lambda: calls.append(1), 5, seconds=0.0)
  assert len(calls) == 2 and speed > 0


def test_the_table_names_every_model(capsys):
  own = {"parameters": 1234, "flops_a_text": 2e6, "texts_per_second": 10.0}
  efficiency.show({"student": own, "lm_one_pass": own})
  shown = capsys.readouterr().out
  assert "lm one pass" in shown and "1,234" in shown and max(map(len, shown.split("\n"))) <= 80
