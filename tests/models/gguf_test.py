"""GGUF files made here: every quantization, llama.cpp's order of queries and keys, bad files."""

import gguf
import jax
import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import load_lm
from mezzanine_jax.models.transformer import Transformer, one_row

WIDTH, HEADS, KV_HEADS, MLP, LAYERS = 64, 4, 2, 96, 2
QUANTIZATIONS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1")


def _vocabulary():
  """The 256 byte tokens, two merges and two control tokens."""
  tokens = sorted(gguf_bytes().values()) + ["ye", "yes", "<|start|>", "<|end|>"]
  return tokens, ["y e", "ye s"], [1] * 258 + [3, 3]


def gguf_bytes():
  """GPT-2's printable stand-in for every byte."""
  keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
  rest = [b for b in range(256) if b not in keep]
  return {b: chr(b) for b in keep} | {b: chr(256 + n) for n, b in enumerate(rest)}


def _hf_weights(seed=0, vocab=260):
  """Random llama weights, [out, in] as Hugging Face holds them, by GGUF name."""
  draw = np.random.default_rng(seed)
  shapes = {"token_embd": (vocab, WIDTH), "output_norm": (WIDTH,)}
  for i in range(LAYERS):
    kv = WIDTH // HEADS * KV_HEADS
    shapes |= {f"blk.{i}.{name}": shape for name, shape in dict(
        attn_q=(WIDTH, WIDTH), attn_k=(kv, WIDTH), attn_v=(kv, WIDTH), attn_output=(WIDTH, WIDTH),
        ffn_gate=(MLP, WIDTH), ffn_up=(MLP, WIDTH), ffn_down=(WIDTH, MLP), attn_norm=(WIDTH,),
        ffn_norm=(WIDTH,)).items()}
  return {f"{name}.weight": draw.normal(size=shape).astype(np.float32)
          for name, shape in shapes.items()}


def _reorder(weights, heads):
  """llama.cpp's converter: halves of a head become neighbouring rows."""
  return weights.reshape(heads, 2, -1, weights.shape[-1]).swapaxes(1, 2).reshape(weights.shape)


def _write(path, weights, kind="F32", arch="llama", pre="smollm", extra=(), **settings):
  """Writes a GGUF file; matrices are quantized, vectors stay F32."""
  writer = gguf.GGUFWriter(path, arch)
  writer.add_block_count(LAYERS)
  writer.add_context_length(128)
  writer.add_embedding_length(WIDTH)
  writer.add_feed_forward_length(MLP)
  writer.add_head_count(HEADS)
  writer.add_head_count_kv(KV_HEADS)
  writer.add_layer_norm_rms_eps(1e-5)
  writer.add_rope_freq_base(500.0)
  tokens, merges, types = _vocabulary()
  writer.add_tokenizer_model("gpt2")
  writer.add_tokenizer_pre(pre)
  writer.add_token_list(tokens)
  writer.add_token_merges(merges)
  writer.add_token_types(types)
  writer.add_bos_token_id(258)
  for key, value in settings.items():
    getattr(writer, key)(value)
  quantization = gguf.GGMLQuantizationType[kind]
  written = {}
  for name, array in (weights | dict(extra)).items():
    if array.ndim == 1:
      writer.add_tensor(name, array)
      written[name] = array
      continue
    if arch == "llama" and ".attn_q." in name:
      array = _reorder(array, HEADS)
    if arch == "llama" and ".attn_k." in name:
      array = _reorder(array, KV_HEADS)
    data = gguf.quants.quantize(array, quantization)
    written[name] = gguf.quants.dequantize(data, quantization)
    writer.add_tensor(name, data, raw_dtype=quantization)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return written


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_every_quantization(kind, tmp_path):
  weights = _hf_weights()
  written = _write(tmp_path / "m.gguf", weights, kind)
  params = load_lm(str(tmp_path / "m.gguf")).params
  np.testing.assert_array_equal(params["embed"], written["token_embd.weight"])
  np.testing.assert_array_equal(params["layers"]["down"]["kernel"][1],
                                written["blk.1.ffn_down.weight"].T)
  np.testing.assert_array_equal(params["layers"]["mlp_norm"]["scale"][0],
                                weights["blk.0.ffn_norm.weight"])
  # Rows are quantized one by one, so the order of rows does not change their values.
  quantization = gguf.GGMLQuantizationType[kind]
  for ours, theirs in (("q", "attn_q"), ("k", "attn_k")):
    array = weights[f"blk.1.{theirs}.weight"]
    there_and_back = gguf.quants.dequantize(gguf.quants.quantize(array, quantization),
                                            quantization)
    np.testing.assert_array_equal(params["layers"][ours]["kernel"][1], there_and_back.T)


def test_same_model_as_a_folder(write_model, tmp_path):
  weights = _hf_weights()
  _write(tmp_path / "m.gguf", weights)
  renamed = {}
  for name, array in weights.items():
    for theirs, ours in dict(
        token_embd="model.embed_tokens", output_norm="model.norm", blk="model.layers",
        attn_norm="input_layernorm", ffn_norm="post_attention_layernorm",
        attn_output="self_attn.o_proj", attn_q="self_attn.q_proj", attn_k="self_attn.k_proj",
        attn_v="self_attn.v_proj", ffn_gate="mlp.gate_proj", ffn_up="mlp.up_proj",
        ffn_down="mlp.down_proj").items():
      name = name.replace(theirs, ours) if theirs + "." in name else name
    renamed[name] = array
  config = dict(model_type="llama", vocab_size=260, hidden_size=WIDTH, intermediate_size=MLP,
                num_hidden_layers=LAYERS, num_attention_heads=HEADS, rms_norm_eps=1e-5,
                num_key_value_heads=KV_HEADS, max_position_embeddings=128, rope_theta=500.0,
                tie_word_embeddings=True)
  folder = load_lm(str(write_model(tmp_path / "folder", config, renamed)))
  file = load_lm(str(tmp_path / "m.gguf"))
  assert file.config.norm_eps == pytest.approx(1e-5)
  assert file.config.rope_frequencies == folder.config.rope_frequencies
  for a, b in zip(jax.tree.leaves(folder.params), jax.tree.leaves(file.params), strict=True):
    np.testing.assert_array_equal(a, b)


def test_untied_qwen2_with_biases(tmp_path):
  weights = _hf_weights()
  draw = np.random.default_rng(1)
  extra = {"output.weight": draw.normal(size=(260, WIDTH)).astype(np.float32)}
  for i in range(LAYERS):
    for name, size in (("q", WIDTH), ("k", WIDTH // 2), ("v", WIDTH // 2)):
      extra[f"blk.{i}.attn_{name}.bias"] = draw.normal(size=size).astype(np.float32)
  _write(tmp_path / "m.gguf", weights, arch="qwen2", pre="qwen2", extra=extra)
  model = load_lm(str(tmp_path / "m.gguf"))
  np.testing.assert_array_equal(model.params["unembed"], extra["output.weight"])
  # Qwen's queries lie in the order of Hugging Face already.
  np.testing.assert_array_equal(model.params["layers"]["q"]["kernel"][0],
                                weights["blk.0.attn_q.weight"].T)
  np.testing.assert_array_equal(model.params["layers"]["k"]["bias"][1],
                                extra["blk.1.attn_k.bias"])


def test_llama3_rope_factors_and_linear_scaling(tmp_path):
  weights = _hf_weights()
  factors = np.linspace(1, 8, WIDTH // HEADS // 2).astype(np.float32)
  _write(tmp_path / "plain.gguf", weights)
  _write(tmp_path / "table.gguf", weights, extra={"rope_freqs.weight": factors})
  _write(tmp_path / "linear.gguf", weights, add_rope_scaling_factor=4.0,
         add_rope_scaling_type=gguf.RopeScalingType.LINEAR)
  _write(tmp_path / "yarn.gguf", weights, add_rope_scaling_type=gguf.RopeScalingType.YARN)
  plain, table, linear = (np.array(load_lm(str(tmp_path / f"{name}.gguf")).config.rope_frequencies)
                          for name in ("plain", "table", "linear"))
  np.testing.assert_allclose(table, plain / factors)
  np.testing.assert_allclose(linear, plain / 4)
  with pytest.raises(InputError, match="'yarn' in a GGUF file is not supported"):
    load_lm(str(tmp_path / "yarn.gguf"))


def test_a_file_runs(tmp_path):
  _write(tmp_path / "m.gguf", _hf_weights(), "Q4_1")
  model = load_lm(str(tmp_path / "m.gguf"))
  ids = np.array(model.tokenizer.encode("yes, 42 yes").ids, np.int32)
  hidden, = Transformer(model.config).apply(
      {"params": model.params}, one_row(ids, np.arange(len(ids))))
  assert hidden.shape == (len(ids), WIDTH) and np.isfinite(hidden).all()


def test_bad_files(tmp_path):
  weights = _hf_weights()
  good = tmp_path / "good.gguf"
  _write(good, weights)

  def refused(name, message):
    with pytest.raises(InputError, match=message) as error:
      load_lm(str(tmp_path / name))
    assert "\n" not in str(error.value)

  (tmp_path / "junk.gguf").write_bytes(b"not a model at all" * 10)
  refused("junk.gguf", "is not a readable GGUF file")
  (tmp_path / "empty.gguf").write_bytes(b"")
  refused("empty.gguf", "is not a readable GGUF file")
  for part in (30, 3000, good.stat().st_size - 500):
    (tmp_path / "cut.gguf").write_bytes(good.read_bytes()[:part])
    refused("cut.gguf", "is not a readable GGUF file")
  _write(tmp_path / "arch.gguf", weights, arch="mamba")
  refused("arch.gguf", "'mamba' are not supported; supported: llama, mistral, qwen2, qwen3")
  _write(tmp_path / "pre.gguf", weights, pre="tekken")
  refused("pre.gguf", "'tekken' is not supported; supported: gpt-2, smollm")
  less = {name: array for name, array in weights.items() if name != "blk.1.ffn_up.weight"}
  _write(tmp_path / "less.gguf", less)
  refused("less.gguf", r"lack blk\.1\.ffn_up\.weight")
  _write(tmp_path / "more.gguf", weights, extra={"blk.7.odd.weight": np.ones(32, np.float32)})
  refused("more.gguf", r"no place for: blk\.7\.odd\.weight")
  _write(tmp_path / "nan.gguf", weights | {"output_norm.weight": np.full(WIDTH, np.nan, "f4")})
  refused("nan.gguf", "'output_norm.weight' holds NaN")
