"""How a run asked, as JSON and back."""

import json
import types

import pytest

from mezzanine_jax import asking
from mezzanine_jax.base import Example
from mezzanine_jax.errors import InputError

ASKING = asking.Asking(
    "{text}\\nTopic:", "text", [" a", " b"], ("A", "B"),
    [Example(f"train:{i}", {"text": "One.", "facts": {"x": "y"}}, i % 2, f"c{i // 2}")
     for i in range(12)], ("<", ">"))


def _kept(shots):
  config = types.SimpleNamespace(seed=0, shots=shots)
  return json.loads(json.dumps(asking.record(config, ASKING)))


def test_it_comes_back_as_it_was():
  again = asking.recall(_kept(2))
  assert again.template == [{"template": "{text}\nTopic:", "weight": 1.0}]
  assert (again.evidence, again.choices, again.label_names, again.around) == (
      "text", [" a", " b"], ["A", "B"], ("<", ">"))
  assert all(e in ASKING.demonstrations for e in again.demonstrations)


def test_so_many_demonstrations_are_kept_as_may_be_shown():
  assert asking.recall(_kept(0)).demonstrations == []
  shown = asking.recall(_kept(2)).demonstrations
  # One more than are shown, each of another cluster: one of them may be the example's own.
  assert len({e.cluster for e in shown}) == len(shown) == 3


@pytest.mark.parametrize("change", [
    {"choices": None}, {"choices": []}, {"choices": [1, 2]}, {"label_names": None},
    {"around": ["<"]}, {"around": "<>"}, {"template": "x"}, {"evidence": 3},
    {"demonstrations": None}, {"demonstrations": [{"id": "a"}]},
])
def test_what_is_damaged_is_refused(change):
  with pytest.raises(InputError, match="damaged: train it again"):
    asking.recall(_kept(1) | change)
  for kept in (None, [], "asking"):
    with pytest.raises(InputError, match="damaged"):
      asking.recall(kept)
