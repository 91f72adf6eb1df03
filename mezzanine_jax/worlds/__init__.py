"""Worlds: where examples come from. One data source a file; `WORLDS` names them.

Every loader is called as `load(dataset, *, n_train, n_test, seed, ...) -> World`.
"""

from mezzanine_jax.worlds import evidence_qa, hf_qa
from mezzanine_jax.worlds.world import World, digest

WORLDS = {
  "evidence_qa": evidence_qa.load,
  "hf_qa": hf_qa.load,
}

__all__ = ["WORLDS", "World", "digest"]
