"""Classes in every form in which they are written, and what is no class."""

import pytest
from datasets import ClassLabel, Dataset, Features, List

from nbtrain.data import labels
from nbtrain.errors import DataError


def found(cells, several=None, order=None, features=None):
    return labels.find(Dataset.from_dict({"label": cells}, features=features), "label", several=several, order=order)


@pytest.mark.parametrize(
    ("cells", "names", "numbers"),
    [
        ([1, 0, 2, 1], ("0", "1", "2"), [1, 0, 2, 1]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
        (["1.0", "10.0", "2.0"], ("1", "2", "10"), [0, 2, 1]),
        (["10", "9", "-1"], ("-1", "9", "10"), [2, 1, 0]),
        ([True, False], ("False", "True"), [1, 0]),
        ([" good", "bad ", "good"], ("bad", "good"), [1, 0, 1]),
        (["Arts, Culture", "Sports", "Arts, Culture"], ("Arts, Culture", "Sports"), [0, 1, 0]),
    ],
)
def test_one_class_a_row_as_it_is_written(cells, names, numbers):
    read = found(cells)
    assert (read.names, read.several) == (names, False)
    assert [read.of(cell, "label") for cell in cells] == [(number,) for number in numbers]


@pytest.mark.parametrize(
    "cells",
    [
        [["joy"], ["joy", "fear"], []],
        ["['joy']", "['joy', 'fear']", "[]"],
        ['["joy"]', '["fear", "joy"]', "[]"],
        ["['joy']", "['joy' 'fear']", "[]"],
        ["joy", "joy,fear", "fear"],
        ["joy", "joy | fear", "fear"],
        ["joy", "joy;fear", "fear"],
    ],
)
def test_several_labels_a_row_as_they_are_written(cells):
    read = found(cells)
    assert (read.names, read.several) == (("fear", "joy"), True)
    assert [read.of(cell, "label") for cell in cells[:2]] == [(1,), (0, 1)]


def test_marks_of_0_and_1_stand_for_the_classes_in_their_order():
    read = found([[1, 0, 1], [0, 0, 1], [0, 0, 0]])
    assert (read.names, read.indicators) == (("0", "1", "2"), True)
    assert [read.of(cell, "label") for cell in ([1, 0, 1], [0, 0, 0])] == [(0, 2), ()]
    with pytest.raises(DataError, match="3 marks of 0 and 1 are expected, found 1, 0"):
        read.of([1, 0], "label")


def test_lists_of_numbers_are_no_marks():
    read = found([[0, 1], [1, 0], [2, 0]])
    assert (read.names, read.indicators) == (("0", "1", "2"), False)


def test_the_data_may_say_the_names_of_its_numbers():
    one = found([1, 0, 1], features=Features({"label": ClassLabel(names=["no", "yes", "maybe"])}))
    assert (one.names, one.of(1, "label")) == (("no", "yes", "maybe"), (1,))
    with pytest.raises(DataError, match="-1 is not among the numbers 0 to 2"):
        one.of(-1, "label")
    many = found([[1], [0, 1]], features=Features({"label": List(ClassLabel(names=["no", "yes"]))}))
    assert (many.names, many.of([1, 0], "label")) == (("no", "yes"), (0, 1))


def test_the_user_may_say_the_order_and_classes_that_no_row_has():
    read = found(["b", "a"], order=["c", "b", "a"])
    assert read.of("a", "label") == (2,)


def test_a_few_rows_with_several_labels_in_a_column_of_single_ones_are_faults():
    read = found(["joy", "fear"] * 20 + ["joy,fear"])
    assert not read.several
    with pytest.raises(DataError, match="label 'joy,fear' is not among the 2") as raised:
        read.of("joy,fear", "label")
    assert "--multi-label" in raised.value.fix
    assert found(["joy", "fear"] * 20 + ["joy,fear"], several=True).of("joy,fear", "label") == (0, 1)


def test_the_user_may_say_that_a_comma_is_part_of_a_name():
    read = found(["a", "a,b", "b"], several=False)
    assert read.names == ("a", "a,b", "b")


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (None, r"no label \(null\)"),
        (float("nan"), r"no label \(null\)"),
        ("", "an empty label"),
        ("  ", "an empty label"),
        (0.5, "0.5 is a number with a fraction, and no class"),
        (["a", "b"], r"2 labels \(a, b\) in a column of single ones"),
        ("aa", "label 'aa' is not among the 2 of the training rows."),
        ({"a": 1}, "a label is expected, found dict"),
    ],
)
def test_a_cell_without_a_class_is_told(cell, told):
    with pytest.raises(DataError, match=told) as raised:
        found(["a", "b", "a"]).of(cell, "label")
    assert raised.value.where == "label"


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["a", "a"], "has only the class 'a': there is nothing to tell apart"),
        ([None, ""], "has no label at all"),
        ([0.5, 0.25, 1.0], "holds numbers with fractions, and no classes"),
        (["0.5", "0.25", "1"], "holds numbers with fractions, and no classes"),
        ([f"sentence {at}" for at in range(60)], "has 60 different values in 60 rows: these are no classes"),
    ],
)
def test_a_column_without_classes_is_told(cells, told):
    with pytest.raises(DataError, match=told):
        found(cells)


def test_the_classes_are_told_in_words():
    assert str(found(["a", "b"])) == "one of 2 classes: a, b"
    assert str(found(["a|b", "b", "a"])) == "any of 2 labels, separated by '|': a, b"
    assert str(found([f"c{at}" for at in range(12)])).endswith("c1, c10, c11, c2, c3, c4, c5, ...")
