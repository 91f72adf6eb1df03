"""Stores that the disk has damaged: noticed, told in a sentence, and mended with what is left."""

import json
import resource

import ml_dtypes
import numpy as np
import pytest

from mezzanine_jax import checkpoints, damage
from mezzanine_jax import store as store_lib
from mezzanine_jax.errors import InputError

ROWS = 200
ARRAYS = {"log_probs": ((ROWS, 2), "float32"), "features": ((ROWS, 600), "bfloat16")}
INDEX = {
    "row": np.arange(20, dtype=np.int32).reshape(4, 5),
    "log_weight": np.where(np.arange(20) % 5 < 4, -1.4, -np.inf).astype(np.float32).reshape(4, 5),
}
CHUNK = 109  # rows of features in one


def _open(path):
  return store_lib.open_store(path, "f", ARRAYS, INDEX)


def _values():
  draw = np.random.default_rng(0)
  types = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
  return {name: draw.normal(size=shape).astype(types[dtype])
          for name, (shape, dtype) in ARRAYS.items()}


@pytest.fixture
def filled(tmp_path):
  """The path of a store that holds all rows but the last ten."""
  store = _open(tmp_path / "v")
  store_lib.write_rows(store, 0, {n: a[: ROWS - 10] for n, a in _values().items()})
  return tmp_path / "v"


def _flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def _cut(path):
  path.write_bytes(path.read_bytes()[:-50])


def _empty(path):
  path.write_bytes(b"")


def _delete(path):
  path.unlink()


ALL = np.arange(ROWS) < ROWS - 10
FIRST, REST = ALL & (np.arange(ROWS) < CHUNK), ALL & (np.arange(ROWS) >= CHUNK)
NONE = np.zeros(ROWS, bool)


@pytest.mark.parametrize("harm", [_flip, _cut, _empty, _delete])
@pytest.mark.parametrize(("file", "lost"), [
    ("features/c/0/0", FIRST), ("features/c/1/0", REST), ("log_probs/c/0/0", ALL),
    ("done/c/0", NONE), ("row/c/0/0", NONE), ("log_weight/c/0/0", NONE),
])
def test_a_damaged_chunk_loses_its_own_rows(filled, harm, file, lost):
  if (harm, file) == (_delete, "done/c/0"):
    lost = ALL  # what is not marked is not done
  harm(filled / file)
  store = _open(filled)
  sentence = damage.mend(store, INDEX)
  if (harm, file) != (_delete, "done/c/0"):
    assert f"{lost.sum()} of 200 rows lost; only what is lost is scored again" in sentence
    chunk = f"1 damaged chunk ({file.split('/')[0]} {file.split('/')[2]})"
    assert (chunk in sentence) == (harm is not _delete or lost is NONE)
  np.testing.assert_array_equal(store_lib.done_rows(store), ALL & ~lost)
  for name, values in INDEX.items():
    np.testing.assert_array_equal(store_lib.read(store, name), values)
  values = _values()
  for name in ARRAYS:
    np.testing.assert_array_equal(store_lib.read(store, name)[ALL & ~lost],
                                  values[name][ALL & ~lost])
  # What is written again is like new, and nothing more is wrong.
  store_lib.write_rows(store, 0, values)
  assert damage.mend(_open(filled), INDEX) is None
  assert damage.is_whole(filled, "f") and not damage.is_whole(filled, "g")
  for name in ARRAYS:
    np.testing.assert_array_equal(store_lib.read(store, name), values[name])


def test_an_undamaged_store_is_not_written(filled):
  before = {p: p.read_bytes() for p in filled.rglob("*") if p.is_file()}
  assert damage.mend(_open(filled), INDEX) is None
  assert not damage.is_whole(filled, "f")  # ten rows are missing
  assert {p: p.read_bytes() for p in filled.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("harm", [_cut, _empty, _delete])
def test_metadata_of_an_array_is_written_again(filled, harm):
  harm(filled / "features" / "zarr.json")
  assert not damage.is_whole(filled, "f")
  store = _open(filled)
  assert damage.mend(store, INDEX) is None  # nothing but what can be known was lost
  np.testing.assert_array_equal(store_lib.read(store, "features")[:CHUNK],
                                _values()["features"][:CHUNK])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"attributes": 3}', "null", '{"attributes": {"format": 2}}'])
def test_a_store_that_does_not_say_whose_it_is_is_refused(filled, text):
  (filled / "zarr.json").write_text(text)
  with pytest.raises(InputError, match="zarr.json is damaged; delete that folder to score its"):
    _open(filled)


@pytest.mark.parametrize(("attributes", "message"), [
    ({"fingerprint": "f"}, r"another version of this package .format 1, this one has 2"),
    ({"fingerprint": "f", "format": 3}, r"another version of this package .format 3,"),
    ({"title": "climate"}, "holds other data than rows of this package"),
])
def test_a_store_of_another_version_is_refused(filled, attributes, message):
  marker = filled / "zarr.json"
  marker.write_text(json.dumps(json.loads(marker.read_text()) | {"attributes": attributes}))
  with pytest.raises(InputError, match=message):
    _open(filled)
  with pytest.raises(InputError, match=message):
    damage.is_whole(filled, "f")


def test_a_store_whose_making_was_cut_off_is_made_anew(filled):
  marker = filled / "zarr.json"
  group = json.loads(marker.read_text())
  marker.write_text(json.dumps(group | {"attributes": group["attributes"] | {"complete": False}}))
  assert not damage.is_whole(filled, "f")
  assert not store_lib.done_rows(_open(filled)).any()


@pytest.fixture
def small_files():
  """Files may not grow over 20,000 bytes: the disk's refusal, met on the way that is real."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_told(filled, small_files):
  before = {p: p.read_bytes() for p in filled.rglob("*") if p.is_file()}
  store = _open(filled)
  small_files()
  with pytest.raises(InputError, match="v cannot be written: File too large; the same command"):
    store_lib.write_rows(store, ROWS - 10, {n: a[ROWS - 10 :] for n, a in _values().items()})
  with pytest.raises(InputError, match="x.json cannot be written: File too large"):
    store_lib.write_text(filled / "x.json", "x" * 30_000)
  # Rows that are not whole are not marked; those of before are as they were.
  assert store_lib.done_rows(store).tolist() == ALL.tolist()
  for path, data in before.items():
    if "features" in path.parts or "done" in path.parts:
      assert path.read_bytes() == data


def test_a_disk_that_takes_no_checkpoint_is_told(tmp_path, small_files, caplog):
  """The older state stays, and what was cut off is not in the way later."""
  state = {"w": np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)}
  like = {"w": np.zeros((100, 100), np.float32)}
  checkpoints.save_last(tmp_path / "s", "f", 5, state)
  checkpoints.save_best(tmp_path / "s", state)
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  small_files()
  with pytest.raises(InputError, match="s cannot be written: File too large; the same command"):
    checkpoints.save_last(tmp_path / "s", "f", 10, state)
  with pytest.raises(InputError, match="s cannot be written: File too large; the same command"):
    checkpoints.save_best(tmp_path / "s", state)
  resource.setrlimit(resource.RLIMIT_FSIZE, before)
  found = checkpoints.restore_last(tmp_path / "s", "f", like)
  np.testing.assert_array_equal(found["w"], state["w"])
  checkpoints.save_last(tmp_path / "s", "f", 10, state)
  checkpoints.save_student(tmp_path / "s", state, {
      "name": "linear", "settings": {}, "num_choices": 2, "feature_size": 100})
  np.testing.assert_array_equal(checkpoints.load_student(tmp_path / "s")[0]["w"], state["w"])
  assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["best", "last", "student.json"]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
  (tmp_path / "f").write_text("x")
  with pytest.raises(InputError, match="f/v cannot be written: Not a directory"):
    _open(tmp_path / "f" / "v")
