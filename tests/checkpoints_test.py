"""Checkpoints: an interrupted training ends in the same bits; a student comes back as saved."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax import checkpoints, distill, distill_data, heads, students
from mezzanine_jax.errors import InputError

STUDENT = heads.mlp_head(2, hidden=4)
PLAN = {"key": jax.random.key(1), "steps": 25, "batch_size": 8, "learning_rate": 0.05}
PLAN |= {"eval_every": 5, "checkpoint_seconds": 0.0}


class Killed(Exception):
  """Stands for whatever ends a process."""


def make_data(seed):
  rng = np.random.default_rng(seed)
  features = rng.normal(size=(48, 3)).astype(np.float32)
  logits = 2 * features.reshape(24, 2, 3).mean(axis=1)[:, :2]
  return distill_data.DistillData(
    features=features,
    log_probs=np.full((48, 2), np.log(0.5), np.float32),
    row=np.arange(48, dtype=np.int32).reshape(24, 2),
    log_weights=np.full((24, 2), np.log(0.5), np.float32),
    teacher_log_probs=np.asarray(jax.nn.log_softmax(logits), np.float32),
    labels=np.full(24, -1, np.int32),
  )


DATA, VALID = make_data(0), make_data(1)


def run(directory=None, kill_at=None, seen=None, **changes):
  """One training; `kill_at` ends it when that step is reported."""

  def progress(point):
    if seen is not None:
      seen.append(point.step)
    if point.step == kill_at:
      raise Killed

  plan = {**PLAN, **changes}
  return distill.train(STUDENT, DATA, VALID, checkpoint_dir=directory, progress=progress, **plan)


def killed(directory, kill_at):
  with pytest.raises(Killed):
    run(directory, kill_at)
  return directory / "last"


def assert_same(a, b):
  """Bit for bit, history included."""
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert a == b._replace(params=a.params)


@pytest.fixture(scope="module")
def whole():
  result = run()
  assert result.best_step > 10  # Otherwise the comparisons below would compare starting points.
  return result


@pytest.mark.parametrize("kill_at, goes_on_at", [(0, 0), (5, 0), (15, 15), (25, 25)])
def test_interrupted_equals_uninterrupted(tmp_path, whole, kill_at, goes_on_at):
  killed(tmp_path, kill_at)
  seen = []
  assert_same(run(tmp_path, seen=seen), whole)
  assert seen[0] == goes_on_at
  # Finished: a third start only reads.
  seen = []
  assert_same(run(tmp_path, seen=seen), whole)
  assert seen == []


def test_checkpoints_do_not_change_the_result(tmp_path, whole):
  assert_same(run(tmp_path / "often"), whole)
  assert_same(run(tmp_path / "once", checkpoint_seconds=1e9), whole)
  assert [path.name for path in (tmp_path / "once" / "last").iterdir()] == ["25"]


def test_cut_off_checkpoint_is_not_read(tmp_path, whole):
  last = killed(tmp_path, 15)
  # What a process leaves that dies while it writes the next one.
  partial = last / "15.orbax-checkpoint-tmp-123"
  partial.mkdir()
  (partial / "state").mkdir()
  (partial / "state" / "manifest.ocdbt").write_bytes(b"half")
  seen = []
  assert_same(run(tmp_path, seen=seen), whole)
  assert seen[0] == 15
  assert not partial.exists()


@pytest.mark.parametrize("damage", ["empty newer", "truncated"])
def test_unreadable_checkpoint_is_passed_over(tmp_path, whole, damage):
  last = killed(tmp_path, 15)
  if damage == "empty newer":
    (last / "20").mkdir()
  else:
    for path in (last / "10").rglob("*"):
      if path.is_file():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  seen = []
  assert_same(run(tmp_path, seen=seen), whole)
  assert seen[0] == (15 if damage == "empty newer" else 0)


def test_training_of_other_settings_or_data_is_refused(tmp_path, whole):
  killed(tmp_path, 15)
  for changes in ({"learning_rate": 0.04}, {"key": jax.random.key(2)}, {"steps": 30}):
    with pytest.raises(InputError, match="other data or settings: choose another folder"):
      run(tmp_path, **changes)
  other = DATA._replace(features=DATA.features + 1)
  with pytest.raises(InputError, match="other data or settings"):
    distill.train(STUDENT, other, VALID, checkpoint_dir=tmp_path, **PLAN)
  seen = []
  assert_same(run(tmp_path, seen=seen, resume=False), whole)
  assert seen[0] == 0


META = {"name": "mlp", "settings": {"hidden": 4}, "num_choices": 2, "feature_size": 3}


def test_student_comes_back_without_the_training_code(tmp_path, whole, capfd):
  mean, std = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 2.0])
  student = students.standardize(STUDENT, mean, std)
  inputs = {"features": jnp.array([0.3, 2.0, -1.0])}
  params = {**student.init(jax.random.key(0), inputs), "params": whole.params["params"]}
  directory = tmp_path / "deep" / "student"
  checkpoints.save_student(directory, params, {**META, "embed_layer": -1, "note": "é"})
  again, meta = checkpoints.load_student(directory)
  assert meta == {**META, "format": checkpoints.FORMAT, "embed_layer": -1, "note": "é"}
  jax.tree.map(np.testing.assert_array_equal, again, jax.device_get(params))
  made = heads.make_student(meta["name"], num_choices=meta["num_choices"], **meta["settings"])
  np.testing.assert_array_equal(made.apply(again, inputs), student.apply(params, inputs))
  # Over an older one, and silently.
  checkpoints.save_student(directory, whole.params, META)
  again, meta = checkpoints.load_student(directory)
  jax.tree.map(np.testing.assert_array_equal, again, jax.device_get(whole.params))
  assert "note" not in meta
  assert capfd.readouterr() == ("", "")


def test_constant_student_comes_back(tmp_path):
  params = students.constant_student(np.log([0.2, 0.8])).init(jax.random.key(0), {})
  checkpoints.save_student(tmp_path, params, {**META, "name": "constant"})
  again, _ = checkpoints.load_student(tmp_path)
  assert again.keys() == params.keys()
  np.testing.assert_array_equal(
    again["constants"]["log_probs"], params["constants"]["log_probs"]
  )


def test_training_leaves_the_best_params(tmp_path):
  result = run(tmp_path)
  (tmp_path / "student.json").write_text(json.dumps({**META, "format": checkpoints.FORMAT}))
  best, _ = checkpoints.load_student(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, best, jax.device_get(result.params))


def test_broken_student_folders_are_named(tmp_path):
  with pytest.raises(InputError, match="the folder does not exist"):
    checkpoints.load_student(tmp_path / "nowhere")
  with pytest.raises(InputError, match="no complete student"):
    checkpoints.load_student(tmp_path)
  params = STUDENT.init(jax.random.key(0), {"features": jnp.zeros(3)})
  checkpoints.save_student(tmp_path, params, META)
  for path in (tmp_path / "best").rglob("*"):
    if path.is_file():
      path.write_bytes(b"")
  with pytest.raises(InputError, match="cannot be read"):
    checkpoints.load_student(tmp_path)
  for text, message in [
    ("{", "not valid json"),
    ("[]", "incomplete"),
    (json.dumps(META), "incomplete"),
    (json.dumps({**META, "format": 99}), "format 99, this version reads 1"),
  ]:
    (tmp_path / "student.json").write_text(text)
    with pytest.raises(InputError, match=message):
      checkpoints.load_student(tmp_path)


def test_meta_that_json_cannot_hold_is_refused(tmp_path):
  directory = tmp_path / "student"
  for change in ({"score": float("nan")}, {"params": np.zeros(2)}):
    with pytest.raises(InputError, match="plain json"):
      checkpoints.save_student(directory, {}, {**META, **change})
  with pytest.raises(InputError, match="needs settings, feature_size"):
    checkpoints.save_student(directory, {}, {"name": "mlp", "num_choices": 2})
  assert not directory.exists()
