"""Data of strangers: files, archives, images and texts that are broken or hostile."""

import io
import json
import math
import os
import pathlib
import struct
import zipfile
import zlib

import jax
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tiny
from hostile import DEEP, bounded, refused, short, write_jsonl

from mezzanine_jax import designs, language
from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import pack, stack
from mezzanine_jax.store import fingerprint
from mezzanine_jax.templates import read_wordings
from mezzanine_jax.worlds import WORLDS, images
from mezzanine_jax.worlds.files import data_file, read_rows
from mezzanine_jax.worlds.image_files import read_image
from mezzanine_jax.worlds.new_examples import read_new

HEAD = b"question,passage,answer\n"


def load(path, world="hf_qa", **settings):
  return WORLDS[world](str(path), n_train=9, n_test=9, **settings)


def row(i=0, **change):
  own = {"passage": f"Item {i} is red. It is old.", "question": "is it red", "answer": i % 2 == 0}
  return own | change


def parquet(columns, **options):
  """The bytes of a parquet file."""
  out = io.BytesIO()
  pyarrow.parquet.write_table(pyarrow.table(columns), out, **options)
  return out.getvalue()


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.jsonl", b"", "is empty"),
    ("a.jsonl", b"\n \n\n", "is empty"),
    ("a.jsonl", b"\0\0\0", "line 1 is not valid JSON"),
    ("a.jsonl", b"\xff\xfe{}", "is not UTF-8 text"),
    ("a.jsonl", b"[1]\n", "line 1 is not an object"),
    ("a.jsonl", b'{"a": 1}{"b": 2}', "line 1 is not valid JSON"),
    ("a.jsonl", b'{"a":' * 100_000, "line 1 is not valid JSON .it is nested too deeply"),
    ("a.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "line 1 is not valid JSON"),
    ("a.json", b"", "the file is not valid JSON"),
    ("a.json", DEEP.encode(), "nested too deeply"),
    ("a.json", b'{"a": [1], "b": [2]}', "must hold a list of objects"),
    ("a.json", b"[[1], 2]", "item 1 is not an object"),
    ("a.csv", b"", "is empty"),
    ("a.csv", HEAD + b"q,p\n\"open", "a.csv is malformed"),
    ("a.csv", HEAD + b"q,p,yes,more,and more\n", "a.csv is malformed"),
    ("a.csv", HEAD + b"q,\xff,yes\n", "is not UTF-8 text"),
    ("a.csv", b"a," * 50_000 + b"\n" + b"x\n" * 50_000, "many more columns than its lines"),
    ("a.tsv", b"a\t" * 50_000 + b"\r" + b"x\r" * 50_000, "many more columns than its lines"),
    ("a.parquet", b"", "it is not a parquet file"),
    ("a.parquet", b"PAR1" + b"\xff" * 64 + b"PAR1", "it is not a parquet file"),
    ("a.parquet", parquet({"a": ["x"] * 99})[:-20] + b"\0" * 20, "it is not a parquet file"),
    ("a.parquet", json.dumps([row()]).encode(), "it is not a parquet file"),
    ("a.zip", b"PK\x05\x06" + b"\xff" * 18, "cannot be read as a zip archive"),
    ("a.zip", b"PK\x05\x06" + b"\0" * 18, "holds no data file"),
    ("a.exe", b"MZ", "is not a data file: allowed are"),
], ids=short)
def test_files_that_are_none(name, content, message, inside):
  (inside / name).write_bytes(content)
  refused(message, load, inside / name)


@pytest.mark.parametrize("values", [
    np.zeros(2**23, np.int64),
    pytest.param(pyarrow.DictionaryArray.from_arrays([0] * 4000, ["x" * 2**20]),
                 marks=pytest.mark.slow),
], ids=["many", "large"])
def test_a_parquet_file_of_one_value_over_and_over(values, inside):
  """Some kilobytes that stand for gigabytes of rows."""
  path = inside / "a.parquet"
  path.write_bytes(parquet({"a": values}, compression="zstd"))
  assert path.stat().st_size < 2**20
  refused("holds many times more than its size", load, path)


@pytest.mark.slow
def test_a_zip_bomb(inside):
  with zipfile.ZipFile(inside / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive, \
      archive.open("a.jsonl", "w") as member:
    for _ in range(3):
      member.write(bytes(2**26))
  refused("201,326,592 bytes, packed into", load, inside / "a.zip")


def test_a_zip_whose_member_is_larger_than_it_says(inside):
  """What is declared is what is read; the checksum tells."""
  with zipfile.ZipFile(inside / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("a.jsonl", bytes(2**20))
  data = (inside / "a.zip").read_bytes().replace(struct.pack("<I", 2**20), struct.pack("<I", 9))
  (inside / "a.zip").write_bytes(data)
  refused("a.jsonl cannot be unpacked", load, inside / "a.zip")


@pytest.mark.parametrize("method", [1, 12, 14, 99])
def test_a_zip_of_another_method(method, inside):
  with zipfile.ZipFile(inside / "a.zip", "w") as archive:
    archive.writestr("a.jsonl", "{}" * 50)
  data = bytearray((inside / "a.zip").read_bytes())
  for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
    data[data.index(mark) + at] = method
  (inside / "a.zip").write_bytes(data)
  refused("a.jsonl cannot be unpacked", load, inside / "a.zip")


@pytest.mark.parametrize("name", [
    "", "../secret", "../../../etc/passwd", "a/..", "~nobody/x", "a\0b", "x" * 5000, "\ud800",
    "http://example.invalid/x.csv", "C:\\x", "a b", "pipe", "/dev/null", "/dev/zero", "..",
], ids=short)
def test_names_of_datasets(name, inside):
  os.mkfifo(inside / "pipe")
  refused("does not exist|neither a file nor a folder|no data file|could not be loaded|no split",
          load, name)


@pytest.mark.parametrize("name", ["", ".", "~nobody/x.csv", "a\0.csv", "x" * 5000, "pipe", ".."])
def test_names_of_new_files(name, inside):
  os.mkfifo(inside / "pipe")
  refused("there is no file|is a folder", read_new, name, "hf_qa")


@pytest.mark.parametrize(("change", "message"), [
    ({"answer": math.nan}, "has no answer in field 'answer'"),
    ({"answer": math.inf}, "holds inf: an answer must be"),
    ({"answer": [True]}, r"holds \[True\]: an answer must be"),
    ({"answer": {"a": 1}}, "an answer must be a bool"),
    ({"answer": "x" * 10**6}, "which is neither yes/no nor true/false"),
    ({"answer": 10**300}, "which is neither yes/no nor true/false"),
    ({"answer": "\0"}, "which is neither yes/no nor true/false"),
    ({"passage": 3}, "holds a int: text is needed"),
    ({"passage": ["One.", "Two."]}, "holds a list: text is needed"),
    ({"question": {"text": "?"}}, "holds a dict: text is needed"),
    ({"passage": math.nan}, "holds a float: text is needed"),
], ids=short)
def test_rows_of_other_types(change, message, inside):
  write_jsonl(inside / "a.jsonl", [row(i) for i in range(8)] + [row(9, **change)])
  refused(message, load, inside / "a.jsonl")


@pytest.mark.parametrize(("world", "rows", "message"), [
    ("hf_text", [{"text": "a", "label": math.nan}] * 9, "holds 0 different values"),
    ("hf_text", [{"text": str(i), "label": i / 7} for i in range(1, 6)], "holds 0 different"),
    ("hf_text", [{"text": str(i), "label": f"l{i}"} for i in range(60)], "holds 60 different"),
    ("multiple_choice", [{"question": "q", "options": DEEP, "answer": 0}], "not valid JSON"),
    ("multiple_choice", [{"question": "q", "options": ["a", "b"], "answer": math.nan}], "answer"),
    ("multiple_choice", [{"question": "q", "options": 3, "answer": 0}], "options are a list"),
], ids=short)
def test_other_worlds(world, rows, message, inside):
  write_jsonl(inside / "a.jsonl", rows)
  refused(message, load, inside / "a.jsonl", world)


@pytest.mark.parametrize("label_map", [
    DEEP.replace("[", '{"a":'), "{", "", ",", "no", "no,no", '{"a": -1, "b": 0}',
    '{"a": 0, "b": 1e99}', '{"a": 0, "b": 1000000000}', "\0,\0",
], ids=short)
def test_label_maps(label_map, inside):
  write_jsonl(inside / "a.jsonl", [row(i) for i in range(8)])
  refused("label_map", load, inside / "a.jsonl", label_map=label_map)


HOSTILE = {
    "null bytes": "One\0 two. \0 Three.\0",
    "right to left": "שלום עולם. \u202eevil\u202c. مرحبا بالعالم.",
    "emoji": "👩‍👩‍👧‍👦 fine. 🏳️‍🌈 ok. 🇳🇴! \U0001f600.",
    "combining": "Z" + "\u0301" * 2000 + ". Two.",
    "lone surrogates": "One \ud800 two. \udfff Three.",
    "control characters": "\x1b[31m red.\x07 \x7f\u2028Two.\ufeff",
    "special tokens": "<s> </s> [CLS] <0x41> <|endoftext|>. Two.",
    "nothing": "",
    "white space": " \n\t\u00a0\u3000 ",
    "braces": "{passage} {0} %s {options}. {{ 7*7 }} Two.",
    "noncharacters": "\uffff \U0010ffff. \u0378 Two.",
}


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_texts(kind, inside):
  """They are asked about like any other: what is packed is what the whole text tokenizes to."""
  write_jsonl(inside / "a.jsonl", [row(i) for i in range(8)])
  write_jsonl(inside / "b.jsonl", [row(i, passage=p, question=p[:20] + "?", id=7)
                                   for i, p in enumerate(HOSTILE.values())])
  tokenizer = tiny.KINDS[kind]()
  with bounded():
    examples, ids = read_new(str(inside / "b.jsonl"), "hf_qa")
    prepared = language.prepare(
        examples, tokenizer, template="P: {passage}\nQ: {question}\nA:", evidence="passage",
        choices=[" no", " yes"], max_tokens=9000)
  assert ids == [7] * len(HOSTILE)  # ids that are there twice stay what they are
  assert len({e.id for e in examples}) == len(HOSTILE)
  packed, lengths = jax.vmap(pack)(stack([made.prompt for made in prepared.tokenized]))
  for made, tokens, length in zip(prepared.tokenized, packed, lengths, strict=True):
    text = "".join(piece.text for piece in made.texts[0].pieces)
    assert "\ud800" not in text and "\udfff" not in text
    whole = [*made.beginning, *tokenizer.encode(text, add_special_tokens=False).ids]
    if made.exact:
      assert tokens[: int(length)].tolist() == whole


@pytest.mark.parametrize("passage", [
    "x" * 10**6, pytest.param("word " * 200_000, marks=pytest.mark.slow), "." * 10**6,
    "🙂" * 250_000, "\0" * 10**6,
], ids=short)
def test_a_sentence_of_a_megabyte(passage, inside):
  """It does not fit, and is left out whole; the question is still asked."""
  write_jsonl(inside / "a.jsonl", [row(i, passage=f"{i} {passage}") for i in range(2)])
  tokenizer = tiny.byte_level_bpe()
  with bounded():
    world = load(inside / "a.jsonl")
    prepared = language.prepare(
        world.train, tokenizer, template="P: {passage}\nQ: {question}\nA:", evidence="passage",
        choices=[" no", " yes"], max_tokens=200)
  assert prepared.counts["truncated_prompts"] == prepared.counts["without_evidence"] == 1


def test_rows_that_are_there_twice(inside):
  """They share a cluster, so that they are neither split nor counted apart."""
  write_jsonl(inside / "a.jsonl", [row(i % 4, id="same") for i in range(40)])
  with bounded():
    world = load(inside / "a.jsonl")
  assert len({e.id for e in world.train + world.test}) == len(world.train + world.test)
  assert not {e.cluster for e in world.train} & {e.cluster for e in world.test}


def test_null_bytes_and_ragged_rows_of_a_csv(inside):
  (inside / "a.csv").write_bytes(HEAD + b"q,p \0 p,yes\nq2\nq3,p3,no\n")
  with bounded():
    rows = read_rows(data_file(inside / "a.csv"))
  assert [r["question"] for r in rows] == ["q", "q2", "q3"]
  assert rows[1]["passage"] in ("", None) and rows[2]["answer"] == "no"


def test_a_file_whose_name_is_no_text(inside):
  """Names of files may be any bytes; they become ids, from which keys are made."""
  for split in (b"train", b"\xfftest"):
    with open(os.fsencode(inside) + b"/" + split + b".jsonl", "w") as file:
      file.write("\n".join(json.dumps(row(i, passage=f"{split} {i}.")) for i in range(4)))
  with bounded():
    world = load(inside, test_split="\udcfftest")
    assert designs.example_keys(jax.random.key(0), [e.id for e in world.test]).shape == (4,)
  assert len(world.test) == 4 and len(fingerprint({"split": "\udcfftest"})) == 64


@pytest.mark.parametrize(("content", "message"), [
    (DEEP, "cannot be read .it is nested too deeply"),
    ("3", "templates must be a list of at least one, got 3"),
    ("[]", "templates must be a list of at least one"),
    ("[3]", "must be a text or"),
    ('[{"template": 3}]', "must be a text or"),
    ('[{"template": "{q} A:", "weight": NaN}]', "must be a text or"),
    ('[{"template": "{q} A:", "weight": 1e999}]', "must be a text or"),
    ('[{"template": "{q} A:", "weight": 0}]', "the weights of the templates are all 0"),
    ('[{"template": "{q} A:", "weight": 1e308}, {"template": "{q} B:", "weight": 1e308}]',
     "weights of the templates"),
    ('[{"template": "{q} A:", "choices": [1, 2]}]', "must be a text or"),
    ('["{q} \\ud800 A:"]', "half of a character"),
    (b"\xff\xfe", "cannot be read"),
], ids=short)
def test_files_of_templates(content, message, inside):
  (inside / "t.json").write_bytes(content.encode() if isinstance(content, str) else content)
  refused(message, read_wordings, str(inside / "t.json"))


def test_a_choice_that_no_text_can_hold():
  """From a command line that is no UTF-8."""
  example = Example("a", {"passage": "One. Two."}, 0, "a")
  refused("half of a character|cannot read a text", language.prepare, [example],
          tiny.byte_level_bpe(), template="P: {passage}\nA:", evidence="passage",
          choices=[" no", " \udcff"], max_tokens=99)


def png(width, height, data=None):
  """A grey PNG of that size, whose rows are all of nothing."""
  def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

  data = zlib.compress(bytes((width + 1) * height)) if data is None else data
  head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n"


@pytest.mark.parametrize(("content", "message"), [
    (png(40_000, 40_000, b""), "cannot be read as an image"),
    (png(12_000, 12_000, b""), "cannot be read as an image"),
    (png(9000, 9000, b""), "9000 x 9000 pixels, allowed are 67,108,864"),
    (png(2**31 - 1, 1, b""), "cannot be read as an image"),
    (png(0, 0), "cannot be read as an image"),
    (png(8, 8)[:44], "cannot be read as an image"),
    (png(8, 8, b"\xff" * 99), "cannot be read as an image"),
    (png(8, 8).replace(b"IDAT", b"IDAX"), "cannot be read as an image"),
    (EPS, "cannot be read as an image"),
    (b"", "cannot be read as an image"),
    (b"\xff\xd8\xff\xe0" + b"\0" * 99, "cannot be read as an image"),
], ids=short)
def test_images(content, message, inside):
  (inside / "a.png").write_bytes(content)
  refused(message, read_image, content, "it")
  refused(message, read_image, "a.png", "it", inside)


@pytest.mark.parametrize("value", [
    "pipe", "/dev/zero", "/dev/null", "x" * 5000, "a\0b.png", "../secret.json", {"path": "pipe"},
    [[math.nan]], [[[[1]]]], [], [[-1]], ["a"], [[10**400]], {"bytes": "no"}, 3, None, {},
], ids=short)
def test_what_is_no_image(value, inside):
  os.mkfifo(inside / "pipe")
  refused("it ", read_image, value, "it", inside)


def test_images_that_fill_the_memory(inside, monkeypatch):
  """With a limit of 64 MiB in the place of one of a GiB."""
  monkeypatch.setattr(images, "_MOST_BYTES", 2**26)
  image = png(2000, 2000)
  for name in "ab":
    (inside / name).mkdir()
    for i in range(12):
      (inside / name / f"{i}.png").write_bytes(image)
  refused("17 of 24 images fill a GiB: give a smaller image_size", load, inside, "images")


def test_image_sizes():
  refused("image_size must be <= 8192, got 1000000", load, "digits", "images", image_size=10**6)


def test_a_world_of_strangers_is_one_sentence_too(inside):
  """Nothing of a folder but its data files is looked at."""
  (inside / "train.csv").mkdir()
  (inside / "test.jsonl").symlink_to(pathlib.Path("/dev/zero"))
  with bounded(), pytest.raises(InputError, match="holds no data file"):
    load(inside)
