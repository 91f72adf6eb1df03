"""Example D as published: BoolQ from the hub, GPT-2, a head on the last hidden state.

    mezzanine run --config configs/boolq_gpt2.py --out out/boolq_gpt2

At most 27,136 rows of GPT-2 (124M). Not run yet: it needs a machine that can reach the hub.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_llm_hiddenstate_order_distill",
      "dataset": "boolq",
      "n_train": 2048,
      "n_test": 512,
      "lm_name": "gpt2",
      "embed_layer": "-1",
      "embed_mode": "last",
      "student": "mlp",
      "student_reads": "view",
      "hidden": 512,
      "learning_rate": 1e-3,
      "weight_decay": 1e-2,
      "steps": 800,
      "k_train": 8,
      "k_test": 16,
  })
