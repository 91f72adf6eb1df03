"""`paraphrase`: the wordings that an example comes in."""

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax.base import Array, Symmetry, Views
from mezzanine_jax.errors import InputError
from mezzanine_jax.prompts import Wordings


def paraphrase() -> Symmetry:
  """The wordings of an example, drawn by their weights: a finite weighted set.

  An example carries its wordings, each a prompt with its own answers (`prompts.Wordings`). The
  element is int32[], the number of the wording that is to be read; 0 is the canonical one.
  A key draws the same wording however many of weight 0 follow. In a chain it comes first: what
  the others do, they do to the wording that was chosen.

  Returns:
    A `Symmetry` on `Wordings`. Its orbit is every wording of weight > 0, with its weight; its
    `orbit_size` is their number where the weights are equal, else inf (draws are not uniform).

  Raises:
    InputError: when it is applied to a plain `Prompt`.

  Example:
    >>> from mezzanine_jax.prompts import make_prompt, make_wordings, pack
    >>> x = make_wordings([make_prompt([[n]], [0], [[7], [8]], [1, 1]) for n in (4, 5)], [1, 3])
    >>> which = paraphrase()
    >>> [pack(which.act(e, x))[0].tolist() for e in which.orbit(x, 2).elements]
    [[4], [5]]
    >>> np.exp(which.orbit(x, 2).log_weights).tolist()
    [0.25, 0.75]
  """

  def identity(x: Wordings) -> Array:
    _check(x)
    return jnp.array(0, jnp.int32)

  def sample(key: Array, x: Wordings) -> Array:
    _check(x)
    log_weights = jnp.asarray(x.log_weights)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(log_weights.shape[0]))
    noise = jax.vmap(jax.random.gumbel)(keys)  # argmax(log w + Gumbel noise) is a draw by w
    return jnp.argmax(log_weights + noise).astype(jnp.int32)

  def act(element: Array, x: Wordings) -> Wordings:
    _check(x)
    on_host = all(isinstance(a, (np.ndarray, np.generic)) for a in (element, x.all.starts))
    take = (lambda a: a[element]) if on_host else (lambda a: jnp.asarray(a)[element])
    return x._replace(current=jax.tree.map(take, x.all))

  def orbit_size(x: Wordings) -> float:
    _check(x)
    weights = np.exp(_used(x)[1])
    return float(len(weights)) if np.ptp(weights) <= 1e-6 * weights.max() else float("inf")

  def orbit(x: Wordings, limit: int) -> Views | None:
    _check(x)
    used, log_weights = _used(x)
    if len(used) > limit:
      return None
    return Views(used, log_weights, np.float32(len(used)))

  return Symmetry(identity, sample, act, orbit=orbit, orbit_size=orbit_size)


def _used(x: Wordings) -> tuple[np.ndarray, np.ndarray]:
  """The wordings that may be drawn, and their log-weights."""
  log_weights = np.asarray(x.log_weights, np.float32)
  used = np.flatnonzero(log_weights > -np.inf).astype(np.int32)
  return used, log_weights[used]


def _check(x: Wordings) -> None:
  """Refuses an example that comes in one wording only."""
  if not isinstance(x, Wordings):
    raise InputError(
        f"paraphrase needs examples with wordings (prompts.Wordings), got a {type(x).__name__};"
        " give several templates, or a field with paraphrases of the evidence"
    )
