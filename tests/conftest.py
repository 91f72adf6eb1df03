"""Fixtures that more than one test file uses."""

import json

import jax
import numpy as np
import pytest
import tokenizers
from tiny import KINDS, byte_level_bpe, merging

# Commands that are tested in this process leave nothing in the user's cache directory.
jax.config.update("jax_enable_compilation_cache", False)


@pytest.fixture(scope="session", params=KINDS)
def tokenizer(request) -> tokenizers.Tokenizer:
  """Each kind of tokenizer, in turn."""
  return KINDS[request.param]()


@pytest.fixture(scope="session")
def merging_tokenizer() -> tokenizers.Tokenizer:
  """A tokenizer whose tokens cross the end of a sentence."""
  return merging()


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory) -> str:
  """A folder with a random GPT-2 of two layers whose answers depend on the order of its input."""
  from safetensors.numpy import save_file

  folder = tmp_path_factory.mktemp("tiny_lm")
  tokenizer = byte_level_bpe()
  tokenizer.save(str(folder / "tokenizer.json"))
  width, vocab = 32, tokenizer.get_vocab_size()
  config = {
      "model_type": "gpt2", "vocab_size": vocab, "n_positions": 512, "n_embd": width,
      "n_layer": 2, "n_head": 2, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
  }
  (folder / "config.json").write_text(json.dumps(config))
  rng = np.random.default_rng(0)
  weights = {"wte.weight": (vocab, width), "wpe.weight": (512, width)}
  for layer in ("h.0.", "h.1."):
    weights |= {
        layer + "attn.c_attn.weight": (width, 3 * width), layer + "attn.c_attn.bias": (3 * width,),
        layer + "attn.c_proj.weight": (width, width), layer + "attn.c_proj.bias": (width,),
        layer + "mlp.c_fc.weight": (width, 4 * width), layer + "mlp.c_fc.bias": (4 * width,),
        layer + "mlp.c_proj.weight": (4 * width, width), layer + "mlp.c_proj.bias": (width,),
    }
  weights = {k: rng.normal(0, 0.3, shape).astype(np.float32) for k, shape in weights.items()}
  for norm in ("h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2", "ln_f"):
    weights |= {
        norm + ".weight": np.ones(width, np.float32), norm + ".bias": np.zeros(width, np.float32)
    }
  save_file(weights, folder / "model.safetensors")
  return str(folder)
