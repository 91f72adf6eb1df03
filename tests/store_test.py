"""The store: what is written is found again, and another run's rows are refused."""

import json

import ml_dtypes
import numpy as np
import pytest

from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError

ARRAYS = {"log_probs": ((5, 2), "float32"), "features": ((5, 3), "float32")}
INDEX = {
    "canonical_row": np.array([0, 3], np.int32),
    "row": np.array([[0, 1], [4, -1]], np.int32),
    "log_weight": np.array([[-0.7, -0.7], [0.0, -np.inf]], np.float32),
}


def _open(path, fingerprint="f"):
  return store_lib.open_store(path, fingerprint, ARRAYS, INDEX)


def _values(start, stop):
  rng = np.random.default_rng(start)
  shapes = {"log_probs": 2, "features": 3}
  return {k: rng.normal(size=(stop - start, n)).astype(np.float32) for k, n in shapes.items()}


def test_rows_and_index_are_found_again(tmp_path):
  store = _open(tmp_path / "v")
  assert not store_lib.done_rows(store).any()
  store_lib.write_rows(store, 1, _values(1, 4))
  again = _open(tmp_path / "v")
  assert store_lib.done_rows(again).tolist() == [False, True, True, True, False]
  for name, values in _values(1, 4).items():
    np.testing.assert_array_equal(store_lib.read(again, name)[1:4], values)
  for name, values in INDEX.items():
    np.testing.assert_array_equal(store_lib.read(again, name), values)


def test_another_runs_rows_are_refused(tmp_path):
  _open(tmp_path / "v")
  with pytest.raises(InputError, match="holds the rows of another run"):
    _open(tmp_path / "v", "g")


def test_rows_of_another_plan_are_refused(tmp_path):
  """The same fingerprint is not trusted blindly: shapes and index are compared too."""
  _open(tmp_path / "v")
  index = INDEX | {"row": INDEX["row"][::-1].copy()}
  with pytest.raises(InputError, match="does not fit this run .row."):
    store_lib.open_store(tmp_path / "v", "f", ARRAYS, index)
  arrays = ARRAYS | {"features": ((5, 4), "float32")}
  with pytest.raises(InputError, match="does not fit this run .features."):
    store_lib.open_store(tmp_path / "v", "f", arrays, INDEX)


def test_a_store_that_was_not_finished_is_made_anew(tmp_path):
  store = _open(tmp_path / "v")
  store_lib.write_rows(store, 0, _values(0, 5))
  (tmp_path / "v" / "zarr.json").unlink()
  assert not store_lib.done_rows(_open(tmp_path / "v", "g")).any()


def test_it_is_a_zarr_group(tmp_path):
  _open(tmp_path / "v")
  group = json.loads((tmp_path / "v" / "zarr.json").read_text())
  assert (group["zarr_format"], group["node_type"]) == (3, "group")
  array = json.loads((tmp_path / "v" / "log_probs" / "zarr.json").read_text())
  assert array["shape"] == [5, 2] and array["codecs"][-1]["name"] == "crc32c"


def test_a_flipped_byte_is_noticed(tmp_path):
  store = _open(tmp_path / "v")
  store_lib.write_rows(store, 0, _values(0, 5))
  [chunk] = [p for p in (tmp_path / "v" / "log_probs" / "c").rglob("*") if p.is_file()]
  data = bytearray(chunk.read_bytes())
  data[3] ^= 1
  chunk.write_bytes(data)
  with pytest.raises(store_lib.DamageError, match="log_probs is damaged; the same command"):
    store_lib.read(_open(tmp_path / "v"), "log_probs")


def test_fingerprints_differ_with_any_fact():
  base = {"k": 8, "seed": 0, "names": ["a", "b"]}
  assert store_lib.fingerprint(base) == store_lib.fingerprint(dict(reversed(base.items())))
  for change in ({"k": 9}, {"seed": 1}, {"names": ["b", "a"]}, {"more": None}):
    assert store_lib.fingerprint(base | change) != store_lib.fingerprint(base)


def test_text_is_written_whole_or_not_at_all(tmp_path):
  path = tmp_path / "a.json"
  store_lib.write_text(path, "old")
  with pytest.raises(TypeError):
    store_lib.write_text(path, b"new")
  assert path.read_text() == "old"


def test_wide_rows_come_in_short_chunks(tmp_path):
  arrays = {"features": ((1000, 576), "bfloat16"), "log_probs": ((1000, 2), "float32")}
  store = store_lib.open_store(tmp_path / "v", "f", arrays, {})
  assert store.arrays["features"].chunk_layout.read_chunk.shape == (113, 576)
  assert store.arrays["log_probs"].chunk_layout.read_chunk.shape == (512, 2)
  draw = np.random.default_rng(0)
  features = draw.normal(size=(300, 576)).astype(ml_dtypes.bfloat16)
  store_lib.write_rows(store, 60, {"features": features, "log_probs": np.zeros((300, 2), "f4")})
  found = store_lib.read(store, "features")[60:360]
  assert found.dtype == ml_dtypes.bfloat16
  np.testing.assert_array_equal(found, features)
