"""Progress on the terminal, for every step that takes long."""

import contextlib
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
  """A progress bar with elapsed and remaining time, on standard error; yields `advance(n)`.

  Where standard error is not a terminal, every tenth of the way is a line of a log instead.

  Args:
    title: what is being done.
    total: how many steps there are; None for a step of unknown length.

  Example:
    >>> with bar("counting", 3) as advance:
    ...   for _ in range(3):
    ...     advance(1)
  """
  from rich import progress
  from rich.console import Console

  console = Console(stderr=True)
  if not console.is_terminal:
    yield _log(console, title, total)
    return
  columns = [progress.TextColumn("{task.description:<26}")]
  if total is None:
    columns += [progress.SpinnerColumn(finished_text="done"), progress.TimeElapsedColumn()]
  else:
    columns += [
        progress.BarColumn(bar_width=None), progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(), progress.TimeRemainingColumn(elapsed_when_finished=False),
    ]
  with progress.Progress(*columns, console=console, refresh_per_second=4) as shown:
    task = shown.add_task(title, total=total)
    yield lambda n=1: shown.advance(task, n)
    if total is None:
      shown.update(task, total=1, completed=1)


def _log(console, title: str, total: int | None) -> Callable[[int], None]:
  """The same as lines: at the start and at every tenth of the way."""
  started, done = time.monotonic(), 0
  console.print(title, highlight=False)

  def advance(n: int = 1) -> None:
    nonlocal done
    before, done = done, done + n
    if total and done * 10 // total > before * 10 // total:
      seconds = time.monotonic() - started
      console.print(f"{title}: {done} of {total} after {seconds:.0f} s", highlight=False)

  return advance
