"""The command line in a process that ends itself at a chosen point; a program of survival_test.

`python dying.py POINT LOG ARGUMENTS…`: POINT is json, `{"phase", "event", "delay", "signal"}` or
null. Events are what a run does to its folder from Python, the rows that it writes, and the steps
of its progress bars. LOG gets a line for every batch and training point, and counts the events.
"""

import collections
import contextlib
import json
import os
import signal
import sys
import threading
import time

LAST_SCORING = "scoring the student"  # adapters': a part of their training here
PHASES = ("planning", "scoring", "training", "reporting")
_FILE_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


class Death:
  """Counts the events of each phase, and ends the process when the chosen one comes."""

  def __init__(self, point, log):
    self.point, self.phase, self.counts = point, 0, collections.Counter()
    self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    self.dying = False

  def say(self, *words):
    os.write(self.log, (" ".join(map(str, words)) + "\n").encode())

  def event(self):
    self.counts[PHASES[self.phase]] += 1
    if self.point is None or self.dying:
      return
    wanted = PHASES.index(self.point["phase"])
    at = self.counts[PHASES[self.phase]] >= self.point["event"]
    if self.phase > wanted or (self.phase == wanted and at):
      self.dying = True
      self.say("dies", PHASES[self.phase], self.counts[PHASES[self.phase]])
      if self.point["delay"]:  # in the middle of whatever other threads write
        threading.Thread(target=self._later, daemon=True).start()
      else:
        self._now()

  def _later(self):
    time.sleep(self.point["delay"])
    self._now()

  def _now(self):
    os.kill(os.getpid(), getattr(signal, self.point["signal"]))


def _hooked_bar(real, death):
  """`progress.bar` that tells the phases, and counts its steps as events."""

  @contextlib.contextmanager
  def bar(title, total=None):
    words = title.split()
    if words[0] in PHASES and title != LAST_SCORING:
      death.phase = PHASES.index(words[0])
    at = [0]
    with real(title, total) as advance:
      death.event()

      def counted(n=1):
        advance(n)
        at[0] += n
        if words[0] == "training":
          death.say("point", words[-1], at[0])
        death.event()

      yield counted
    if title in ("training the control", LAST_SCORING):
      death.phase = PHASES.index("reporting")
    death.event()

  return bar


def main(point, log, *argv):
  death = Death(json.loads(point), log)
  out = os.path.abspath(argv[argv.index("--out") + 1])

  def audit(name, arguments):
    if name in _FILE_EVENTS and isinstance(arguments[0], str | os.PathLike):
      reads = name == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
      if os.path.abspath(arguments[0]).startswith(out) and not reads:
        death.event()

  sys.addaudithook(audit)
  from mezzanine_jax import cli, distill, engine, finetune, progress, store

  progress.bar = _hooked_bar(progress.bar, death)
  for train in (distill.train, finetune.finetune):
    train.__kwdefaults__["checkpoint_seconds"] = 0.0
  write_rows, run = store.write_rows, engine.run

  def hooked_write_rows(where, start, values):
    death.event()
    write_rows(where, start, values)
    death.say("wrote", start)
    death.event()

  def hooked_run(batch_fn, params, inputs_of, *rest, **named):
    def hooked_inputs_of(batch):
      death.say("batch", batch.start)
      return inputs_of(batch)

    return run(batch_fn, params, hooked_inputs_of, *rest, **named)

  store.write_rows, engine.run = hooked_write_rows, hooked_run
  status = cli.main(list(argv))
  death.say("counts", json.dumps(death.counts))
  return status


if __name__ == "__main__":
  sys.exit(main(*sys.argv[1:]))
