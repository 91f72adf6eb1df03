"""Fixtures that more than one test file uses."""

import json

import jax
import numpy as np
import pytest
import tokenizers
from tiny import KINDS, byte_level_bpe, merging, with_cls_and_sep

# Commands that are tested in this process leave nothing in the user's cache directory.
jax.config.update("jax_enable_compilation_cache", False)


def pytest_configure(config):
  # Nearly all of the time goes into compiling programs that run for a moment. The slow tests, the
  # comparisons with PyTorch and whole commands in processes of their own compile as users do.
  jax.config.update("jax_disable_most_optimizations", "not slow" in config.option.markexpr)


@pytest.fixture(scope="session", params=KINDS)
def tokenizer(request) -> tokenizers.Tokenizer:
  """Each kind of tokenizer, in turn."""
  return KINDS[request.param]()


@pytest.fixture(scope="session")
def merging_tokenizer() -> tokenizers.Tokenizer:
  """A tokenizer whose tokens cross the end of a sentence."""
  return merging()


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> str:
  """A folder with a random DistilBERT of two layers."""
  from safetensors.numpy import save_file

  folder = tmp_path_factory.mktemp("tiny_encoder")
  tokenizer = with_cls_and_sep()
  tokenizer.save(str(folder / "tokenizer.json"))
  width, vocab = 32, tokenizer.get_vocab_size()
  config = {
      "model_type": "distilbert", "vocab_size": vocab, "dim": width, "hidden_dim": 4 * width,
      "n_layers": 2, "n_heads": 2, "max_position_embeddings": 512,
  }
  (folder / "config.json").write_text(json.dumps(config))
  matrices = {"embeddings.word_embeddings": (vocab, width),
              "embeddings.position_embeddings": (512, width)}
  norms = ["embeddings.LayerNorm"]
  for layer in ("transformer.layer.0.", "transformer.layer.1."):
    linear = ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin")
    matrices |= {layer + name: (width, width) for name in linear}
    matrices |= {layer + "ffn.lin1": (4 * width, width), layer + "ffn.lin2": (width, 4 * width)}
    norms += [layer + "sa_layer_norm", layer + "output_layer_norm"]
  rng = np.random.default_rng(0)
  weights = {f"{name}.weight": rng.normal(0, 0.3, shape).astype(np.float32)
             for name, shape in matrices.items()}
  weights |= {f"{name}.bias": np.zeros(shape[0], np.float32)
              for name, shape in matrices.items() if "embeddings" not in name}
  for name in norms:
    weights |= {f"{name}.weight": np.ones(width, np.float32),
                f"{name}.bias": np.zeros(width, np.float32)}
  save_file(weights, folder / "model.safetensors")
  return str(folder)


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


@pytest.fixture
def inside(tmp_path, monkeypatch):
  """A working folder beside which nothing may be written, changed or deleted."""

  def others():
    return {path: path.read_bytes() for path in tmp_path.rglob("*")
            if path.is_file() and folder not in path.parents}

  folder = tmp_path / "inside"
  folder.mkdir()
  (tmp_path / "secret.json").write_text('{"secret": 1}')
  (tmp_path / "model.safetensors").write_bytes(b"not yours")
  before = others()
  monkeypatch.chdir(folder)
  yield folder
  assert others() == before
