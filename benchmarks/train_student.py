"""How long a student's training takes: 800 steps of 256 views on 16,384 rows of 576 features.

    python benchmarks/train_student.py [--repetitions 3] [--json FILE]

Prints seconds, compilation included: every repetition is a process of its own, without JAX's
compilation cache.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROWS, FEATURES, VIEWS, STEPS = 16_384, 576, 8, 800


def make_data(rows: int, features: int, views: int, seed: int = 0):
  """Random features, and a teacher that depends on them; a fifth is for validation."""
  import numpy as np

  from mezzanine_jax import distill_data

  draw = np.random.default_rng(seed)
  table = draw.normal(size=(rows, features)).astype(np.float32)
  own = np.stack([np.zeros(rows), table[:, :8].sum(1)], 1)
  log_probs = own - np.logaddexp.reduce(own, 1, keepdims=True)
  number = rows // views
  mean = log_probs.reshape(number, views, 2).mean(1)
  data = distill_data.DistillData(
    features=table,
    log_probs=log_probs.astype(np.float32),
    row=np.arange(rows, dtype=np.int32).reshape(number, views),
    log_weights=np.full((number, views), -np.log(views), np.float32),
    teacher_log_probs=(mean - np.logaddexp.reduce(mean, 1, keepdims=True)).astype(np.float32),
    labels=np.full(number, -1, np.int32),
  )
  cut = number - number // 5
  select = distill_data.select
  return data, select(data, range(cut)), select(data, range(cut, number))


def measure(rows: int, features: int, views: int, steps: int) -> dict[str, float]:
  """Trains once in this process; seconds of the whole and of its parts."""
  import jax

  from mezzanine_jax import distill, distill_data, heads, students

  jax.config.update("jax_enable_compilation_cache", False)
  data, part_train, part_valid = make_data(rows, features, views)
  jax.block_until_ready(jax.random.key(0))  # the backend's own start is not training
  points = []
  started = time.monotonic()
  student = heads.mlp_head(num_choices=2, hidden=512)
  student = students.standardize(student, *distill_data.feature_moments(part_train))
  with tempfile.TemporaryDirectory() as folder:
    result = distill.train(
      student, part_train, part_valid, key=jax.random.key(0), steps=steps,
      checkpoint_dir=folder, progress=lambda point: points.append(time.monotonic()),
    )
    trained = time.monotonic()
  inputs = {"features": data.features, "log_probs": data.log_probs}
  jax.block_until_ready(students.predict_rows(student.apply, result.params, inputs))
  ended = time.monotonic()
  return {
    "seconds": ended - started,
    "to the first look": points[0] - started,
    "to the second look": points[1] - points[0],
    "the other steps": points[-1] - points[1],
    "the last checkpoint": trained - points[-1],
    "predictions on all rows": ended - trained,
    "valid_kl": result.history[-1].valid_kl,
  }


def main() -> None:
  """Runs the repetitions and prints their medians."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repetitions", type=int, default=3)
  parser.add_argument("--rows", type=int, default=ROWS)
  parser.add_argument("--steps", type=int, default=STEPS)
  parser.add_argument("--json", type=pathlib.Path)
  parser.add_argument("--once", action="store_true", help="one repetition, printed as json")
  args = parser.parse_args()
  if args.once:
    print(json.dumps(measure(args.rows, FEATURES, VIEWS, args.steps)))
    return
  command = [sys.executable, __file__, "--once", f"--rows={args.rows}", f"--steps={args.steps}"]
  runs = [
    json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for _ in range(args.repetitions)
  ]
  medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
  for name, value in medians.items():
    spread = sorted(run[name] for run in runs)
    print(f"{name:<24} {value:8.3f}   ({spread[0]:.3f} to {spread[-1]:.3f})")
  if args.json:
    args.json.write_text(json.dumps({"median": medians, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
  main()
