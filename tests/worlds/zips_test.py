"""Zip archives: read in place, whatever their members are called."""

import json
import zipfile

import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.worlds import WORLDS
from mezzanine_jax.worlds.files import read_rows
from mezzanine_jax.worlds.zips import zip_files


def jsonl(count, start=0):
  """Labelled texts, two labels in turn."""
  rows = [{"text": f"Text {i}.", "label": i % 2} for i in range(start, start + count)]
  return "".join(json.dumps(row) + "\n" for row in rows)


def make(path, members):
  """Writes an archive with these members."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content in members.items():
      archive.writestr(name, content)
  return path


def load(path, n_train=100, n_test=100, **settings):
  return WORLDS["hf_text"](str(path), n_train=n_train, n_test=n_test, **settings)


def test_only_data_files_are_listed(tmp_path):
  path = make(tmp_path / "x.zip", {
      "data/train.jsonl": jsonl(2), "data/": "", "README.md": "no",
      "__MACOSX/data/._train.jsonl": "",
      ".hidden/test.csv": "a\n1\n", "data/.test.csv": "", "TEST.TSV": "a\tb\n1\t2\n",
  })
  files = zip_files(path)
  assert [(f.folder, f.stem, f.suffix) for f in files] == [
      ("", "TEST", ".tsv"), ("data", "train", ".jsonl")
  ]
  assert read_rows(files[0]) == [{"a": "1", "b": "2"}]
  assert read_rows(files[1])[1] == {"text": "Text 1.", "label": 1}


def test_the_same_world_as_from_a_folder(tmp_path):
  """Every format; an archive's world differs from its folder's in nothing but the name."""
  import pandas as pd

  folder = tmp_path / "folder"
  folder.mkdir()
  (folder / "train.jsonl").write_text(jsonl(12))
  rows = [json.loads(line) for line in jsonl(6, 50).splitlines()]
  pd.DataFrame(rows).to_parquet(folder / "test.parquet")
  path = make(tmp_path / "x.zip", {f.name: f.read_bytes() for f in folder.iterdir()})
  one, other = load(folder), load(path)
  assert (one.train, one.test, one.digests) == (other.train, other.test, other.digests)


def test_members_that_point_elsewhere_write_nothing(tmp_path):
  """Names that climb out of the folder are names only."""
  inside = tmp_path / "a" / "b"
  inside.mkdir(parents=True)
  path = make(inside / "x.zip", {
      "../../train.jsonl": jsonl(8), "/etc/../test.jsonl": jsonl(4, 50)
  })
  before = sorted(tmp_path.rglob("*"))
  world = load(path)
  assert (len(world.train), len(world.test)) == (8, 4)
  assert {e.id.split(":")[0] for e in world.train} == {"train"}
  assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_an_archive_is_not_followed(tmp_path):
  (tmp_path / "secret.jsonl").write_text(jsonl(8))
  link = zipfile.ZipInfo("train.jsonl")
  link.external_attr = 0o120777 << 16
  with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
    archive.writestr(link, str(tmp_path / "secret.jsonl"))
  with pytest.raises(InputError, match="x.zip/train.jsonl is malformed: line 1 is not valid JSON"):
    load(tmp_path / "x.zip")


def test_splits_by_a_word_of_their_names(tmp_path):
  path = make(tmp_path / "x.zip", {
      "in/drugsComTrain_raw.jsonl": jsonl(8), "in/drugsComTest_raw.jsonl": jsonl(4, 50),
      "in/constraints.jsonl": jsonl(2, 90),
  })
  world = load(path)
  assert {e.id.split(":")[0] for e in world.train} == {"drugsComTrain_raw"}
  assert {e.id.split(":")[0] for e in world.test} == {"drugsComTest_raw"}


def test_one_zipped_file_is_split_by_text(tmp_path):
  world = load(make(tmp_path / "x.zip", {"reviews.jsonl": jsonl(40)}))
  assert (len(world.train), len(world.test)) == (30, 10)
  assert "a quarter of the texts of 'all'" in world.notes["messages"][0]


def test_one_name_in_two_folders(tmp_path):
  """They are two splits, told apart by their folder, and never put together."""
  path = make(tmp_path / "x.zip", {
      "a/train.jsonl": jsonl(8), "b/train.jsonl": jsonl(8, 20), "test.jsonl": jsonl(4, 50)
  })
  with pytest.raises(InputError, match="'train': set train_split to one of .*a/train, b/train"):
    load(path)
  assert len(load(path, train_split="b/train").train) == 8


@pytest.mark.parametrize("members, message", [
    ({"a.txt": "x"}, "archive .* holds no data file: put train"),
    ({"train.csv": "text,label\na,1\n", "train.jsonl": jsonl(2)}, "'train' more than once"),
    ({"train.jsonl": "{", "test.jsonl": "{}"}, "x.zip/train.jsonl is malformed: line 1"),
])
def test_refused_members(tmp_path, members, message):
  with pytest.raises(InputError, match=message):
    load(make(tmp_path / "x.zip", members))


def test_refused_archives(tmp_path):
  """No archive, a damaged member, a name that stands there twice."""
  path = tmp_path / "x.zip"
  path.write_bytes(b"nothing")
  with pytest.raises(InputError, match="x.zip cannot be read as a zip archive"):
    load(path)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("all.jsonl", jsonl(20))
  path.write_bytes(path.read_bytes().replace(b"Text 3", b"Text 4", 1))
  with pytest.raises(InputError, match="x.zip/all.jsonl cannot be unpacked .*CRC"):
    load(path)
  with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
    archive.writestr("all.jsonl", jsonl(4))
    archive.writestr("all.jsonl", jsonl(4))
  with pytest.raises(InputError, match="x.zip holds 'all.jsonl' twice"):
    load(path)
  with pytest.raises(InputError, match="'./gone.zip' does not exist"):
    load("./gone.zip")
