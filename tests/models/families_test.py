"""Every family against PyTorch `transformers`: stored references, and live where torch is."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.families import FAMILIES, family_of
from mezzanine_jax.models.families.family import rope_frequencies
from mezzanine_jax.models.load import load_lm
from mezzanine_jax.models.transformer import Transformer, unembed

GOLDENS = Path(__file__).parent.parent / "goldens"
NAMES = ("gpt2", "gpt2_untied", "llama", "llama_untied", "llama_linear", "mistral", "qwen2",
         "qwen3")


def _compare(golden, choices, folder, write_model):
  """Hidden states of every layer and riding choices' log-probs, within 1e-4."""
  model = load_lm(str(write_model(folder, golden.config, golden.weights)))
  ids, length = golden.tokens.tolist(), len(golden.tokens)
  positions, segments, parents = list(range(length)), [1] * length, [0] * length
  for n, choice in enumerate(choices):
    ids += choice
    positions += range(length, length + len(choice))
    segments += [n + 2] * len(choice)
    parents += [1] * len(choice)
  arrays = [np.array(a, np.int32) for a in (ids, positions, segments, parents)]
  layers = tuple(range(model.config.num_layers + 1))

  @jax.jit
  def run(params):
    hidden = Transformer(model.config).apply({"params": params}, *arrays, layers=layers)
    return hidden, jax.nn.log_softmax(unembed(model.config, params, hidden[-1]))

  hidden, log_probs = run(model.params)
  np.testing.assert_allclose(jnp.stack(hidden)[:, :length], golden.hidden, atol=1e-4, rtol=0)
  start = length
  for choice, expected in zip(choices, golden.choice_log_probs, strict=True):
    before = [length - 1, *range(start, start + len(choice) - 1)]
    got = sum(log_probs[i, token] for i, token in zip(before, choice, strict=True))
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=0)
    start += len(choice)


@pytest.mark.parametrize("name", NAMES)
def test_matches_the_stored_reference(name, goldens, write_model, tmp_path):
  golden = goldens["read"](GOLDENS / f"{name}.safetensors")
  assert np.abs(golden.hidden).max() > 1  # not a trivial model
  _compare(golden, goldens["CHOICES"], tmp_path, write_model)


def test_every_family_has_a_reference(goldens):
  assert {c["model_type"] for c in goldens["CONFIGS"].values()} == set(FAMILIES)
  assert set(goldens["CONFIGS"]) == {*NAMES, *goldens["ENCODERS"]}  # see encoders_test.py


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_matches_torch_live(name, goldens, write_model, tmp_path):
  pytest.importorskip("torch")
  golden = goldens["compute"](name, seed=7, num_tokens=30)
  _compare(golden, goldens["CHOICES"], tmp_path, write_model)


@pytest.mark.torch
@pytest.mark.parametrize("scaling", [
    dict(rope_type="default", rope_theta=1e5),
    dict(rope_type="linear", rope_theta=1e4, factor=4.0),
    dict(rope_type="llama3", rope_theta=5e5, factor=32.0, low_freq_factor=1.0,
         high_freq_factor=4.0, original_max_position_embeddings=8192),
    dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768),
    dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=4096,
         beta_fast=24, beta_slow=2, mscale=0.7, mscale_all_dim=1.0, truncate=False),
], ids=lambda scaling: scaling["rope_type"])
def test_rope_matches_torch(scaling):
  pytest.importorskip("torch")
  from transformers import LlamaConfig
  from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

  config = LlamaConfig(hidden_size=512, num_attention_heads=4, max_position_embeddings=131072,
                       rope_parameters=scaling)
  theirs = LlamaRotaryEmbedding(config)
  frequencies, scale = rope_frequencies(config.to_dict(), 128)
  np.testing.assert_allclose(frequencies, theirs.inv_freq.numpy(), rtol=2e-6)
  assert scale == pytest.approx(theirs.attention_scaling, rel=1e-6)


SIZES = {
    "distilbert": ("vocab_size", "dim", "hidden_dim", "n_layers", "n_heads",
                   "max_position_embeddings"),
    "gpt2": ("vocab_size", "n_embd", "n_layer", "n_head", "n_positions"),
    "llama": ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
              "num_attention_heads", "max_position_embeddings"),
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_defaults_are_the_published_ones(kind):
  from transformers import AutoConfig

  full = json.loads(json.dumps(AutoConfig.for_model(kind).to_dict()))
  sizes = SIZES.get(kind, SIZES["llama"])
  bare = {"model_type": kind} | {name: full[name] for name in sizes}
  assert family_of(kind).config(bare) == family_of(kind).config(full)


def test_older_spelling_of_rope_scaling():
  new = dict(rope_parameters=dict(rope_type="linear", rope_theta=50.0, factor=2.0))
  old = dict(rope_theta=50.0, rope_scaling=dict(type="linear", factor=2.0))
  assert rope_frequencies(old, 8) == rope_frequencies(new, 8)
  assert rope_frequencies(dict(rope_theta=50.0, rope_scaling=None), 8)[0][0] == 1.0


@pytest.mark.parametrize("kind, change, message", [
    ("gpt2", dict(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx"),
    ("gpt2", dict(n_head=None), "lacks the field 'n_head'"),
    ("llama", dict(rope_parameters=dict(rope_type="dynamic", factor=2.0)), "'dynamic'.*default"),
    ("llama", dict(partial_rotary_factor=0.5), "partial_rotary_factor"),
    ("llama", dict(num_key_value_heads=3), "multiple of num_kv_heads"),
    ("llama", dict(hidden_act="cube"), "activation must be one of"),
    ("qwen2", dict(use_sliding_window=True, max_window_layers=2), "some layers only"),
])
def test_unsupported_settings_are_refused(kind, change, message, goldens):
  config = goldens["CONFIGS"][kind] | change
  with pytest.raises(InputError, match=message):
    family_of(kind).config(config)


def test_unsupported_model_lists_the_supported():
  with pytest.raises(InputError, match="'electra' are not supported; supported: gpt2, llama"):
    family_of("electra")


def test_sliding_window_in_all_layers_or_none(goldens):
  config = goldens["CONFIGS"]["qwen2"] | dict(use_sliding_window=True, sliding_window=8)
  for first, expected in ((0, 8), (3, None)):
    got = family_of("qwen2").config(config | dict(max_window_layers=first))
    assert got.sliding_window == expected
