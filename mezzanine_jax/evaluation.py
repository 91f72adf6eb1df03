"""What a model believes over the views of a data set, and the figures that go into the results."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import checks, clustered, divergences, gap, metrics, variances
from mezzanine_jax.base import Array


class Beliefs(NamedTuple):
  """A model's predictions on the views of N examples.

  Attributes:
    log_probs: float32[N, K, C], aligned; anything where the view is padding.
    log_weights: float32[N, K], -inf is padding.
    orbit_size: float32[N], see `Views`.
    canonical: float32[N, C], the prediction on the canonical view.
    is_canonical: bool[N, K], the draws that are the canonical view; none among independent
      draws, which repeat it as often as they should.
  """

  log_probs: Array
  log_weights: Array
  orbit_size: Array
  canonical: Array
  is_canonical: Array


class Figures(NamedTuple):
  """Per-example figures of one model, float32[N] each; see `figures`."""

  accuracy: Array
  nll: Array
  pairwise_tv: Array
  tv_to_mean: Array
  tv_to_mean_plugin: Array
  jensen_shannon: Array
  flip_rate: Array
  any_flip: Array
  spread: variances.Spread  # of the probabilities over the views
  tv_to_teacher: Array
  kl_to_teacher: Array
  squared_distance: Array


GAP_FIGURES = gap.WarrantGap._fields


def gather(
    log_probs_RxC: Array,
    canonical_row: np.ndarray,
    row: np.ndarray,
    log_weights: np.ndarray,
    orbit_size: np.ndarray,
) -> Beliefs:
  """The beliefs that a row table holds, by the index of `engine.Rows`.

  Args:
    log_probs_RxC: float[R, C], a model's prediction on every row.
    canonical_row: int32[N].
    row: int32[N, K], -1 for padding.
    log_weights: float32[N, K].
    orbit_size: float32[N].
  """
  # Padding reads some row of the example, so that nothing undefined enters the arithmetic.
  filled = np.where(row >= 0, row, canonical_row[:, None])
  return Beliefs(
      jnp.asarray(log_probs_RxC)[filled],
      jnp.asarray(log_weights),
      jnp.asarray(orbit_size),
      jnp.asarray(log_probs_RxC)[canonical_row],
      jnp.asarray((row == canonical_row[:, None]) & np.isfinite(orbit_size)[:, None]),
  )


def select(beliefs: Beliefs, examples: np.ndarray) -> Beliefs:
  """Some of the examples."""
  return jax.tree.map(lambda a: a[examples], beliefs)


@jax.jit
def teacher(beliefs: Beliefs) -> Array:
  """log p_T[N, C]: the weighted mean belief over the views that were drawn."""
  return jax.vmap(divergences.mixture)(beliefs.log_probs, beliefs.log_weights)


@jax.jit
def figures(model: Beliefs, lm: Beliefs, labels: Array) -> Figures:
  """Every figure of every example.

  The teacher is the LM's, without the canonical view's own draw (`gap.teacher_without`), the
  same for every model that is compared.

  Args:
    model: whose figures: the LM itself, a student or a control, on the same views.
    lm: the language model's beliefs.
    labels: int32[N], -1 where unknown.

  Returns:
    `Figures` of float32[N]; accuracy and NLL are NaN where the label is unknown.
  """

  def one(model: Beliefs, lm: Beliefs, label: Array) -> Figures:
    moved = gap.estimate(model.log_probs, model.log_weights, model.orbit_size, model.canonical)
    others = (lm.log_probs, lm.log_weights, lm.orbit_size, lm.is_canonical, lm.canonical)
    target = gap.teacher_without(*others)
    known = label >= 0
    return Figures(
        accuracy=jnp.where(known, model.canonical.argmax() == label, jnp.nan),
        nll=jnp.where(known, -model.canonical[label], jnp.nan),
        **{name: getattr(moved, name) for name in GAP_FIGURES},
        spread=variances.spread(
            jnp.exp(model.log_probs), model.log_weights, model.orbit_size),
        tv_to_teacher=divergences.tv(model.canonical, target),
        kl_to_teacher=gap.kl_to_teacher(model.canonical, *others),
        squared_distance=gap.squared_distance_to_teacher(model.canonical, *others),
    )

  return jax.vmap(one)(model, lm, labels)


@jax.jit
def teacher_noise(lm: Beliefs) -> Array:
  """float32[N]: the distance a perfect student would show, see `gap.teacher_noise`."""
  return jax.vmap(gap.teacher_noise)(
      lm.log_probs, lm.log_weights, lm.orbit_size, lm.is_canonical
  )


def teacher_block(lm: Beliefs, labels: np.ndarray, clusters: Sequence[str]) -> dict[str, Any]:
  """Accuracy and NLL of the mixture over the views, with clustered standard errors."""
  return _answers_block(np.asarray(teacher(lm)), labels, clusters)


def _answers_block(
    log_probs: np.ndarray, labels: np.ndarray, clusters: Sequence[str]
) -> dict[str, Any]:
  """Accuracy and NLL of one prediction float[N, C] an example."""
  known = labels >= 0
  right = log_probs.argmax(1) == labels
  nll = -np.take_along_axis(log_probs, np.maximum(labels, 0)[:, None], 1)[:, 0]
  names = np.asarray(clusters)[known]
  return clustered.block({"accuracy": right[known], "nll": nll[known]}, names)


def model_block(
    own: Figures, lm: Figures, noise: Array, movable: np.ndarray, clusters: Sequence[str]
) -> dict[str, Any]:
  """One model's block of the results, every figure with its clustered standard error.

  `gap` and `tv_to_teacher` are over all examples, those that cannot move counting as no gap;
  `..._movable` over those that can. `fidelity` is over the movable ones.

  Args:
    own: the model's figures.
    lm: the language model's own, for fidelity.
    noise: float32[N] of `teacher_noise`.
    movable: bool[N].
    clusters: N names.
  """
  clusters = np.asarray(clusters)
  known = ~np.isnan(own.nll)
  block = clustered.block(
      {"accuracy": own.accuracy[known], "nll": own.nll[known]}, clusters[known]
  )
  block |= moved_block(
      own, lm, movable, clusters, GAP_FIGURES, ("tv_to_teacher", "kl_to_teacher"))
  if own is not lm:
    plain = clustered.tv_ratio(own.tv_to_teacher, lm.tv_to_teacher, noise, clusters, movable)
    block |= {
        "tv_ratio": plain.value, "tv_ratio_stderr": plain.stderr,
        "tv_ratio_noise_floor": plain.noise_floor,
    }
  return block


def moved_block(
    own: Any, lm: Any, movable: np.ndarray, clusters: np.ndarray, gaps: Sequence[str],
    distances: Sequence[str],
) -> dict[str, Any]:
  """The part of a model's block about how far it moves, and how far it is from the teacher.

  Args:
    own: the model's figures: a NamedTuple with the named fields, `spread` and `squared_distance`.
    lm: the baseline's own, for fidelity.
    movable: bool[N].
    clusters: N names.
    gaps: the figures of the gap.
    distances: those of the distance to the teacher, `..._teacher`.
  """
  block, clusters = {}, np.asarray(clusters)
  parts = clustered.summarise({name: getattr(own, name) for name in gaps}, movable, clusters)
  block["gap"], block["gap_movable"] = parts["all"], parts["movable"]
  for part, chosen in (("gap", np.ones_like(movable)), ("gap_movable", movable)):
    spread = jax.tree.map(lambda a, chosen=chosen: np.asarray(a)[chosen], own.spread)
    share = variances.share_between_views(spread, clusters[chosen])
    block[part] |= {"normalised": share.value, "normalised_stderr": share.stderr}
  parts = clustered.summarise({name: getattr(own, name) for name in distances}, movable, clusters)
  block |= parts["all"]
  block |= {name.replace("teacher", "teacher_movable"): v for name, v in parts["movable"].items()}
  if own is not lm:
    near = clustered.fidelity(own.squared_distance, lm.squared_distance, clusters, movable)
    block |= {"fidelity": near.value, "fidelity_stderr": near.stderr,
              "fidelity_interval": checks.fidelity_interval(
                  own.squared_distance, lm.squared_distance, clusters, movable)}
  return block


def verdict(
    student: Figures, lm: Figures, constant: Figures, block: Mapping[str, Any],
    movable: np.ndarray, clusters: Sequence[str], who: str = "LM",
) -> list[dict[str, Any]]:
  """Named checks of the student, each a figure with a 95% interval against its bar.

  `yes` and `no` mean that the whole interval lies on that side of the bar, `unsure` that it
  does not.

  Args:
    student: the student's figures on the test part.
    lm: the language model's.
    constant: those of the constant control.
    block: the student's block, for its fidelity.
    movable: bool[N].
    clusters: N names.
    who: what the baseline is called.
  """
  known = ~np.isnan(lm.accuracy)
  kept = checks.Check(
      "accuracy_kept", f"the student's accuracy minus the {who}'s is above -0.02",
      "accuracy", known, -0.02, below=False)
  return checks.verdict(
      student, lm, constant, block, movable, clusters, who, "pairwise_tv", "tv_to_teacher", kept)


def gap_by_views(
    lm: Beliefs, clusters: Sequence[str], seed: int,
    estimate: Callable[..., Any] = gap.estimate,
    names: Sequence[str] = ("pairwise_tv", "tv_to_mean_plugin"),
) -> list[dict[str, float]]:
  """The gap as it would have been estimated from fewer views, over the movable examples.

  Args:
    lm: the language model's beliefs.
    clusters: N names.
    seed: draws which of an exact orbit's views come first.
    estimate: of one example's gap, a NamedTuple; see `gap.estimate`.
    names: its figures that are kept.

  Returns:
    A list of {views, pairwise_tv, pairwise_tv_stderr, tv_to_mean_plugin, ..._stderr}.
  """
  movable = np.flatnonzero(np.asarray(lm.orbit_size) > 1)
  if not len(movable):
    return []
  lm = select(lm, movable)
  movable_clusters = np.asarray(clusters)[movable]
  rank, out = _random_ranks(lm, seed), []
  for k in _doubling(2, lm.log_weights.shape[1]):
    # The others become padding: one shape, so that all K are one compiled function.
    moved = _first_views(lm, jnp.asarray(rank < k), estimate)
    shown = {name: getattr(moved, name) for name in names}
    out.append({"views": k} | clustered.block(shown, movable_clusters))
  return out


@functools.partial(jax.jit, static_argnames="estimate")
def _first_views(lm: Beliefs, chosen: Array, estimate: Callable[..., Any]) -> Any:
  """The gap of every example from the chosen views alone."""
  log_weights = _only(lm.log_weights, chosen)
  return jax.vmap(estimate)(lm.log_probs, log_weights, lm.orbit_size, lm.canonical)


def teacher_by_views(
    lm: Beliefs, own: Figures, labels: np.ndarray, clusters: Sequence[str], seed: int
) -> list[dict[str, float]]:
  """What a teacher of K views would have been: the mean of K = 1, 2, 4, ... of the views drawn.

  `accuracy`, `nll` and `brier` are of the mean of some K views. `fidelity` is what the student's
  is: the root of E|p̄_K - p_T|² = Σ (1/K - 1/M) S² over the canonical pass's Σ|p₀ - p_T|², with
  S² the sample variance over the views; 0 where K views are the whole orbit.

  Args:
    lm: the language model's beliefs.
    own: its figures.
    labels: int32[N], -1 where unknown.
    clusters: N names.
    seed: draws which views come first.

  Returns:
    A list of {views, accuracy, nll, brier, fidelity, ..._stderr}.
  """
  names, known = np.asarray(clusters), labels >= 0

  def answers(log_probs: np.ndarray) -> dict[str, Any]:
    brier = metrics.brier(log_probs, np.maximum(labels, 0))[known]
    return (_answers_block(log_probs, labels, names)
            | clustered.block({"brier": brier}, names[known]))

  return by_views(lm, own, names, seed, teacher, answers)


def by_views(
    lm: Beliefs, own: Any, names: np.ndarray, seed: int, mean: Callable[[Beliefs], Array],
    answers: Callable[[np.ndarray], dict[str, Any]],
) -> list[dict[str, float]]:
  """`teacher_by_views` of any predictions.

  Args:
    lm: the predictions.
    own: their figures, as for `moved_block`.
    names: [N], the clusters.
    seed: draws which views come first.
    mean: the teacher of some beliefs, [N, C].
    answers: how good such predictions are, a block.
  """
  movable = np.asarray(lm.orbit_size) > 1
  orbit = np.asarray(lm.orbit_size, np.float64)
  single, within = np.asarray(own.squared_distance), np.asarray(own.spread.within, np.float64)
  rank, out = _random_ranks(lm, seed), []
  for k in _doubling(1, lm.log_weights.shape[1]):
    chosen = lm._replace(log_weights=_only(lm.log_weights, jnp.asarray(rank < k)))
    row = {"views": k} | answers(np.asarray(mean(chosen)))
    if movable.any():
      left = np.maximum(1 / k - 1 / orbit[movable], 0) / (1 - 1 / orbit[movable])
      near = clustered.fidelity(left * within[movable], single[movable], names[movable],
                                np.ones(movable.sum(), bool))
      row |= {"fidelity": near.value, "fidelity_stderr": near.stderr}
    out.append(row)
  return out


def _doubling(first: int, last: int) -> list[int]:
  """first, twice first, ... and last."""
  return [first * 2**i for i in range(20) if first * 2**i < last] + [last]


def _only(log_weights: Array, chosen: Array) -> Array:
  """The weights of the chosen views, normalised; the others become padding."""
  weights = jnp.where(chosen, jnp.exp(log_weights), 0.0)
  return jnp.log(weights / weights.sum(1, keepdims=True))


def _random_ranks(lm: Beliefs, seed: int) -> np.ndarray:
  """int[N, K]: views in a random order, padding last.

  Members of an exact orbit come in a fixed order; any part of them must be a random one.
  """
  random = np.random.default_rng(seed).random(lm.log_weights.shape)
  return np.where(np.isfinite(lm.log_weights), random, np.inf).argsort(1).argsort(1)
