"""What `mezzanine cache` prints."""

from collections.abc import Iterable, Sequence

from mezzanine_jax.cache import Entry

_SHORT = 12  # letters of a fingerprint: enough to tell a cache's stores apart


def show(entries: Sequence[Entry]) -> None:
  """Prints a table of the stores."""
  from rich.console import Console
  from rich.table import Table

  console = Console()
  if not entries:
    console.print("no rows are kept here yet")
    return
  table = Table(box=None, pad_edge=False)
  for name in ("rows of", "recipe", "model", "data"):
    table.add_column(name, overflow="fold")
  for name in ("rows", "size", "last used"):
    table.add_column(name, justify="right", no_wrap=True)
  for entry in entries:
    names = [str(entry.about.get(name, "?")) for name in ("recipe", "model", "data")]
    done = "?" if entry.done is None else str(entry.done)
    table.add_row(short(entry), *names, f"{done}/{entry.rows}", size(entry.size), age(entry.age))
  console.print(table)
  for entry in entries:
    if entry.problem:
      print(f"{short(entry)}: {entry.problem}")


def show_verified(verified: Iterable[tuple[Entry, str]]) -> int:
  """Prints a sentence for each store; returns 1 if something is damaged, else 0."""
  status = 0
  for entry, problem in verified:
    print(f"{short(entry)}: {problem or f'{entry.done} of {entry.rows} rows, undamaged'}")
    status |= bool(problem)
  return int(status)


def show_pruned(pruned: Iterable[tuple[Entry, bool]]) -> None:
  """Prints what was removed."""
  freed = 0
  for entry, removed in pruned:
    if removed:
      freed += entry.size
      print(f"removed {short(entry)}: {entry.done} of {entry.rows} rows, {size(entry.size)}, last"
            f" used {age(entry.age)} ago")
    else:
      print(f"kept {short(entry)}: a run is writing it")
  print(f"{size(freed)} freed")


def short(entry: Entry) -> str:
  """The first letters of the fingerprint."""
  return entry.path.name[:_SHORT]


def size(number: float) -> str:
  """Bytes for people.

  Example:
    >>> size(512), size(3_400_000)
    ('512 B', '3.4 MB')
  """
  units = iter(("B", "kB", "MB", "GB", "TB"))
  unit = next(units)
  while number >= 1000 and unit != "TB":
    number, unit = number / 1000, next(units)
  return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def age(days: float) -> str:
  """A time for people.

  Example:
    >>> age(0.01), age(0.5), age(20)
    ('14 min', '12 h', '20 days')
  """
  if days < 1 / 24:
    return f"{days * 24 * 60:.0f} min"
  return f"{days * 24:.0f} h" if days < 1 else f"{days:.0f} days"
