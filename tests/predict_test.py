"""`mezzanine predict`: one pass a text, other batches, formats, hostile input."""

import csv
import dataclasses
import json
import shutil
import zipfile

import again
import jax
import numpy as np
import pytest

from mezzanine_jax import (
    asking,
    checkpoints,
    cli,
    experiment,
    heads,
    predict,
    prompts,
    runs,
    scoring,
)
from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.load import load_lm
from mezzanine_jax.recipes import hf_llm_hiddenstate_order_distill as recipe
from mezzanine_jax.symmetries.still import still

SIZES = {"n_train": 12, "n_test": 9, "k_train": 2, "k_test": 3, "steps": 20, "eval_every": 5,
         "batch_size": 8, "hidden": 8, "max_shapes": 2, "batch_tokens": 512}
WORDINGS = ["{passage}\nQ: {question}\nA:",
            {"template": "{question}? {passage}\nA:", "choices": [" bush", " oak"], "weight": 2}]


def _rows(count, part):
  return [{"passage": f"{('Anna', 'Tom', 'Nora')[i % 3]} of {part} {i} owns a red bicycle."
                      + " Tom lives in Oslo. The elm is tall." * (i % 3),
           "question": f"does {('Anna', 'Tom')[i % 2]} own it", "answer": bool(i % 2)}
          for i in range(count)]


def _examples():
  return [Example(str(i), row, None, str(i)) for i, row in enumerate(_rows(9, "validation"))]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  for split, count in (("train", 12), ("validation", 9)):
    (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, _rows(count, split))))
  return folder


@pytest.fixture(scope="module")
def finished(tiny_lm, tmp_path_factory):
  """The folder of a run that took no time: its student's weights are random."""
  folder = tmp_path_factory.mktemp("run") / "out"
  config = recipe.Config(dataset="no longer there", lm_name=tiny_lm, hidden=8, max_shapes=1,
                         embed_layer="-1", embed_mode="last")
  student = heads.mlp_head(2, hidden=8)
  params = student.init(jax.random.key(0), {"features": np.zeros(32)})
  leaves, tree = jax.tree.flatten(params)
  rng = np.random.default_rng(0)
  params = tree.unflatten([rng.normal(0, 0.2, a.shape).astype(np.float32) for a in leaves])
  checkpoints.save_student(folder / runs.STUDENT, params, {
      "name": "mlp", "settings": {"hidden": 8}, "num_choices": 2, "feature_size": 32,
      "model_digest": load_lm(tiny_lm).digest,
      "asking": asking.record(config, asking.Asking(experiment.TEMPLATE, "passage",
                                                    experiment.CHOICES)),
  })
  record = {"recipe": recipe.NAME, "config": dataclasses.asdict(config)}
  runs.write_json(folder / runs.CONFIG, record)
  runs.write_json(folder / runs.RESULTS, record | {"baseline": {"accuracy": 1}, "data": {"a": 1}})
  return folder


@pytest.fixture(scope="module")
def made(finished, data):
  return predict.predict(finished, str(data / "validation.jsonl"))


def test_an_answer_is_the_students_to_what_one_prompt_alone_gives(finished, made, tiny_lm):
  """Not by the engine: `scorer` and `apply` of one prompt after the other."""
  saved, lm = predict.load_saved(finished), load_lm(tiny_lm)
  prepared = predict.prepare(saved, lm, _examples())
  xs = prompts.stack([t.prompt for t in prepared.tokenized])
  score, student = jax.jit(scoring.scorer(lm.config)), heads.mlp_head(2, hidden=8)
  for n in range(9):
    scores = score(lm.params, jax.tree.map(lambda a, n=n: a[n], xs))
    np.testing.assert_allclose(made.answers.baseline[n], scores.log_probs, atol=1e-5)
    own = student.apply(saved.params, {"features": scores.features})
    np.testing.assert_allclose(made.answers.student[n], own, atol=1e-5)
  assert (made.choices, made.who, made.ids) == (["no", "yes"], "LM", list(range(9)))
  assert np.exp(made.answers.student).std(0).min() > 0.001


@pytest.mark.slow
def test_the_predictions_of_a_run_with_all_that_a_prompt_may_be_made_of(tiny_lm, data, tmp_path):
  """Demonstrations, wordings, truncation; what the run read, but the model, is gone after it."""
  (tmp_path / "wordings.json").write_text(json.dumps(WORDINGS))
  shutil.copytree(data, tmp_path / "data")
  config = recipe.Config(
      dataset=str(tmp_path / "data"), lm_name=tiny_lm, template=str(tmp_path / "wordings.json"),
      shots=1, symmetry="paraphrase,segment_order", max_length=105, **SIZES)
  results = recipe.run(config, tmp_path / "out")
  assert 0 < results["data"]["prompts"]["truncated_prompts"] < 21
  (tmp_path / "wordings.json").unlink()
  shutil.rmtree(tmp_path / "data")
  made = predict.predict(tmp_path / "out", str(data / "validation.jsonl"))
  again.check_same(tmp_path / "out", made, [f"validation:{row}" for row in made.ids])


def test_neither_batches_nor_neighbours_change_an_answer(finished, made, tmp_path):
  path = tmp_path / "some.jsonl"
  path.write_text("\n".join(map(json.dumps, _rows(9, "validation")[7:2:-2])))
  some = predict.predict(finished, str(path), batch_tokens=64)
  for own, whole in zip(some.answers, made.answers, strict=True):
    np.testing.assert_allclose(own, whole[7:2:-2], atol=1e-5)


def test_every_format_and_missing_labels(finished, made, tmp_path, monkeypatch):
  import pyarrow
  import pyarrow.parquet

  rows = _rows(9, "validation")
  rows = [{"id": f"row {i}"} | row | {"answer": row["answer"] if i % 3 else None}
          for i, row in enumerate(rows)]
  for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
    with (tmp_path / f"new{suffix}").open("w", newline="") as file:
      writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
      writer.writeheader()
      writer.writerows(rows)
  pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "new.parquet")
  with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
    archive.write(tmp_path / "new.csv", "new.csv")
  (tmp_path / "new.jsonl").write_text(
      "\n".join(json.dumps({k: v for k, v in row.items() if k != "answer"}) for row in rows))
  seen = []
  monkeypatch.setattr(
      recipe, "predictor", lambda saved: lambda examples: seen.append(examples) or made.answers)
  for suffix in (".csv", ".tsv", ".parquet", ".zip", ".jsonl"):
    own = predict.predict(finished, str(tmp_path / f"new{suffix}"))
    assert own.ids == [f"row {i}" for i in range(9)]
    labels = [-1 if suffix == ".jsonl" or not i % 3 else i % 2 for i in range(9)]
    assert own.labels.tolist() == labels
    assert [e.x for e in seen[-1]] == [e.x for e in seen[0]]
    assert own.clusters == made.clusters


def _command(finished, data, out, *more):
  return cli.main(["predict", "--student", str(finished), "--data", str(data), "--out", str(out),
                   *more])


def test_the_command(finished, made, data, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(predict, "predict", lambda *args, **fields: made)
  path = data / "validation.jsonl"
  assert _command(finished, path, tmp_path / "p.jsonl") == 0
  printed = capsys.readouterr().out
  assert "accuracy of the student: 0." in printed and "accuracy of the LM: 0." in printed
  assert "texts/s" in printed and "9 of 9 texts have labels" in printed
  lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
  for n, line in enumerate(lines):
    assert list(line) == ["id", "answer", "probabilities", "lm_probabilities"]
    assert line["id"] == n and list(line["probabilities"]) == ["no", "yes"]
    for name, own in (("probabilities", made.answers.student),
                      ("lm_probabilities", made.answers.baseline)):
      np.testing.assert_allclose(list(line[name].values()), np.exp(own[n]), rtol=1e-6)
    assert line["answer"] == max(line["probabilities"], key=line["probabilities"].get)
  assert [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]

  (tmp_path / "p.jsonl").write_text("mine")
  assert _command(finished, path, tmp_path / "p.jsonl") == 2
  assert "exists already" in capsys.readouterr().err
  assert (tmp_path / "p.jsonl").read_text() == "mine"
  assert _command(finished, path, tmp_path / "p.jsonl", "--overwrite") == 0
  capsys.readouterr()
  assert _command(finished, path, "-") == 0
  captured = capsys.readouterr()
  assert captured.out == (tmp_path / "p.jsonl").read_text()
  assert "texts/s" in captured.err


def test_accuracy_has_a_clustered_error(made):
  from mezzanine_jax import clustered, predicted

  right = made.answers.student.argmax(1) == made.labels
  mean, stderr = clustered.mean_and_stderr(right, made.clusters)
  assert f"student: {mean:.3f} ± {stderr:.3f}" in predicted.summary(made)[0]
  one = made._replace(clusters=["a"] * 9)
  assert "±" not in predicted.summary(one)[0]
  assert len(predicted.summary(made._replace(labels=np.full(9, -1)))) == 1


def _refused(capsys, finished, data, out, *more):
  """The one sentence that a bad command prints; nothing is written."""
  before = sorted(out.parent.iterdir()) if out.parent.is_dir() else None
  assert _command(finished, data, out, *more) == 2
  error = capsys.readouterr().err
  lines = [line for line in error.splitlines() if line.startswith("mezzanine:")]
  assert len(lines) == 1 and "Traceback" not in error
  assert before == (sorted(out.parent.iterdir()) if out.parent.is_dir() else None)
  return lines[0]


GOOD = {"passage": "A b. C d.", "question": "is it", "answer": True}


@pytest.mark.parametrize(("rows", "more", "message"), [
    ([], [], "is empty"),
    (["{"], [], "line 1 is not valid JSON"),
    ([["passage"]], [], "not an object with named fields"),
    ([{"passage": "A.", "questoin": "is it"}], [], "'question' (did you mean 'questoin'?)"),
    ([{"passage": 7, "question": "is it"}], [], "holds a int: text is needed"),
    ([GOOD, GOOD | {"answer": "perhaps"}], [], "'perhaps'"),
    ([GOOD], ["--answer_fiel", "a"], "did you mean 'answer_field'?"),
    ([GOOD], ["--steps", "3"], "'steps' cannot differ from the run's own"),
    ([GOOD], ["--label_map", "a,b,true"], "has the label 2, but the student knows 2 (no, yes)"),
    ([GOOD], ["--batch_tokens", "0"], "batch_tokens must be >= 1"),
    ([GOOD], ["--lm_name", "./no/such"], "no model folder './no/such'"),
    ([GOOD | {"question": "is it red " * 300}], [], "raise max_length"),
])
def test_bad_data(capsys, finished, tmp_path, rows, more, message):
  path = tmp_path / "new.jsonl"
  path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
  assert message in _refused(capsys, finished, path, tmp_path / "p.jsonl", *more)


def test_bad_places(capsys, finished, data, tmp_path):
  out = tmp_path / "p.jsonl"
  assert "there is no file" in _refused(capsys, finished, tmp_path / "no.csv", out)
  assert "is a folder: name one" in _refused(capsys, finished, data, out)
  path = tmp_path / "new.txt"
  path.write_text("text")
  assert "is not a data file" in _refused(capsys, finished, path, out)
  with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
    archive.writestr("a.csv", "x\n1\n")
    archive.writestr("b.csv", "x\n1\n")
  assert "several data files" in _refused(capsys, finished, tmp_path / "two.zip", out)
  good = data / "validation.jsonl"
  assert "is a folder; give a file" in _refused(capsys, finished, good, tmp_path)
  assert "there is no folder" in _refused(capsys, finished, good, tmp_path / "a" / "p.jsonl")
  assert "is the data itself" in _refused(capsys, finished, good, good, "--overwrite")


def test_folders_without_a_finished_run(capsys, finished, data, tmp_path, tiny_lm):
  good, out = data / "validation.jsonl", tmp_path / "p.jsonl"

  def with_run(name, change):
    folder = tmp_path / name
    shutil.copytree(finished, folder)
    change(folder)
    return _refused(capsys, folder, good, out)

  def meta(change):
    def write(folder):
      path = folder / "student" / "student.json"
      found = json.loads(path.read_text())
      change(found)
      path.write_text(json.dumps(found))
    return write

  def recipe_of_another(folder):
    path = folder / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"recipe": "llm_order_gap"}))

  assert "is no folder;" in _refused(capsys, tmp_path / "no", good, out)
  assert "is no folder of a run" in _refused(capsys, data, good, out)
  assert "not finished" in with_run("a", lambda f: (f / "results.json").unlink())
  assert "leaves no student" in with_run("b", recipe_of_another)
  assert "no complete student" in with_run("c", lambda f: shutil.rmtree(f / "student" / "best"))
  assert "earlier version; delete results.json" in with_run("d", meta(lambda m: m.pop("asking")))
  assert "damaged" in with_run("e", meta(lambda m: m["asking"].update(demonstrations=[{}])))
  assert "2 choices, its prompts 3" in with_run(
      "f", meta(lambda m: m["asking"].update(choices=["a", "b", "c"])))
  assert "not of the shapes" in with_run("g", meta(lambda m: m.update(feature_size=7)))
  assert "unknown student 'forest'" in with_run("h", meta(lambda m: m.update(name="forest")))
  assert "is not the one that the student was trained on" in with_run(
      "i", meta(lambda m: m.update(model_digest="0" * 64)))


def test_the_same_model_in_another_place(finished, tiny_lm, tmp_path):
  shutil.copytree(tiny_lm, tmp_path / "moved")
  saved = predict.load_saved(finished, lm_name=str(tmp_path / "moved"))
  assert predict.load_same_lm(saved).name == str(tmp_path / "moved")
  bfloat16 = dataclasses.replace(saved.config, dtype="bfloat16")
  with pytest.raises(InputError, match="not the one that the student was trained on"):
    predict.load_same_lm(saved._replace(config=bfloat16))
  with pytest.raises(InputError, match="'dtype' cannot differ"):
    predict.load_saved(finished, dtype="bfloat16")


def test_a_student_that_changes_the_model(finished, made, tiny_lm):
  """Its answer comes from the changed weights, the baseline from the model's own."""
  saved, lm = predict.load_saved(finished), load_lm(tiny_lm)
  examples = _examples()[:2]
  prepared = predict.prepare(saved, lm, examples)
  batch_fn = experiment.lm_batch_fn(saved.config, lm, still())
  adapt = lambda params: params | {"embed": 2 * params["embed"]}
  loaded = predict.Loaded({}, lambda params, inputs: inputs["log_probs"], adapt)
  found = predict.one_pass(saved.config, prepared, examples, lm, batch_fn, loaded)
  np.testing.assert_allclose(found.baseline, made.answers.baseline[:2], atol=1e-5)
  changed = jax.jit(scoring.scorer(lm.config))(adapt(lm.params), prepared.tokenized[0].prompt)
  np.testing.assert_allclose(found.student[0], changed.log_probs, atol=1e-5)
  assert np.abs(found.student - found.baseline).max() > 0.01


def test_help_fits_the_terminal(capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")
  with pytest.raises(SystemExit):
    cli.main(["predict", "--help"])
  text = capsys.readouterr().out
  assert max(map(len, text.splitlines())) <= 80
  words = " ".join(text.split())
  for field in predict.FIELDS:
    assert field in words
