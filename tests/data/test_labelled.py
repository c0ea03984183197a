"""Texts with classes or numbers: which column is what, and what a row says."""

import pytest
from datasets import Dataset

from nbtrain.data import labelled
from nbtrain.data.labelled import Form
from nbtrain.errors import DataError


def columns(row, targets=(), named=None, mapping=None, classes=True):
    return labelled.find(Dataset.from_list([row, row]), mapping, named or {}, targets, classes=classes)[0]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"text": "a", "target": 1}, {"text": "text", "target": "target"}),
        ({"label": 1, "text": "a", "label_text": "x"}, {"text": "text", "target": "label"}),
        (
            {"premise": "a", "hypothesis": "b", "label": 1},
            {"text": "premise", "pair": "hypothesis", "target": "label"},
        ),
        (
            {"sentence1": "a", "sentence2": "b", "label": 1},
            {"text": "sentence1", "pair": "sentence2", "target": "label"},
        ),
        ({"review": "a", "stars": 3}, {"text": "review", "target": "stars"}),
        ({"verse": "a", "label": 1}, {"text": "verse", "target": "label"}),
    ],
)
def test_columns_of_classes_are_found_by_their_names(row, found):
    assert columns(row) == found


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"sentence1": "a", "sentence2": "b", "score": 2.5}, ["score"]),
        ({"text": "a", "valence": 2.5, "arousal": 1.5, "year": 1999}, ["valence", "arousal"]),
        ({"corpus": "x", "sentence": "a", "token": "b", "complexity": "0.25"}, ["complexity"]),
        ({"text": "a", "count": 3}, ["count"]),
    ],
)
def test_columns_of_numbers_are_found_by_name_or_by_what_they_hold(row, found):
    read = columns(row, classes=False)
    assert [column for role, column in read.items() if role.startswith("target")] == found


def test_the_users_words_go_first():
    row = {"text": "a", "body": "b", "label": 1, "mood": 2}
    assert columns(row, ["mood"], {"text": "body"}) == {"text": "body", "target": "mood"}
    assert columns(row, mapping={"text": "body", "target": "mood"}) == {"text": "body", "target": "mood"}


@pytest.mark.parametrize(
    ("row", "given", "told"),
    [
        (
            {"text": "a", "mood": 1},
            {"targets": ["moods"]},
            r"There is no column 'moods' for target.*Did you mean mood\?",
        ),
        ({"a": "x", "b": "y", "label": 1}, {}, "There is no column for the text; there are a, b, label"),
        ({"text": "a", "x": 1, "y": 2}, {}, "There is no column of classes to learn; there are text, x, y"),
        ({"text": "a", "x": "b"}, {"classes": False}, "There is no column of numbers to learn"),
    ],
)
def test_a_missing_column_is_told(row, given, told):
    with pytest.raises(DataError, match=told):
        columns(row, **given)


def test_numbers_are_read_from_cells_texts_and_lists():
    one = Form({"text": "t", "target": "n"}, names=("n",))
    assert one.values({"t": "a", "n": " 2.5 "}) == (2.5,)
    lists = Form({"text": "t", "target": "n"}, names=("n 1", "n 2"))
    assert lists.values({"t": "a", "n": [1, 2.5]}) == (1.0, 2.5)
    assert lists.values({"t": "a", "n": "[1, 2.5]"}) == (1.0, 2.5)
    several = Form({"text": "t", "target 1": "x", "target 2": "y"}, names=("x", "y"))
    assert several.content({"t": "a", "x": 1, "y": "0.5"}) == (("text", "a"), ("x", "1"), ("y", "0.5"))


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (None, r"no number \(null\)"),
        ("", r"no number \(null\)"),
        ("3,5", "a number is expected, found '3,5'"),
        (float("inf"), "inf is not a finite number"),
        ([1, 2], "2 numbers, where other rows have 1"),
    ],
)
def test_a_cell_without_a_number_is_told(cell, told):
    with pytest.raises(DataError, match=told) as raised:
        Form({"text": "t", "target": "n"}, names=("n",)).values({"t": "a", "n": cell})
    assert raised.value.where == "n"
