"""Example A on AG News with TinyLlama-1.1B-Chat as the encoder, in bfloat16.

    mezzanine run --config configs/ag_news_tinyllama.py --out out/ag_news_tinyllama

Meant for an accelerator. Not run yet: it needs a machine that can reach the hub.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_text_order_distill",
      "dataset": "ag_news",
      "n_train": 2000,
      "n_test": 1000,
      "model_name": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
      "dtype": "bfloat16",
      "pool": "mean",
      "max_length": 256,
      "k_train": 8,
      "k_test": 16,
      "batch_tokens": 16384,
  })
