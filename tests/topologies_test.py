"""Devices by name: what a name may be, and what is said where there is none."""

import importlib.util

import jax
import pytest

from mezzanine_jax import topologies
from mezzanine_jax.errors import InputError


@pytest.mark.parametrize(("name", "says"), [
    ("tpu", "topology must be cpu, cpu:N, or a TPU slice such as v5e:2x2"),
    ("v7z:2x2", "of v4, v5e, v5p, v6e"),
    ("v5e:0x2", "got 'v5e:0x2'"),
    ("cpu:0", "got 'cpu:0'"),
    ("v5e:2x2x2", "a slice of v5e has 2 axes, such as v5e:2x2, got 'v5e:2x2x2'"),
    ("v5p:2x2", "a slice of v5p has 3 axes, such as v5p:2x2x2"),
])
def test_names_that_are_none(name, says):
  with pytest.raises(InputError, match=says):
    topologies.topology(name)


def test_without_libtpu_a_sentence_names_the_extra(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(InputError, match=r"needs libtpu.*pip install 'mezzanine_jax\[tpu\]'"):
    topologies.topology("v5e:2x2")


def test_cpu_devices_share_what_the_machine_has(monkeypatch):
  monkeypatch.setattr(topologies, "_measured", lambda: (1e9, 2e9))
  one = topologies.topology("cpu")
  assert (len(one.devices), one.hosts, one.chip.flops) == (1, 1, 1e9)
  count = len(jax.devices())
  if count > 1:
    many = topologies.topology(f"cpu:{count}")
    assert len(many.devices) == count and many.chip.memory == one.chip.memory / count
  with pytest.raises(InputError, match="force_host_platform_device_count=1000"):
    topologies.topology("cpu:1000")
