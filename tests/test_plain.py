"""Values as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain.plain import duration, line, number, visible


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.30012, "2.300"),
        (27.4, "27.40"),
        (0, "0"),
        (0.0, "0"),
        (7, "7"),
        (123456, "123,456"),
        (4850.4, "4,850"),
        (0.00002, "2.00e-5"),
        (-0.5, "-0.5000"),
        (float("nan"), "NaN"),
        (float("-inf"), "infinite"),
        (True, "True"),
        ("a\x1b", "a\\x1b"),
        (None, "None"),
    ],
)
def test_a_number_has_four_digits_that_count(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (273600, "3 d 04 h"),
    ],
)
def test_a_time_is_read_at_a_glance(seconds, text):
    assert duration(seconds) == text


def test_what_cannot_be_seen_is_written_out():
    assert visible("a\x1b[31mb\u202ec\ud800\u200b\x00") == "a\\x1b[31mb\\u202ec\\ud800\\u200b\\x00"
    assert visible("one\r\ntwo\tthree") == "one\ntwo\tthree"
    assert visible("naïve 字 👩‍🔬") == "naïve 字 👩‍🔬"


@given(st.text())
def test_a_line_is_one_line_of_what_can_be_seen(text):
    found = line(text, 50)
    assert len(found) <= 50 and len(found.splitlines()) <= 1
    assert visible(found) == found


def test_a_line_of_a_huge_text_is_cut():
    assert line("ab " * 10_000_000, 8) == "ab ab a…"
