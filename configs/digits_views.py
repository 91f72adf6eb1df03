"""Images: the views of handwritten digits, a small convolutional network and its student.

    pip install -e '.[vision]'
    mezzanine run --config configs/digits_views.py --out out/digits_views

1,300 + 449 images of 8 x 8 pixels, all of which can move; 19,333 rows. 41 s in all on one CPU core
(AMD EPYC, Zen 4) that ran other work, too; 135 s beside three times that work. Gap of the base
model .127 ± .007, of the student .111 ± .005 (difference -.015 [-.022, -.009]); fidelity
1.07 [0.93, 1.19]: its one pass is as near the mean over the views as the base model's. Accuracy of
base model, teacher and student .949 ± .010, .931 ± .012 and .931 ± .012: the base model has
learned from images as they are, and is right on .897 of the views. With `--student_views
canonical` the student, which then sees no view either, moves more than the base model: gap
.179 ± .006, accuracy .900 ± .014.

`views.png` shows the images that move most. Not measured: photographs (`--dataset cifar10 --flip
0.5`), and pictures that have no upright, such as cells (`--dataset DIR --symmetry dihedral`).
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
