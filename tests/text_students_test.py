"""Students that read tokens: padding is nothing, order matters only to one of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzanine_jax import heads
from mezzanine_jax.errors import InputError
from mezzanine_jax.text_students import PAD, TEXT_STUDENTS, student_tokens

SETTINGS = {
    "transformer": {"vocab_size": 20, "max_tokens": 9, "width": 8, "layers": 2, "heads": 2},
    "embedding_bag": {"vocab_size": 20, "width": 8},
}


def _trained(name):
  """A student whose output layer is not zero, so that what it reads shows."""
  student = heads.make_student(name, factories=TEXT_STUDENTS, num_choices=3, **SETTINGS[name])
  params = student.init(jax.random.key(0), {"tokens": jnp.arange(5)})
  out = params["params"]["out"]
  kernel = jax.random.normal(jax.random.key(1), out["kernel"].shape)
  params["params"]["out"] = out | {"kernel": kernel}
  return lambda tokens: np.asarray(student.apply(params, {"tokens": jnp.array(tokens)}))


@pytest.mark.parametrize("name", TEXT_STUDENTS)
def test_padding_changes_nothing_and_tokens_do(name):
  answer = _trained(name)
  plain = answer([3, 1, 4])
  np.testing.assert_allclose(answer([3, 1, 4, PAD, PAD]), plain, atol=1e-5)
  np.testing.assert_allclose(np.exp(plain).sum(), 1, rtol=1e-5)
  assert abs(answer([3, 1, 5]) - plain).max() > 1e-3
  assert np.isfinite(answer([PAD, PAD])).all()


def test_only_the_transformer_sees_the_order():
  assert abs(_trained("transformer")([3, 1, 4]) - _trained("transformer")([4, 1, 3])).max() > 1e-4
  bag = _trained("embedding_bag")
  np.testing.assert_allclose(bag([3, 1, 4]), bag([4, 1, 3]), atol=1e-6)


@pytest.mark.parametrize(("name", "change", "message"), [
    ("transformer", {"width": 7}, "multiple of heads"), ("transformer", {"layers": 0}, "layers"),
    ("embedding_bag", {"width": 0}, "width must be an integer >= 1"),
])
def test_bad_settings(name, change, message):
  with pytest.raises(InputError, match=message):
    heads.make_student(
        name, factories=TEXT_STUDENTS, num_choices=3, **SETTINGS[name] | change)


ROWS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=5)


@given(ROWS)
@settings(deadline=None)
def test_what_all_share_is_cut_and_the_rest_can_be_put_back(rows):
  lengths = np.array([len(row) for row in rows])
  tokens = np.array([row + [0] * (lengths.max() - len(row)) for row in rows])
  kept, front, behind = student_tokens(tokens, lengths, 99)
  for row, own in zip(rows, kept, strict=True):
    own = own[own != PAD].tolist()
    assert own  # something is left of every row
    assert front + own + behind == row
