"""Fuzzed: whatever is read ends in an InputError or a correct result, in nothing else."""

import json
import struct

import gguf
import hypothesis
import jax
import numpy as np
import pytest
import tiny
from hostile import bounded, entry, text
from hostile import gguf as gguf_file
from hostile import safetensors as safetensors_file
from hypothesis import strategies as st

from mezzanine_jax import tokenization
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.gguf import gguf_config, open_gguf
from mezzanine_jax.models.tokenizer import gguf_tokenizer
from mezzanine_jax.models.weights import open_safetensors
from mezzanine_jax.prompts import make_prompt, number_segments, pack
from mezzanine_jax.templates import fill, parse_template, read_wordings

settings = hypothesis.settings(
    derandomize=True, database=None, deadline=None, max_examples=40,
    suppress_health_check=list(hypothesis.HealthCheck))
GOOD = gguf_file(
    [("general.architecture", 8, text("llama")), ("llama.block_count", 4, struct.pack("<I", 2)),
     ("llama.rope.freq_base", 6, struct.pack("<f", 500.0)),
     ("words", 9, struct.pack("<IQ", 8, 2) + text("a") + text("bc"))],
    [entry("token_embd.weight", (4, 3)), entry("b", (2,), offset=64)], data=bytes(range(96)))
FLOATS = safetensors_file({
    "w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "v": {"dtype": "F16", "shape": [4], "data_offsets": [16, 24]}}, bytes(range(24)))


def spoilt(content):
  """The bytes with some of them changed, cut out or put in."""
  at = st.integers(0, len(content))
  words = st.sampled_from([b"", b"\0", b"\xff", b"\xff" * 8, struct.pack("<Q", 2**40), b'"', b"["])
  change = st.tuples(at, st.integers(0, 9), st.binary(max_size=9) | words)

  def apply(changes):
    data = bytearray(content)
    for start, size, new in changes:
      data[start : start + size] = new
    return bytes(data)

  return st.lists(change, max_size=4).map(apply)


def read_all(open_file, path):
  """Opens a file and reads every tensor of it."""
  with bounded():
    try:
      found = open_file(path)
      tensors = found[-1] if isinstance(found[-1], tuple) and hasattr(found[-1], "read") else found
      return {name: tensors.read(name) for name in tensors.shapes}, tensors.shapes
    except InputError as error:
      assert "\n" not in str(error)
      return {}, {}


@settings
@hypothesis.given(content=spoilt(GOOD) | st.binary(max_size=99).map(lambda b: b"GGUF" + b))
def test_gguf_files(content, tmp_path_factory):
  path = tmp_path_factory.mktemp("fuzz") / "m.gguf"
  path.write_bytes(content)
  arrays, shapes = read_all(open_gguf, path)
  for name, array in arrays.items():
    assert array.shape == shapes[name] and array.nbytes <= 32 * len(content)


def test_what_is_fuzzed_is_read(tmp_path):
  """Without a change, both files are good, and as the formats' own packages read them."""
  (tmp_path / "m.gguf").write_bytes(GOOD)
  arrays, _ = read_all(open_gguf, tmp_path / "m.gguf")
  for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors:
    np.testing.assert_array_equal(arrays[tensor.name].ravel(), tensor.data.ravel())
  (tmp_path / "model.safetensors").write_bytes(FLOATS)
  assert set(read_all(open_safetensors, tmp_path)[0]) == {"w", "v"}


@settings
@hypothesis.given(content=spoilt(FLOATS) | st.binary(max_size=99))
def test_safetensors_files(content, tmp_path_factory):
  folder = tmp_path_factory.mktemp("fuzz")
  (folder / "model.safetensors").write_bytes(content)
  arrays, shapes = read_all(open_safetensors, folder)
  for name, array in arrays.items():
    assert array.shape == shapes[name] and array.nbytes <= len(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**70) | st.floats() | st.text(max_size=5),
    lambda own: st.lists(own, max_size=3) | st.dictionaries(st.text(max_size=5), own, max_size=3),
    max_leaves=5)
KEYS = ("llama.attention.head_count", "llama.attention.head_count_kv", "llama.embedding_length",
        "llama.feed_forward_length", "llama.block_count", "llama.context_length",
        "llama.attention.key_length", "llama.rope.freq_base", "llama.rope.scaling.type",
        "llama.rope.scaling.factor", "llama.attention.layer_norm_rms_epsilon")
WORDS = ("model", "pre", "tokens", "merges", "token_type", "bos_token_id", "add_bos_token")


@settings
@hypothesis.given(changes=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3),
                  words=st.dictionaries(st.sampled_from(WORDS), JSON, max_size=2))
def test_gguf_metadata(changes, words, tmp_path_factory):
  path = tmp_path_factory.mktemp("fuzz") / "m.gguf"
  path.write_bytes(GOOD)
  _, tensors = open_gguf(path)
  good = {"general.architecture": "llama", **dict.fromkeys(KEYS[:6], 2), KEYS[2]: 8}
  own = {"model": "gpt2", "pre": "gpt-2", "tokens": ["a", "b"], "merges": []} | words
  for made in (lambda: gguf_config(good | changes, tensors),
               lambda: gguf_tokenizer({f"tokenizer.ggml.{k}": v for k, v in own.items()})):
    with bounded():
      try:
        made()
      except InputError as error:
        assert "\n" not in str(error)


LETTERS = st.sampled_from("aB. \n\t?!'\"{}🙂é\u05d0\u202e\0<s>0A:") | st.characters(
    exclude_categories=())
TEXTS = st.text(LETTERS, max_size=25)
PARTS = st.sampled_from(["{passage}", "{question}", " ", "\n", "Passage:", "A:", "{", "}", "{x}",
                         "{options}", "{facts}", "{demonstrations}"])


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_prompts_tokenize_as_their_whole_text(kind):
  """Where segments are said to be exact, any order of them has the tokens of the whole text."""
  tokenizer = tiny.KINDS[kind]()
  template = parse_template("P: {passage}\nQ: {question}\nA:", "passage", ["passage", "question"],
                            "document")

  @settings
  @hypothesis.given(passage=st.lists(TEXTS, max_size=4), question=TEXTS, order=st.randoms())
  def check(passage, question, order):
    pieces = fill(template, {"passage": passage, "question": question}, unit="document")
    try:
      [made] = tokenization.tokenize_prompts(
          tokenizer, [[tokenization.Text(pieces, [" yes", " no"], "\nA:")]], 900)
    except InputError as error:
      assert "\n" not in str(error)
      return
    count = len(made.prompt.lengths)
    middle = list(range(1, count - 1))
    order.shuffle(middle)
    order = [0, *middle, count - 1][:count]
    if made.exact:
      segments = np.split(made.prompt.tokens, np.cumsum(made.prompt.lengths)[:-1])
      tokens = np.concatenate([segments[i] for i in order]).tolist()
    else:
      tokens = tokenization.whole_prompt(tokenizer, made, order).tokens.tolist()
    whole = "".join(made.texts[0].pieces[i].text for i in order)
    whole = tokenizer.encode(whole, add_special_tokens=False).ids
    assert tokens == [*made.beginning, *whole]

  check()


@settings
@hypothesis.given(template=st.lists(PARTS | TEXTS, max_size=6).map("".join), passage=JSON | TEXTS,
                  question=JSON | TEXTS, options=JSON, facts=JSON)
def test_templates(template, passage, question, options, facts):
  """The pieces are the template with its fields filled in, or a sentence says why not."""
  fields = {"passage": passage, "question": question, "options": options, "facts": facts}
  try:
    [wording] = read_wordings([template])
    pieces = fill(parse_template(wording.template, "passage", list(fields)), fields)
  except InputError:
    return
  assert pieces and all(isinstance(piece.text, str) for piece in pieces)
  assert "".join(piece.text for piece in pieces).endswith(wording.template.rpartition("}")[2])


@settings
@hypothesis.given(item=JSON | st.dictionaries(
    st.sampled_from(["template", "choices", "weight"]), JSON | TEXTS | st.lists(TEXTS), max_size=3))
def test_wordings(item):
  for given in (item, [item]):
    try:
      made = read_wordings(json.loads(json.dumps(given)))
    except InputError:
      continue
    assert all(isinstance(w.template, str) and w.weight >= 0 for w in made)


@settings
@hypothesis.given(data=st.data())
def test_packing(data):
  """A gather on the device gives what lists give, whichever segments are empty."""
  size = data.draw(st.integers(1, 4))
  segments = data.draw(st.lists(st.lists(st.integers(0, 99), max_size=3), min_size=size,
                                max_size=size))
  prompt = make_prompt(segments, [1] * size, [[1], [2]], [1, 1])
  order = data.draw(st.permutations(range(size)))
  prompt = prompt._replace(  # one shape for all, so that one program is compiled
      tokens=np.pad(prompt.tokens, (0, 12 - len(prompt.tokens))),
      **{name: np.pad(getattr(prompt, name)[list(order)], (0, 4 - size))
         for name in ("starts", "lengths", "group", "block")})
  tokens, length = PACK(prompt)
  assert tokens[: int(length)].tolist() == [t for i in order for t in segments[i]]
  assert not tokens[int(length) :].any()
  assert number_segments(prompt).starts.tolist() == [0, 1, 2, 3]


PACK = jax.jit(pack)
