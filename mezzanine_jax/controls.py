"""Controls: transformations of a whole batch that are meant to change the answers."""

import jax
import jax.numpy as jnp

from mezzanine_jax.base import Array, Control, X


def action_shuffle(field: str = "action") -> Control:
  """Every example is given another one's action, which must hurt a model that uses actions.

  The element is int32[N], whose action each gets: a random cycle, so that none keeps its own.

  Args:
    field: of the examples, which is shuffled.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> control, xs = action_shuffle(), {"action": jnp.arange(3), "observation": jnp.arange(3)}
    >>> shuffled = control.act(control.sample(jax.random.key(0), xs), xs)
    >>> bool((shuffled["action"] != xs["action"]).all()), shuffled["observation"].tolist()
    (True, [0, 1, 2])
  """

  def sample(key: Array, xs: X) -> Array:
    order = jax.random.permutation(key, xs[field].shape[0])
    return jnp.zeros_like(order).at[order].set(jnp.roll(order, 1))

  return Control(sample, lambda element, xs: {**xs, field: jnp.asarray(xs[field])[element]})


def no_action(field: str = "action") -> Control:
  """Every example is given the batch's mean action: nothing is known of its own.

  Args:
    field: of the examples, which is taken out.

  Example:
    >>> import jax.numpy as jnp
    >>> no_action().act((), {"action": jnp.array([[0.0], [4.0]])})["action"].tolist()
    [[2.0], [2.0]]
  """

  def act(element: tuple, xs: X) -> X:
    del element
    values = jnp.asarray(xs[field])
    return {**xs, field: jnp.broadcast_to(values.mean(0), values.shape)}

  return Control(lambda key, xs: (), act)
