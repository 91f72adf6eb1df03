"""Robotics: what a cart-pole does next, over its mirror image; and whether actions matter.

    pip install -e '.[robotics]'
    mezzanine run --config configs/cart_pole_actions.py --out out/cart_pole_actions

400 + 500 steps of 0.3 s, 1,800 rows: 30 s on two CPU cores (AMD EPYC) beside other work. Step and
mirror image are all the views there are.

                RMSE          gap            fidelity            R@10
    base model  .296 ± .017   .054 ± .006    1                   .972, .708, .606
    teacher     .245 ± .016                  0
    student     .250 ± .017   .002 ± .000    .454 [.404, .500]   .990, .716, .640

R@10 is with the step's action, without, and with another's, among 500 next observations. RMSE and
gap are in units of the next observation's spread. The student has learned from the base model's
mirrored mean alone, moves a thirtieth as much, and is nearer to what the plant really does (squared
error -.025 [-.035, -.016]). Shuffled actions cost it .35 [.31, .39] of R@10: it uses them. With
2,000 steps to learn from and weaker pushes the base model's gap is .001, and the student is no
nearer the mean than its one pass is: there is nothing to gain. `plant.png` shows an episode.
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "dynamics_action_distill",
      "world": "cart_pole",
      "n_train": 400,
      "n_test": 500,
      "episode": 10,
      "symmetry": "mirror",
      "k_train": 2,
      "k_test": 2,
      "student_views": "all",
  })
