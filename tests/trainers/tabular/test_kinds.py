"""What each column is taken for."""

import numpy
import pandas
import pytest

from nbtrain.errors import DataError, ParamError
from nbtrain.trainers.tabular import kinds

ROWS = 60


def infer(params, aside=(), **columns):
    return kinds.infer(pandas.DataFrame(columns), params(), aside)


def kind(params, values):
    found = infer(params, column=values, other=[*range(ROWS - 1), 0])
    return {column.name: column for column in found.used}.get("column"), found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([str(at / 7) for at in range(ROWS)], "number"),
        (["1,5" if at % 2 else "x" for at in range(ROWS)], "category"),
        ([f"00{at % 9}" for at in range(ROWS)], "category"),
        ([at % 2 == 0 for at in range(ROWS)], "category"),
        ([f"2024-03-{at % 28 + 1:02}" for at in range(ROWS)], "date"),
        ([f"{at % 12 + 1}/{at % 28 + 1}/2024" for at in range(ROWS)], "date"),
        ([f"{at % 28 + 1}.{at % 12 + 1}.2024" for at in range(ROWS)], "date"),
        (list(pandas.date_range("2024-01-01", periods=ROWS)), "date"),
        ([f"the dog number {at} ran over the hill" for at in range(ROWS)], "text"),
        ([at % 3 for at in range(ROWS)], "number"),
        ([None, 1, 2.5] * (ROWS // 3), "number"),
        (pandas.Categorical(["a", "b"] * (ROWS // 2)), "category"),
    ],
)
def test_a_column_is_what_its_values_say(params, values, expected):
    assert kind(params, values)[0].kind == expected


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1] * ROWS, "constant: 1"),
        ([None] * ROWS, "every value is missing"),
        (["", "NA"] * (ROWS // 2), "every value is missing"),
        (list(range(100, 100 + ROWS)), "an id"),
        ([f"k{at}" for at in range(ROWS)], "an id"),
        ([[1, 2]] * ROWS, "lists"),
    ],
)
def test_a_column_that_teaches_nothing_is_left_out_with_its_reason(params, values, why):
    column, found = kind(params, values)
    assert column is None and why in found.left_out["column"]


def test_numbers_with_a_few_words_among_them_are_numbers_and_the_words_are_told(params):
    found = infer(params, amount=["12.5", *["3", "4"] * 29, "twelve"])
    assert found.used[0].kind == "number"
    assert "amount: 1 values are no numbers ('twelve')" in found.notices[0]


def test_what_the_user_says_goes_before_what_values_say(params):
    frame = pandas.DataFrame({"code": [1, 2, 3] * 20, "age": ["1", "x", "3"] * 20})
    found = kinds.infer(frame, params(categorical_columns="code", numerical_columns=["age"]), ())
    assert [(column.name, column.kind) for column in found.used] == [("code", "category"), ("age", "number")]
    with pytest.raises(DataError, match="no column 'cod'.*Did you mean code"):
        kinds.infer(frame, params(categorical_columns=["cod"]), ())
    with pytest.raises(ParamError, match="code"):
        kinds.infer(frame, params(categorical_columns=["code"], numerical_columns=["code"]), ())
    with pytest.raises(DataError, match="target"):
        kinds.infer(frame, params(categorical_columns=["code"]), ["code"])


def test_a_date_becomes_its_parts():
    parts = kinds.parts_of(pandas.Series(["2024-02-29", None, "1970-01-02"]), "ISO8601")
    assert parts.iloc[0].to_list() == [2024, 2, 29, 3, 0, 19782]
    assert parts.iloc[1].isna().all()
    assert parts["days"].iloc[2] == 1


def test_a_month_first_date_without_a_day_above_twelve_is_told(params):
    found = infer(params, when=[f"{at % 12 + 1}/{at % 11 + 1}/2024" for at in range(ROWS)])
    assert "may be day/month/year" in " ".join(found.notices)


def test_infinity_is_missing_and_whole_numbers_are_the_same_category_in_any_type():
    numbers = kinds.numbers_of(pandas.Series([1.0, numpy.inf, -numpy.inf, numpy.nan]))
    assert numbers.isna().to_list() == [False, True, True, True]
    same = [kinds.texts_of(pandas.Series(values)).iloc[0] for values in ([1, 2], [1.0, None], ["1", "b"], [1.0, "b"])]
    assert same == ["1"] * 4


def test_new_rows_need_the_columns_of_training(params):
    columns = infer(params, size=[1.5, 2.5, 3.5], colour=["a", "b", "a"]).used
    table = kinds.typed(pandas.DataFrame({"colour": ["b"], "size": ["7"], "more": [1]}), columns)
    assert table.to_dict("records") == [{"size": 7.0, "colour": "b"}]
    with pytest.raises(DataError, match="no column 'size'"):
        kinds.typed(pandas.DataFrame({"colour": ["b"]}), columns)
