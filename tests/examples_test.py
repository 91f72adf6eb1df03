"""Every example script runs at a tiny size and stays short."""

import importlib.util
import json
import pathlib

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def test_the_order_gap_of_boolq(tiny_lm, tmp_path, capsys):
  path = EXAMPLES / "llm_boolq_order_gap.py"
  assert len(path.read_text().splitlines()) < 80
  rows = [{"passage": f"Item {i} is red. It has {i} wheels. Ann owns it.",
           "question": f"does item {i} have wheels", "answer": i % 2 == 0} for i in range(6)]
  for split, part in (("train", rows[:3]), ("validation", rows[3:])):
    (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, part)))
  spec = importlib.util.spec_from_file_location("llm_boolq_order_gap", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  module.main(["--dataset", str(tmp_path), "--lm_name", tiny_lm, "--n_test", "3",
               "--num_views", "4"])
  shown = capsys.readouterr().out
  gap = float(shown.split("pairwise_tv")[1].split()[0])
  assert 0 < gap < 1 and "flip_rate" in shown and "moves most" in shown
