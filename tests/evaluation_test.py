"""The figures of a data set: hand-computed cases, edges, the verdict, the gap against K."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mezzanine_jax import evaluation
from mezzanine_jax.evaluation import Beliefs

NAN, INF = math.nan, math.inf


def _log(yes):
  """float32[..., 2] log-probs of `no` and `yes`."""
  yes = np.asarray(yes, np.float64)
  return np.log(np.stack([1 - yes, yes], -1)).astype(np.float32)


def _beliefs(views, orbit_size, canonical, is_canonical=None):
  """Beliefs from p(yes) of the views; NaN marks padding, and stands there."""
  views = np.asarray(views, float)
  real = np.isfinite(views)
  with np.errstate(divide="ignore"):
    log_weights = np.log(real / real.sum(1, keepdims=True)).astype(np.float32)
  marked = np.zeros(views.shape, bool) if is_canonical is None else np.array(is_canonical)
  sizes = np.array(orbit_size, np.float32)
  return Beliefs(_log(views), log_weights, sizes, _log(canonical), marked)


# An exact orbit of two, one that cannot move, independent draws, three drawn of six.
CASE = _beliefs(
    [[0.2, 0.6, NAN], [0.7, NAN, NAN], [0.3, 0.55, 0.4], [0.1, 0.4, 0.7]],
    [2, 1, INF, 6], [0.2, 0.7, 0.3, 0.1],
    [[True, False, False], [True, False, False], [False] * 3, [True, False, False]],
)
LABELS = np.array([1, 1, -1, 0])
CLUSTERS = ["a", "a", "b", "c"]
MOVABLE = np.array([True, False, True, True])


def _evaluated(model, lm, labels, movable, clusters):
  """Figures and block of a model that is not the LM itself."""
  own, base = (
      jax.tree.map(np.asarray, evaluation.figures(b, lm, jnp.asarray(labels))) for b in (model, lm)
  )
  noise = evaluation.teacher_noise(lm)
  return own, base, evaluation.model_block(own, base, noise, movable, clusters)


def test_every_figure_by_hand():
  found = jax.tree.map(np.asarray, evaluation.figures(CASE, CASE, jnp.asarray(LABELS)))
  expected = {
      "accuracy": [0, 1, NAN, 1],
      "nll": [-math.log(0.2), -math.log(0.7), NAN, -math.log(0.9)],
      # The double sum over 2² pairs; nothing; the mean over pairs; the same times 1 - 1/6.
      "pairwise_tv": [0.2, 0, (0.25 + 0.1 + 0.15) / 3, (0.3 + 0.6 + 0.3) / 3 * 5 / 6],
      "tv_to_mean_plugin": [0.2, 0, (0.35 / 3 + 0.4 / 3 + 0.05 / 3) / 3, 0.2],
      "flip_rate": [1 / 2, 0, 1 / 3, 1 / 3],
      # The teachers: 0.4, 0.7, 1.25 / 3, and 0.1 / 6 + 5 / 6 * 0.55 without the canonical draw.
      "tv_to_teacher": [0.2, 0, 1.25 / 3 - 0.3, 0.475 - 0.1],
      "squared_distance": [
          2 * 0.2**2, 0,
          2 * (1.25 / 3 - 0.3) ** 2 - 2 * np.var([0.3, 0.55, 0.4], ddof=1) / 3,
          2 * 0.375**2 - (5 / 6) ** 2 * 2 * np.var([0.4, 0.7], ddof=1) * (1 / 2 - 1 / 5),
      ],
  }
  for name, values in expected.items():
    np.testing.assert_allclose(getattr(found, name), values, atol=1e-6, err_msg=name)
  kl = 0.4 * math.log(0.4 / 0.2) + 0.6 * math.log(0.6 / 0.8)
  np.testing.assert_allclose(found.kl_to_teacher[:2], [kl, 0], atol=1e-6)
  # An exact orbit needs no correction, and E TV to the mean is the plug-in.
  np.testing.assert_allclose(found.tv_to_mean[:2], [0.2, 0], atol=1e-6)


def test_the_baselines_block():
  own = jax.tree.map(np.asarray, evaluation.figures(CASE, CASE, jnp.asarray(LABELS)))
  block = evaluation.model_block(own, own, evaluation.teacher_noise(CASE), MOVABLE, CLUSTERS)
  gaps = np.array([0.2, 0, 1 / 6, 1 / 3])
  assert block["gap"]["pairwise_tv"] == pytest.approx(gaps.mean())
  assert block["gap_movable"]["pairwise_tv"] == pytest.approx(gaps[MOVABLE].mean())
  # Accuracy of the three known ones is 2/3; clusters a and c leave residuals -1/3 and 1/3.
  assert block["accuracy"] == pytest.approx(2 / 3)
  assert block["accuracy_stderr"] == pytest.approx(math.sqrt(2 * (2 / 9)) / 3)
  assert block["tv_to_teacher"] == pytest.approx((0.2 + 1.25 / 3 - 0.3 + 0.375) / 4)
  assert block["tv_to_teacher_movable"] == pytest.approx(block["tv_to_teacher"] * 4 / 3)
  assert "fidelity" not in block  # it would be compared with itself


def test_the_teachers_block():
  block = evaluation.teacher_block(CASE, LABELS, CLUSTERS)
  # p(yes) of the mixtures: 0.4, 0.7, unknown label, 0.4.
  assert block["accuracy"] == pytest.approx(2 / 3)
  nll = [-math.log(0.4), -math.log(0.7), -math.log(0.6)]
  assert block["nll"] == pytest.approx(np.mean(nll), abs=1e-6)
  residuals = np.array([nll[0] + nll[1] - 2 * np.mean(nll), nll[2] - np.mean(nll)])
  assert block["nll_stderr"] == pytest.approx(math.sqrt(2 * (residuals**2).sum()) / 3, abs=1e-6)
  teacher = np.exp(evaluation.teacher(CASE))[:, 1]
  np.testing.assert_allclose(teacher, [0.4, 0.7, 1.25 / 3, 0.4], atol=1e-6)


def _exact(num=40, seed=0):
  """Examples with their whole orbits of three; the canonical view is the first."""
  views = np.random.default_rng(seed).uniform(0.1, 0.9, (num, 3))
  lm = _beliefs(views, [3] * num, views[:, 0], [[True, False, False]] * num)
  return lm, np.arange(num) % 2, np.ones(num, bool), [f"c{n}" for n in range(num)]


def _same_everywhere(lm, yes):
  """A model that says the same on every view of an example."""
  shape = lm.log_weights.shape
  return lm._replace(log_probs=_log(np.broadcast_to(yes[:, None], shape)), canonical=_log(yes))


def _answers(model, lm, labels, movable, clusters):
  own, base, block = _evaluated(model, lm, labels, movable, clusters)
  middle = np.full(len(labels), np.exp(evaluation.teacher(lm))[:, 1].mean())
  constant = evaluation.figures(_same_everywhere(lm, middle), lm, jnp.asarray(labels))
  checks = evaluation.verdict(own, base, constant, block, movable, clusters)
  return {c["check"]: c for c in checks}, block


def test_the_teacher_as_student_is_perfect():
  lm, *rest = _exact()
  teacher = np.exp(evaluation.teacher(lm))[:, 1]
  checks, block = _answers(_same_everywhere(lm, teacher), lm, *rest)
  assert block["gap"]["pairwise_tv"] == pytest.approx(0, abs=1e-6)
  assert block["tv_to_teacher"] == pytest.approx(0, abs=1e-6)
  assert block["fidelity"] == pytest.approx(0, abs=1e-5)
  assert block["tv_ratio_noise_floor"] == 0
  for name in ("gap_fell", "nearer_teacher_than_single_view", "beats_constant"):
    assert checks[name]["answer"] == "yes"


def test_a_student_that_cannot_be_told_from_the_teacher_is_nearer():
  lm, _, movable, clusters = _exact()
  base = jax.tree.map(np.asarray, evaluation.figures(lm, lm, jnp.zeros(40, int)))
  # Unbiased squared distances of the best students scatter around 0.
  student = base._replace(squared_distance=np.tile([0.001, -0.0011], 20))
  block = evaluation.model_block(student, base, evaluation.teacher_noise(lm), movable, clusters)
  assert block["fidelity"] == 0 and math.isnan(block["fidelity_stderr"])
  near = evaluation.verdict(student, base, base, block, movable, clusters)[1]
  assert near["answer"] == "yes" and near["value"] == near["interval"][0] == 0
  assert 0 < near["interval"][1] < 0.5


def test_the_lm_as_its_own_student_is_no_nearer():
  lm, *rest = _exact()
  checks, block = _answers(lm, lm, *rest)
  assert block["fidelity"] == pytest.approx(1)
  assert checks["gap_fell"]["value"] == checks["accuracy_kept"]["value"] == 0
  assert checks["nearer_teacher_than_single_view"]["answer"] == "unsure"
  assert checks["gap_fell"]["answer"] == "unsure"


def test_a_constant_student_has_no_gap_but_is_far_off():
  lm, labels, movable, clusters = _exact()
  checks, block = _answers(_same_everywhere(lm, np.full(40, 0.99)), lm, labels, movable, clusters)
  assert block["gap"]["pairwise_tv"] == block["gap_movable"]["flip_rate"] == 0
  assert checks["gap_fell"]["answer"] == "yes"
  assert checks["nearer_teacher_than_single_view"]["answer"] == "no"
  assert checks["beats_constant"]["answer"] == "no"
  assert block["fidelity"] > 1


def test_six_equal_answers_do_not_make_the_verdict_sure():
  """No difference in six examples leaves room for one of a half (rule of three)."""
  lm, labels, movable, clusters = _exact()
  lm, labels, movable = jax.tree.map(lambda a: a[:6], (lm, labels, movable))
  checks, _ = _answers(lm, lm, labels, movable, clusters[:6])
  assert checks["accuracy_kept"]["interval"] == pytest.approx([-0.5, 0.5])
  assert checks["accuracy_kept"]["answer"] == "unsure"


def test_a_sure_and_wrong_answer_counts():
  """An infinite NLL shows, and its example stays in the accuracy."""
  lm, labels, movable, clusters = _exact()
  with np.errstate(divide="ignore"):
    sure = _same_everywhere(lm, np.ones(40))
  block = evaluation.model_block(
      evaluation.figures(sure, lm, labels), evaluation.figures(lm, lm, labels),
      evaluation.teacher_noise(lm), movable, clusters,
  )
  assert block["nll"] == math.inf
  assert block["accuracy"] == pytest.approx(np.mean(np.asarray(labels) == 1))


def test_unknown_labels_leave_the_rest():
  lm, labels, movable, clusters = _exact()
  checks, block = _answers(lm, lm, np.full_like(labels, -1), movable, clusters)
  assert math.isnan(block["accuracy"]) and math.isnan(block["nll"])
  assert block["gap"]["pairwise_tv"] > 0 and block["fidelity"] == pytest.approx(1)
  assert checks["accuracy_kept"]["answer"] == "unsure"
  assert math.isnan(evaluation.teacher_block(lm, np.full_like(labels, -1), clusters)["accuracy"])


def test_nothing_can_move():
  views = np.array([[0.2, NAN, NAN], [0.7, NAN, NAN]] * 20)
  lm = _beliefs(views, [1] * 40, views[:, 0], [[True, False, False]] * 40)
  clusters = [f"c{n}" for n in range(40)]
  checks, block = _answers(lm, lm, np.tile([0, 1], 20), np.zeros(40, bool), clusters)
  assert block["gap"]["pairwise_tv"] == 0 and block["accuracy"] == 1
  assert math.isnan(block["gap_movable"]["pairwise_tv"]) and math.isnan(block["fidelity"])
  assert checks["gap_fell"]["answer"] == "unsure"
  assert checks["nearer_teacher_than_single_view"]["answer"] == "unsure"
  assert evaluation.gap_by_views(lm, clusters, 0) == []


@pytest.mark.parametrize(("shift", "answer"), [(-0.1, "yes"), (0.1, "no"), (0.0, "unsure")])
def test_the_verdict_is_the_side_of_a_paired_interval(shift, answer):
  lm, *_, movable, clusters = _exact()
  base = jax.tree.map(np.asarray, evaluation.figures(lm, lm, jnp.zeros(40, int)))
  noise = np.tile([0.05, -0.05], 20)
  student = base._replace(
      pairwise_tv=base.pairwise_tv + shift + noise,
      tv_to_teacher=base.tv_to_teacher + shift + noise,
      squared_distance=base.squared_distance * (1 + 5 * shift) + 0.01 * noise,
      accuracy=base.accuracy - 0.02 - shift + noise,  # the bar is -0.02, and more is better
  )
  block = evaluation.model_block(student, base, evaluation.teacher_noise(lm), movable, clusters)
  checks = evaluation.verdict(student, base, base, block, movable, clusters)
  stderr = 0.05 / math.sqrt(39)
  for check in checks:
    assert check["answer"] == answer, check["check"]
    low, high = check["interval"]
    assert low < check["value"] < high
    assert (low < check["bar"] < high) == (answer == "unsure")
    if check["check"] != "nearer_teacher_than_single_view":
      assert high - low == pytest.approx(2 * 2.0227 * stderr, rel=1e-3)  # t, 39 degrees
      assert check["stderr"] == pytest.approx(stderr, rel=1e-3)
  ratio = student.squared_distance.sum() / base.squared_distance.sum()
  assert checks[1]["value"] == pytest.approx(math.sqrt(ratio), rel=1e-5)


def test_what_stands_in_padding_never_matters():
  def everything(fill):
    log_probs = np.where(np.isnan(CASE.log_probs), np.float32(fill), CASE.log_probs)
    lm = CASE._replace(log_probs=log_probs)
    figures, _, block = _evaluated(lm, lm, LABELS, MOVABLE, CLUSTERS)
    rows = evaluation.gap_by_views(lm, CLUSTERS, 0)
    return figures, block, evaluation.teacher(lm), evaluation.teacher_noise(lm), rows

  poisoned, clean = everything(NAN), everything(math.log(0.5))
  jax.tree.map(np.testing.assert_array_equal, poisoned, clean)
  assert np.isfinite(poisoned[0].pairwise_tv).all() and np.isfinite(poisoned[2]).all()


def test_gather_reads_the_index_and_nothing_else():
  rows = np.append(_log([0.2, 0.6, 0.7, 0.4]), [[NAN, NAN]], 0)  # the last row is nobody's
  row = np.array([[0, 1, -1], [2, -1, -1], [3, 3, 2]])
  with np.errstate(divide="ignore"):
    log_weights = np.log(np.array([[0.5, 0.5, 0], [1, 0, 0], [1 / 3] * 3]))
  found = evaluation.gather(rows, np.array([1, 2, 3]), row, log_weights, np.array([2, 1, INF]))
  np.testing.assert_allclose(
      np.exp(found.log_probs[..., 1]), [[0.2, 0.6, 0.6], [0.7] * 3, [0.4, 0.4, 0.7]], atol=1e-6)
  np.testing.assert_allclose(np.exp(found.canonical[:, 1]), [0.6, 0.7, 0.4], atol=1e-6)
  # Independent draws repeat the canonical view as often as they should: none is left out.
  assert found.is_canonical.tolist() == [[False, True, False], [True, False, False], [False] * 3]
  kept = evaluation.select(found, np.array([2, 0]))
  np.testing.assert_array_equal(kept.canonical, found.canonical[np.array([2, 0])])
  assert kept.orbit_size.tolist() == [INF, 2]


def test_the_gap_from_fewer_views_is_the_same_gap():
  views = np.random.default_rng(99).uniform(0.1, 0.9, (400, 6))
  views[:200, 3:] = NAN  # orbits of three, of six, and six draws of 720 beside one that stays
  sizes = np.array([3] * 200 + [6] * 100 + [720] * 99 + [1])
  lm = _beliefs(views, sizes, views[:, 0])
  names = np.arange(400)
  seeds = [evaluation.gap_by_views(lm, names, seed) for seed in range(8)]
  assert [row["views"] for row in seeds[0]] == [2, 4, 6]
  apart, drawn = np.abs(views[:, :, None] - views[:, None]), np.isfinite(views).sum(1)
  pairs = np.nansum(apart, (1, 2)) / (drawn * (drawn - 1)) * (1 - 1 / sizes)
  final = pairs[:399].mean()
  for rows in seeds:
    assert rows[2]["pairwise_tv"] == pytest.approx(final, rel=1e-5)  # all views, in any order
  for k in (0, 1):
    found = [rows[k]["pairwise_tv"] for rows in seeds]
    error = seeds[0][k]["pairwise_tv_stderr"] / math.sqrt(len(seeds))
    assert abs(np.mean(found) - final) < 4 * error < 0.1 * final
    assert len(set(found)) > 1  # other views of the same orbits
    # The plug-in's bias shows: fewer views look closer to their own mean.
    assert seeds[0][k]["tv_to_mean_plugin"] < seeds[0][k + 1]["tv_to_mean_plugin"]
  # Two draws are each half their distance from their mean: two views are two views.
  two = evaluation.gap_by_views(lm._replace(orbit_size=np.full(400, INF, np.float32)), names, 0)[0]
  assert two["tv_to_mean_plugin"] == pytest.approx(two["pairwise_tv"] / 2, rel=1e-5)


def test_a_teacher_of_fewer_views_is_as_far_as_all_subsets_say():
  rng = np.random.default_rng(0)
  n, m = 5, 6
  probs = rng.dirichlet([2.0, 3.0], (n, m)).astype(np.float32)
  lm = evaluation.Beliefs(
      jnp.log(probs), jnp.log(jnp.full((n, m), 1 / m)), jnp.full(n, float(m)),
      jnp.log(probs[:, 0]), jnp.asarray(np.arange(m) == 0)[None].repeat(n, 0))
  labels, names = np.array([0, 1, 0, 1, -1]), [f"c{i}" for i in range(n)]
  own = evaluation.figures(lm, lm, jnp.asarray(labels))
  rows = evaluation.teacher_by_views(lm, own, labels, names, 0)
  assert [row["views"] for row in rows] == [1, 2, 4, 6]
  mean = probs.astype(np.float64).mean(1)
  single = ((probs[:, 0] - mean) ** 2).sum()
  for row in rows:
    subsets = list(itertools.combinations(range(m), row["views"]))
    far = np.mean([((probs[:, list(s)].mean(1) - mean) ** 2).sum() for s in subsets])
    assert row["fidelity"] == pytest.approx(np.sqrt(far / single), rel=1e-3, abs=1e-3)
  right = (mean.argmax(1) == labels)[:4].mean()
  assert rows[-1]["accuracy"] == pytest.approx(right)
  assert rows[-1]["fidelity"] == 0
  still = lm._replace(orbit_size=jnp.ones(n), log_weights=jnp.log(jnp.eye(m)[:1].repeat(n, 0)))
  assert "fidelity" not in evaluation.teacher_by_views(still, own, labels, names, 0)[0]
