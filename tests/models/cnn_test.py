"""The convolutional network against XLA's own convolution, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax import heads, students
from mezzanine_jax.errors import InputError
from mezzanine_jax.models.cnn import IMAGE_STUDENTS, cnn, hidden_layer


def test_it_is_the_network_that_it_says():
  student = cnn(num_choices=3, shape=(5, 6, 2), width=4, blocks=1, hidden=7)
  pixels = jax.random.uniform(jax.random.key(1), (60,))
  params = student.init(jax.random.key(0), {"features": pixels})
  random = jax.random.normal(jax.random.key(2), (7, 3))
  params["params"]["out"]["kernel"] = random
  own = params["params"]
  x = pixels.reshape(1, 5, 6, 2) * 2 - 1
  kernel = own["block_0"]["kernel"].reshape(3, 3, 2, 4)
  x = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
  x = jax.nn.gelu(x + own["block_0"]["bias"])
  x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
  hidden = jax.nn.gelu(x.reshape(-1) @ own["hidden"]["kernel"] + own["hidden"]["bias"])
  inputs = {"features": pixels}
  np.testing.assert_allclose(hidden_layer(student)(params, inputs), hidden, atol=1e-5)
  np.testing.assert_allclose(
      student.apply(params, inputs), jax.nn.log_softmax(hidden @ random), atol=1e-5)


def test_it_starts_uniform_and_takes_pixels_as_they_are():
  student = heads.make_student(
      "cnn", factories=IMAGE_STUDENTS, num_choices=4, shape=[4, 4, 1], width=2, blocks=2, hidden=3)
  assert students.standardize(student, np.zeros(16), np.full(16, 1e-9)) is student
  inputs = {"features": jnp.linspace(0, 1, 16)}
  params = student.init(jax.random.key(0), inputs)
  assert set(params) == {"params"}
  np.testing.assert_allclose(np.exp(student.apply(params, inputs)), 0.25, rtol=1e-6)


@pytest.mark.parametrize("changes, message", [
    (dict(num_choices=1), "num_choices must be >= 2, got 1"),
    (dict(width=0), "width must be >= 1"),
    (dict(blocks=3), "3 blocks halve an image 3 times, but the images are 4 x 9"),
])
def test_what_is_too_small_is_refused(changes, message):
  with pytest.raises(InputError, match=message):
    cnn(**dict(num_choices=2, shape=(4, 9, 1)) | changes)
