"""The README's example runs and says what is true."""

import pathlib
import re

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_the_ten_line_example(capsys):
  example = re.findall(r"```python\n(.*?)```", README, re.S)[0]
  scope = {}
  exec(example, scope)
  printed = float(re.search(r"differ by ([\d.]+)", capsys.readouterr().out)[1])

  # All 6 orders of the three numbers, by hand.
  import itertools
  import math

  w, x = scope["w"].tolist(), scope["x"].tolist()
  yes = [
      1 / (1 + math.exp(-sum(a * b for a, b in zip(w, order, strict=True))))
      for order in itertools.permutations(x)
  ]
  exact = sum(abs(a - b) for a in yes for b in yes) / 36
  assert abs(printed - exact) < 0.03


def test_the_commands_are_those_that_ci_runs():
  ci = (pathlib.Path(__file__).parents[1] / ".ci/run").read_text()
  assert "pip install -e '.[test]' && pytest\n" in README
  assert "pip install -q -e '.[test]'\npytest\n" in ci


def test_every_file_of_the_layout_exists():
  root = pathlib.Path(__file__).parents[1]
  layout = re.search(r"## Layout\n\n```\n(.*?)```", README, re.S)[1]
  for name in re.findall(r"[\w]+\.py", layout):
    assert (root / "mezzanine_jax" / name).is_file(), name
