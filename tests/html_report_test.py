"""The page: whole, self-contained, safe against the texts it shows, and clear when it cannot be."""

import json

import made_up_run
import numpy as np
import pytest
import reported

from mezzanine_jax import cli, clustered, finished, html_report, runs


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """Runs with a student, without one, and one in which nothing moves."""
  root = tmp_path_factory.mktemp("runs")
  made_up_run.write(root / "student")
  made_up_run.write(root / "gap", student=False)
  made_up_run.write(root / "still", movable=False)
  made_up_run.write(root / "head", who="base head")
  return root


@pytest.fixture(scope="module")
def page(folders):
  text = html_report.write([folders / "student"]).read_text()
  return text, reported.Page(text)


def test_hostile_texts_stay_texts(page):
  text, parsed = page
  tags = [tag for tag, _ in parsed.elements]
  assert tags.count("script") == 1 and not {"img", "iframe", "a", "object"} & set(tags)
  assert not [a for _, a in parsed.elements if any(n.startswith("on") for n in a)]
  assert text.count("</script>") == 1 and text.count("</style>") == 1
  for hostile in made_up_run.HOSTILE[:7]:  # shown as they are, the rest has no UTF-8 or is NUL
    assert hostile.strip() in parsed.text
  assert "{{ 7*7 }}" in parsed.text


def test_nothing_is_loaded(page):
  text, parsed = page
  for _, attributes in parsed.elements:
    for name in reported.LOADS & set(attributes):
      assert attributes[name].startswith("#") or attributes[name] == "data:,"
  policy = next(a["content"] for _, a in parsed.elements if a.get("http-equiv"))
  assert policy.startswith("default-src 'none';")
  # Web addresses are in it as texts of the data only.
  assert "http://" not in text.replace("http://e.example/i.png", "")
  assert "https://" not in text and text.count("url(") == text.count("url(#")


def test_the_script_is_the_one_that_the_policy_allows(page):
  import base64
  import hashlib

  text, _ = page
  script = text.split("<script>")[1].split("</script>")[0]
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  assert f"'sha256-{digest}'" in text


def test_figures_and_intervals(folders, page):
  results = json.loads((folders / "student" / "results.json").read_text())
  gap = results["student"]["gap_movable"]
  value, error = gap["pairwise_tv"], gap["pairwise_tv_stderr"]
  words = " ".join(page[1].text.split())
  shown = f"{value:.3f}{value - 1.96 * error:.3f} to {value + 1.96 * error:.3f}"
  assert shown in words and f"The student's gap is {value:.3f} ± {error:.3f}." in words


def test_colours_are_those_of_the_theme(page):
  text, _ = page
  pictures = text.split("<figure")[1:]
  assert len(pictures) == 5
  for picture in pictures:
    assert "var(--ink)" in picture and "#0" not in picture.split("</svg>")[0].replace("url(#", "")
  assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text


def test_new_figures_are_shown_as_they_come(tmp_path):
  results = made_up_run.write(tmp_path / "run")
  results["baseline"] |= {"brier": 0.777, "brier_stderr": 0.01, "novelty": 0.666,
                          "novelty_stderr": 0.02, "over_views": {"ece": 0.555, "ece_stderr": 0.1}}
  results["differences"] = {"brier": -0.111, "brier_stderr": 0.05, "brier_interval": [-0.4, 0.123]}
  results["noise_floor"] = {"rows": 8, "mean_tv": 1.4e-7, "max_tv": 5e-7}
  (tmp_path / "run" / "results.json").write_text(json.dumps(results))
  words = " ".join(reported.Page(html_report.write([tmp_path / "run"]).read_text()).text.split())
  for shown in ("Brier", "0.777", "novelty", "0.666", "ECE, over views", "0.555",
                "student minus LM", "-0.111", "-0.400 to 0.123", "differ by TV 1e-07"):
    assert shown in words


def test_what_is_missing_is_left_out_and_said(folders, tmp_path):
  page = reported.Page(html_report.write([folders / "gap"]).read_text())
  assert "no student" in page.text and len(reported.pictures(page)) == 4
  page = reported.Page(html_report.write([folders / "still"]).read_text())
  assert "there is no gap to measure" in page.text and "nan" not in page.text.lower()
  made_up_run.write(tmp_path / "old", examples=[], gap_by_segments=[])
  (tmp_path / "old" / "predictions.json").unlink()
  page = reported.Page(html_report.write([tmp_path / "old"]).read_text())
  assert "kept no predictions.json" in page.text and "no run counted them" in page.text
  assert "no single examples" in page.text and not [t for t, _ in page.elements if t == "script"]
  assert reported.pictures(page) == [
      "Did the student learn, or only flatten?", "Gap against the number of views"]


def test_runs_side_by_side(folders, tmp_path, capsys):
  to = tmp_path / "both.html"
  assert cli.main(["report", str(folders / "student"), str(folders / "gap"), "--to", str(to)]) == 0
  assert str(to) in capsys.readouterr().out
  page = reported.Page(to.read_text())
  assert reported.pictures(page)[:2] == [
      "Did the student learn, or only flatten?", "The gaps side by side"]
  assert str(folders / "student") in page.text and str(folders / "gap") in page.text
  assert "not judged by the same" not in page.text
  other = tmp_path / "other"
  made_up_run.write(other, config={"lm_name": "gpt2", "world": "hf_qa", "seed": 1, "k_test": 3})
  html_report.write([folders / "student", other], to)
  assert "not judged by the same test examples" in to.read_text()


@pytest.mark.parametrize(("outs", "message"), [
    (["nowhere"], "is no folder"),
    (["empty"], "is no folder of a run"),
    (["unfinished"], "holds a run that is not finished"),
    (["damaged"], "results.json is damaged"),
    (["hollow"], "holds no 'baseline'"),
    (["cut"], "predictions.json is damaged"),
    (["student", "student"], "are one folder"),
    (["student", "head"], "cannot stand side by side"),
    (["student", "--to", "no/such/folder/x.html"], "cannot be written"),
    (["student", "--format", "md", "--to", "."], "cannot be written"),
])
def test_bad_input_is_one_sentence(folders, tmp_path, monkeypatch, capsys, outs, message):
  monkeypatch.chdir(tmp_path)
  for name in ("empty", "unfinished", "damaged", "hollow"):
    (tmp_path / name).mkdir()
    if name != "empty":
      (tmp_path / name / "config.json").write_text("{}")
  (tmp_path / "damaged" / "results.json").write_text("{")
  (tmp_path / "hollow" / "results.json").write_text('{"recipe": "x", "config": {"a": 1}}')
  made_up_run.write(tmp_path / "cut")
  (tmp_path / "cut" / "predictions.json").write_text('{"id": []}')
  for name in ("student", "head"):
    (tmp_path / name).symlink_to(folders / name)
  before = sorted(tmp_path.rglob("*"))
  assert cli.main(["report", *outs]) == 2
  error = capsys.readouterr().err
  assert message in error and error.startswith("mezzanine: ") and len(error.splitlines()) == 1
  assert sorted(tmp_path.rglob("*")) == before


def test_intervals_of_rates_stay_inside(tmp_path):
  """Of a run in which all answers were right, and none flipped."""
  results = made_up_run.write(tmp_path / "run")
  sure = results["student"] | clustered.block({"accuracy": np.ones(12)}, range(12))
  sure["gap_movable"] |= clustered.block({"flip_rate": np.zeros(12)}, range(12))
  runs.write_json(tmp_path / "run" / "results.json", results | {"student": sure})
  table = html_report._table(finished.read([tmp_path / "run"]))
  names = [label for label, _ in table["columns"]]
  row, = (r for r in table["rows"] if r["name"] == "student")
  assert row["cells"][names.index("accuracy")] == {"value": "1.000", "interval": "0.757 to 1.000"}
  assert row["cells"][names.index("flips")] == {"value": "0.000", "interval": "0.000 to 0.243"}
