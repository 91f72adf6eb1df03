"""A small convolutional network for images, as a model and as a student."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from mezzanine_jax.base import Array
from mezzanine_jax.errors import InputError
from mezzanine_jax.students import Inputs, Student


class Cnn(nn.Module):
  """Blocks of a 3 x 3 convolution, gelu and 2 x 2 mean; one hidden layer; log-probs.

  Attributes:
    num_choices: C.
    shape: (H, W, channels) of an image.
    width: channels of the first block, twice as many in each one after it.
    blocks: how many; each halves the sides.
    hidden: width of the hidden layer.
  """

  num_choices: int
  shape: tuple[int, int, int]
  width: int = 16
  blocks: int = 2
  hidden: int = 64

  @nn.compact
  def __call__(self, inputs: Inputs, embed: bool = False) -> Array:
    """log_probs[C] of one image, or with `embed` the hidden layer [hidden]."""
    x = inputs["features"].astype(jnp.float32).reshape(self.shape) * 2 - 1
    for i in range(self.blocks):
      x = _halved(nn.gelu(nn.Dense(self.width * 2**i, name=f"block_{i}")(_patches(x))))
    x = nn.gelu(nn.Dense(self.hidden, name="hidden")(x.reshape(-1)))
    if embed:
      return x
    # Zeros at the start: the untrained model is uniform whatever the image.
    return nn.log_softmax(
        nn.Dense(self.num_choices, kernel_init=nn.initializers.zeros, name="out")(x))


def cnn(
    num_choices: int, shape: Sequence[int], width: int = 16, blocks: int = 2, hidden: int = 64
) -> Student:
  """A small convolutional network: log-probs from the pixels of one view.

  Its input is `features[H * W * channels]`, the pixels in [0, 1], row by row.

  Args:
    num_choices: C >= 2.
    shape: (H, W, channels).
    width: channels of the first block, twice as many in each one after it.
    blocks: how many blocks; each halves the sides.
    hidden: width of the hidden layer.

  Returns:
    The student; it starts uniform.

  Raises:
    InputError: a setting that is too small, or more blocks than the image has halves.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> student = cnn(num_choices=3, shape=(4, 4, 1), width=2)
    >>> inputs = {"features": jnp.zeros(16)}
    >>> params = student.init(jax.random.key(0), inputs)
    >>> student.apply(params, inputs).shape
    (3,)
  """
  for name, value, least in (
      ("num_choices", num_choices, 2), ("width", width, 1), ("blocks", blocks, 1),
      ("hidden", hidden, 1)):
    if value < least:
      raise InputError(f"{name} must be >= {least}, got {value}")
  if min(shape[:2]) < 2**blocks:
    raise InputError(
        f"{blocks} blocks halve an image {blocks} times, but the images are {shape[0]} x"
        f" {shape[1]}: give fewer blocks, or a larger image_size")
  module = Cnn(num_choices, tuple(int(n) for n in shape), width, blocks, hidden)
  return Student(module.init, module.apply, standardized=False)


def hidden_layer(student: Student) -> Callable[..., Array]:
  """`(params, inputs) -> [hidden]`, what the last layer of a `cnn` reads: its features."""
  return functools.partial(student.apply, embed=True)


IMAGE_STUDENTS = {"cnn": cnn}


def _patches(x: Array) -> Array:
  """[H, W, 9 * channels], what a 3 x 3 kernel sees: with a product behind it, a convolution.

  XLA's CPU code for convolutions is ten times slower within a loop, as training is one.
  """
  height, width, _ = x.shape
  padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
  seen = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
  return jnp.concatenate(seen, -1)


def _halved(x: Array) -> Array:
  """Means of 2 x 2 places; an odd last row or column is left out."""
  height, width, channels = x.shape
  even = x[: height // 2 * 2, : width // 2 * 2]
  return even.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))
