"""Progress on the terminal, for every step that takes long."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
  """A progress bar with rate and remaining time, on standard error; yields `advance(n)`.

  Args:
    title: what is being done.
    total: how many steps there are; None for a step of unknown length.
  """
  from rich import progress
  from rich.console import Console

  console = Console(stderr=True)
  columns = [progress.TextColumn("{task.description:<26}"), progress.TimeElapsedColumn()]
  if total is not None:
    columns = [
        columns[0], progress.BarColumn(bar_width=None), progress.MofNCompleteColumn(), columns[1],
        progress.TimeRemainingColumn(),
    ]
  with progress.Progress(*columns, console=console, refresh_per_second=4) as shown:
    task = shown.add_task(title, total=total)
    yield lambda n=1: shown.advance(task, n)
    if total is None:
      shown.update(task, total=1, completed=1)
