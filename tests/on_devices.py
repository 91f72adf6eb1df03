"""Scores the same rows, and learns from them, over meshes of simulated devices; for mesh_test.

`python on_devices.py LM FOLDER`: writes FOLDER/NAME.npz with `log_probs` and `features` for every
name in MESHES, and `adapters` for those in TRAINED; prints as json how many rows were run by whom
of a store that three share.
"""

import json
import pathlib
import sys

import jax
import numpy as np

from mezzanine_jax import designs, devices, finetune, language, lora, scoring
from mezzanine_jax import store as store_lib
from mezzanine_jax.base import Example
from mezzanine_jax.mesh import make_mesh
from mezzanine_jax.models.load import load_lm
from mezzanine_jax.symmetries import segment_order

MESHES = {  # mesh, fully sharded
    "1": ("data=1", False),
    "2": ("data=2", False),
    "4": ("data=4", False),
    "8": ("data=-1", False),
    "model": ("data=1,model=2", False),
    "full": ("data=4", True),
    "both": ("data=2,model=2", True),
}
TRAINED = ("1", "4", "8", "full", "both")


def main(lm_name, folder):
  folder, lm = pathlib.Path(folder), load_lm(lm_name)
  plan = _plan(lm.tokenizer)
  batch_fn = scoring.view_rows_scorer(scoring.rows_scorer(lm.config), segment_order())

  def score(path, mesh, fully_sharded, progress=lambda rows: None):
    params = load_lm(lm_name, "float32", make_mesh(mesh), fully_sharded).params
    return language.score(
        plan, batch_fn, params, path, "f", ids=list(map(str, range(9))), progress=progress)

  def train(mesh, fully_sharded):
    params = load_lm(lm_name, "float32", make_mesh(mesh), fully_sharded).params
    teacher = np.log(np.where(np.arange(9)[:, None] % 2, [0.9, 0.1], [0.2, 0.8]), dtype="f4")
    learned, looked_at = (
        finetune.targets(plan, teacher, np.arange(*part), "all") for part in ((0, 7), (7, 9)))
    answers = scoring.answers_only(batch_fn)
    return finetune.finetune(
        plan, answers, answers, params, lora.init_adapters(params, jax.random.key(0), rank=2),
        learned, looked_at, steps=4, eval_every=2, batch_tokens=200, consistency_weight=1.0)

  for name, how in MESHES.items():
    store, _ = score(folder / f"{name}.zarr", *how)
    arrays = {n: store_lib.read(store, n) for n in ("log_probs", "features")}
    if name in TRAINED:
      found = train(*how)
      arrays["adapters"] = np.concatenate(
          [np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(found.adapters)])
      arrays["valid_kl"] = [point.valid_kl for point in found.history]
    np.savez(folder / f"{name}.npz", **arrays)

  def stop(rows):
    raise KeyboardInterrupt

  ran = []
  for name in ("1", "4"):  # each ends after the first batch that it has written
    before = sum(ran)
    try:
      score(folder / "shared.zarr", *MESHES[name],
            progress=lambda rows, before=before: stop(rows) if rows != before else None)
    except KeyboardInterrupt:
      done = store_lib.done_rows(store_lib.reopen(folder / "shared.zarr"))
      ran.append(int(done.sum()) - before)
  store, rest = score(folder / "shared.zarr", *MESHES["8"])
  np.savez(folder / "shared.npz",
           **{n: store_lib.read(store, n) for n in ("log_probs", "features")})
  print(json.dumps({"ran": [*ran, rest], "rows": len(plan.rows.example),
                    "batches": len(plan.batches), "devices": jax.device_count(),
                    "groups": len(devices.grouped(plan.batches, 8))}))


def _plan(tokenizer):
  """Rows of nine prompts: more batches than devices, and a last group that is not full."""
  sentences = ["Anna owns a red bicycle.", "Tom lives in Oslo.", "The oak is tall.", "It rains."]
  examples = [Example(str(n), {"p": " ".join(sentences[: 2 + n % 3]), "q": f"is it {n}"}, None, "c")
              for n in range(9)]
  prepared = language.prepare(
      examples, tokenizer, template="{p}\n{q}?", evidence="p", choices=(" no", " yes"),
      max_tokens=200)
  keys = designs.example_keys(jax.random.key(0), [e.id for e in examples])
  return language.plan(
      prepared, tokenizer, segment_order(), keys, np.full(9, 4), batch_tokens=50, max_shapes=1)


if __name__ == "__main__":
  main(*sys.argv[1:])
