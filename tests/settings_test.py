"""Groups of fields make a configuration as good as one written in full."""

import dataclasses

import pytest

from mezzanine_jax import settings
from mezzanine_jax.config import option
from mezzanine_jax.errors import InputError

GROUPS = (settings.RunFields, settings.TrainingFields, settings.SymmetryFields, settings.LmFields,
          settings.WorldFields)


@dataclasses.dataclass(frozen=True)
class Config(*GROUPS):
  n_train: int = option(7, "another default")


def test_fields_stand_in_the_order_of_the_groups_and_once():
  names = [f.name for f in dataclasses.fields(Config)]
  assert names == [f.name for group in GROUPS[::-1] for f in dataclasses.fields(group)]
  assert len(set(names)) == len(names) and Config().n_train == 7


@pytest.mark.parametrize(("change", "message"), [
    ({"n_train": "many"}, "n_train must be int"), ({"orbit": "half"}, "full, cyclic"),
    ({"unit": "word"}, "sentence, paragraph, document"), ({"num_options": 1}, ">= 2"),
    ({"answer_form": "roman"}, "auto, label, index"),
])
def test_every_group_is_checked(change, message):
  with pytest.raises(InputError, match=message):
    Config(**change)
