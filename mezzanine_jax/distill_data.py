"""What a student is trained on: a row table, the views that point into it, and the targets."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import targets
from mezzanine_jax.base import Array, Element
from mezzanine_jax.errors import InputError
from mezzanine_jax.students import Inputs


class DistillData(NamedTuple):
  """Examples, their views as indices into a table of rows, and the teacher's answers.

  Arrays may be numpy's or jax's. Parts of a data set may share one table.

  Attributes:
    features: float[R, D], any float dtype, one row per distinct (example, view).
    log_probs: float[R, C], the language model's own answer on that row. Of real values
      (`targets.VALUES`), here and below, the values; weights stay log-weights.
    row: int32[N, K], the row of each view; -1 is padding.
    log_weights: float32[N, K]; `exp` sums to 1 over each example's views; -inf is padding.
    teacher_log_probs: float32[N, C], normalised.
    labels: int32[N], the right choice; -1 where it is unknown.
    tokens: int32[R, T], for students that read the text themselves (features are [R, 0] then);
      None for others.
    elements: pytree [R, ...], what made the row of its example, for students that turn their
      answer back (`students.aligned`); None for others.
  """

  features: Array
  log_probs: Array
  row: Array
  log_weights: Array
  teacher_log_probs: Array
  labels: Array
  tokens: Array | None = None
  elements: Element | None = None


class Batch(NamedTuple):
  """Views to learn from.

  Attributes:
    inputs: what the student sees: `features` [B, D], `log_probs` [B, C], `tokens` [B, T],
      `element` [B, ...].
    teacher_log_probs: float32[B, C].
    labels: int32[B], -1 where unknown.
  """

  inputs: Inputs
  teacher_log_probs: Array
  labels: Array


def table(data: DistillData) -> Inputs:
  """The rows as a student's inputs: dict of arrays [R, ...]."""
  inputs = {"features": data.features, "log_probs": data.log_probs}
  more = {"tokens": data.tokens, "element": data.elements}
  return inputs | {name: own for name, own in more.items() if own is not None}


def select(data: DistillData, examples: Sequence[int]) -> DistillData:
  """Some of the examples, over the same row table.

  Args:
    data: the examples to choose from.
    examples: int[n], their indices.

  Returns:
    The data with n examples.
  """
  examples = np.asarray(examples, np.int64)
  return data._replace(
    row=np.asarray(data.row)[examples],
    log_weights=np.asarray(data.log_weights)[examples],
    teacher_log_probs=np.asarray(data.teacher_log_probs)[examples],
    labels=np.asarray(data.labels)[examples],
  )


def split_by_cluster(
  clusters: Sequence[str], fraction: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Splits examples in two without splitting a cluster.

  Clusters are ordered by a hash of (seed, name): where one falls depends neither on the order of
  the examples nor on the platform. From two clusters on, each side has at least one.

  Args:
    clusters: N names, `Example.cluster` of each example.
    fraction: share of the clusters for the second part, in (0, 1).
    seed: another seed, another split.

  Returns:
    (int64[n], int64[N - n]): sorted indices of the first (training) and second (validation) part.
    With a single cluster the second part is empty.

  Raises:
    InputError: no examples, or a fraction outside (0, 1).

  Example:
    >>> train, valid = split_by_cluster(["a", "b", "a", "c"], 0.3)
    >>> sorted([*train.tolist(), *valid.tolist()])
    [0, 1, 2, 3]
  """
  if not 0 < fraction < 1:
    raise InputError(f"the validation fraction must be > 0 and < 1, got {fraction}")
  if not len(clusters):
    raise InputError("there are no examples to split")
  texts = {c: f"{seed}:{c}".encode("utf-8", "surrogatepass") for c in set(clusters)}
  digest = {c: hashlib.sha256(text).digest() for c, text in texts.items()}
  ordered = sorted(digest, key=digest.__getitem__)
  size = min(max(round(fraction * len(ordered)), 1), len(ordered) - 1)
  held_out = set(ordered[:size])
  is_valid = np.array([c in held_out for c in clusters])
  return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)


def feature_moments(data: DistillData) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of the features over all views, by weight.

  `mean = E_example E_view f`, `std^2 = E_example E_view (f - mean)^2`.

  Args:
    data: the training examples.

  Returns:
    (float64[D], float64[D]), for `students.standardize`.
  """
  row, log_weights = np.asarray(data.row), np.asarray(data.log_weights, np.float64)
  is_view = row >= 0
  weights = np.bincount(row[is_view], np.exp(log_weights[is_view]))
  used = np.flatnonzero(weights > 0)
  weights = weights[used] / weights.sum()
  features = np.asarray(data.features)
  mean = np.zeros(features.shape[1])
  square = np.zeros_like(mean)
  # In blocks, so that a table of bfloat16 is never copied whole to float64; in two passes, so
  # that features with a large mean keep their digits.
  blocks = np.array_split(np.arange(used.size), used.size // 4096 + 1)
  for block in blocks:
    mean += weights[block] @ features[used[block]].astype(np.float64)
  for block in blocks:
    square += weights[block] @ (features[used[block]].astype(np.float64) - mean) ** 2
  return mean, np.sqrt(square)


def mean_teacher(data: DistillData, target: str = targets.BELIEFS) -> np.ndarray:
  """The best constant answer: `log of the mean over examples of p_T`, float32[C].

  It minimises `E KL(p_T || q)` over all q that do not look at the input; of real values, it is
  their mean, and minimises the squared distance.
  """
  if target == targets.VALUES:
    return np.asarray(data.teacher_log_probs, np.float64).mean(0).astype(np.float32)
  teacher = np.asarray(data.teacher_log_probs, np.float64)
  with np.errstate(divide="ignore"):  # A choice that no teacher believes in: log 0 = -inf.
    return np.log(np.exp(teacher).mean(axis=0)).astype(np.float32)


def shuffled_targets(key: Array, data: DistillData) -> DistillData:
  """A control: the same inputs with the targets of other examples.

  What a student trained on it knows beyond the mean teacher did not come from the inputs.

  Args:
    key: PRNG key; consumed.
    data: the examples.

  Returns:
    The data with teachers and labels permuted together.
  """
  order = np.asarray(jax.random.permutation(key, np.asarray(data.row).shape[0]))
  return data._replace(
    teacher_log_probs=np.asarray(data.teacher_log_probs)[order],
    labels=np.asarray(data.labels)[order],
  )


def draw_batch(
    data: DistillData, key: Array, batch_size: int, pairs: bool = False
) -> Batch:
  """Draws views with replacement: an example uniformly, then one of its views by weight.

  Args:
    data: the examples, as jax arrays.
    key: PRNG key; consumed.
    batch_size: B.
    pairs: whether views 2i and 2i + 1 are of one example; B is even then.

  Returns:
    The batch; padded views are never in it.
  """
  # One call of the generator: its code takes far longer to compile than a step takes to run.
  uniform_2xB = jax.random.uniform(key, (2, batch_size))
  if pairs:
    uniform_2xB = uniform_2xB.at[0].set(jnp.repeat(uniform_2xB[0, ::2], 2))
  number = data.row.shape[0]
  example = jnp.minimum((uniform_2xB[0] * number).astype(jnp.int32), number - 1)
  # A weight of 0 adds nothing to the sum, so no draw falls between it and the view before.
  sums = jnp.cumsum(jnp.exp(data.log_weights[example]), axis=1)
  view = (uniform_2xB[1][:, None] * sums[:, -1:] >= sums).sum(1)
  row = data.row[example, view]
  inputs = jax.tree.map(lambda array: array[row], table(data))
  return Batch(inputs, data.teacher_log_probs[example], data.labels[example])


@np.errstate(over="ignore", invalid="ignore")  # Overflow becomes inf, and inf is reported.
def compact(data: DistillData, part: str, target: str = targets.BELIEFS) -> DistillData:
  """Checks the data and keeps only the rows that its views use, as numpy arrays.

  Args:
    data: as given by the user.
    part: its name in error messages, such as "training".
    target: what the predictions are, one of `targets.TARGETS`.

  Returns:
    The same examples over the smallest table; features float32 or narrower.

  Raises:
    InputError: shapes that do not fit, indices out of range, weights or teachers that do not sum
      to 1, labels that are no choice, NaN or infinity where a number is needed.
  """
  features, log_probs = np.asarray(data.features), np.asarray(data.log_probs)
  tokens = None if data.tokens is None else np.asarray(data.tokens)
  elements = jax.tree.map(np.asarray, data.elements)
  row, labels = np.asarray(data.row), np.asarray(data.labels)
  log_weights = np.asarray(data.log_weights, np.float32)
  teacher = np.asarray(data.teacher_log_probs, np.float32)

  def require(holds: bool, problem: str) -> None:
    if not holds:
      raise InputError(f"the {part} data cannot be used: {problem}")

  ranks = features.ndim == log_probs.ndim == row.ndim == teacher.ndim == 2
  require(
    ranks
    and features.shape[0] == log_probs.shape[0]
    and row.shape == log_weights.shape
    and labels.shape == (row.shape[0],)
    and teacher.shape == (row.shape[0], log_probs.shape[1]),
    "needed are features[R, D], log_probs[R, C], row[N, K], log_weights[N, K], "
    f"teacher_log_probs[N, C] and labels[N], got {[list(np.shape(field)) for field in data[:6]]}",
  )
  holds = tokens is None or (tokens.ndim == 2 and tokens.shape[0] == features.shape[0])
  require(holds, "tokens must be int32[R, T]")
  require(row.size > 0, "it has no examples or no views")
  require(row.min() >= -1 and row.max() < features.shape[0], "a row index is out of range")
  is_view = np.exp(log_weights) > 0
  require(bool((row[is_view] >= 0).all()), "a view of row -1 has a weight above 0")
  require(_normalised(log_weights), "the weights of an example's views do not sum to 1")
  if target == targets.VALUES:
    require(bool(np.isfinite(teacher).all()), "the teacher's values hold NaN or infinity")
  else:
    require(_normalised(teacher), "teacher_log_probs hold NaN or do not sum to 1 in probability")
  is_label = (labels >= -1) & (labels < teacher.shape[1])
  require(bool(is_label.all()), f"labels must be -1 (unknown) to {teacher.shape[1] - 1}")

  used, inverse = np.unique(row[is_view], return_inverse=True)
  row = np.full(row.shape, -1, np.int32)
  row[is_view] = inverse.reshape(-1)
  log_weights = np.where(is_view, log_weights, -np.inf).astype(np.float32)
  if used.size < features.shape[0]:
    features, log_probs = features[used], log_probs[used]
    tokens = None if tokens is None else tokens[used]
    elements = jax.tree.map(lambda a: a[used], elements)
  if features.dtype.itemsize > 4 or features.dtype.kind in "iub":
    features = features.astype(np.float32)
  require(bool(np.isfinite(features).all()), "its features hold NaN or infinity")
  require(not np.isnan(log_probs).any(), "its log_probs hold NaN")
  return DistillData(
    features, log_probs.astype(np.float32), row, log_weights, teacher, labels.astype(np.int32),
    tokens, elements,
  )


def _normalised(log_probs: np.ndarray) -> bool:
  """Whether every row is a distribution, up to rounding."""
  total = np.exp(log_probs.astype(np.float64)).sum(axis=-1)
  return bool((np.abs(total - 1) < 1e-3).all())
