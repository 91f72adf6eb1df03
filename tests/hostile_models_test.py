"""Models of strangers: weight files, configs, tokenizers and names that are broken or hostile."""

import base64
import json
import math
import os
import pathlib
import shutil
import struct

import numpy as np
import pytest
from hostile import (
  DEEP,
  bounded,
  entry,
  gguf,
  refused,
  safetensors,
  short,
  sparse,
  tensor,
  text,
)

from mezzanine_jax.models.chat import directory_chat
from mezzanine_jax.models.families import family_of
from mezzanine_jax.models.gguf import gguf_config, open_gguf
from mezzanine_jax.models.load import load_lm
from mezzanine_jax.models.tokenizer import directory_tokenizer, gguf_tokenizer
from mezzanine_jax.models.weights import Tensors, open_safetensors

SAFETENSORS = {
    "empty": b"",
    "five bytes": b"\x05\0\0\0\0",
    "a header of 2^60 bytes": safetensors({"w": tensor()}, length=2**60),
    "a header of 2^64 - 1 bytes": safetensors({"w": tensor()}, length=2**64 - 1),
    "a header of no bytes": safetensors({"w": tensor()}, length=0),
    "a header that is no json": safetensors(b"{" * 64),
    "a header that is no object": safetensors(b"[1, 2, 3]"),
    "a header nested deeply": safetensors(DEEP.encode()),
    "a header that is no UTF-8": safetensors(b'{"\xff\xfe": 1}'),
    "a tensor beyond the end": safetensors({"w": tensor(0, 2**40, (2**38,))}),
    "a tensor that ends before it begins": safetensors({"w": tensor(16, 0)}),
    "a negative offset": safetensors({"w": tensor(-16, 0)}),
    "an offset that is no integer": safetensors({"w": tensor("0", 16.5)}),
    "overlapping tensors": safetensors({"a": tensor(0, 16), "b": tensor(8, 24)}, b"\0" * 24),
    "a hole between tensors": safetensors({"a": tensor(0, 16), "b": tensor(24, 40)}, b"\0" * 40),
    "a shape of other bytes": safetensors({"w": tensor(shape=(5,))}),
    "a shape of 2^62 rows": safetensors({"w": tensor(shape=(2**62, 4))}),
    "a shape whose product is 0 modulo 2^64": safetensors({"w": tensor(shape=(2**32, 2**32))}),
    "a negative shape": safetensors({"w": tensor(shape=(-4,))}),
    "an unknown type": safetensors({"w": tensor(dtype="F1")}),
    "a type that is a number": safetensors({"w": tensor(dtype=7)}),
    "data that was cut": safetensors({"w": tensor()}, b"\0" * 9),
    "data behind the last tensor": safetensors({"w": tensor()}, b"\0" * 99),
    "metadata that is no text": safetensors({"__metadata__": {"a": [1]}, "w": tensor()}),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(case, inside):
  (inside / "model.safetensors").write_bytes(SAFETENSORS[case])
  refused("model.safetensors is not a readable safetensors file", open_safetensors, inside)


def test_one_name_for_two_tensors(inside):
  """Whatever the library makes of it, nothing is read that is not in the file."""
  one, two = (json.dumps(tensor(*at)) for at in ((0, 16), (16, 32)))
  header = f'{{"w": {one}, "w": {two}}}'.encode()
  (inside / "model.safetensors").write_bytes(safetensors(header, b"\1" * 32))
  refused("not a readable safetensors file", open_safetensors, inside)


@pytest.mark.parametrize(("index", "message"), [
    (DEEP, "is not a safetensors index"),
    ("[]", "is not a safetensors index"),
    ('{"weight_map": [1]}', "is not a safetensors index"),
    ('{"weight_map": {"w": 3}}', "is not a safetensors index"),
    ('{"weight_map": {"w": {}}}', "is not a safetensors index"),
    ('{"weight_map": {}}', "must name files of its own folder, got none"),
    ('{"weight_map": {"w": "../model.safetensors"}}', "must name files of its own folder, got .*"),
    ('{"weight_map": {"w": "/etc/passwd"}}', "must name files of its own folder, got /etc/passwd"),
    ('{"weight_map": {"w": "a\\u0000b"}}', "must name files of its own folder"),
    ('{"weight_map": {"w": ".."}}', "must name files of its own folder"),
    (json.dumps({"weight_map": {"w": "x" * 9000}}), "must name files of its own folder, got xxx"),
], ids=short)
def test_safetensors_indices(index, message, inside):
  (inside / "model.safetensors.index.json").write_text(index)
  refused(message, open_safetensors, inside)


NESTED = ("k", 9, struct.pack("<IQ", 9, 1) * 5000)
GGUF = {
    "another magic": (b"FUGG" + gguf()[4:], "does not begin with GGUF"),
    "version 99": (gguf(version=99), "its version is 99"),
    "2^62 tensors": (gguf(counts=(2**62, 0)), "ends within|dimensions"),
    "2^63 keys": (gguf(counts=(0, 2**63)), "ends within|stands in it twice"),
    "a name of 2^60 letters": (gguf([("k", 8, text("x", 2**60))]), "ends within its header"),
    "a name of 2^64 - 1 letters": (gguf([("k", 8, text("x", 2**64 - 1))]), "ends within"),
    "an array of 2^60 bytes": (gguf([("k", 9, struct.pack("<IQ", 0, 2**60))]), "plausible"),
    "an array of 2^63 texts": (gguf([("k", 9, struct.pack("<IQ", 8, 2**63))]), "plausible"),
    "an array of 2^60 arrays": (gguf([("k", 9, struct.pack("<IQ", 9, 2**60))]), "ends within|type"),
    "arrays nested deeply": (gguf([NESTED]), "nested deeper than 4"),
    "an unknown type of metadata": (gguf([("k", 77, b"")]), "of the unknown type 77"),
    "a key twice": (gguf([("k", 0, b"\1"), ("k", 0, b"\2")]), "'k' stands in it twice"),
    "a name that is no UTF-8": (gguf([(b"\xff\xfe", 0, b"\1")]), "not a readable GGUF file"),
    "a tensor twice": (gguf(tensors=[entry(), entry(offset=32)]), "'w' stands in it twice"),
    "an unknown type of tensor": (gguf(tensors=[entry(kind=999)]), "of the unknown type 999"),
    "no dimension": (gguf(tensors=[entry(dims=())]), "has 0 dimensions, allowed are 1 to 4"),
    "2^31 dimensions": (gguf(tensors=[entry(rank=2**31)]), "dimensions, allowed are 1 to 4"),
    "a dimension of 0": (gguf(tensors=[entry(dims=(4, 0))]), "which holds nothing"),
    "a shape of 2^124 values": (gguf(tensors=[entry(dims=(2**62, 2**62))]), "goes beyond its end"),
    "a row of half a block": (gguf(tensors=[entry(dims=(33,), kind=8)]), "no multiple of 32"),
    "an offset beyond the end": (gguf(tensors=[entry(offset=2**63)]), "goes beyond its end"),
    "data that was cut": (gguf(tensors=[entry()], data=b"\0"), "goes beyond its end"),
    "overlapping tensors": (
        gguf(tensors=[entry("a"), entry("b", offset=8)]), "'a' and 'b' overlap"),
    "an alignment of 0": (gguf([("general.alignment", 4, b"\0" * 4)]), "its alignment is 0"),
    "an alignment that is a text": (
        gguf([("general.alignment", 8, text("x"))]), "alignment is 'x'"),
    "an alignment of 2^63": (
        gguf([("general.alignment", 10, struct.pack("<Q", 2**63))], [entry()]), "beyond its end"),
    "a part of no number": (gguf([("split.count", 8, text("many"))]), "one part of a split model"),
}


@pytest.mark.parametrize("case", GGUF)
def test_gguf_headers(case, inside):
  content, message = GGUF[case]
  (inside / "m.gguf").write_bytes(content)
  refused(message, open_gguf, inside / "m.gguf")


@pytest.mark.parametrize(("kind", "count"), [(0, 2**32), (1, 2**30), (8, 2**28), (12, 2**29)])
def test_a_gguf_header_of_gigabytes_is_not_read(kind, count, inside):
  """The file is as large as its header says; it takes no room on the disk."""
  head = gguf([("k", 9, struct.pack("<IQ", kind, count))], data=b"")
  sparse(inside / "m.gguf", head, 2**33)
  refused("a length in its header is not plausible", open_gguf, inside / "m.gguf")
  sparse(inside / "m.gguf", gguf([("k", 8, text("", 2**32))], data=b""), 2**33)
  refused("a length in its header is not plausible", open_gguf, inside / "m.gguf")


METADATA = {
    "general.architecture": "llama", "llama.attention.head_count": 4, "llama.embedding_length": 64,
    "llama.feed_forward_length": 96, "llama.block_count": 2, "llama.context_length": 128,
    "llama.rope.freq_base": 500.0, "llama.attention.layer_norm_rms_epsilon": 1e-5,
}
LINEAR = {"llama.rope.scaling.type": "linear"}


@pytest.mark.parametrize(("change", "message"), [
    ({"general.architecture": ["llama"]}, "are not supported"),
    ({"llama.attention.head_count": [4, 4]}, r"an integer >= 1 in 'llama.att.*got \[4, 4\]"),
    ({"llama.attention.head_count": "4"}, "an integer >= 1 in 'llama.attention.head_count'"),
    ({"llama.attention.head_count": 0}, "an integer >= 1 in 'llama.attention.head_count'"),
    ({"llama.attention.head_count_kv": -2}, "num_kv_heads must be an integer >= 1"),
    ({"llama.embedding_length": True}, "an integer >= 1 in 'llama.embedding_length'"),
    ({"llama.attention.key_length": 10**15}, "size of a head must be an integer from 1 to 65536"),
    ({"llama.attention.key_length": "x"}, "size of a head must be an integer"),
    ({"llama.block_count": 10**12}, "num_layers must be an integer >= 1 and <= 4096"),
    ({"llama.block_count": 2.5}, "an integer >= 1 in 'num_hidden_layers', got 2.5"),
    ({"llama.context_length": -1}, "an integer >= 1 in 'max_position_embeddings'"),
    ({"llama.feed_forward_length": [96]}, "an integer >= 1 in 'intermediate_size'"),
    ({"llama.rope.freq_base": -500.0}, "a number above 0 in 'rope_theta', got -500.0"),
    ({"llama.rope.freq_base": math.nan}, "a number above 0 in 'rope_theta', got nan"),
    ({"llama.rope.freq_base": "x"}, "a number above 0 in 'rope_theta', got 'x'"),
    ({"llama.rope.scaling.type": ["linear"]}, "rope scaling of type .* is not supported"),
    (LINEAR | {"llama.rope.scaling.factor": 0.0}, "a number above 0 in 'factor', got 0.0"),
    (LINEAR, "lacks the field 'factor'"),
    ({"llama.attention.layer_norm_rms_epsilon": math.nan}, "norm_eps must be a number >= 0"),
    ({"llama.attention.layer_norm_rms_epsilon": "x"}, "norm_eps in a model's config must be of"),
], ids=short)
def test_gguf_metadata(change, message):
  tensors = Tensors({"token_embd.weight": (300, 64)}, lambda name: np.zeros(1), ())
  refused(message, gguf_config, METADATA | change, tensors)


@pytest.mark.parametrize(("shape", "values", "message"), [
    ((2**40,), [1.0], "must hold 8 positive factors, got 1099511627776"),
    ((8,), [1.0] * 7 + [math.nan], "must hold 8 positive factors, got nan among them"),
    ((8,), [1.0] * 7 + [0.0], "must hold 8 positive factors, got 0.0 among them"),
], ids=short)
def test_gguf_rope_factors(shape, values, message):
  tensors = Tensors({"token_embd.weight": (300, 64), "rope_freqs.weight": shape},
                    lambda name: np.array(values, np.float32), ())
  refused(message, gguf_config, METADATA, tensors)


WORDS = {"model": "gpt2", "pre": "gpt-2", "tokens": ["a", "b", "ab"], "merges": ["a b"]}


@pytest.mark.parametrize(("change", "message"), [
    ({"tokens": [1, 2, 3]}, "holds no tokenizer.ggml.tokens"),
    ({"tokens": "abc"}, "holds no tokenizer.ggml.tokens"),
    ({"merges": None}, "holds no tokenizer.ggml.tokens and merges"),
    ({"merges": [["a", "b"]]}, "holds no tokenizer.ggml.tokens and merges"),
    ({"merges": ["ab"]}, "holds a tokenizer that cannot be used"),
    ({"merges": ["a z"]}, "holds a tokenizer that cannot be used"),
    ({"tokens": ["a", "b", "a"]}, "holds a token twice"),
    ({"token_type": [1]}, "holds 3 tokens but 1 token types"),
    ({"token_type": ["x", "y", "z"]}, "token types must be a list of integers"),
    ({"pre": ["gpt-2"]}, "pre-tokenizer .* is not supported"),
    ({"model": 3}, "tokenizer of model '3' is not supported"),
    ({"add_bos_token": True, "bos_token_id": 3}, "bos_token_id must be one of its 3 tokens, got 3"),
    ({"add_bos_token": True, "bos_token_id": -1}, "must be one of its 3 tokens, got -1"),
    ({"add_bos_token": True, "bos_token_id": "a"}, "must be one of its 3 tokens, got a"),
], ids=short)
def test_gguf_tokenizers(change, message):
  named = {f"tokenizer.ggml.{name}": value for name, value in (WORDS | change).items()}
  refused(message, gguf_tokenizer, named)


@pytest.fixture
def model(tiny_lm, inside):
  """A copy of a model folder that works."""
  return pathlib.Path(shutil.copytree(tiny_lm, inside / "model"))


@pytest.mark.parametrize(("content", "message"), [
    ("", "config.json is not valid json"),
    ("[]", "must be a json object with a 'model_type'"),
    ("null", "must be a json object with a 'model_type'"),
    (DEEP, "config.json is not valid json .it is nested too deeply"),
    (b"\xff\xfe\xfa", "config.json is not valid json"),
    ('{"model_type": ["gpt2"]}', "must be a json object with a 'model_type'"),
    ('{"model_type": "../gpt2"}', "models of type '../gpt2' are not supported"),
], ids=short)
def test_configs_that_are_none(content, message, model):
  content = content.encode() if isinstance(content, str) else content
  (model / "config.json").write_bytes(content)
  refused(message, load_lm, str(model))


@pytest.mark.parametrize(("change", "message"), [
    ({"n_layer": 10**12}, "num_layers must be an integer >= 1 and <= 4096"),
    ({"n_layer": "2"}, "an integer >= 1 in 'n_layer', got '2'"),
    ({"n_layer": {"a": [1] * 9999}}, "an integer >= 1 in 'n_layer', got"),
    ({"n_embd": 10**30}, "width must be an integer >= 1 and <= 2147483647"),
    ({"n_embd": 2**31 - 1}, "mlp_width must be an integer >= 1 and <= 2147483647"),
    ({"n_head": 0}, "an integer >= 1 in 'n_head', got 0"),
    ({"n_head": 33}, "head_dim must be an integer >= 1"),
    ({"vocab_size": 2**31 - 1, "n_inner": 2**31 - 1}, "wrong shapes in the weights"),
    ({"n_positions": True}, "an integer >= 1 in 'n_positions', got True"),
    ({"n_inner": -1}, "mlp_width must be an integer >= 1"),
    ({"activation_function": ["gelu"]}, "activation in a model's config must be of type str"),
    ({"layer_norm_epsilon": "x"}, "norm_eps in a model's config must be of type float"),
    ({"layer_norm_epsilon": math.nan}, "norm_eps must be a number >= 0, got nan"),
    ({"tie_word_embeddings": "no"}, "tied_embeddings in a model's config must be of type bool"),
], ids=short)
def test_config_fields(change, message, model):
  config = json.loads((model / "config.json").read_text()) | change
  (model / "config.json").write_text(json.dumps(config))
  refused(message, load_lm, str(model))


LLAMA = {"model_type": "llama", "vocab_size": 99, "hidden_size": 64, "intermediate_size": 96,
         "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
LLAMA3 = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}


@pytest.mark.parametrize(("change", "message"), [
    ({"rope_scaling": ["linear"]}, "must be an object, got"),
    ({"rope_scaling": {"type": {}, "rope_type": 3}}, "rope scaling of type 3 is not supported"),
    ({"rope_scaling": {"type": "linear", "factor": "x"}}, "a number above 0 in 'factor', got 'x'"),
    ({"rope_scaling": LLAMA3}, "low_freq_factor must be below high_freq_factor, got 4 and 4"),
    ({"rope_scaling": {"type": "yarn", "factor": 4}, "rope_theta": 1}, "must be above 1 for yarn"),
    ({"rope_theta": 10**400}, "a number above 0 in 'rope_theta'"),
    ({"head_dim": 10**15}, "the size of a head must be an integer from 1 to 65536"),
    ({"head_dim": 3}, "rope_frequencies must hold 1 values for head_dim 3"),
    ({"num_key_value_heads": "2"}, "num_kv_heads in a model's config must be of type int"),
    ({"num_key_value_heads": 3}, "num_heads must be a multiple of num_kv_heads"),
    ({"model_type": "mistral", "sliding_window": "x"}, "sliding_window in a model's config"),
    ({"model_type": "mistral", "sliding_window": -1}, "sliding_window must be a number >= 0"),
], ids=short)
def test_llama_config_fields(change, message):
  refused(message, family_of("llama").config, LLAMA | change)


def test_roberta_counts_from_its_padding():
  bert = LLAMA | {"model_type": "roberta", "pad_token_id": "x"}
  refused("an integer >= 1 in 'pad_token_id'", family_of("roberta").config, bert)


TOKENIZER = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
             "post_processor": None, "decoder": None, "truncation": None, "padding": None,
             "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}
CHARSMAP = base64.b64encode(b"\x10\0\0\0" + b"\xff" * 16 + b"abc").decode()
PIECE = [{"SpecialToken": {"id": "<s>", "type_id": 0}}]


@pytest.mark.parametrize("content", [
    "", "[]", "null", DEEP, "{}",
    json.dumps(TOKENIZER | {"model": 3}),
    json.dumps(TOKENIZER | {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}),
    json.dumps(TOKENIZER | {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a c"]}}),
    json.dumps(TOKENIZER | {"normalizer": {"type": "Replace", "pattern": {"Regex": "("},
                                           "content": ""}}),
    # These two panic in the library, the second one when a text is read.
    json.dumps(TOKENIZER | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}),
    json.dumps(TOKENIZER | {"normalizer": {"type": "Precompiled",
                                           "precompiled_charsmap": CHARSMAP}}),
    json.dumps(TOKENIZER | {"post_processor": {"type": "TemplateProcessing", "single": PIECE,
                                               "pair": [], "special_tokens": {}}}),
], ids=short)
def test_tokenizers(content, inside):
  (inside / "tokenizer.json").write_text(content)
  refused("tokenizer.json is not a readable tokenizer", directory_tokenizer, inside)


def test_a_tokenizer_with_ids_beyond_the_model(model):
  words = {"type": "BPE", "vocab": {"a": 0, "b": 2**32 - 1}, "merges": []}
  tokenizer = TOKENIZER | {"model": words}
  (model / "tokenizer.json").write_text(json.dumps(tokenizer))
  refused("has 4294967296 tokens, more than the model's", load_lm, str(model))


@pytest.mark.parametrize(("name", "content", "message"), [
    ("tokenizer_config.json", "[]", "tokenizer_config.json must be a json object"),
    ("tokenizer_config.json", DEEP, "tokenizer_config.json is not valid json"),
    ("tokenizer_config.json", '{"chat_template": 3}', "source in .* must be a text, got 3"),
    ("tokenizer_config.json", '{"chat_template": [{"name": "default", "template": {}, "a": 1}]}',
     None),
    ("tokenizer_config.json", '{"chat_template": [3, null]}', None),
    ("tokenizer_config.json", '{"chat_template": "x", "bos_token": {"id": 3}}',
     "bos_token in .* must be a text, got None"),
    ("tokenizer_config.json", '{"chat_template": "x", "eos_token": [1]}', "eos_token in .* a text"),
    ("chat_template.jinja", b"\xff\xfe", "chat_template.jinja is no readable text"),
], ids=short)
def test_chat_templates(name, content, message, inside):
  (inside / name).write_bytes(content.encode() if isinstance(content, str) else content)
  if message is None:
    assert directory_chat(inside) is None
  else:
    refused(message, directory_chat, inside)


@pytest.mark.parametrize("name", [
    "", ".", "..", "../inside/model", "a/../../b", "a/..", "~nobody/model", "a\0b", "x" * 5000,
    "/dev/null", "/dev/zero", "a b", "-/-/-", "\ud800", "pkg:", "pkg:__main__", "pkg:../model",
    "pkg:os.path", "x\0.gguf", "~nobody/x.gguf", "x" * 5000 + ".gguf", "pipe.gguf",
], ids=short)
def test_names_of_models(name, inside):
  os.mkfifo(inside / "pipe.gguf")
  refused("there is no|holds no config.json|hub cannot be reached|hub has no", load_lm, name)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers(value, model):
  from safetensors.numpy import load_file, save_file

  weights = load_file(model / "model.safetensors")
  weights["h.1.mlp.c_fc.weight"][3, 4] = value
  save_file({name: a.astype(np.float16) for name, a in weights.items()},
            model / "model.safetensors")
  refused("'h.1.mlp.c_fc.weight' holds NaN or infinity", load_lm, str(model))


def test_a_folder_as_a_file(model):
  for name in ("config.json", "tokenizer.json", "model.safetensors"):
    (model / name).unlink()
    (model / name).mkdir()
  refused("holds no config.json", load_lm, str(model))


def test_a_model_that_is_as_it_should_be(model):
  """What all the others differ from."""
  with bounded():
    assert load_lm(str(model)).config.num_layers == 2
