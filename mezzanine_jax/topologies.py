"""Devices to compile for that need not be there: chips as published, and this machine's CPU."""

import contextlib
import importlib.util
import math
import os
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mezzanine_jax.errors import InputError

CPU = "cpu"
_KINDS = re.compile(r"(?P<kind>[a-z0-9]+):(?P<shape>[1-9]\d*(x[1-9]\d*)*)")


class Chip(NamedTuple):
  """What a device can do.

  Attributes:
    memory: bytes that it has.
    flops: a second, products of bfloat16 (a CPU: of float32).
    float32_flops: a second, exact products of float32.
    bandwidth: bytes a second, of its memory.
    link: bytes a second, one way over one link to a neighbour; 0 where there are none.
    clock: cycles a second of the compiler's estimates; None where it is not known.
    source: where the figures are from.
  """

  memory: float
  flops: float
  float32_flops: float
  bandwidth: float
  link: float
  clock: float | None
  source: str


class Topology(NamedTuple):
  """Devices to compile for.

  Attributes:
    name: as it was given.
    chip: what each of them can do.
    devices: of one host, there or not: each process of a run has a mesh of its own.
    hosts: how many such hosts there are.
  """

  name: str
  chip: Chip
  devices: Sequence[Any]
  hosts: int


class _Tpu(NamedTuple):
  """A generation of TPUs: axes of a slice, what libtpu calls one device a chip, the chip."""

  axes: int
  settings: dict[str, str]
  chip: Chip


def _tpu(memory: float, flops: float, bandwidth: float, link: float, page: str,
         clock: float | None = None) -> Chip:
  """A chip of the table; an exact product of float32 is six of bfloat16."""
  source = f"cloud.google.com/tpu/docs/{page}"
  return Chip(memory, flops, flops / 6, bandwidth, link, clock, source)


# A link's rate is the published one of the chip over its ports (4, or 6 of a 3D torus). The clock
# of v5e is its peak over 2 x 4 x 128 x 128, what its four matrix units do in a cycle.
_TPUS = {
    "v4": _Tpu(3, {"chip_config_name": "megacore"},
               _tpu(32 * 2**30, 275e12, 1200e9, 50e9, "v4")),
    "v5e": _Tpu(2, {}, _tpu(16 * 2**30, 197e12, 819e9, 50e9, "v5e", 197e12 / (2 * 4 * 128**2))),
    "v5p": _Tpu(3, {"chip_config_name": "megachip_tccontrol"},
                _tpu(95 * 2**30, 459e12, 2765e9, 100e9, "v5p")),
    "v6e": _Tpu(2, {}, _tpu(32 * 2**30, 918e12, 1638e9, 100e9, "v6e")),
}


def topology(name: str) -> Topology:
  """The devices of a name.

  Args:
    name: `cpu` or `cpu:N`, devices of this machine's CPU; or a TPU slice such as `v5e:2x2`, which
      takes no TPU but the compiler in libtpu.

  Raises:
    InputError: for another name, a shape that the slice cannot have, or without libtpu.

  Example:
    >>> len(topology("cpu").devices)
    1
  """
  if name == CPU or re.fullmatch(rf"{CPU}:[1-9]\d*", name):
    return _cpu(name, int(name.partition(":")[2] or 1))
  found = _KINDS.fullmatch(name)
  if found is None or found["kind"] not in _TPUS:
    raise InputError(
        f"topology must be cpu, cpu:N, or a TPU slice such as v5e:2x2, v5e:4x4 or v5p:2x2x1 (of"
        f" {', '.join(_TPUS)}), got {name!r}")
  tpu, shape = _TPUS[found["kind"]], [int(size) for size in found["shape"].split("x")]
  if len(shape) != tpu.axes:
    raise InputError(
        f"a slice of {found['kind']} has {tpu.axes} axes, such as"
        f" {found['kind']}:{'x'.join('2' * tpu.axes)}, got {name!r}")
  if importlib.util.find_spec("libtpu") is None:
    raise InputError(
        f"topology {name!r} needs libtpu, the TPU's compiler, which is not installed: pip install"
        " 'mezzanine_jax[tpu]' (no TPU is needed), or plan for cpu")
  devices = _tpu_devices(name, math.prod(shape), tpu.settings)
  first = [device for device in devices if device.process_index == 0]
  hosts = len(devices) // len(first)
  if hosts > 1:  # a program of one host's chips is compiled for a slice that has no others
    places = zip(*(device.coords for device in first), strict=True)
    sizes = [max(along) - min(along) + 1 for along in places][: tpu.axes]
    host = "x".join(map(str, sizes))
    first = _tpu_devices(f"{found['kind']}:{host}", len(first), tpu.settings)
  return Topology(name, tpu.chip, first, hosts)


def _tpu_devices(name: str, count: int, settings: dict[str, str]) -> list[Any]:
  """Devices that can be compiled for, whether they are there or not."""
  from jax.experimental import topologies

  # libtpu asks a metadata server what machine it is on, and complains where there is none; and it
  # wants to be alone on a TPU, where nothing is to be run here.
  for variable, value in (("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"), ("TPU_SKIP_MDS_QUERY", "1"),
                          ("TPU_WORKER_HOSTNAMES", "localhost"), ("TPU_WORKER_ID", "0"),
                          ("TPU_ACCELERATOR_TYPE", "v5litepod-4"),
                          ("TPU_MIN_LOG_LEVEL", "3"), ("TPU_STDERR_LOG_LEVEL", "3")):
    os.environ.setdefault(variable, value)
  if count == 1:
    settings = {**settings, "chips_per_host_bounds": (1, 1, 1)}
  try:
    return topologies.get_topology_desc(name, platform="tpu", **settings).devices
  except jax.errors.JaxRuntimeError as error:
    raise InputError(
        f"there is no TPU slice {name!r}: {str(error).splitlines()[0]}; axes of more than one chip"
        " are even, such as v5e:2x2 or v5e:4x4") from error


def _cpu(name: str, count: int) -> Topology:
  """Devices of this machine's CPU, which share its memory and its speed."""
  if count > 1:
    with contextlib.suppress(RuntimeError):  # JAX has its devices already, maybe enough of them
      jax.config.update("jax_num_cpu_devices", count)
  devices = jax.local_devices(backend=CPU)
  if len(devices) < count:
    raise InputError(
        f"topology {name!r} needs {count} CPU devices, there are {len(devices)}; start with"
        f" XLA_FLAGS=--xla_force_host_platform_device_count={count}")
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  flops, bandwidth = _measured()
  chip = Chip(memory / count, flops / count, flops / count, bandwidth / count, 0.0, None,
              "this machine: its memory, and a product and a sum that were timed just now")
  return Topology(name, chip, devices[:count], 1)


def _measured(size: int = 1024) -> tuple[float, float]:
  """FLOPs a second of a product, and bytes a second of a sum, the fastest of three."""
  with jax.default_device(jax.local_devices(backend=CPU)[0]):
    matrix, vector = jnp.ones((size, size)), jnp.ones(16 * size * size)

    def fastest(function, *args):
      jax.block_until_ready(function(*args))
      times = []
      for _ in range(3):
        started = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - started)
      return min(times)

    product = fastest(jax.jit(jnp.matmul), matrix, matrix)
    total = fastest(jax.jit(jnp.sum), vector)
  return 2.0 * size**3 / product, vector.nbytes / total
