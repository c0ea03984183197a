"""Bad tables in words, before anything is trained."""

import numpy
import pandas
import pytest

from nbtrain.errors import DataError
from nbtrain.trainers.tabular import judging


def changed(frame, **columns):
    return frame.assign(**columns)


def test_a_good_table_is_told_whole(judged, flowers):
    found = judged(flowers)
    text = "\n".join(found.lines())
    assert "To predict: binary: target" in text and "Dates: grown" in text and "rose" in text
    assert len(found.valid.frame) == 12 and found.faults == () and found.leaks == ()


def test_held_out_rows_have_the_classes_shares_and_are_the_same_for_a_seed(judged, flowers):
    rare = changed(flowers, target=["rare"] * 20 + ["common"] * 100)
    shares = judged(rare).valid.frame["target"].value_counts()
    assert shares.to_dict() == {"common": 10, "rare": 2}
    assert judged(rare).valid.frame.equals(judged(rare).valid.frame)
    assert not judged(rare).valid.frame.equals(judged(rare, seed=1).valid.frame)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"target": ["rose"] * 120}, "no two classes: only 'rose'"),
        ({"target": [None] * 120}, "every value is missing"),
        ({"target": numpy.linspace(0, 1, 120)}, "a quantity, not a class"),
        ({"target": [f"name {at}" for at in range(120)]}, "120 classes in 120 rows"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(judged, flowers, change, told):
    with pytest.raises(DataError, match=told):
        judged(changed(flowers, **change))


def test_a_target_that_is_not_there_is_told_with_the_nearest(judged, flowers):
    with pytest.raises(DataError, match="no column 'colur'; there are .*Did you mean colour"):
        judged(flowers, target_columns="colur")
    with pytest.raises(DataError, match="no column 'target'"):
        judged(flowers.drop(columns="target"))
    with pytest.raises(DataError, match="names the role 'text'; roles of a table are target and id"):
        judged(flowers, column_mapping={"text": "colour"})
    with pytest.raises(DataError, match="no column 'key'"):
        judged(flowers, id_column="key")


def test_words_are_no_numbers_to_predict(judged, flowers):
    with pytest.raises(DataError, match="holds no numbers"):
        judged(flowers, task="regression")


def test_several_labels_are_yes_or_no(judged, flowers):
    with pytest.raises(DataError, match="colour has 3 classes"):
        judged(flowers.dropna(), target_columns="target,colour")


def test_rows_without_a_target_end_the_run_or_are_left_out_by_number(judged, flowers):
    holes = changed(flowers, target=flowers["target"].where(flowers.index % 50 != 0))
    with pytest.raises(DataError, match=r"3 of 120 rows cannot be used") as caught:
        judged(holes)
    assert "row 51, column target: the target is missing" in caught.value.where
    found = judged(holes, on_bad_rows="skip")
    assert [fault.row for fault in found.faults] == [1, 51, 101]
    assert len(found.train.frame) + len(found.valid.frame) == 117


def test_a_class_that_only_valid_has_and_an_infinite_number_are_faults(judged, flowers, prices):
    splits = {"train": flowers, "test": changed(flowers.head(10), target=["lily", *flowers["target"][1:10]])}
    with pytest.raises(DataError) as caught:
        judged(splits)
    assert "'lily' is no class of the training rows" in caught.value.where
    with pytest.raises(DataError) as caught:
        judged(changed(prices, price=[numpy.inf, *prices["price"][1:]]), task="regression", target_columns="price")
    assert "no finite number" in caught.value.where


@pytest.mark.parametrize(
    ("leak", "why"),
    [
        (lambda frame: frame["target"].map({"rose": "r", "tulip": "t"}), "stands for one value of the target"),
        (lambda frame: frame["target"] + (frame.index % 3).astype(str), "has one value of the target only"),
        (lambda frame: frame["target"].where(frame["target"] == "rose"), "stands for one value"),
    ],
)
def test_a_column_that_gives_the_target_away_is_named(judged, flowers, leak, why):
    leaks = judged(changed(flowers, leak=leak(flowers))).leaks
    assert len(leaks) == 1 and leaks[0].startswith("leak gives target away") and why in leaks[0]


def test_a_number_in_other_units_is_a_leak(judged, prices):
    leaks = judged(changed(prices, euros=prices["price"] * 1.1 + 2), task="regression", target_columns="price").leaks
    assert len(leaks) == 1 and "the target in other units" in leaks[0]


def test_rows_in_both_splits_and_repeated_rows_are_counted(judged, flowers):
    notices = judged({"train": pandas.concat([flowers, flowers.head(4)]), "test": flowers.head(9)}).notices
    assert "4 rows of train repeat an earlier one." in notices
    assert any(notice.startswith("9 rows of valid are in train too") for notice in notices)


def test_no_feature_one_row_and_few_rows_are_told(judged, trained, flowers):
    with pytest.raises(DataError, match="No column is left"):
        judged(flowers[["target"]])
    with pytest.raises(DataError, match="no two classes"):
        judged(flowers.head(1))
    with pytest.raises(DataError, match="6 rows to learn from; 10 are the least"):
        trained(flowers.head(6))


def test_a_csv_is_judged_by_its_rows(judged, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "a<b,c[0],target\n" + "".join(f"{at / 3},{at % 4},{'yes' if at % 5 else 'no'}\n" for at in range(40))
    )
    assert [column.name for column in judged(str(path)).columns.used] == ["a<b", "c[0]"]
    with path.open("a") as file:
        file.write("1,2\n")
    with pytest.raises(DataError) as caught:
        judged(str(path))
    assert "row 41: 2 cells where the header has 3" in caught.value.where
    path.write_text("a,a,target\n1,2,3\n")
    with pytest.raises(DataError, match="more than once: 'a'"):
        judged(str(path))
    path.write_text("a,target\n")
    with pytest.raises(DataError, match="no rows"):
        judged(str(path))


def test_a_hundred_thousand_categories_become_the_frequent_ones_and_a_rest(params):
    from nbtrain.trainers.tabular import kinds, preparing

    rows = 120_000
    frame = pandas.DataFrame({"tail": [f"t{at % 100_000}" if at % 2 else "usual" for at in range(rows)]})
    columns = kinds.infer(frame, params(), ()).used
    table = kinds.typed(frame, columns)
    fitted = preparing.preparer("native", columns, params(), rows)
    assert len(set(fitted.fit_transform(table)[:, 0])) == 2
    assert "50,001 categories; 50,000 rare ones are read as one" in preparing.notices(table, columns)[0]


def test_a_table_of_mixed_types_in_a_column_is_read(judged, flowers):
    mixed = changed(flowers, size=[at if at % 2 else f"s{at % 4}" for at in range(120)])
    found = judged(mixed)
    assert {column.name: column.kind for column in found.columns.used}["size"] == "category"
    assert set(found.features(found.train)["size"]) >= {"s0", "s2", "1"}


def test_strata_join_rare_classes(judged, flowers):
    rare = changed(flowers, target=["one", "two"] + ["many"] * 118)
    found = judged(rare, valid_fraction=0)
    groups = judging.strata(found.targets(found.train), found.goal)
    assert sorted(numpy.unique(groups, return_counts=True)[1].tolist()) == [2, 118]
    assert "Classes of target with a single row cannot be learnt: one (1), two (1)." in " ".join(found.notices)
