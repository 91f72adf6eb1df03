"""Rate and remaining time on a terminal of 80 columns, and as lines of a log."""

import re

import pytest

from mezzanine_jax import progress


class _Clock:
  """Time that passes when it is told to."""

  def __init__(self):
    self.now = 1000.0

  def __call__(self) -> float:
    return self.now


def _count(clock, seconds, each=10, total=100, first=10):
  """Counts to the total, `each` at a time, each after some seconds; the first call counts more."""
  with progress.bar("scoring views", total, get_time=clock) as advance:
    clock.now += 40  # compiling
    advance(first)
    for _ in range((total - first) // each):
      clock.now += seconds
      advance(each)


def test_a_log_has_a_line_every_half_minute_with_rate_and_remaining_time(capsys):
  _count(_Clock(), seconds=11)
  lines = capsys.readouterr().err.splitlines()
  assert lines == [
      "scoring views",
      "scoring views: 10/100",  # nothing is known of the rate yet
      "scoring views: 40/100, 0.91/s, 0:01:06 left",
      "scoring views: 70/100, 0.91/s, 0:00:33 left",
      "scoring views: 100/100 done in 0:02:19",
  ]


def test_rows_of_an_earlier_run_are_not_part_of_the_rate(capsys):
  _count(_Clock(), seconds=60, first=80)
  lines = capsys.readouterr().err.splitlines()
  assert lines[2] == "scoring views: 90/100, 0.17/s, 0:01:00 left"


def test_a_short_step_is_two_lines_in_a_log(capsys):
  clock = _Clock()
  with progress.bar("[b]loading", get_time=clock):
    clock.now += 2
  assert capsys.readouterr().err.splitlines() == ["[b]loading", "[b]loading: done in 0:00:02"]


def test_a_step_that_fails_is_not_called_done(capsys):
  with pytest.raises(KeyError), progress.bar("scoring views", 5) as advance:
    advance(5)
    raise KeyError
  assert "done" not in capsys.readouterr().err


def test_a_terminal_of_80_columns_shows_rate_and_remaining_time(capsys, monkeypatch):
  for name, value in {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}.items():
    monkeypatch.setenv(name, value)
  for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    monkeypatch.delenv(name, raising=False)
  clock = _Clock()
  with progress.bar("training the base head", 123_456, get_time=clock) as advance:
    for _ in range(3):
      clock.now += 25
      advance(1234)
    clock.now += 1
  # The last state that was drawn, without the colours.
  plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
  drawn = re.split(r"[\r\n]+", plain.strip())[-1]
  assert re.fullmatch(
      r"training the base head +━+ +3702/123456 +49\.4/s 0:01:16 0:40:27", drawn.strip())
  assert len(drawn) <= 80
