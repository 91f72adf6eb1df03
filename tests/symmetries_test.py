"""Symmetries by name: built in, or an installed package's; what is refused."""

import sys

import pytest

from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import make_prompt
from mezzanine_jax.symmetries import (
    SYMMETRIES,
    make_symmetry,
    option_order,
    paraphrase,
    segment_order,
)
from mezzanine_jax.symmetries.blocks import block_order

PROMPT = make_prompt([[s] for s in range(6)], [1] * 6, [[1], [2]], [1, 1])


@pytest.fixture
def other_package(tmp_path, monkeypatch):
  """An installed package that names two symmetries, one of which is broken."""
  info = tmp_path / "others-1.0.dist-info"
  info.mkdir()
  (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
  (info / "entry_points.txt").write_text(
      "[mezzanine.symmetries]\nlast_stays = others_of_mine:last_stays\nbroken = others_of_mine:no\n"
  )
  (tmp_path / "others_of_mine.py").write_text(
      "from mezzanine_jax import segment_order\n"
      "def last_stays(keep_last=1):\n  return segment_order(keep_last=keep_last)\n"
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  yield
  sys.modules.pop("others_of_mine", None)


def test_every_name_makes_a_symmetry():
  for name in SYMMETRIES:
    assert callable(make_symmetry(name, seed=0, keep_first=1).sample)
  assert make_symmetry("segment_order", keep_first=1, keep_last=2).orbit_size(PROMPT) == 6


def test_names_are_chained_in_order():
  both = make_symmetry(" segment_order , option_order", keep_first=3)
  order, options = both.identity(PROMPT)
  assert (order.shape, options.shape) == ((6,), (2,)) and both.orbit_size(PROMPT) == 6


def test_an_installed_packages_symmetry_is_found_by_name(other_package):
  assert make_symmetry("last_stays").orbit_size(PROMPT) == 120
  assert make_symmetry("last_stays", keep_last=4, seed=3).orbit_size(PROMPT) == 2
  with pytest.raises(InputError, match="did you mean 'last_stays'"):
    make_symmetry("last_stay")
  with pytest.raises(InputError, match="'broken' of mezzanine.symmetries .* cannot be imported"):
    make_symmetry("broken")


@pytest.mark.parametrize("names", ["option_order,paraphrase", "paraphrase,paraphrase"])
def test_paraphrase_comes_first(names):
  make_symmetry("paraphrase,option_order")
  with pytest.raises(InputError, match="paraphrase must come first"):
    make_symmetry(names)


def test_unusable_settings_are_refused():
  with pytest.raises(InputError, match="keep_last must be >= 0, got -1"):
    segment_order(keep_last=-1)
  with pytest.raises(InputError, match="group must be >= 1"):
    block_order(0)
  with pytest.raises(InputError, match="orbit must be one of full, cyclic, got 'all'"):
    option_order("all")
  with pytest.raises(InputError, match="unknown symmetry 'segment_ordr' .did you mean"):
    make_symmetry("segment_ordr")


def test_paraphrase_needs_wordings():
  for function in (paraphrase().identity, paraphrase().orbit_size):
    with pytest.raises(InputError, match="needs examples with wordings"):
      function(PROMPT)


def test_a_symmetrys_name_is_its_function_also_where_its_file_was_imported():
  import importlib

  import mezzanine_jax
  from mezzanine_jax import symmetries

  for name in SYMMETRIES:
    module = importlib.import_module(f"mezzanine_jax.symmetries.{name}")
    assert getattr(symmetries, name) is getattr(mezzanine_jax, name) is getattr(module, name)
    assert SYMMETRIES[name] is getattr(module, name)
  for package in (symmetries, mezzanine_jax):
    with pytest.raises(AttributeError, match="no attribute 'segment_ordr'"):
      _ = package.segment_ordr
