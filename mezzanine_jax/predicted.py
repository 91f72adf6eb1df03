"""Predictions on new texts, for their reader: lines of JSON, accuracy and speed in words."""

import json
import os
import pathlib

import numpy as np

from mezzanine_jax import clustered, finished
from mezzanine_jax.errors import InputError
from mezzanine_jax.predict import Predictions


def lines(made: Predictions) -> str:
  """One JSON object a line: id, probabilities by choice, answer, the baseline's probabilities."""
  probs = {"probabilities": made.answers.student}
  if made.answers.baseline is not None:
    probs[f"{made.who.lower().replace(' ', '_')}_probabilities"] = made.answers.baseline
  # Seven digits are those of float32; JSON's \u escapes keep what no file can hold.
  shown = {name: [{c: float(f"{p:.7g}") for c, p in zip(made.choices, row, strict=True)}
                  for row in np.exp(own.astype(np.float64)).tolist()]
           for name, own in probs.items()}
  best = made.answers.student.argmax(1)
  rows = [{"id": name, "answer": made.choices[best[n]]} | {p: own[n] for p, own in shown.items()}
          for n, name in enumerate(made.ids)]
  return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def summary(made: Predictions) -> list[str]:
  """Accuracy of student and baseline where labels are known, and speed, in words."""
  known, number = made.labels >= 0, len(made.ids)
  out = []
  if known.any():
    clusters = [c for c, k in zip(made.clusters, known, strict=True) if k]
    for name, own in (("student", made.answers.student), (made.who, made.answers.baseline)):
      if own is not None:
        right = own[known].argmax(1) == made.labels[known]
        found = clustered.mean_and_stderr(right, clusters)
        error = f" ± {found.stderr:.3f}" if np.isfinite(found.stderr) else ""
        out.append(f"accuracy of the {name}: {found.value:.3f}{error} ({known.sum():,} of"
                   f" {number:,} texts have labels)")
  out.append(f"{number:,} texts in {made.seconds:.1f} s: {number / made.seconds:,.1f} texts/s")
  return out


def check_out(out: str, data: str, overwrite: bool) -> None:
  """Raises `InputError` unless the predictions may be written to the file; `-` always may."""
  path, folder = pathlib.Path(out), pathlib.Path(out).absolute().parent
  if out == "-":
    return
  if path.is_dir():
    raise InputError(f"--out {out!r} is a folder; give a file, such as preds.jsonl")
  if not folder.is_dir():
    raise InputError(f"--out {out!r}: there is no folder {str(folder)!r}; make it first")
  if path.exists() and pathlib.Path(data).exists() and path.samefile(data):
    raise InputError(f"--out {out!r} is the data itself; give another file")
  if path.exists() and not overwrite:
    raise InputError(f"--out {out!r} exists already; give another file, or --overwrite")
  if not os.access(folder, os.W_OK):
    raise InputError(f"--out {out!r} cannot be written: no permission; give another place")


def write(made: Predictions, out: str) -> None:
  """Writes the lines to a file, whole or not at all."""
  finished.write_text(out, lines(made), "--out")
