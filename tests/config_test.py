"""Configurations: types, bounds, precedence, and files that cannot be used."""

import dataclasses

import pytest

from mezzanine_jax import config as config_lib
from mezzanine_jax.config import option
from mezzanine_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
  k_train: int = option(8, "views", at_least=1)
  rate: float = option(1e-3, "rate", at_least=0.0, at_most=1.0)
  mode: str = option("last", "mode", one_of=("last", "mean"))
  limit: int | None = option(512, "limit", at_least=8)
  split: str | None = option(None, "split")
  fast: bool = option(False, "speed only", runtime=True)


def _resolve(*layers):
  return config_lib.resolve(Config, *layers)


def test_later_layers_win():
  made = _resolve({"k_train": 2, "rate": 0.5, "mode": "mean"}, {"k_train": "3"}, {"rate": "0.25"})
  assert made == Config(k_train=3, rate=0.25, mode="mean")
  assert _resolve() == _resolve({}, {}) == Config()


@pytest.mark.parametrize(("name", "given", "value"), [
    ("k_train", "12", 12),
    ("rate", "1e-2", 0.01),
    ("rate", 1, 1.0),  # a whole number in a file is a float all the same
    ("fast", "TRUE", True),
    ("fast", "false", False),
    ("limit", "none", None),
    ("limit", None, None),
    ("limit", "16", 16),
    ("split", "none", None),
    ("split", " no| yes", " no| yes"),  # spaces are kept
])
def test_values_come_in_the_fields_type(name, given, value):
  got = getattr(_resolve({name: given}), name)
  assert got == value and type(got) is type(value)


@pytest.mark.parametrize(("name", "given", "message"), [
    ("k_trian", 4, r"unknown field 'k_trian' \(did you mean 'k_train'\?\)"),
    ("zzz", 4, "unknown field 'zzz'; there are: k_train, rate, mode, limit, split, fast"),
    ("k_train", 0, "k_train must be >= 1, got 0"),
    ("k_train", "-3", "k_train must be >= 1, got -3"),
    ("k_train", "4.5", "k_train must be int, got '4.5'"),
    ("k_train", 4.0, "k_train must be int, got 4.0"),
    ("k_train", True, "k_train must be int, got True"),
    ("k_train", "none", "k_train must be int, got 'none'"),
    ("k_train", [4], r"k_train must be int, got \[4\]"),
    ("rate", "fast", "rate must be float, got 'fast'"),
    ("rate", "nan", "rate must be float, got 'nan'"),
    ("rate", float("inf"), "rate must be float, got inf"),
    ("rate", 1.5, "rate must be <= 1.0, got 1.5"),
    ("mode", "max", "mode must be one of last, mean, got 'max'"),
    ("mode", None, "mode must be str, got None"),
    ("limit", 7, "limit must be >= 8, got 7"),
    ("limit", "all", "limit must be int or none, got 'all'"),
    ("fast", "1", "fast must be bool, got '1'"),
    ("fast", 1, "fast must be bool, got 1"),
])
def test_unusable_values_are_refused(name, given, message):
  with pytest.raises(InputError, match=f"^{message}$"):
    _resolve({name: given})


def test_type_names():
  names = {f.name: config_lib.type_name(f) for f in dataclasses.fields(Config)}
  assert names == {"k_train": "int", "rate": "float", "mode": "str", "limit": "int or none",
                   "split": "str or none", "fast": "bool"}


def _read(tmp_path, text, name="c.py"):
  (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
  return config_lib.read_file(tmp_path / name)


def test_a_file_gives_a_dict_and_leaves_nothing_beside_it(tmp_path, monkeypatch):
  monkeypatch.setattr("sys.dont_write_bytecode", False)
  text = "import ml_collections\nK = {}\ndef get_config():\n" \
         "  return ml_collections.ConfigDict({{'k_train': K, 'recipe': 'r'}})\n"
  # The second file is as long and as old as the first: only its content tells them apart.
  for k in (2, 4):
    found = _read(tmp_path, text.format(k))
    assert found == {"k_train": k, "recipe": "r"} and type(found) is dict
  assert [p.name for p in tmp_path.iterdir()] == ["c.py"]


@pytest.mark.parametrize(("text", "message"), [
    ("x = 1\n", r"has no get_config\(\)$"),
    ("def get_config(:\n", "cannot be used: SyntaxError: "),
    (b"\xff\xfe = 1\n", "cannot be used: SyntaxError: "),
    ("import no_such_module_here\n", "cannot be used: ModuleNotFoundError: .*no_such_module_here"),
    ("def get_config():\n  return {}['k']\n", "cannot be used: KeyError: 'k'$"),
    ("def get_config():\n  raise ValueError('odd')\n", "cannot be used: ValueError: odd$"),
    ("def get_config():\n  return ''.k\n", "cannot be used: AttributeError: .*no attribute 'k'"),
    ("def get_config():\n  pass\n", "cannot be used: TypeError: 'NoneType'"),
    ("1 / 0\n", "cannot be used: ZeroDivisionError: "),
])
def test_files_that_fail_are_told_in_a_sentence(tmp_path, text, message):
  with pytest.raises(InputError, match=rf"^configuration file '.*c\.py' {message}"):
    _read(tmp_path, text)


def test_files_that_are_none(tmp_path):
  with pytest.raises(InputError, match=r"configuration file '.*d\.py' does not exist"):
    config_lib.read_file(tmp_path / "d.py")
  with pytest.raises(InputError, match="does not exist"):
    config_lib.read_file(tmp_path)
  with pytest.raises(InputError, match=r"'.*c\.json' must be a Python file"):
    _read(tmp_path, "{}", "c.json")
