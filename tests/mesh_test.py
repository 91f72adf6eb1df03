"""Meshes: what lies where by hand, and the same results on any number of devices."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from mezzanine_jax import mesh as mesh_lib
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.transformer import init_params
from mezzanine_jax.models.transformer_config import TransformerConfig


def _config(**changes):
  facts = {"vocab_size": 48, "width": 12, "num_layers": 5, "num_heads": 6, "num_kv_heads": 2,
           "head_dim": 4, "mlp_width": 20, "max_positions": 8, "rope_frequencies": (1.0, 0.1),
           "qkv_bias": True, "out_bias": True, "mlp_bias": True, "tied_embeddings": False}
  return TransformerConfig(**facts | changes)


@functools.cache
def _shapes(config):
  return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def _specs(config, data, model, fully_sharded=False):
  """{path: spec} of every parameter."""
  shapes = _shapes(config)
  mesh = AbstractMesh((data, model), (mesh_lib.DATA, mesh_lib.MODEL))
  specs = mesh_lib.param_specs(config, shapes, mesh, fully_sharded)
  leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
  named = {"/".join(key.key for key in path): spec
           for (path, _), spec in zip(leaves, tree.flatten_up_to(specs), strict=True)}
  return named, {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}


@pytest.mark.parametrize(("text", "sizes"), [
    ("data=-1,model=1", (-1, 1)), ("model=2, data=4", (4, 2)), ("data=3", (3, 1)),
    ("model=-1", (1, -1)),
])
def test_meshes_that_can_be_read(text, sizes):
  assert mesh_lib.parse(text) == sizes


@pytest.mark.parametrize("text", [
    "", "data", "data=0", "data=-2", "rows=2", "data=2,data=2", "data=2;model=2", "data=1.5"])
def test_meshes_that_cannot_be_read(text):
  with pytest.raises(InputError, match="mesh must be like data=-1,model=1: .* got"):
    mesh_lib.parse(text)


def test_meshes_that_do_not_fit_the_devices():
  devices = jax.local_devices() * 6
  assert dict(mesh_lib.make_mesh("data=-1,model=2", devices).shape) == {"data": 3, "model": 2}
  with pytest.raises(InputError, match="may take the devices that are left, got"):
    mesh_lib.make_mesh("data=-1,model=-1", devices)
  with pytest.raises(InputError, match="cannot use 6 devices: 6 is no multiple of 4; give both"):
    mesh_lib.make_mesh("data=-1,model=4", devices)
  with pytest.raises(InputError, match="needs 8 devices, there are 6; give smaller numbers"):
    mesh_lib.make_mesh("data=4,model=2", devices)


def test_one_device_is_no_mesh():
  params = {"embed": jnp.zeros((48, 12))}
  assert mesh_lib.mesh_of(params) is None
  assert mesh_lib.mesh_of(mesh_lib.place(_config(), params, mesh_lib.make_mesh("data=1"))) is None


def test_what_lies_where():
  specs, _ = _specs(_config(), data=4, model=2)
  split = {
      "embed": P("model", None), "unembed": P("model", None),
      **{f"layers/{name}/kernel": P(None, None, "model") for name in ("q", "k", "v", "up", "gate")},
      **{f"layers/{name}/bias": P(None, "model") for name in ("q", "k", "v", "up", "gate")},
      **{f"layers/{name}/kernel": P(None, "model", None) for name in ("out", "down")},
  }
  assert specs == {name: split.get(name, P()) for name in specs}
  assert set(split) <= set(specs)


def test_what_does_not_divide_stays_whole():
  """Three ways: six query heads divide, and the vocabulary; two key heads and 20 columns do not."""
  specs, _ = _specs(_config(), data=1, model=3)
  assert specs["layers/q/kernel"] == P(None, None, "model")
  assert specs["layers/out/kernel"] == P(None, "model", None)
  for name in ("k", "v", "up", "gate", "down"):
    assert specs[f"layers/{name}/kernel"] == P()
  mesh = AbstractMesh((1, 3), (mesh_lib.DATA, mesh_lib.MODEL))
  assert mesh_lib.whole_parts(_config(), mesh) == ["key heads (2)", "MLP width (20)"]


@pytest.mark.parametrize(("data", "model"), [(2, 1), (4, 1), (4, 2), (3, 2), (7, 5)])
def test_parts_are_of_one_size_whatever_the_mesh(data, model):
  sizes = {"data": data, "model": model}
  for fully_sharded in (False, True):
    specs, shapes = _specs(_config(), data, model, fully_sharded)
    for name, spec in specs.items():
      axes = [axis for axis in spec if axis is not None]
      assert len(set(axes)) == len(axes)
      for size, axis in zip(shapes[name], spec, strict=False):
        assert axis is None or size % sizes[axis] == 0
      if name.startswith("layers/") and spec != P():
        assert spec[0] is None  # layers are cut out one by one
      if not fully_sharded:
        assert "data" not in axes


def test_fully_sharded_matrices_are_split_over_data():
  specs, shapes = _specs(_config(), data=4, model=1, fully_sharded=True)
  assert specs["embed"] == P("data", None) and specs["layers/up/kernel"] == P(None, None, "data")
  assert specs["layers/down/kernel"] == P(None, "data", None)
  for name, spec in specs.items():
    is_matrix = len(shapes[name]) - name.startswith("layers/") > 1
    assert ("data" in tuple(spec)) == is_matrix


@pytest.fixture(scope="module")
def scored(tiny_lm, tmp_path_factory):
  """{name: arrays} for every mesh of `on_devices`, and what it printed."""
  folder = tmp_path_factory.mktemp("scored")
  flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
  program = pathlib.Path(__file__).with_name("on_devices.py")
  done = subprocess.run(
      [sys.executable, str(program), tiny_lm, str(folder)], capture_output=True, text=True,
      env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}, timeout=900)
  assert done.returncode == 0, done.stderr
  arrays = {p.stem: dict(np.load(p)) for p in folder.glob("*.npz")}
  return arrays, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_results_do_not_depend_on_the_devices(scored):
  arrays, facts = scored
  assert facts["devices"] == 8 and facts["batches"] > 8 > facts["groups"] > 1
  one = arrays["1"]
  assert one["log_probs"].std(0).min() > 1e-3  # views are not all alike
  for name in ("2", "4", "8"):  # every device runs the program of a single one
    for field in ("log_probs", "features"):
      np.testing.assert_array_equal(arrays[name][field], one[field])
  for name in ("model", "full", "both"):
    np.testing.assert_allclose(
        np.exp(arrays[name]["log_probs"]), np.exp(one["log_probs"]), atol=1e-5)
    np.testing.assert_allclose(arrays[name]["features"], one["features"], atol=1e-5)


@pytest.mark.slow
def test_adapters_do_not_depend_on_the_devices_that_share_a_step(scored):
  arrays, _ = scored
  one = arrays["1"]
  assert np.ptp(one["valid_kl"]) > 1e-4  # something was learned
  for name in ("4", "8", "full", "both"):
    np.testing.assert_allclose(arrays[name]["valid_kl"], one["valid_kl"], rtol=1e-4)
    np.testing.assert_allclose(arrays[name]["adapters"], one["adapters"], atol=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(scored):
  arrays, facts = scored
  assert all(facts["ran"]) and sum(facts["ran"]) == facts["rows"]
  for field, values in arrays["shared"].items():
    np.testing.assert_array_equal(arrays["1"][field], values)
