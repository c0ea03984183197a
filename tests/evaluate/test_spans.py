"""The search for a span, against trying every pair."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain.evaluate.spans import Found, Span, search, together

NUMBERS = st.floats(-9, 9, width=32)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=15), st.integers(1, 5))
def test_the_best_pair_is_that_of_trying_all(scores, longest):
    start, end = numpy.array(scores, dtype=float).T
    offsets = [(-1, -1), *((3 * at, 3 * at + 2) for at in range(len(scores) - 1))]
    found = search(start, end, offsets, blank=0, longest=longest)
    pairs = [
        (start[one] + end[other], one, other)
        for one in range(1, len(scores))
        for other in range(one, min(one + longest, len(scores)))
    ]
    assert found.span.score == pytest.approx(max(pairs)[0])
    assert found.blank == pytest.approx(start[0] + end[0])
    # where the first ones of each side are the pair, it is that pair
    assert (found.span.start, found.span.end) in {
        (offsets[one][0], offsets[other][1]) for score, one, other in pairs if score == pytest.approx(max(pairs)[0])
    }


def test_a_window_without_context_holds_no_answer():
    assert search(numpy.zeros(2), numpy.zeros(2), [(-1, -1), (-1, -1)], blank=0, longest=5) == Found(None, 0.0)


def test_windows_together_give_the_best_span_and_the_least_sure_blank():
    windows = [Found(Span(0, 2, 1.0), 3.0), Found(Span(5, 7, 4.0), -2.0), Found(None, 1.0)]
    assert together(windows) == Found(Span(5, 7, 4.0), -2.0)


def test_no_answer_wins_by_more_than_the_threshold_only():
    found = Found(Span(0, 2, 1.0), 3.0)
    assert found.answer(None) == found.answer(2.0) == found.span
    assert found.answer(1.9) is None
