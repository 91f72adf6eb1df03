"""Example A on IMDB with DistilBERT: reviews of many sentences, nearly all of which can move.

    mezzanine run --config configs/imdb_distilbert.py --out out/imdb_distilbert

Meant for an accelerator. Not run yet: it needs a machine that can reach the hub.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_text_order_distill",
      "dataset": "imdb",
      "n_train": 5000,
      "n_test": 2000,
      "model_name": "distilbert-base-uncased",
      "pool": "cls",
      "max_length": 512,
      "k_train": 8,
      "k_test": 16,
      "batch_tokens": 16384,
  })
