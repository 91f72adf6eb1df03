"""Example D with TinyLlama-1.1B-Chat in bfloat16.

    mezzanine run --config configs/boolq_tinyllama.py --out out/boolq_tinyllama

Meant for an accelerator. Not run yet: it needs a machine that can reach the hub.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_llm_hiddenstate_order_distill",
      "dataset": "boolq",
      "n_train": 2048,
      "n_test": 512,
      "lm_name": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
      "dtype": "bfloat16",
      "features_dtype": "bfloat16",
      "k_train": 8,
      "k_test": 16,
      "batch_tokens": 16384,
  })
