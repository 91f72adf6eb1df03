"""The header, against the gguf package's own reader, and files that are spoilt."""

import struct

import gguf
import numpy as np
import pytest

from mezzanine_jax.models.gguf_header import read_header

SIZES = gguf.GGML_QUANT_SIZES


def _write(path, tensors, **arrays):
  """A file with a value of every type of metadata."""
  writer = gguf.GGUFWriter(path, "llama")
  writer.add_uint8("a.u8", 200)
  writer.add_int8("a.i8", -3)
  writer.add_uint16("a.u16", 60000)
  writer.add_int16("a.i16", -300)
  writer.add_uint32("a.u32", 4_000_000_000)
  writer.add_int32("a.i32", -70_000)
  writer.add_uint64("a.u64", 2**60)
  writer.add_int64("a.i64", -(2**60))
  writer.add_float32("a.f32", 0.1)
  writer.add_float64("a.f64", 0.1)
  writer.add_bool("a.bool", True)
  writer.add_string("a.text", "ü – 漢")
  for name, values in arrays.items():
    writer.add_array(name, values)
  for name, values in tensors.items():
    kind = gguf.GGMLQuantizationType.Q8_0 if values.ndim > 1 else gguf.GGMLQuantizationType.F32
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return path


@pytest.fixture
def file(tmp_path):
  draw = np.random.default_rng(0)
  tensors = {"x": draw.normal(size=(3, 64)).astype("f4"), "y": draw.normal(size=7).astype("f4"),
             "z": draw.normal(size=(2, 5, 32)).astype("f4")}
  return _write(tmp_path / "m.gguf", tensors, words=["a", "", "çé"], numbers=[1, 2, 3],
                flags=[True, False], reals=[0.5, -1.5])


def test_the_same_as_the_packages_reader(file):
  metadata, tensors = read_header(file, SIZES)
  reader = gguf.GGUFReader(file)
  theirs = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
  assert metadata == theirs and len(metadata) == 17
  assert list(tensors) == [t.name for t in reader.tensors]
  for tensor in reader.tensors:
    info = tensors[tensor.name]
    assert info.shape == tuple(tensor.shape.tolist()[::-1])
    assert (info.kind, info.start, info.num_bytes) == (
        tensor.tensor_type, tensor.data_offset, tensor.n_bytes)


def test_arrays_of_arrays(tmp_path):
  path = tmp_path / "m.gguf"
  inner = struct.pack("<IQ2B", 0, 2, 7, 8)
  path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sI", 1, b"k", 9)
                   + struct.pack("<IQ", 9, 2) + inner * 2)
  assert read_header(path, SIZES) == ({"k": [[7, 8], [7, 8]]}, {})


def test_every_cut_is_noticed(file, tmp_path):
  whole, cut = file.read_bytes(), tmp_path / "cut.gguf"
  for size in range(0, len(whole), 13):
    cut.write_bytes(whole[:size])
    with pytest.raises(ValueError, match="empty|ends within|goes beyond|begin with GGUF"):
      read_header(cut, SIZES)


@pytest.mark.parametrize("spoil, message", [
    (lambda data: b"JUNK" + data[4:], "does not begin with GGUF"),
    (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "little-endian files of versions"),
    (lambda data: data.replace(b"a.i8", b"a.u8").replace(b"a.u16", b"a.i16"), "stands in it twice"),
    (lambda data: data.replace(b"\x01\0\0\0\0\0\0\0y", b"\x01\0\0\0\0\0\0\0x"), "'x' stands in it"),
    (lambda data: data[:8] + struct.pack("<Q", 2**62) + data[16:],
     "ends within|unknown|plausible|dimensions"),
    (lambda data: data.replace(b"a.u8\0\0\0\0", b"a.u8\x63\0\0\0"), "unknown type 99"),
])
def test_spoilt_headers(spoil, message, file):
  file.write_bytes(spoil(file.read_bytes()))
  with pytest.raises(ValueError, match=message):
    read_header(file, SIZES)
