"""Fixtures of the model tests: golden files and the model folders made of them."""

import json
import runpy
from pathlib import Path

import pytest
import tokenizers

GOLDENS = Path(__file__).parent.parent / "goldens"


@pytest.fixture(scope="session")
def goldens():
  """The functions of make_goldens.py: compute, read, CHOICES and so on, by name."""
  return runpy.run_path(str(GOLDENS / "make_goldens.py"))


@pytest.fixture(scope="session")
def word_tokenizer() -> tokenizers.Tokenizer:
  """A tokenizer of a few words that puts <s> first."""
  words = {word: i for i, word in enumerate(["<unk>", "<s>", "yes", "no", "maybe"])}
  tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
      single="<s> $A", special_tokens=[("<s>", 1)])
  return tokenizer


@pytest.fixture
def write_model(word_tokenizer):
  """Writes a model folder: write_model(folder, config, weights, shards=1)."""
  from safetensors.numpy import save_file

  def write(folder, config, weights, shards=1):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    word_tokenizer.save(str(folder / "tokenizer.json"))
    if shards == 1:
      save_file(weights, folder / "model.safetensors")
      return folder
    where = {}
    for n in range(shards):
      file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
      part = {name: weights[name] for name in sorted(weights)[n::shards]}
      save_file(part, folder / file)
      where |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder

  return write
