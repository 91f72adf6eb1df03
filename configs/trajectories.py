"""Plans: does a judge of an agent's plans move with the order of steps that commute?

    mezzanine run --config configs/trajectories.py --out out/trajectories

4,000 + 500 plans of 5 to 9 steps, all of which can move, 13 of the test ones by whole orbits;
43,872 rows. 37 s on two cores of an Intel Xeon (Sapphire Rapids).
Gap of the base model .202 ± .007, of the student .084 ± .003 (difference -.118
[-.128, -.108]); fidelity .53 [.47, .57]: its one pass is nearer the mean over the orders than the
base model's. Accuracy of base model, teacher and student .852 ± .016, .930 ± .011 and .826 ± .017:
averaging over orders that mean the same is worth .08, which the student did not learn (difference
to the base model -.026 [-.056, .004]).

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
