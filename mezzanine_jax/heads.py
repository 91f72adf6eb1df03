"""Heads: students that are small models of one view's features, by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array, Params
from mezzanine_jax.config import did_you_mean
from mezzanine_jax.errors import InputError
from mezzanine_jax.students import Inputs, Student


class _Head(nn.Module):
  """Standardised features through `depth` hidden layers to log-probs."""

  num_choices: int
  hidden: int = 0
  depth: int = 0

  @nn.compact
  def __call__(self, inputs: Inputs) -> Array:
    return nn.log_softmax(self._logits(inputs["features"]))

  def _logits(self, features: Array) -> Array:
    """The logits, inside the compact call of the module."""
    # Zeros at the start: the untrained head says the same whatever the features.
    return nn.Dense(self.num_choices, kernel_init=nn.initializers.zeros, name="out")(
        self._embedded(features))

  def _embedded(self, features: Array) -> Array:
    """What the last layer reads, inside the compact call of the module."""
    features = features.astype(jnp.float32)
    shift = self.variable("constants", "shift", jnp.zeros, features.shape, jnp.float32)
    scale = self.variable("constants", "scale", jnp.ones, features.shape, jnp.float32)
    x = (features - shift.value) * scale.value
    for i in range(self.depth):
      x = nn.gelu(nn.Dense(self.hidden, name=f"hidden_{i}")(x))
    return x


def linear_head(num_choices: int) -> Student:
  """A linear student: `log_softmax(W z + b)` of the standardised features `z`.

  Args:
    num_choices: C >= 2.

  Returns:
    The student; it starts uniform.

  Raises:
    InputError: fewer than two choices.
  """
  _at_least("num_choices", num_choices, 2)
  module = _Head(num_choices)
  return Student(module.init, module.apply)


def mlp_head(num_choices: int, hidden: int = 512, depth: int = 1) -> Student:
  """An MLP student: `depth` layers of `gelu(W z + b)`, then log-softmax.

  Args:
    num_choices: C >= 2.
    hidden: width of the hidden layers.
    depth: how many hidden layers.

  Returns:
    The student; it starts uniform.

  Raises:
    InputError: a setting that is too small.
  """
  _at_least("num_choices", num_choices, 2)
  _at_least("hidden", hidden, 1)
  _at_least("depth", depth, 1)
  module = _Head(num_choices, hidden, depth)
  return Student(module.init, module.apply)


class _Values(_Head):
  """Standardised features through `depth` hidden layers to real numbers."""

  @nn.compact
  def __call__(self, inputs: Inputs, embed: bool = False) -> Array:
    features = inputs["features"]
    return self._embedded(features) if embed else self._logits(features)


def mlp_values(num_choices: int, hidden: int = 256, depth: int = 2) -> Student:
  """An MLP whose answer is real numbers: `depth` layers of `gelu(W z + b)`, and one without gelu.

  Args:
    num_choices: how many numbers, >= 1.
    hidden: width of the hidden layers.
    depth: how many hidden layers; 0 for a linear model.

  Returns:
    The student; it starts at 0. `apply(params, inputs, embed=True)` is its last hidden layer.

  Raises:
    InputError: a setting that is too small.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> student, inputs = mlp_values(3, hidden=4), {"features": jnp.ones(2)}
    >>> student.apply(student.init(jax.random.key(0), inputs), inputs).tolist()
    [0.0, 0.0, 0.0]
  """
  _at_least("num_choices", num_choices, 1)
  _at_least("hidden", hidden, 1)
  _at_least("depth", depth, 0)
  module = _Values(num_choices, hidden, depth)
  return Student(module.init, module.apply)


class _Residual(_Head):
  """The view's own log-probs, sharpened or flattened, plus a head's logits as a correction."""

  @nn.compact
  def __call__(self, inputs: Inputs) -> Array:
    return _corrected(self, inputs["log_probs"], self._logits(inputs["features"]))


def _corrected(module: nn.Module, log_probs: Array, logits: Array) -> Array:
  """The model's own log-probs, sharpened by a parameter of the module, plus a correction."""
  sharpness = module.param("sharpness", nn.initializers.ones, ())
  # A choice that the model rules out stays ruled out: -inf would make its gradient NaN.
  own = jnp.maximum(log_probs.astype(jnp.float32), jnp.finfo(jnp.float32).min / 4)
  return nn.log_softmax(sharpness * own + logits)


def residual(num_choices: int, hidden: int = 512, depth: int = 1) -> Student:
  """The model's own answer, corrected: `log_softmax(a log p(y | view) + g(z))`.

  `g` is a head on the standardised features `z`, as in `mlp_head`; it starts at 0 and `a` at 1,
  so that the untrained student is the model's own pass. A training that chooses its step on
  held-out examples never ends further from the teacher there than that pass is.

  Args:
    num_choices: C >= 2.
    hidden: width of the hidden layers of `g`.
    depth: how many of them; 0 for a linear `g`.

  Returns:
    The student.

  Raises:
    InputError: a setting that is too small.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> student = residual(2, hidden=4)
    >>> inputs = {"features": jnp.ones(3), "log_probs": jnp.log(jnp.array([0.25, 0.75]))}
    >>> params = student.init(jax.random.key(0), inputs)
    >>> [round(float(p), 4) for p in jnp.exp(student.apply(params, inputs))]
    [0.25, 0.75]
  """
  _at_least("num_choices", num_choices, 2)
  _at_least("depth", depth, 0)
  _at_least("hidden", hidden, 1)
  module = _Residual(num_choices, hidden, depth)
  return Student(module.init, module.apply)


def ridge(num_choices: int) -> Student:
  """The model's own answer, corrected linearly: `log_softmax(a log p(y | view) + W z + b)`.

  That of `residual` without hidden layers; `ridge.solve` finds its weights at once.

  Args:
    num_choices: C >= 2.

  Returns:
    The student; untrained, it is the model's own pass.

  Raises:
    InputError: fewer than two choices.
  """
  return residual(num_choices, depth=0)._replace(solved=True)


class _Attention(nn.Module):
  """The last token's state asks all pooled states; their answer corrects the model's log-probs."""

  num_choices: int
  width: int
  layers: int
  hidden: int
  heads: int

  @nn.compact
  def __call__(self, inputs: Inputs) -> Array:
    features = inputs["features"].astype(jnp.float32)
    states_LxPxD = features.reshape(self.layers, -1, self.width)
    is_there = (states_LxPxD != 0).any((0, 2))  # a segment that is padding is all zeros
    states_LxPxD = nn.LayerNorm(use_scale=False, use_bias=False)(states_LxPxD)
    mix = nn.softmax(self.param("mix", nn.initializers.zeros, (self.layers,)))
    x_PxH = nn.Dense(self.hidden, name="read")(jnp.tensordot(mix, states_LxPxD, 1))
    x_PxH += self.param("places", nn.initializers.normal(0.02), x_PxH.shape)
    found = nn.MultiHeadDotProductAttention(self.heads, name="attention")(
        x_PxH[:1], x_PxH, mask=is_there[None, None])
    x = nn.gelu(nn.Dense(self.hidden, name="hidden")(jnp.concatenate([x_PxH[0], found[0]])))
    # Zeros at the start: no correction.
    logits = nn.Dense(self.num_choices, kernel_init=nn.initializers.zeros, name="out")(x)
    return _corrected(self, inputs["log_probs"], logits)


def attention(
    num_choices: int, width: int, layers: int = 1, hidden: int = 64, heads: int = 4
) -> Student:
  """The model's own answer, corrected by what its sentences' states say.

  `log_softmax(a log p(y | view) + g(z))`, as in `residual`; `g` is one attention of the last
  token's state over the mean state of every segment of the prompt, in the places where they stand,
  and one hidden layer. The layers that the states are from are mixed by learned weights.

  Args:
    num_choices: C >= 2.
    width: D of one state; the features are those of `embed_mode` segments, [layers * P * D].
    layers: how many layers the features are from.
    hidden: width of the attention and of the hidden layer; a multiple of `heads`.
    heads: attention heads.

  Returns:
    The student; untrained, it is the model's own pass.

  Raises:
    InputError: a setting that is too small, or features that are not whole states.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> student = attention(2, width=4, hidden=8, heads=2)
    >>> inputs = {"features": jnp.ones(3 * 4), "log_probs": jnp.log(jnp.array([0.25, 0.75]))}
    >>> params = student.init(jax.random.key(0), inputs)
    >>> [round(float(p), 4) for p in jnp.exp(student.apply(params, inputs))]
    [0.25, 0.75]
  """
  _at_least("num_choices", num_choices, 2)
  for name, value in (("width", width), ("layers", layers), ("hidden", hidden), ("heads", heads)):
    _at_least(name, value, 1)
  if hidden % heads:
    raise InputError(f"hidden must be a multiple of heads, got {hidden} and {heads}")
  module = _Attention(num_choices, width, layers, hidden, heads)

  def init(key: Array, inputs: Inputs) -> Params:
    size = inputs["features"].shape[-1]
    if size < 3 * layers * width or size % (layers * width):
      raise InputError(f"the student 'attention' needs the states of a prompt's segments, {layers}"
                       f" layers of {width} numbers each, got {size} numbers: give embed_mode"
                       " 'segments'")
    return module.init(key, inputs)

  return Student(init, module.apply, standardized=False)


# What answers with real numbers.
VALUE_STUDENTS: dict[str, Callable[..., Student]] = {"mlp_values": mlp_values}
# What answers from features alone, and what sees the model's own answer, too.
HEADS: dict[str, Callable[..., Student]] = {"linear": linear_head, "mlp": mlp_head}
ANY_FEATURES: dict[str, Callable[..., Student]] = {**HEADS, "residual": residual}
STUDENTS: dict[str, Callable[..., Student]] = {
    **ANY_FEATURES, "ridge": ridge, "attention": attention}


def make_student(
  name: str, *, factories: Mapping[str, Callable[..., Student]] = STUDENTS, **settings: Any
) -> Student:
  """The student of a config's name and settings.

  Args:
    name: a key of `factories`.
    factories: `STUDENTS`, or `text_students.TEXT_STUDENTS`.
    **settings: arguments of its factory; `num_choices` is always needed.

  Returns:
    The student.

  Raises:
    InputError: an unknown name or setting, or a setting's value that is not allowed.

  Example:
    >>> student = make_student("mlp", num_choices=2, hidden=8)
  """
  if name not in factories:
    raise InputError(f"unknown student {name!r}{did_you_mean(name, factories)}")
  allowed = list(inspect.signature(factories[name]).parameters)
  for setting in settings:
    if setting not in allowed:
      hint = did_you_mean(setting, allowed)
      raise InputError(f"unknown setting {setting!r} of student {name!r}{hint}")
  if "num_choices" not in settings:
    raise InputError(f"student {name!r} needs num_choices")
  return factories[name](**settings)


def _at_least(name: str, value: int, least: int) -> None:
  """Raises unless `value` is an integer >= `least`."""
  if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
    raise InputError(f"{name} must be an integer >= {least}, got {value!r}")
