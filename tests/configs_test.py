"""Every configuration file resolves, and runs at a tiny size."""

import json
import pathlib

import pytest

from mezzanine_jax import config as config_lib
from mezzanine_jax.recipes import get_recipe

CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))
# A run compiles many programs, whatever its size: the fast tier has one of a head and one of a gap.
FAST = ("quickstart", "boolq_options")
TINY = {"n_train": 6, "n_test": 3, "k_train": 2, "k_test": 3, "steps": 4, "eval_every": 2,
        "batch_size": 4, "hidden": 4, "max_shapes": 1, "batch_tokens": 1024,
        "speed_texts": 2, "episode": 1}


@pytest.fixture(scope="module")
def boolq(tmp_path_factory) -> str:
  """A folder shaped like BoolQ."""
  folder = tmp_path_factory.mktemp("data") / "boolq"
  folder.mkdir()
  for split, count in (("train", 6), ("validation", 3)):
    rows = [
        {"passage": f"Item {split} {i} is red. It has {i} wheels. Ann owns it.",
         "question": f"does item {i} have {i} wheels", "answer": i % 2 == 0}
        for i in range(count)
    ]
    (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
  return str(folder)


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> dict[str, str]:
  """Folders shaped like AG News and IMDB."""
  found = {}
  for name, labels in (("ag_news", 4), ("imdb", 2)):
    folder = tmp_path_factory.mktemp("data") / name
    folder.mkdir()
    for split, count in (("train", 12), ("test", 3)):
      rows = [{"text": f"Item {split} {i} is red. It has {i} wheels. Ann owns it.",
               "label": i % labels} for i in range(count)]
      (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found[name] = str(folder)
  return found


@pytest.mark.parametrize("path", [
    path if path.stem in FAST else pytest.param(path, marks=pytest.mark.slow)
    for path in CONFIGS], ids=lambda p: p.stem)
def test_it_runs(path, tiny_lm, tiny_encoder, boolq, texts, tmp_path):
  found = config_lib.read_file(path)
  recipe = get_recipe(found.pop("recipe"))
  local = texts | {"boolq": boolq}
  world = found.get("world", "hf_qa")
  name = found.get("dataset") or {"hf_qa": "boolq", "hf_text": "ag_news"}.get(world)
  tiny = TINY | {"lm_name": tiny_lm, "encoder_name": tiny_encoder, "dtype": "float32",
                 "max_length": 512, "dataset": local.get(name)}
  if "model_name" in found:  # a causal model stands for a causal one
    causal = "llama" in found["model_name"].lower()
    tiny |= {"model_name": tiny_lm if causal else tiny_encoder, "n_train": 12}
  if "embed_layer" in found:  # the tiny model has two layers
    tiny["embed_layer"] = ",".join(["0", "1", "-1"][-len(found["embed_layer"].split(",")) :])
  fields = recipe.Config.__dataclass_fields__
  tiny = {name: value for name, value in tiny.items() if name in fields}
  results = recipe.run(config_lib.resolve(recipe.Config, found, tiny), tmp_path / "out")
  assert results["cost"]["rows"] > 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_its_docstring_gives_the_command(path):
  text = path.read_text().split('"""')[1]
  assert f"mezzanine run --config configs/{path.name}" in text
