"""Progress on the terminal, or in a log, for every step that takes long."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from mezzanine_jax import preemption

_SECONDS_A_LINE = 30.0  # of a log
# A rate is that of so many seconds: whole batches of a large model take their time.
_SECONDS_OF_A_RATE = 300.0


def note(text: str) -> None:
  """A line on standard error, where the bars are.

  Args:
    text: what is to be known before a long step.

  Example:
    >>> note("three views of each text")
  """
  from rich.console import Console

  _print(Console(stderr=True), text)


@contextlib.contextmanager
def bar(
    title: str, total: int | None = None, get_time: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
  """A progress bar with rate, elapsed and remaining time, on standard error; yields `advance(n)`.

  Where standard error is not a terminal, a line of a log about every 30 s says the same. What the
  first call of `advance` counts is not part of the rate: it holds the time that compiling takes,
  or all that an earlier run left.

  Args:
    title: what is being done.
    total: how many steps there are; None for a step of unknown length.
    get_time: seconds from some moment on.

  Example:
    >>> with bar("counting", 3) as advance:
    ...   for _ in range(3):
    ...     advance(1)
  """
  from rich import progress
  from rich.console import Console

  console = Console(stderr=True)
  columns = [progress.TextColumn("{task.description:<26}", markup=False)]
  if total is None:
    columns += [progress.SpinnerColumn(finished_text="done"), progress.TimeElapsedColumn()]
  else:
    columns += [
        progress.BarColumn(bar_width=None), progress.MofNCompleteColumn(), _rate_column(),
        progress.TimeElapsedColumn(), progress.TimeRemainingColumn(),
    ]
  shown = progress.Progress(
      *columns, console=console, refresh_per_second=4, disable=not console.is_terminal,
      speed_estimate_period=_SECONDS_OF_A_RATE, get_time=get_time)
  with shown:
    shown.add_task(title, total=total)
    [task] = shown.tasks
    if console.is_terminal:
      yield lambda n=1: shown.advance(task.id, n)
    else:
      yield _log(console, shown, task)
    if total is None:
      shown.update(task.id, total=1, completed=1)
  if not console.is_terminal:
    counts = "" if total is None else f"{task.completed:.0f}/{total} "
    _print(console, f"{title}: {counts}done in {_clock(task.elapsed)}")


def _log(console: Any, shown: Any, task: Any) -> Callable[[int], None]:
  """The same as lines: `scoring views: 120/601, 4.2/s, 0:01:55 left`."""
  _print(console, task.description)
  last = [shown.get_time()]

  def advance(n: int = 1) -> None:
    shown.advance(task.id, n)
    now = shown.get_time()
    if task.total and not task.finished and now - last[0] >= _SECONDS_A_LINE:
      last[0] = now
      left = "" if task.time_remaining is None else f", {_clock(task.time_remaining)} left"
      rate = f", {rate_text(task.speed)}" if task.speed else ""
      _print(console, f"{task.description}: {task.completed:.0f}/{task.total:.0f}{rate}{left}")

  return advance


def rate_text(speed: float | None) -> str:
  """Steps a second, or a minute where that is less than one in ten seconds.

  Example:
    >>> rate_text(1234.5), rate_text(4.216), rate_text(0.02), rate_text(None)
    ('1234/s', '4.22/s', '1.20/min', '-/s')
  """
  if not speed:
    return "-/s"
  number, unit = (speed, "s") if speed >= 0.1 else (60 * speed, "min")
  digits = 2 if number < 10 else 1 if number < 100 else 0
  return f"{number:.{digits}f}/{unit}"


def _rate_column() -> Any:
  """The rate as a column of `rich`."""
  from rich import progress, text

  class RateColumn(progress.ProgressColumn):
    """Steps a second."""

    def render(self, task: Any) -> text.Text:
      speed = task.finished_speed or task.speed
      return text.Text(f"{rate_text(speed):>8}", style="progress.data.speed")

  return RateColumn()


def _clock(seconds: float) -> str:
  """`0:01:55`."""
  minutes, seconds = divmod(round(seconds), 60)
  return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _print(console: Any, line: str) -> None:
  """A line as it is."""
  console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def rows(title: str, number: int) -> Iterator[Callable[[int], None]]:
  """A bar of rows that are written; a run that is told to end does so behind those at hand.

  Args:
    title: what is being done.
    number: of rows.

  Returns:
    What is called with the number of rows whenever some are written.

  Example:
    >>> with rows("scoring", 3) as written:
    ...   written(3)
  """
  with preemption.deferred() as terminated, bar(title, number) as advance:

    def written(count: int) -> None:
      advance(count)
      if terminated():
        raise preemption.Terminated

    yield written
