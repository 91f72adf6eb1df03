"""Models side by side, on the same views of the same examples: the blocks of the results."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mezzanine_jax import checks, clustered, evaluation, published, quality, targets, variances
from mezzanine_jax.evaluation import Beliefs


class Measures(NamedTuple):
  """How predictions of a kind are measured: `BELIEFS`, or `values.measures` of real values.

  The fields are functions of `evaluation`, or do the same.

  Attributes:
    target: what the predictions are, one of `targets.TARGETS`.
    teacher: `(lm) -> [N, C]`.
    figures: `(model, lm, labels) -> NamedTuple`.
    teacher_noise: `(lm) -> [N]`.
    model_block: `(own, lm, noise, movable, clusters) -> block`.
    teacher_block: `(lm, labels, clusters) -> block`.
    verdict: `(student, lm, constant, block, movable, clusters, who) -> checks`.
    gap_by_views: `(lm, clusters, seed) -> rows`.
    teacher_by_views: `(lm, own, labels, clusters, seed) -> rows`.
  """

  target: str
  teacher: Callable[..., Any]
  figures: Callable[..., Any]
  teacher_noise: Callable[..., Any]
  model_block: Callable[..., dict[str, Any]]
  teacher_block: Callable[..., dict[str, Any]]
  verdict: Callable[..., list[dict[str, Any]]]
  gap_by_views: Callable[..., list[dict[str, float]]]
  teacher_by_views: Callable[..., list[dict[str, float]]]


BELIEFS = Measures(
    targets.BELIEFS, evaluation.teacher, evaluation.figures, evaluation.teacher_noise,
    evaluation.model_block, evaluation.teacher_block, evaluation.verdict,
    evaluation.gap_by_views, evaluation.teacher_by_views)


def gap_blocks(
    lm: Beliefs, labels: np.ndarray, clusters: Sequence[str], seed: int
) -> dict[str, Any]:
  """The blocks of a run without a student: `baseline`, `teacher`, `gap_by_views`
  and `teacher_by_views`.

  Args:
    lm: the model's beliefs on N test examples.
    labels: int32[N], -1 where unknown.
    clusters: N names.
    seed: see `evaluation.gap_by_views`; of the resamples, too.
  """
  return _with_quality(_gap_blocks(lm, labels, clusters, seed, BELIEFS), {"baseline": lm}, lm,
                       labels, clusters, seed)


def _gap_blocks(
    lm: Beliefs, labels: np.ndarray, clusters: Sequence[str], seed: int, measures: Measures
) -> dict[str, Any]:
  """Those blocks, but for what `_with_quality` adds."""
  own = _figures(lm, lm, labels, measures)
  noise, movable = measures.teacher_noise(lm), np.asarray(lm.orbit_size) > 1
  return {
      "baseline": measures.model_block(own, own, noise, movable, clusters),
      "teacher": measures.teacher_block(lm, labels, clusters),
      "gap_by_views": measures.gap_by_views(lm, clusters, seed),
      "teacher_by_views": measures.teacher_by_views(lm, own, labels, clusters, seed),
  }


def student_blocks(
    lm: Beliefs, models: Mapping[str, Beliefs], labels: np.ndarray, clusters: Sequence[str],
    seed: int, who: str = "LM", measures: Measures = BELIEFS,
    rivals: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
  """The blocks of a run with a student: those of `gap_blocks`, `student`, `controls`, `verdict`.

  And `differences`: every figure of quality, the student's minus the baseline's.

  Args:
    lm: the beliefs of what the teacher is the mean of, on N test examples.
    models: `student` and `constant` among them; all others are controls too.
    labels: int32[N], -1 where unknown; of real values float32[N, C].
    clusters: N names.
    seed: see `evaluation.gap_by_views`; of the resamples, too.
    who: what `lm` is called.
    measures: of the kind of predictions; those of real values have no `differences`.
    rivals: of beliefs, controls that the student should be nearer the teacher than, beside the
      constant one, and what that asks in words: a check of each ends the verdict.
  """
  results = _gap_blocks(lm, labels, clusters, seed, measures)
  noise, movable = measures.teacher_noise(lm), np.asarray(lm.orbit_size) > 1
  baseline = _figures(lm, lm, labels, measures)
  figures = {name: _figures(beliefs, lm, labels, measures) for name, beliefs in models.items()}
  blocks = {
      name: measures.model_block(own, baseline, noise, movable, clusters)
      for name, own in figures.items()
  }
  student = blocks.pop("student")
  verdict = measures.verdict(
      figures["student"], baseline, figures["constant"], student, movable, clusters, who
  )
  verdict += [checks.beats(name, meaning, figures["student"], figures[name], movable, clusters)
              for name, meaning in rivals.items()]
  results |= {"who": who, "student": student, "controls": blocks, "verdict": verdict}
  if measures.target == targets.VALUES:
    return results
  return _with_quality(
      results, {"baseline": lm, "student": models["student"]}, lm, labels, clusters, seed)


def _with_quality(
    results: dict[str, Any], models: Mapping[str, Beliefs], lm: Beliefs, labels: np.ndarray,
    clusters: Sequence[str], seed: int,
) -> dict[str, Any]:
  """The blocks with how good the models' answers are, on the canonical view and `over_views`."""
  one_view = np.zeros((len(labels), 1), np.float32)
  canonical = {name: own.canonical[:, None] for name, own in models.items()}
  canonical["teacher"] = evaluation.teacher(lm)[:, None]
  found = quality.measure(canonical, one_view, labels, clusters, seed)
  over_views = quality.measure(
      {name: own.log_probs for name, own in models.items()}, np.asarray(lm.log_weights), labels,
      clusters, seed)
  out = results | {name: results[name] | quality.block(own) for name, own in found.items()}
  for name, own in over_views.items():
    out[name]["over_views"] = quality.block(own)
  if "student" in found:
    out["differences"] = quality.differences(found["student"], found["baseline"])
  return out


def representation_block(
    features_RxD: np.ndarray, row: np.ndarray, log_weights: np.ndarray, orbit_size: np.ndarray,
    clusters: Sequence[str],
) -> dict[str, float]:
  """`representation_gap`: the share of the features' variance that lies between an example's views.

  Args:
    features_RxD: float[R, D], of every row.
    row: int32[N, K], -1 for padding.
    log_weights: float32[N, K].
    orbit_size: float32[N].
    clusters: N names.
  """
  spreads = variances.row_spreads(
      jnp.asarray(features_RxD), np.maximum(row, 0), log_weights, orbit_size)
  share = variances.share_between_views(spreads, clusters)
  return {"representation_gap": share.value, "representation_gap_stderr": share.stderr}


def posix_blocks(
    choice_log_probs_NxKxC: np.ndarray, choice_lengths_NxKxC: np.ndarray, log_weights: np.ndarray,
    movable: np.ndarray, clusters: Sequence[str],
) -> dict[str, dict[str, float]]:
  """`posix` (see `published.posix`) of the views that were drawn, for the blocks of the gap.

  Args:
    choice_log_probs_NxKxC: float[N, K, C], over the whole vocabulary, aligned.
    choice_lengths_NxKxC: int[N, K, C], tokens of the choices, aligned.
    log_weights: float[N, K], -inf is padding.
    movable: bool[N].
    clusters: N names.

  Returns:
    `{"gap": {posix, posix_stderr}, "gap_movable": ...}`; an example of one view counts as 0.
  """
  found = jax.jit(jax.vmap(published.posix_of_choices))(
      choice_log_probs_NxKxC, choice_lengths_NxKxC, np.isfinite(log_weights))
  parts = clustered.summarise({"posix": np.asarray(found)}, movable, clusters)
  return {"gap": parts["all"], "gap_movable": parts["movable"]}


def movability_blocks(
    lm: Beliefs, models: Mapping[str, Beliefs], labels: np.ndarray, clusters: Sequence[str]
) -> dict[str, Any]:
  """Accuracy and NLL apart for the examples that can move and those that cannot.

  Args:
    lm: as for `student_blocks`; it is the `baseline`, and the mean over its views the `teacher`.
    models: name -> beliefs of the others.
    labels: int32[N], -1 where unknown.
    clusters: N names.

  Returns:
    `{"movable": {"examples": n, name: {accuracy, nll, ..._stderr}}, "immovable": ...}`.
  """
  movable = np.asarray(lm.orbit_size) > 1
  out = {}
  for part, chosen in (("movable", movable), ("immovable", ~movable)):
    at = np.flatnonzero(chosen)
    out[part] = {"examples": len(at)}
    if (labels[at] >= 0).any():
      names = [clusters[n] for n in at]
      out[part]["teacher"] = evaluation.teacher_block(evaluation.select(lm, at), labels[at], names)
      for name, beliefs in {"baseline": lm, **models}.items():
        own = evaluation.select(_one_pass(beliefs), at)
        out[part][name] = evaluation.teacher_block(own, labels[at], names)
  return out


def _one_pass(beliefs: Beliefs) -> Beliefs:
  """The canonical view as if it were the only one."""
  canonical = beliefs.canonical[:, None]
  return beliefs._replace(log_probs=canonical, log_weights=np.zeros(canonical.shape[:2], "f4"))


def choice_mass_block(mass: np.ndarray, clusters: Sequence[str]) -> dict[str, float]:
  """How much of the model's belief in its whole vocabulary the choices hold, float[N] of it."""
  return clustered.block({"choice_mass": mass}, clusters)


def _figures(
    model: Beliefs, lm: Beliefs, labels: np.ndarray, measures: Measures = BELIEFS
) -> evaluation.Figures:
  """Every figure of every example, on the host."""
  return jax.tree.map(np.asarray, measures.figures(model, lm, jnp.asarray(labels)))


def gap_by_segments(
    lm: Beliefs, segments: np.ndarray, clusters: Sequence[str], most: int = 10
) -> list[dict[str, Any]]:
  """The gap of the examples that have 1, 2, ... movable segments; those of `most` or more are one.

  Args:
    lm: the model's beliefs on N examples.
    segments: int[N].
    clusters: N names.
    most: the last group.

  Returns:
    A list of {segments, or_more, examples, pairwise_tv, flip_rate, ..._stderr}.
  """
  own = _figures(lm, lm, np.full(len(segments), -1, np.int32))
  names, out = np.asarray(clusters), []
  for count in sorted({min(int(s), most) for s in segments}):
    chosen = np.minimum(segments, most) == count
    row = {"segments": count, "or_more": bool((segments[chosen] > count).any()),
           "examples": int(chosen.sum())}
    shown = {name: getattr(own, name)[chosen] for name in ("pairwise_tv", "flip_rate")}
    out.append(row | clustered.block(shown, names[chosen]))
  return out


def example_gaps(lm: Beliefs) -> np.ndarray:
  """float[N], the pairwise TV of every example's views."""
  return _figures(lm, lm, np.full(len(lm.orbit_size), -1, np.int32)).pairwise_tv


def most_moved(lm: Beliefs, number: int) -> list[dict[str, Any]]:
  """The examples whose views differ most, and of each the two views that differ most.

  Args:
    lm: the model's beliefs on N examples.
    number: how many examples; fewer where fewer can move.

  Returns:
    A list of {example, pairwise_tv, views}, the largest gap first; `views` are two of 0..K, in
    their order, where 0 is the canonical view and k the k-th drawn.
  """
  gaps = example_gaps(lm)
  movable = np.flatnonzero(np.asarray(lm.orbit_size) > 1)
  out = []
  for n in movable[np.argsort(-gaps[movable], kind="stable")][:number]:
    real = np.flatnonzero(np.isfinite(np.asarray(lm.log_weights[n])))
    probs = np.exp(np.vstack([lm.canonical[n][None], np.asarray(lm.log_probs[n])[real]]))
    apart = np.abs(probs[:, None] - probs[None]).sum(-1) / 2
    pair = sorted(np.unravel_index(apart.argmax(), apart.shape))
    views = [0 if k == 0 else int(real[k - 1]) + 1 for k in pair]
    out.append({"example": int(n), "pairwise_tv": float(gaps[n]), "views": views})
  return out
