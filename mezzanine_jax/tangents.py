"""Adapters in closed form: ridge regression on the tangent of a language model.

Where a student has to move by little, its answer is linear in small changes of its weights. Each
matrix W may change by A C B, with A and B drawn at random and C [r, r] to be found: the derivatives
of an answer with respect to all C are features of its text, on which what is missing to the teacher
is a regression, solved at once (a Gauss-Newton step). What comes out are ordinary adapters, A and
C B, of the model that is asked once.

Sources: A. Jacot et al., Neural Tangent Kernel (2018), for the features; K. Balazy et al., LoRA-XS
(2024), for adapters that are small matrices between fixed ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special

from mezzanine_jax.base import Array, Element, Params
from mezzanine_jax.models.attention import Stream
from mezzanine_jax.scoring import PackedRows

Adapters = dict[str, dict[str, Array]]
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # penalties tried, over the mean square of a feature row
_LEAST_SCALE = 0.1  # of the log-probs: the adapters' part is divided by it


class Tangents(NamedTuple):
  """What one pass and its derivatives give.

  Attributes:
    log_probs: float32[R, C], nats, over the choices.
    tangents: bfloat16[R, (C - 1) P], derivatives of the contrasts of the log-probs (see
      `contrasts`) with respect to the P numbers of all C, target by target in the order of their
      names.
  """

  log_probs: Array
  tangents: Array


def contrasts(num_choices: int) -> np.ndarray:
  """float64[C - 1, C]: orthonormal, each sums to 0: what of log-probs a softmax leaves.

  Example:
    >>> contrasts(2).round(3).tolist()
    [[0.707, -0.707]]
  """
  return scipy.linalg.helmert(num_choices)


def init_adapters(adapters: Adapters, key: Array) -> Adapters:
  """The same adapters with B normal, of variance 1 / out, for `scorer`.

  Args:
    adapters: from `lora.init_adapters`.
    key: PRNG key; consumed.

  Example:
    >>> from mezzanine_jax import lora
    >>> params = {"layers": {"q": {"kernel": jnp.ones((2, 4, 6))}}}
    >>> start = lora.init_adapters(params, jax.random.key(0), rank=1, targets=["q"])
    >>> bool((init_adapters(start, jax.random.key(1))["q"]["b"] != 0).all())
    True
  """
  keys = jax.random.split(key, len(adapters))
  return {name: {"a": own["a"], "b": jax.random.normal(k, own["b"].shape)
                 / jnp.sqrt(own["b"].shape[-1])}
          for k, (name, own) in zip(keys, sorted(adapters.items()), strict=True)}


def scorer(
    batch_fn: Callable[[Params, Element, PackedRows], Any],
) -> Callable[[Params, Element, PackedRows], Tangents]:
  """`f(params, elements, rows) -> Tangents` of the model as it is, with C = 0.

  Args:
    batch_fn: `(params, elements, rows) -> log_probs[R, C]` among others, see
      `scoring.view_rows_scorer`; with `remat=True` it needs far less memory.

  Returns:
    A pure function, whose `params` have adapters from `init_adapters` (see `lora.attach`).
  """

  def apply(params: Params, elements: Element, rows: PackedRows) -> Tangents:
    layers = params["layers"]
    names = sorted(name for name, own in layers.items() if "a" in own)
    sizes = {name: layers[name]["b"].shape[:2] for name in names}
    zeros = {name: jnp.zeros((count, rank, rank)) for name, (count, rank) in sizes.items()}
    size = rows.choices.shape[1]
    basis = jnp.asarray(contrasts(size), jnp.float32)

    def one(element: Element, row: Array) -> Tangents:
      own = _row(rows, row)
      element = jax.tree.map(lambda a: a[None], element)

      def answer(cores):
        changed = {name: _with_core(layers[name], cores[name]) for name in names}
        found = batch_fn({**params, "layers": {**layers, **changed}}, element, own).log_probs[0]
        return basis @ found, found

      slopes, log_probs = jax.jacrev(answer, has_aux=True)(zeros)
      flat = jnp.concatenate([slopes[name].reshape(size - 1, -1) for name in names], 1)
      return Tangents(log_probs, flat.reshape(-1).astype(jnp.bfloat16))

    return jax.vmap(one)(elements, jnp.arange(rows.choices.shape[0]))

  return apply


def _with_core(own: dict[str, Array], core: Array) -> dict[str, Array]:
  """A matrix and its adapter with C B for B."""
  return {**own, "b": jnp.einsum("lrs,lso->lro", core, own["b"])}


def _row(rows: PackedRows, row: Array) -> PackedRows:
  """One row, alone in a stream of its own."""
  stream = rows.stream
  which = stream.rows[row]
  places = jnp.arange(which.shape[0], dtype=stream.rows.dtype)
  own = Stream(
      stream.tokens[which], stream.positions[which], places[None], places,
      None if stream.segments is None else stream.segments[row][None],
      None if stream.orders is None else stream.orders[:, which])
  return PackedRows(own, *(None if a is None else a[row][None] for a in rows[1:]))


class Solved(NamedTuple):
  """What was found: log_softmax(scale log p + shift) of the model with adapters.

  Attributes:
    adapters: A and C B, for `lora.merge` with the `alpha` that the derivatives were taken with.
    scale: of the log-probs.
    shift: float64[C], which sums to 0.
    ridge: the penalty, of `RIDGES`.
    valid_kl: by the tangent, with each of them.
    log_probs: float32[n, C], of all rows, by the tangent.
  """

  adapters: Adapters
  scale: float
  shift: np.ndarray
  ridge: float
  valid_kl: tuple[float, ...]
  log_probs: np.ndarray


def solve(
    found: Tangents, teacher_log_probs: np.ndarray, train: np.ndarray, valid: np.ndarray,
    adapters: Adapters,
) -> Solved:
  """The adapters, scale and shift whose answers are nearest the teacher, by the tangent.

  Least squares in the metric of the softmax, the second order of KL(p_T || p); scale and shift are
  not penalised, features are of one size each. The penalty is the one with the least mean KL on
  the validation rows.

  Args:
    found: of n rows.
    teacher_log_probs: float32[n, C].
    train: int[m], rows to learn from.
    valid: int[v], rows that choose the penalty.
    adapters: those that the derivatives were taken of.

  Returns:
    See `Solved`.

  Example:
    >>> adapters = {"q": {"a": jnp.ones((1, 2, 1)), "b": jnp.ones((1, 1, 2))}}
    >>> log_probs = np.log([[0.5, 0.5], [0.6, 0.4], [0.3, 0.7], [0.4, 0.6]])
    >>> flatter = scipy.special.log_softmax(log_probs / 2, axis=1)
    >>> slopes = np.array([[1.0], [-1.0], [0.5], [0.0]])
    >>> found = solve(
    ...     Tangents(log_probs, slopes), flatter, np.arange(3), np.array([3]), adapters)
    >>> round(found.scale, 1)
    0.5
  """
  basis = contrasts(found.log_probs.shape[1])
  log_probs = np.asarray(found.log_probs, np.float64)
  z = log_probs @ basis.T
  slopes = np.asarray(found.tangents, np.float32).reshape(*z.shape, -1)
  root = _metric(log_probs[train], basis)
  missing = (np.exp(teacher_log_probs[train]) - np.exp(log_probs[train])) @ basis.T
  y = np.linalg.solve(root, missing[..., None]).reshape(-1)
  free = np.concatenate([root @ z[train][..., None], root], -1).reshape(len(y), -1)
  x = (root.astype(np.float32) @ slopes[train]).reshape(len(y), -1)
  size = np.maximum(x.std(0), 1e-12)
  x /= size * np.sqrt(x.shape[1], dtype=np.float32)
  inverse = np.linalg.pinv(free)
  held = x - (free @ (inverse @ x)).astype(np.float32)
  left = y - free @ (inverse @ y)
  gram = (held @ held.T).astype(np.float64)
  tried = []
  for ridge in RIDGES:
    gram_ridge = gram + ridge * np.mean(np.diag(gram)) * np.eye(len(y))
    w = held.T @ scipy.linalg.solve(gram_ridge, left, assume_a="pos")
    own = inverse @ (y - x @ w)
    cores = w / (size * np.sqrt(len(w)))
    answer = scipy.special.log_softmax(
        (z * (1 + own[0]) + own[1:] + slopes @ cores.astype(np.float32)) @ basis, axis=1)
    teacher = teacher_log_probs[valid]
    kl = float((np.exp(teacher) * (teacher - answer[valid])).sum(1).mean())
    tried.append((kl, ridge, own, cores, answer))
  _, ridge, own, cores, answer = min(tried, key=lambda one: one[0])
  scale = max(1 + float(own[0]), _LEAST_SCALE)
  return Solved(
      at(cores / scale, adapters), scale, own[1:] @ basis, ridge,
      tuple(kl for kl, *_ in tried), answer.astype(np.float32))


def _metric(log_probs: np.ndarray, basis: np.ndarray) -> np.ndarray:
  """float64[n, C - 1, C - 1], roots of how KL grows with the contrasts of log-probs."""
  p = np.exp(log_probs)
  second = p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None]
  values, vectors = np.linalg.eigh(basis @ second @ basis.T)
  values = np.sqrt(np.maximum(values, 1e-6))
  return (vectors * values[:, None]) @ vectors.swapaxes(1, 2)


def at(cores: np.ndarray, adapters: Adapters) -> Adapters:
  """Adapters A and C B.

  Args:
    cores: float[P], the numbers of all C, in the order of `Tangents.tangents`.
    adapters: A and B, from `init_adapters`.
  """
  made, start = {}, 0
  for name in sorted(adapters):
    own = adapters[name]
    layers, rank = own["b"].shape[:2]
    core = cores[start : start + layers * rank * rank].reshape(layers, rank, rank)
    made[name] = _with_core(own, jnp.asarray(core, jnp.float32))
    start += layers * rank * rank
  return made
