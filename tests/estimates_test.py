"""What a program needs: hand-computed bytes, FLOPs and seconds, and what a refusal says."""

import math

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from mezzanine_jax import efficiency, estimates, topologies
from mezzanine_jax.models.attention import one_row
from mezzanine_jax.models.transformer import Transformer, init_params, unembed
from mezzanine_jax.models.transformer_config import TransformerConfig

CHIP = topologies.Chip(2.0**30, 1e12, 1e11, 1e9, 1e8, 1e6, "made up")

TEXT = """HloModule jit_f

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %fusion.1 = f32[8]{0} fusion(%x), backend_config={"estimated_cycles":"300"}
  %all-gather.1 = bf16[1000,500]{1,0} all-gather(%y), replica_groups=[2,2]<=[4], dimensions={1}
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(10)
  ROOT %lt = pred[] compare(%i, %constant.1), direction=LT
}

ENTRY %main.5_spmd (a: f32[8]) -> f32[8] {
  %copy.1 = f32[8]{0} copy(%a), backend_config={"estimated_cycles":"2000"}
  %while.1 = (s32[], f32[8]{0}) while(%tuple), condition=%condition, body=%body
  ROOT %all-reduce.1 = f32[250000]{0} all-reduce(%z), replica_groups={{0,1,2,3}}, to_apply=%add
}
"""


def test_products_are_counted_as_the_formula_says_through_the_layers_loop():
  config = TransformerConfig(500, 64, 3, 4, 2, 16, 256, 64, positions="learned", causal=False)
  tokens = jnp.arange(32)
  params = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))

  def run(params):
    hidden, = Transformer(config).apply({"params": params}, one_row(tokens, tokens))
    return unembed(config, params, hidden[-1:])

  counted = estimates.product_flops(jax.make_jaxpr(run)(params))
  assert counted == efficiency.transformer_flops(config, 32, 1)


def test_seconds_are_cycles_by_turns_and_transfers_by_hand():
  cycles = (2000 + 10 * 300) / 1e6
  gather = 10 * (1000 * 500 * 2) * (1 / 2) / 1e8  # two chips: one link
  total = 2 * (250000 * 4) * (3 / 4) / 2e8  # four: a ring, both ways round
  assert estimates.compiled_seconds(TEXT, CHIP, 4) == pytest.approx(cycles + gather + total)
  no_clock = CHIP._replace(clock=None)
  assert estimates.compiled_seconds(TEXT, no_clock, 4) == pytest.approx(gather + total)


@pytest.mark.parametrize(("line", "seconds"), [
    ("%a = f32[100]{0} collective-permute(%x), source_target_pairs={{0,1}}", 400 / 1e8),
    ("%a = f32[100]{0} reduce-scatter(%x), replica_groups=mesh['a'=2,'b'=2] {'a','b'}",
     1600 * 3 / 4 / 2e8),
    ("%a = (f32[50]{0}, f32[100]{0}) all-gather-start(%x), replica_groups=[1,2]<=[2]",
     400 / 2 / 1e8),
    ("%a = f32[100]{0} add(%x, %y)", 0.0),
])
def test_transfers_by_hand(line, seconds):
  assert estimates._transfer("  " + line, CHIP, 4) == pytest.approx(seconds)


def _on_cpu(memory):
  chip = CHIP._replace(memory=memory, link=0.0, clock=None)
  return topologies.Topology("cpu", chip, jax.local_devices(backend="cpu")[:1], 1)


def test_a_program_on_the_cpu():
  topology = _on_cpu(2.0**20)
  x = jax.ShapeDtypeStruct((16, 16), jnp.float32,
                           sharding=SingleDeviceSharding(topology.devices[0]))
  found = estimates.program(lambda x, y: x @ y, (x, x), topology)
  assert (found.arguments, found.outputs, found.flops) == (2048, 1024, 2 * 16**3)
  assert found.fits and found.by == "roofline"
  # Three arrays of 1024 bytes pass the memory once, which takes longer than the product.
  assert found.seconds == pytest.approx(3 * 1024 / 1e9)
  small = estimates.program(lambda x, y: x @ y, (x, x), _on_cpu(3000.0))
  assert not small.fits and math.isinf(small.seconds)


def test_what_the_compiler_says_of_too_little_memory():
  said = estimates.out_of_memory(
      "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries"
      " (17.50G) exceeds available HBM (15.75G).", 2.0**30)
  assert said == (18.5 * 2**30, 15.75 * 2**30)
  assert estimates.out_of_memory("INTERNAL: something else", 1.0) is None
