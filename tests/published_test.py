"""Published corrections and POSIX, each against its definition spelt out."""

import itertools
import math

import jax
import numpy as np

from mezzanine_jax import published
from mezzanine_jax.symmetries import option_order


def _softmax(a):
  return np.exp(a) / np.exp(a).sum(-1, keepdims=True)


def test_batch_calibration_by_definition():
  probs = _softmax(np.random.default_rng(0).normal(size=(5, 3)) + [1, 0, 0])
  weights = np.array([1.0, 2.0, 0.5, 1.0, 0.0])
  prior = [sum(w * row[c] for w, row in zip(weights, probs, strict=True)) / weights.sum()
           for c in range(3)]
  found = published.batch_calibrate(np.log(probs), weights)
  np.testing.assert_allclose(found, probs - prior, atol=1e-6)
  np.testing.assert_allclose(published.batch_calibrate(np.log(probs)), probs - probs.mean(0),
                             atol=1e-6)
  # Two choices: whoever is above the mean belief gets the answer.
  two = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]))
  assert published.batch_calibrate(two).argmax(1).tolist() == [0, 0, 1]


def test_the_prior_of_labels_is_found_and_removed():
  """Observed = prior of the label × belief in the option: PriDe's own model is taken apart."""
  rng = np.random.default_rng(1)
  prior, belief = _softmax(rng.normal(size=4)), _softmax(rng.normal(size=4))
  for orders in (list(itertools.permutations(range(4))), [np.roll(range(4), -k) for k in range(4)]):
    orders = np.array(orders)
    by_label = np.log(prior) + np.log(belief)[orders]  # label d stands before option orders[d]
    by_label -= np.log(np.exp(by_label).sum(1, keepdims=True))
    found = published.label_prior(by_label)
    np.testing.assert_allclose(np.exp(found), prior, rtol=1e-5)
    options = published.remove_prior(by_label, found)
    np.testing.assert_allclose(np.exp(options), belief[orders], rtol=1e-5)


def test_labels_are_those_before_align():
  """`option_order` aligns to options; PriDe takes what stands before that."""
  order = np.array([2, 0, 1])
  by_label = np.log(np.array([0.5, 0.3, 0.2], np.float32))
  aligned = np.asarray(option_order().align(order, by_label))
  np.testing.assert_allclose(aligned[order], by_label)


def test_posix_by_definition():
  rng = np.random.default_rng(2)
  log_probs, lengths = -rng.uniform(1, 9, (4, 3)), np.array([1, 2, 5])
  given = [int(np.argmax(row)) for row in log_probs]
  total = 0.0
  for i in range(4):
    for j in range(4):
      ratio = math.exp(log_probs[i][given[j]]) / math.exp(log_probs[j][given[j]])
      total += abs(math.log(ratio)) / lengths[given[j]]
  found = jax.jit(published.posix_of_choices)(log_probs, lengths)
  np.testing.assert_allclose(found, total / (4 * 3), rtol=1e-5)
  same = np.tile(log_probs[:1], (3, 1))
  assert published.posix_of_choices(same, lengths) == 0


def test_posix_leaves_padding_out_and_takes_the_length_where_the_answer_was_given():
  rng = np.random.default_rng(3)
  log_probs, lengths = -rng.uniform(1, 9, (5, 3)), rng.integers(1, 6, (5, 3))
  is_view = np.array([True, False, True, True, False])
  views = [0, 2, 3]
  given = log_probs.argmax(1)
  total = sum(abs(log_probs[i, given[j]] - log_probs[j, given[j]]) / lengths[j, given[j]]
              for i in views for j in views)
  found = jax.jit(published.posix_of_choices)(log_probs, lengths, is_view)
  np.testing.assert_allclose(found, total / 6, rtol=1e-5)
  alone = published.posix_of_choices(log_probs, lengths, np.arange(5) == 2)
  assert alone == 0  # one view: nothing can differ


def test_a_view_of_no_weight_is_not_part_of_the_prior():
  by_label = np.log(_softmax(np.random.default_rng(4).normal(size=(3, 4))))
  found = published.label_prior(by_label, np.array([0.5, 0.5, 0.0]))
  np.testing.assert_allclose(found, published.label_prior(by_label[:2]), rtol=1e-5)
