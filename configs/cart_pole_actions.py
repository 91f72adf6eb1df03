"""Robotics: what a cart-pole does next, over its mirror image; and whether actions matter.

    pip install -e '.[robotics]'
    mezzanine run --config configs/cart_pole_actions.py --out out/cart_pole_actions
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
