"""Rows as one stream: every row can be read back, and what rows share is held once."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from mezzanine_jax import packing

# Few tokens, so that rows share beginnings; 0 as padding is, and some of two and three bytes.
ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.sampled_from([0, 1, 200, 70_000]), min_size=1,
                                          max_size=6)),
    min_size=1, max_size=12)
SETTINGS = hypothesis.settings(max_examples=150, deadline=None, database=None, derandomize=True)


def _padded(rows, more=0):
  tokens = np.zeros((len(rows), max(map(len, rows)) + more), np.int32)
  for r, row in enumerate(rows):
    tokens[r, : len(row)] = row
  return tokens, np.array([len(row) for row in rows])


def _common(a, b):
  """How many first tokens two rows have in common, one by one."""
  n = 0
  while n < min(len(a), len(b)) and a[n] == b[n]:
    n += 1
  return n


@SETTINGS
@hypothesis.given(ROWS)
def test_sorted_rows_share_the_most_that_they_can(drawn):
  drawn = sorted(drawn, key=lambda row: row[0])
  groups, rows = np.array([g for g, _ in drawn]), [row for _, row in drawn]
  order, shared = packing.sort_rows(*_padded(rows, more=1), groups)
  assert sorted(order.tolist()) == list(range(len(rows)))
  expected = sorted((g, row) for g, row in drawn)  # Python compares lists as a dictionary does
  assert [(groups[i], rows[i]) for i in order] == expected
  for n, (group, row) in enumerate(expected):
    before = [_common(row, other) for g, other in expected[:n] if g == group]
    assert shared[n] == max(before, default=0)  # of all rows before it, not of the last only
  beginnings = {(g, *row[: n + 1]) for g, row in drawn for n in range(len(row))}
  assert sum(map(len, rows)) - shared.sum() == len(beginnings)  # each held once


@SETTINGS
@hypothesis.given(ROWS, st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(0, 9))
def test_every_row_can_be_read_back(drawn, num_choices, width, more_rows, more_tokens):
  rows = sorted(row for _, row in drawn)
  tokens, lengths = _padded(rows, more=2)
  rng = np.random.default_rng(len(rows))
  choice_lengths = rng.integers(1, width + 1, (len(rows), num_choices))
  choices = rng.integers(300, 400, (len(rows), num_choices, width))
  chars = rng.integers(1, 9, (len(rows), num_choices))
  shared = np.array([0] + [_common(a, b) for a, b in zip(rows, rows[1:], strict=False)])
  shared[0] = 3  # that of the first row does not count
  extra, length = width - 1, tokens.shape[1]
  held = lengths.sum() - shared[1:].sum() + len(rows) * num_choices * extra
  packed = packing.pack_rows(
      packing.Texts(tokens, lengths, choices, choice_lengths, chars), shared,
      num_tokens=held + more_tokens, num_rows=len(rows) + more_rows, length=length)
  stream = packed.stream
  wide = length + num_choices * extra
  assert stream.rows.shape == (len(rows) + more_rows, wide)
  assert stream.tokens.shape == stream.positions.shape == stream.home.shape == (held + more_tokens,)
  assert (stream.segments is None) == (width == 1)

  places_of = [set() for _ in stream.tokens]  # of each token, where it stands and is no padding
  for r in range(len(rows) + more_rows):
    own = r if r < len(rows) else 0  # rows that are padding are copies of the first
    size = lengths[own]
    text = stream.rows[r, :size]
    assert stream.tokens[text].tolist() == rows[own]
    assert stream.positions[text].tolist() == list(range(size))
    real = np.zeros(wide, np.int32)
    real[:size] = 1
    for c in range(num_choices):
      at = slice(length + c * extra, length + c * extra + choice_lengths[own, c] - 1)
      real[at] = 2 + c
      which = stream.rows[r, at]
      assert stream.tokens[which].tolist() == choices[own, c, : len(which)].tolist()
      assert stream.positions[which].tolist() == list(range(size, size + len(which)))
    if width > 1:
      np.testing.assert_array_equal(stream.segments[r], real)
    for place in np.flatnonzero(real):
      places_of[stream.rows[r, place]].add(r * wide + place)
    for name in ("lengths", "choices", "choice_lengths", "choice_chars"):
      np.testing.assert_array_equal(
          getattr(packed, name)[r],
          {"lengths": lengths, "choices": choices, "choice_lengths": choice_lengths,
           "choice_chars": chars}[name][own])
  for token, places in enumerate(places_of):
    assert 0 <= stream.home[token] < stream.rows.size
    assert not places or stream.home[token] in places  # it attends from where it stands
  # Each beginning of a text is one token of the stream, and no other is text.
  texts = {int(t) for r in range(len(rows)) for t in stream.rows[r, : lengths[r]]}
  assert len(texts) == len({tuple(row[: n + 1]) for row in rows for n in range(len(row))})
  assert not stream.tokens[held:].any() and not stream.positions[held:].any()


def test_by_hand():
  texts = packing.Texts(
      np.array([[5, 6, 7], [5, 6, 0]], np.int32), np.array([3, 2]),
      np.array([[[9, 8], [4, 0]]] * 2), np.array([[2, 1]] * 2), np.ones((2, 2), int))
  stream = packing.pack_rows(
      texts, np.array([0, 2]), num_tokens=9, num_rows=2, length=4).stream
  assert stream.tokens.tolist() == [5, 6, 7, 9, 4, 9, 4, 0, 0]
  assert stream.positions.tolist() == [0, 1, 2, 3, 3, 2, 2, 0, 0]
  assert stream.rows[:, :2].tolist() == [[0, 1], [0, 1]]
  assert stream.rows[:, 4:].tolist() == [[3, 4], [5, 6]]
  assert stream.segments.tolist() == [[1, 1, 1, 0, 2, 0], [1, 1, 0, 0, 2, 0]]
  assert stream.home.tolist() == [0, 1, 2, 4, 5, 10, 11, 0, 0]


def test_a_stream_that_is_too_short_is_not_cut_in_silence():
  texts = packing.Texts(np.array([[5, 6, 7]]), np.array([3]),
                        *(np.ones(s, np.int32) for s in ((1, 2, 1), (1, 2), (1, 2))))
  with pytest.raises(ValueError):
    packing.pack_rows(texts, np.array([0]), num_tokens=2, num_rows=1, length=3)


@pytest.mark.parametrize("width", [1, 2])
def test_places_in_orders_go_with_their_tokens(width):
  tokens, lengths = np.array([[5, 1, 2, 3], [5, 4, 0, 0]], np.int32), np.array([4, 2])
  orders = np.array([[[0, 1, 2, 3], [0, 2, 3, 1]], [[0, 1, 2, 3], [1, 0, 2, 3]]], np.int32)
  choices = np.array([[[30, 31], [32, 33]]] * 2, np.int32)[:, :, :width]
  texts = packing.Texts(tokens, lengths, choices, np.full((2, 2), width), np.ones((2, 2), int),
                        None, orders)
  packed = packing.pack_rows(texts, np.zeros(2, int), num_tokens=12, num_rows=3, length=5)
  stream = packed.stream
  for r in (0, 1):
    own = stream.rows[r, : lengths[r]]
    np.testing.assert_array_equal(stream.orders[:, own], orders[r, :, : lengths[r]])
    np.testing.assert_array_equal(stream.positions[own], np.arange(lengths[r]))
    expected = (np.arange(5) < lengths[r]).tolist() + [2, 3][: 2 * (width - 1)]
    np.testing.assert_array_equal(stream.segments[r], expected)
    behind = stream.rows[r, 5:]  # choices stand behind the text in every order
    np.testing.assert_array_equal(stream.orders[:, behind],
                                  np.full((2, len(behind)), lengths[r]))
