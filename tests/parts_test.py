"""Shares of several processes: each row is scored once, none is lost, parts are taken over."""

import threading
from typing import NamedTuple

import jax
import numpy as np
import pytest

from mezzanine_jax import engine, hosts, parts
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Views
from mezzanine_jax.errors import InputError

NUMBER, SIZE = 700, 30  # rows: more than one chunk of any array
ARRAYS = {"features": ((NUMBER, 3), "float32"), "log_probs": ((NUMBER, 2), "float32")}


class Out(NamedTuple):
  features: jax.Array
  log_probs: jax.Array


def _batch_fn(scale, rows):
  return Out(scale * rows[:, None] + np.arange(3, dtype=np.float32), -rows[:, None] - np.ones(2))


def _expected():
  rows = np.arange(NUMBER, dtype=np.float32)[:, None]
  return {"features": 2 * rows + np.arange(3, dtype=np.float32),
          "log_probs": -rows - np.ones(2, np.float32)}


def _batches():
  starts = range(0, NUMBER, SIZE)
  return [engine.Batch(at, min(at + SIZE, NUMBER), 8 if at < 400 else 16, SIZE, 8) for at in starts]


def _rows():
  index = np.arange(NUMBER, dtype=np.int32)
  return engine.Rows(index, index, index, index[:, None])


def _processes(count):
  """So many that meet in this process: what process 0 tells is what all get."""
  barrier, box = threading.Barrier(count, timeout=60), []

  def processes(index):
    def tell(values):
      if index == 0:
        box[:] = [np.array(values)]
      barrier.wait()
      told = box[0].copy()
      barrier.wait()
      return told

    return hosts.Processes(index, count, tell)

  return [processes(i) for i in range(count)]


def _fill(path, processes, ran=None, fingerprint="f", stop_after=None):
  """`engine.fill` as one of these processes; `ran` gets the first row of every batch it runs."""
  ran, calls = [] if ran is None else ran, []
  views = Views(np.zeros((NUMBER, 1)), np.zeros((NUMBER, 1), np.float32), np.ones(NUMBER))

  def inputs_of(batch):
    calls.append(batch)
    if stop_after is not None and len(calls) > stop_after:
      raise KeyboardInterrupt
    if len(calls) > 1:  # the first call is for the shapes of the results
      ran.append(batch.start)
    return (np.arange(batch.start, batch.start + SIZE, dtype=np.float32),)

  return engine.fill(
      _batch_fn, np.float32(2), inputs_of, _batches(), _rows(), views, path, fingerprint,
      ids=list(map(str, range(NUMBER))), processes=processes)


def _together(path, count, **named):
  """All processes at once; what each ran, what each ended with, what process 0 got."""
  ran, ends = [[] for _ in range(count)], [None] * count

  def one(process):
    try:
      ends[process.index] = _fill(path, process, ran[process.index], **named)
    except (hosts.Left, InputError) as end:
      ends[process.index] = end

  threads = [threading.Thread(target=one, args=(p,)) for p in _processes(count)]
  [t.start() for t in threads]
  [t.join(60) for t in threads]
  return ran, ends


def _check(store):
  assert store_lib.done_rows(store).all()
  for name, values in _expected().items():
    np.testing.assert_array_equal(store_lib.read(store, name), values)
  assert not list((store.path / parts.PARTS).glob("*"))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_the_rows(tmp_path, count):
  ran, ends = _together(tmp_path / "v", count)
  store, number = ends[0]
  assert number == NUMBER and all(isinstance(end, hosts.Left) for end in ends[1:])
  _check(store)
  assert sorted(sum(ran, [])) == [b.start for b in _batches()]  # each batch once
  assert max(map(len, ran)) - min(map(len, ran)) <= 1
  again, ends = _together(tmp_path / "v", count)  # whole: nobody has anything to do
  assert again == [[]] * count and ends[0][1] == 0 and isinstance(ends[1], hosts.Left)


def test_what_a_killed_process_left_is_taken_over_by_one(tmp_path):
  """Process 1 ran four batches, process 0 none: a run of one process runs the rest."""
  path = tmp_path / "v"
  store = store_lib.open_store(path, "f", ARRAYS, _index())
  told = parts.Told("aa", np.zeros(NUMBER, bool))
  own = parts.shares(_batches(), told.done, 2)[1][:4]
  part = parts.own_part(path, told, 1, "f", ARRAYS)
  for batch in own:
    at = slice(batch.start, batch.stop)
    store_lib.write_rows(part, batch.start, {k: a[at] for k, a in _expected().items()})
  ran = []
  store, number = _fill(path, hosts.ALONE, ran)
  _check(store)
  assert set(ran) == {b.start for b in _batches()} - {b.start for b in own}
  assert number == NUMBER - 4 * SIZE


def test_a_run_that_one_process_began_goes_on_in_three(tmp_path):
  ran = []
  with pytest.raises(KeyboardInterrupt):
    _fill(tmp_path / "v", hosts.ALONE, ran, stop_after=6)
  kept = ran[:4]  # the last one was not fetched yet
  more, ends = _together(tmp_path / "v", 3)
  _check(ends[0][0])
  assert sorted(sum(more, kept)) == [b.start for b in _batches()]
  assert max(map(len, more)) - min(map(len, more)) <= 1  # of what was left, not of all


def test_a_damaged_part_costs_its_rows_only(tmp_path):
  path = tmp_path / "v"
  store = store_lib.open_store(path, "f", ARRAYS, _index())
  told = parts.Told("aa", np.zeros(NUMBER, bool))
  for index, rows in ((1, slice(0, 60)), (2, slice(600, 660))):
    part = parts.own_part(path, told, index, "f", ARRAYS)
    store_lib.write_rows(part, rows.start, {k: a[rows] for k, a in _expected().items()})
  chunk = path / parts.PARTS / "aa-1" / "features" / "c" / "0" / "0"
  chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
  assert parts.absorb(store, "f") == 60
  assert np.flatnonzero(store_lib.done_rows(store)).tolist() == [*range(600, 660)]
  assert not list((path / parts.PARTS).glob("*"))


def test_parts_of_another_run_are_not_taken(tmp_path):
  store = store_lib.open_store(tmp_path / "v", "f", ARRAYS, _index())
  part = store_lib.open_store(tmp_path / "v" / parts.PARTS / "aa-1", "g", ARRAYS, {})
  store_lib.write_rows(part, 0, {k: a[:9] for k, a in _expected().items()})
  assert parts.absorb(store, "f") == 0 and not store_lib.done_rows(store).any()


def test_a_process_with_other_data_is_refused():
  first, other = _processes(2)
  ends = []

  def tell(process, fingerprint):
    try:
      ends.append(parts.tell(process, fingerprint, np.zeros(4, bool)))
    except InputError as error:
      process.tell(np.zeros(4, np.uint8))  # so that the other one is not left waiting here
      ends.append(str(error))

  threads = [threading.Thread(target=tell, args=a) for a in ((first, "f"), (other, "g"))]
  [t.start() for t in threads]
  [t.join(60) for t in threads]
  assert [e for e in ends if isinstance(e, str)] == [
      "process 1 has other data, weights, settings or another version than process 0; give all"
      " processes the same command"]


def test_a_folder_that_is_not_shared_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(parts, "_PATIENCE", -1.0)
  with pytest.raises(InputError, match="process 2 does not see .* that all processes share"):
    parts.own_part(tmp_path / "v", parts.Told("aa", np.zeros(NUMBER, bool)), 2, "f", ARRAYS)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shares_are_even_in_every_shape(count):
  done = np.zeros(NUMBER, bool)
  done[90:180] = True
  dealt = parts.shares(_batches(), done, count)
  assert sorted(sum(dealt, [])) == [b for b in _batches() if not 90 <= b.start < 180]
  for length in (8, 16):
    sizes = [sum(b.length == length for b in own) for own in dealt]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("given", "sentence"), [
    (("auto", 2, None), "leave --num_processes and --process_id out"),
    (("host:1", 2, None), "must be HOST:PORT, with --num_processes and --process_id"),
    (("host", 2, 0), "must be HOST:PORT"),
    (("host:1", 2, 2), r"--process_id must lie in 0..1, got 2"),
])
def test_processes_that_cannot_meet_are_named(given, sentence):
  with pytest.raises(InputError, match=sentence):
    hosts.join(*given)


def _index():
  rows = _rows()
  return {"canonical_row": rows.canonical_row, "row": rows.row,
          "log_weight": np.zeros((NUMBER, 1), np.float32)}
