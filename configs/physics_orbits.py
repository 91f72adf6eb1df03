"""Physics: energies and forces of Lennard-Jones clusters over turns, moves and particle orders.

    mezzanine run --config configs/physics_orbits.py --out out/physics_orbits
"""

import ml_collections


def get_config():
  return ml_collections.ConfigDict({
      "recipe": "physics_orbit_distill",
      "world": "lennard_jones",
      "n_train": 2000,
      "n_test": 300,
      "particles": 4,
      "temperature": 0.15,
      "symmetry": "rotation,translation,particle_order",
      "shift": 0.5,
      "inputs": "pairs",
      "k_train": 8,
      "k_test": 16,
      "student_views": "all",
  })
