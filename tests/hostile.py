"""Broken and hostile files, and what may become of whoever is given them."""

import contextlib
import json
import pathlib
import resource
import signal
import struct

import pytest

from mezzanine_jax.errors import InputError

MOST_BYTES = 2**31  # that a case may take beyond what the process has
LONGEST = 1500  # characters of a sentence
DEEP = "[" * 100_000


@contextlib.contextmanager
def bounded(seconds=60, most_seconds=600):
  """Ends what takes too much memory or time, of the processor or by the clock."""

  def late(number, frame):
    raise TimeoutError("it takes too long")

  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
  before = resource.getrlimit(resource.RLIMIT_AS)
  resource.setrlimit(resource.RLIMIT_AS,
                     (pages * resource.getpagesize() + MOST_BYTES, before[1]))
  timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds),
            (signal.ITIMER_REAL, signal.SIGALRM, most_seconds))
  handlers = [signal.signal(number, late) for _, number, _ in timers]
  for timer, _, limit in timers:
    signal.setitimer(timer, limit)
  try:
    yield
  finally:
    for (timer, number, _), handler in zip(timers, handlers, strict=True):
      signal.setitimer(timer, 0)
      signal.signal(number, handler)
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(match, function, *arguments, **named):
  """Calls the function, which must say in one sentence what is wrong."""
  with bounded(), pytest.raises(InputError, match=match) as error:
    function(*arguments, **named)
  sentence = str(error.value)
  assert "\n" not in sentence and len(sentence) < LONGEST, sentence


def short(value):
  """A case's name: some of them are megabytes long."""
  return repr(value)[:30]


def safetensors(tensors, data=b"\0" * 16, length=None):
  """A file with this header: name -> {dtype, shape, data_offsets}, or its text."""
  header = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
  return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(start=0, end=16, shape=(4,), dtype="F32"):
  """A tensor of a safetensors header."""
  return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def text(value, size=None):
  """A string of a GGUF header, whose length may be another one."""
  value = value.encode() if isinstance(value, str) else value
  return struct.pack("<Q", len(value) if size is None else size) + value


def entry(name="w", dims=(4,), kind=0, offset=0, rank=None):
  """A tensor of a GGUF header."""
  rank = len(dims) if rank is None else rank
  return text(name) + struct.pack(f"<I{len(dims)}QIQ", rank, *dims, kind, offset)


def gguf(keys=(), tensors=(), data=b"\0" * 64, version=3, counts=None):
  """A GGUF file; `keys` are (name, type, bytes)."""
  num_tensors, num_keys = counts or (len(tensors), len(keys))
  head = b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_keys)
  head += b"".join(text(name) + struct.pack("<I", kind) + value for name, kind, value in keys)
  head += b"".join(tensors)
  return head + b"\0" * (-len(head) % 32) + data


def sparse(path, head, size):
  """A file of a size that takes no room on the disk."""
  with path.open("wb") as file:
    file.write(head)
    file.truncate(size)


def write_jsonl(path, rows):
  """Writes records, a line each."""
  path.write_text("\n".join(map(json.dumps, rows)))
