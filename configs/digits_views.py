"""Images: the views of handwritten digits, a small convolutional network and its student.

    pip install -e '.[vision]'
    mezzanine run --config configs/digits_views.py --out out/digits_views

RESULT
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "vision_view_distill",
      "dataset": "digits",
      "n_train": 1300,
      "n_test": 449,
      "symmetry": "view",
      "crop": 0.1,
      "flip": 0.0,
      "rotation": 10.0,
      "brightness": 0.1,
      "k_train": 8,
      "k_test": 16,
      "student_views": "all",
  })
