"""What a student is: a model that answers from what ONE pass over ONE view gives.

`inputs` is a dict: `features[D]` (pooled hidden states) and `log_probs[C]` (the view's own answer).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import AlignFn, Array, Params
from mezzanine_jax.errors import InputError

Inputs = dict[str, Any]


class Student(NamedTuple):
  """A model of one view, as a pair of pure functions.

  Attributes:
    init: `(key, inputs) -> params`, a dict of collections: `params["params"]` is trained,
      `params["constants"]` (where there is one) is saved with the student and never trained.
    apply: `(params, inputs) -> log_probs[C]`, normalised, for one example; `jax.vmap` batches it.
    standardized: whether its features are to be standardised, see `standardize`.
    solved: whether it is linear in its weights, which `ridge.solve` finds; others are trained.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from mezzanine_jax.heads import linear_head
    >>> inputs = {"features": jnp.ones(3), "log_probs": jnp.log(jnp.array([0.5, 0.5]))}
    >>> student = linear_head(num_choices=2)
    >>> params = student.init(jax.random.key(0), inputs)
    >>> jnp.exp(student.apply(params, inputs)).tolist()
    [0.5, 0.5]
  """

  init: Callable[[Array, Inputs], Params]
  apply: Callable[[Params, Inputs], Array]
  standardized: bool = True
  solved: bool = False


def aligned(student: Student, align: AlignFn) -> Student:
  """The same student, whose answer on a view is turned back to what it says of the example.

    answer = align(inputs["element"], student(inputs)).

  Trained on views of a teacher's aligned answer, it learns an equivariance from any of them.

  Args:
    student: any.
    align: `(element, float[C]) -> float[C]`, a symmetry's, on this student's answers.

  Example:
    >>> import jax.numpy as jnp
    >>> plain = Student(lambda key, inputs: {}, lambda params, inputs: inputs["features"])
    >>> back = aligned(plain, lambda element, answer: jnp.roll(answer, -element))
    >>> back.apply({}, {"features": jnp.arange(3), "element": 1}).tolist()
    [1, 2, 0]
  """

  def apply(params: Params, inputs: Inputs) -> Array:
    return align(inputs["element"], student.apply(params, inputs))

  return student._replace(apply=apply)


def constant_student(log_probs: Array) -> Student:
  """The control that gives the same answer to everything: most often the mean teacher.

  Args:
    log_probs: float32[C], normalised; see `distill_data.mean_teacher`.

  Returns:
    A student with nothing to train.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> student = constant_student(jnp.log(jnp.array([0.25, 0.75])))
    >>> params = student.init(jax.random.key(0), {})
    >>> jnp.exp(student.apply(params, {})).tolist()
    [0.25, 0.75]
  """
  constants = {"log_probs": jnp.asarray(log_probs, jnp.float32)}

  def init(key: Array, inputs: Inputs) -> Params:
    del key, inputs
    return {"params": {}, "constants": constants}

  def apply(params: Params, inputs: Inputs) -> Array:
    del inputs
    return params["constants"]["log_probs"]

  return Student(init, apply)


def standardize(student: Student, mean: Array, std: Array) -> Student:
  """The same student on standardised features: `z = (features - mean) / std`.

  The two constants become part of what `init` returns (`params["constants"]`), so they are saved
  with the student, and `apply` of saved params needs no wrapping. A feature that does not vary
  (std of 0, or lost in float32's rounding of its mean) is switched off: its `z` is 0 always.

  Args:
    student: one with `shift` and `scale` among its constants (`linear_head`, `mlp_head`).
    mean: float[D], over the training views; see `distill_data.feature_moments`.
    std: float[D], over the same.

  Returns:
    The student whose `init` puts the constants in; one that takes its features as they are
    (`standardized` is False) is returned unchanged.

  Raises:
    InputError: mean or std not finite, or std negative.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from mezzanine_jax.heads import linear_head
    >>> student = standardize(linear_head(2), jnp.array([1.0, 5.0]), jnp.array([2.0, 0.0]))
    >>> params = student.init(jax.random.key(0), {"features": jnp.zeros(2)})
    >>> params["constants"]["scale"].tolist()
    [0.5, 0.0]
  """
  if not student.standardized:
    return student
  mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
  if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
    raise InputError("the features' mean and std must be finite and std >= 0: check the features")
  varies = std > np.maximum(1e-6 * np.abs(mean), 1e-30)  # below: 1 / std overflows float32
  scale = np.divide(1.0, std, out=np.zeros_like(std), where=varies)

  def init(key: Array, inputs: Inputs) -> Params:
    params = student.init(key, inputs)
    moments = {"shift": jnp.asarray(mean, jnp.float32), "scale": jnp.asarray(scale, jnp.float32)}
    return {**params, "constants": {**params["constants"], **moments}}

  return student._replace(init=init)


@functools.partial(jax.jit, static_argnames=("apply", "block"))
def predict_rows(
  apply: Callable[[Params, Inputs], Array], params: Params, inputs: Inputs, block: int = 1024
) -> Array:
  """The student on every row of a table, a block at a time.

  Args:
    apply: `Student.apply`.
    params: the student's.
    inputs: dict of arrays [R, ...].
    block: rows at once, which bounds the memory.

  Returns:
    float32[R, C].
  """
  return jax.lax.map(lambda row: apply(params, row), inputs, batch_size=block)
