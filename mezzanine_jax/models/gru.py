"""A small recurrent network for sequences of steps, as a model and as a student."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from mezzanine_jax.base import Array
from mezzanine_jax.errors import InputError
from mezzanine_jax.students import Inputs, Student


class Gru(nn.Module):
  """Step by step through a gated recurrent unit; one hidden layer on its last state; log-probs.

  Attributes:
    num_choices: C.
    shape: (S, F) of a trajectory.
    hidden: width of the state and of the layer behind it.
  """

  num_choices: int
  shape: tuple[int, int]
  hidden: int = 64

  @nn.compact
  def __call__(self, inputs: Inputs, embed: bool = False) -> Array:
    """log_probs[C] of one trajectory, or with `embed` the hidden layer [hidden]."""
    steps = inputs["features"].astype(jnp.float32).reshape(self.shape)
    number = (steps != 0).any(1).sum()  # those behind are padding
    x = nn.gelu(nn.Dense(self.hidden, name="step")(steps))
    state, _ = nn.RNN(nn.GRUCell(self.hidden), return_carry=True, name="unit")(
        x, seq_lengths=number)
    x = nn.gelu(nn.Dense(self.hidden, name="hidden")(state))
    if embed:
      return x
    # Zeros at the start: the untrained model is uniform whatever the steps.
    return nn.log_softmax(
        nn.Dense(self.num_choices, kernel_init=nn.initializers.zeros, name="out")(x))


def gru(num_choices: int, shape: Sequence[int], hidden: int = 64) -> Student:
  """A small recurrent network: log-probs from the steps of one view, in their order.

  Its input is `features[S * F]`, step by step; a step of zeros at the end is padding, and
  changes nothing.

  Args:
    num_choices: C >= 2.
    shape: (S, F).
    hidden: width of the state and of the layer behind it.

  Returns:
    The student; it starts uniform.

  Raises:
    InputError: a setting that is too small.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> student = gru(num_choices=2, shape=(3, 4), hidden=2)
    >>> inputs = {"features": jnp.ones(12)}
    >>> student.apply(student.init(jax.random.key(0), inputs), inputs).shape
    (2,)

  Source: K. Cho et al., Learning phrase representations using RNN encoder-decoder for
  statistical machine translation, arXiv:1406.1078 (2014).
  """
  for name, value, least in (("num_choices", num_choices, 2), ("hidden", hidden, 1)):
    if value < least:
      raise InputError(f"{name} must be >= {least}, got {value}")
  module = Gru(num_choices, tuple(int(n) for n in shape), hidden)
  return Student(module.init, module.apply, standardized=False)


STEP_STUDENTS = {"gru": gru}
