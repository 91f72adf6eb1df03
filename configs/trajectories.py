"""Plans: does a judge of an agent's plans move with the order of steps that commute?

    mezzanine run --config configs/trajectories.py --out out/trajectories

4,000 + 500 plans of 5 to 9 steps. Not measured yet.

`trajectories.png` draws the plans that move most, each in two orders on its grid.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "trajectory_factorization_distill",
      "world": "grid_trajectories",
      "n_train": 4000,
      "n_test": 500,
      "symmetry": "factorization",
      "k_train": 8,
      "k_test": 16,
      "hidden": 64,
      "steps": 1000,
      "batch_size": 256,
      "learning_rate": 3e-3,
      "student_views": "all",
  })
