"""Plans: the sizes of known models, what fits, what does not, and what is suggested then."""

import functools
import importlib.util
import json

import jax
import jax.numpy as jnp
import pytest

from mezzanine_jax import cli, efficiency, ridge, topologies
from mezzanine_jax import plan as plan_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import load_config
from mezzanine_jax.models.weights import param_shapes
from mezzanine_jax.recipes import get_recipe

RECIPE = "hf_llm_hiddenstate_order_distill"
CHIP = topologies.Chip(2.0**30, 1e12, 1e11, 1e9, 0.0, None, "made up")


@pytest.fixture
def tiny(tmp_path):
  """A folder with the config.json of a GPT-2 of one layer, and nothing else."""
  (tmp_path / "config.json").write_text(json.dumps({
      "model_type": "gpt2", "vocab_size": 400, "n_positions": 32, "n_embd": 16, "n_layer": 1,
      "n_head": 2}))
  return str(tmp_path)


def _plan(lm_name, memory=CHIP.memory, name="llm_order_gap", **fields):
  recipe = get_recipe(name)
  topology = topologies.Topology(
      "cpu", CHIP._replace(memory=memory), jax.local_devices(backend="cpu")[:1], 1)
  return plan_lib.plan(recipe, recipe.Config(lm_name=lm_name, **fields), topology)


@pytest.mark.parametrize(("name", "count"), [
    ("gpt2", 124_439_808), ("smollm2-135m", 134_515_008), ("tinyllama-1.1b", 1_100_048_384),
    ("llama-8b", 8_030_261_248)])
def test_known_models_have_their_published_size(name, count):
  shapes = param_shapes(load_config(name), "bfloat16")
  assert efficiency.parameters(shapes) == count
  assert shapes["embed"].dtype == jnp.bfloat16
  assert shapes["final_norm"]["scale"].dtype == jnp.float32


def test_the_command_tells_everything_in_80_columns(tiny, capsys):
  argv = ["plan", RECIPE, "--topology", "cpu", "--model", tiny, "--batch_tokens", "64",
          "--n_train", "10", "--n_test", "2", "--k_train", "3", "--k_test", "4", "--steps", "30"]
  assert cli.main(argv) == 0
  shown = capsys.readouterr().out
  assert max(map(len, shown.splitlines())) <= 80
  text = " ".join(shown.split())
  # Embeddings and positions; norms; the four matrices of attention; the MLP; the last norm.
  count = (400 + 32) * 16 + 4 * 16 + 4 * 16 * 17 + 2 * 16 * 64 + 16 + 64 + 2 * 16
  assert f"{count:,} parameters in float32, on cpu" in text
  assert "scoring sets head step LoRA step" in text
  assert "fits yes yes yes yes" in text
  assert "at most 50 rows (views that are equal run once), 25 calls of 2 rows" in text
  assert "Sets: at most 20, 10 calls of 2 rows" in text  # 10 + 2, and the views of 2
  assert f"{2 * ridge.TYPICAL_STEPS} steps of student and control" in text and "LoRA" in text
  assert "--mesh data=1,model=1: every device holds the whole model" in text
  assert "Suggested: --batch_tokens" in text


def test_what_does_not_fit_comes_with_a_batch_that_does(tiny):
  whole = _plan(tiny, 2.0**30, batch_tokens=512, n_test=4)
  assert whole.scoring.fits and whole.rows == 4 * 17 and not whole.tried
  needed = whole.scoring.longest.needed
  found = _plan(tiny, needed - 1, batch_tokens=512, n_test=4)
  assert not found.scoring.fits and found.scoring.rows_per_second == 0
  assert found.better.fits and 32 <= found.better.batch_tokens < 512
  assert found.better.longest.needed < needed and len(found.tried) == 1


def test_adapters_are_planned_as_they_are_trained(tiny):
  one, pairs, as_set = (
      _plan(tiny, name=RECIPE, n_train=4, n_test=2, lora_batch_tokens=96, **fields).adapters
      for fields in ({"student": "lora"}, {"student": "lora", "consistency_weight": 1.0},
                     {"student": "set", "set_orders": 3}))
  assert one.batch == 3 and pairs.batch == 2  # of 32 tokens each; no view without its other one
  # What a set needs more: int32 places of 96 tokens in three orders (in place of their positions,
  # which nobody reads then), and what is text in the rows.
  assert as_set.program.arguments == one.program.arguments + 4 * 96 * 3


def test_sets_are_planned_as_they_are_read(tiny):
  as_set, as_views, small = (
      _plan(tiny, name=RECIPE, n_train=4, n_test=20, k_train=2, k_test=3, batch_tokens=64,
            extra_questions=1, **fields)
      for fields in ({"set_orders": 3}, {"student_reads": "view"}, {"set_orders": 1}))
  assert as_set.rows == as_views.rows and as_views.set_rows == 0 and as_views.scoring.sets is None
  assert as_set.set_rows == 4 * 2 + 20 + 8 * 3  # of eight examples all views are read
  assert as_set.scoring.longest.arguments == as_views.scoring.longest.arguments
  # Places of 64 tokens in three orders in place of their positions, and what is text in the rows.
  more = as_set.scoring.sets.longest.arguments - as_set.scoring.longest.arguments
  assert more == 4 * 64 * 3 and small.scoring.sets.longest.flops < as_set.scoring.sets.longest.flops
  table = as_views.head.program.arguments - as_set.head.program.arguments
  assert table > 0 and table % (as_views.rows - as_set.set_rows) == 0


def test_sets_without_room_come_with_a_batch_that_has_room(tiny):
  plan = functools.partial(_plan, tiny, name=RECIPE, n_train=4, n_test=4, batch_tokens=512)
  whole = plan(2.0**30).scoring
  assert whole.fits and whole.longest.needed < whole.sets.longest.needed == whole.largest.needed
  found = plan((whole.longest.needed + whole.sets.longest.needed) / 2)
  assert found.scoring.longest.fits and not found.scoring.fits
  assert found.better.fits and found.better.sets.fits and found.better.batch_tokens < 512


def test_weights_without_room_are_not_even_compiled(tiny, capsys):
  from mezzanine_jax import plan_report

  found = _plan(tiny, 1000.0)
  assert found.scoring is None and found.better is None and found.adapters is None
  assert "of weights a device" in found.tried[0]
  plan_report.show(found)
  text = " ".join(capsys.readouterr().out.split())
  assert "It does not fit, nor does any smaller batch. --dtype bfloat16 halves" in text


@pytest.mark.parametrize(("argv", "says"), [
    ([RECIPE], "plan needs a --topology"),
    ([RECIPE, "--topology", "v5e"], "topology must be cpu, cpu:N, or a TPU slice"),
    (["vision_view_distill", "--topology", "cpu"], "recipes that ask a language model"),
    ([RECIPE, "--topology", "cpu", "--row_tokens", "0"], "row_tokens must be >= 1, got 0"),
    ([RECIPE, "--topology", "cpu", "--model", "/no/such"], "there is no model folder"),
    ([RECIPE, "--topology", "cpu", "--k_trian", "1"], "did you mean 'k_train'?"),
    (["--topology", "cpu"], "name a recipe or a --config"),
])
def test_bad_commands_are_a_sentence(argv, says, capsys):
  assert cli.main(["plan", *argv]) == 2
  said = capsys.readouterr().err
  assert says in said and said.startswith("mezzanine: ") and said.count("\n") == 1


def test_an_encoder_cannot_be_asked(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps({
      "model_type": "distilbert", "vocab_size": 40, "dim": 8, "hidden_dim": 16, "n_layers": 1,
      "n_heads": 2, "max_position_embeddings": 16}))
  with pytest.raises(InputError, match="is an encoder"):
    _plan(str(tmp_path), 1e9)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None,
                    reason="libtpu is not installed: pip install 'mezzanine_jax[tpu]'")
def test_for_a_tpu_that_is_not_there(tiny):
  recipe = get_recipe("llm_order_gap")
  slices = topologies.topology("v5e:2x2"), topologies.topology("v5e:4x4")
  assert [(len(s.devices), s.hosts) for s in slices] == [(4, 1), (4, 4)]
  found = [plan_lib.plan(recipe, recipe.Config(lm_name=tiny, dtype="bfloat16", batch_tokens=128),
                         s, given=("mesh",)) for s in slices]
  one, four = (f.scoring for f in found)
  assert one.fits and one.usual.by == "compiler" and 0 < one.usual.seconds < 1
  assert four.rows == 4 * one.rows
  # Gradients are summed over the chips of a host, whose numbers in a larger slice have gaps.
  assert found[1].adapters.program.fits and found[1].adapters.batch == found[0].adapters.batch
