"""Other packages' worlds and recipes, found by entry points of a made-up distribution."""

import sys

import pytest
from fabricated import write_package

from mezzanine_jax import plugins
from mezzanine_jax.errors import InputError
from mezzanine_jax.recipes import RECIPES, get_recipe
from mezzanine_jax.worlds import WORLDS, get_world, load_world, world_names

CODE = '''
"""A world and a recipe of another package."""

import dataclasses

from mezzanine_jax.base import Example
from mezzanine_jax.worlds import World


def load(dataset="own data", *, n_train, n_test, seed=0):
  """Texts out of nowhere."""
  parts = [
    [Example(f"{part}:{i}", {"text": f"{dataset} {i}"}, i % 2, f"{part}{i}") for i in range(n)]
    for part, n in (("train", n_train), ("test", n_test))
  ]
  return World(*parts, 2, {"seed": seed}, {"train": "", "test": ""})


@dataclasses.dataclass(frozen=True)
class Config:
  """No fields."""


def run(config, out):
  """Does nothing."""
  return {"out": out}


nothing = 3
'''
POINTS = """
[mezzanine.worlds]
made_up = made_up_one:load
hf_qa = made_up_one:load
number = made_up_one:nothing
broken = made_up_one:absent
[mezzanine.recipes]
made_up_recipe = made_up_one
half = made_up_one:load
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
  """An installed package with a world and a recipe; returns the folder it stands in."""
  write_package(tmp_path / "site", "made_up_one", CODE, POINTS)
  monkeypatch.syspath_prepend(str(tmp_path / "site"))
  yield tmp_path / "site"
  sys.modules.pop("made_up_one", None)


def test_nothing_is_found_without_a_package():
  assert plugins.find("mezzanine.worlds", "made_up") is None
  assert "made_up" not in plugins.names("mezzanine.worlds")


def test_names_import_nothing(package):
  assert {"broken", "made_up", "number"} <= set(plugins.names("mezzanine.worlds"))
  assert {"half", "made_up_recipe"} <= set(plugins.names("mezzanine.recipes"))
  assert "made_up_one" not in sys.modules


def test_a_world(package):
  """It is called like a built-in one: with those settings that it has arguments for."""
  world = load_world("made_up", dataset=None, n_train=3, n_test=2, seed=7, k_train=8)
  assert [e.x["text"] for e in world.train] == ["own data 0", "own data 1", "own data 2"]
  assert world.notes == {"seed": 7}
  assert load_world("made_up", dataset="x", n_train=1, n_test=1).train[0].x == {"text": "x 0"}


def test_a_built_in_name_stays_built_in(package):
  assert get_world("hf_qa") is WORLDS["hf_qa"]
  assert "made_up_one" not in sys.modules
  assert world_names().count("hf_qa") == 1
  assert world_names()[: len(WORLDS)] == list(WORLDS)


def test_a_recipe(package):
  module = get_recipe("made_up_recipe")
  assert module.run(module.Config(), "there") == {"out": "there"}


@pytest.mark.parametrize("ask, message", [
    (lambda: get_world("made_upp"), r"unknown world 'made_upp' \(did you mean 'made_up'\?\)"),
    (lambda: get_world("zzz"), "unknown world 'zzz'; there are: evidence_qa, .*broken, made_up, n"),
    (lambda: get_world("number"), "is a int: its entry point in mezzanine.worlds must be a func"),
    (lambda: get_world("broken"), r"made_up_one:absent, from made_up_one\) cannot be imported"),
    (lambda: get_recipe("made_up_recip"), r"unknown recipe .*did you mean 'made_up_recipe'"),
    (lambda: get_recipe("half"), "has no Config and no run: its entry point in mezzanine.rec"),
    (lambda: get_recipe(3), "unknown recipe 3"),
])
def test_refused(package, ask, message):
  with pytest.raises(InputError, match=message):
    ask()


def test_two_packages_of_one_name(package, tmp_path, monkeypatch):
  """Neither is taken; the same one found twice on the path is one."""
  write_package(tmp_path / "b", "made_up_two", CODE, POINTS.replace("made_up_one", "made_up_two"))
  monkeypatch.syspath_prepend(str(tmp_path / "b"))
  with pytest.raises(InputError, match=r"by made_up_one \(made_up_one:load\) and made_up_two"):
    get_world("made_up")


def test_built_in_recipes_are_there():
  for name in RECIPES:
    assert name == get_recipe(name).NAME
