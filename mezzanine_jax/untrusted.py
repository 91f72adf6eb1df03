"""What others wrote, read so that all that can be wrong with it is one kind of error."""

import json
from pathlib import Path
from typing import Any

from mezzanine_jax.errors import InputError


def parse_json(text: str | bytes) -> Any:
  """Parses JSON that may be anything.

  Args:
    text: JSON; bytes are UTF-8.

  Raises:
    ValueError: it is malformed, no text, or nested deeper than Python can follow.

  Example:
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ...
    ValueError: it is nested too deeply
  """
  try:
    return json.loads(text)
  except RecursionError as error:
    raise ValueError("it is nested too deeply") from error


def find_path(name: str) -> Path | None:
  """The file or folder of a name, `~` expanded; None where there is none, or can be none.

  Example:
    >>> find_path("~nobody/x"), find_path("a\\0b"), find_path("x" * 5000), find_path("")
    (None, None, None, None)
  """
  if not name:
    return None
  try:
    path = Path(name).expanduser()
    path.stat()
  except (OSError, ValueError, RuntimeError):  # not there or too long, a null byte, nobody's home
    return None
  return path


def check_local(flag: str, name: str | Path) -> None:
  """Raises where a folder's name is an address, of which a folder here would be made.

  Args:
    flag: what asked for the folder, such as `--out`.
    name: as it was given.

  Raises:
    InputError: for an address such as `gs://bucket/run`.
  """
  if "://" in str(name):
    raise InputError(f"{flag} {shown(name)!r} is an address, but runs are kept in folders: mount"
                     " the bucket (gcsfuse does it, see docs/scaling.md) and give a folder in it")


def shown(text: Any, most: int = 80) -> str:
  """A text for a message: on one line, and cut where it is long.

  Example:
    >>> shown("two\\nlines"), shown("x" * 100, 9)
    ('two lines', 'xxxxxx...')
  """
  line = " ".join(str(text).split())
  return line if len(line) <= most else line[: most - 3] + "..."
