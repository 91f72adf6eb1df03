"""The card: a table that fits Markdown and LaTeX, whatever the texts are."""

import re

import made_up_run
import pytest

from mezzanine_jax import cli, finished, model_card


@pytest.fixture(scope="module")
def card(tmp_path_factory):
  out = tmp_path_factory.mktemp("run") / "out"
  made_up_run.write(out)
  return model_card.render(finished.read([out]))


def _outside_code(card):
  """The card's lines outside of its blocks of code."""
  out, fence = [], None
  for line in card.splitlines():
    found = re.match("`{3,}", line)
    if fence is None and found:
      fence = found[0]
    elif fence is not None:
      fence = None if line == fence else fence
    else:
      out.append(line)
  assert fence is None
  return out


def test_hostile_texts_stay_texts(card):
  lines = _outside_code(card)
  text = "\n".join(lines)
  assert "<" not in text and "://" not in text and "@someone" not in text
  assert not re.search(r"(?<!\\)[\[\]$]", text)
  headings = [line for line in lines if line.startswith("#")]
  assert [h.lstrip("# ") for h in headings[1:]] == [
      "What was found", "Figures", "How it was made", "What to know of the data", "How to use it",
      "How to repeat it", "The table for LaTeX"]
  assert "c \\!" not in text and "a \\| b" in text  # one line, and no cell of a table


def test_every_row_has_all_cells(card):
  rows = [line for line in _outside_code(card) if line.startswith("| ")]
  assert len(rows) == 2 + 5
  assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
  latex = [line for line in card.splitlines() if line.endswith(r" \\")]
  assert len(latex) == 5 and {len(re.findall(r"(?<!\\)&", row)) for row in latex} == {6}


@pytest.mark.parametrize("text", made_up_run.HOSTILE)
def test_latex_sees_no_command(text):
  """Whatever is left are characters, and the macros that print one."""
  shown = model_card.latex(text)
  names = "backslash|asciicircum|asciitilde|less|greater|bar|quotedbl"
  plain = re.sub(rf"\\text({names})\{{\}}", "", shown)
  plain = re.sub(r"\\[{}$&#%_]", "", plain)
  assert not re.search(r"[\\{}$&#%_^~<>|\n]", plain) and "\x00" not in shown


def test_the_table_is_that_of_the_results(card, tmp_path):
  results = made_up_run.write(tmp_path / "run")
  gap = results["student"]["gap_movable"]
  value, error = (f"{gap[n]:.3f}" for n in ("pairwise_tv", "pairwise_tv_stderr"))
  assert f" {value} ± {error} |" in card and rf"${value} \pm {error}$" in card


def test_cards_are_printed_or_written(tmp_path, capsys):
  made_up_run.write(tmp_path / "a", student=False)
  made_up_run.write(tmp_path / "b")
  assert cli.main(["report", str(tmp_path / "a"), "--format", "md"]) == 0
  shown = capsys.readouterr().out
  assert "# How far the answers move: " in shown and "How to use it" not in shown
  both = [str(tmp_path / "a"), str(tmp_path / "b")]
  assert cli.main(["report", *both, "--format", "md", "--to", str(tmp_path / "t.md")]) == 0
  text = (tmp_path / "t.md").read_text()
  assert text.startswith("# Runs side by side") and text.count(" \\\\\n") == 2 + 5


def test_rates_have_intervals_inside_of_0_and_1(card):
  """Accuracy and flips; an error of ± would reach beyond."""
  rows = [[cell.strip() for cell in line.split("|")[1:-1]]
          for line in _outside_code(card) if line.startswith("| ")]
  header, rows = rows[0], rows[2:]
  for name in ("accuracy", "flips"):
    cells = [row[header.index(name)] for row in rows]
    shown = [re.fullmatch(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)", cell) for cell in cells if cell]
    assert len(shown) >= 4
    for found in shown:
      rate, low, high = map(float, found.groups())
      assert 0 <= low <= rate <= high <= 1 and low < high
  assert all("±" in row[header.index("NLL")] for row in rows)
