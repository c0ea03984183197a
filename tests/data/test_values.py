"""Rows that live in a notebook."""

import subprocess
import sys

import pytest

from nbtrain.data import read
from nbtrain.errors import DataError

PAIRS = [{"prompt": f"question {n}", "response": f"answer {n}"} for n in range(5)]
COLUMNS = {name: [row[name] for row in PAIRS] for name in PAIRS[0]}


def _values():
    import datasets
    import pandas
    import polars
    import pyarrow

    return {
        "pandas.DataFrame": pandas.DataFrame(PAIRS, index=[9, 8, 7, 6, 5]),
        "polars.DataFrame": polars.DataFrame(PAIRS),
        "polars.LazyFrame": polars.DataFrame(PAIRS).lazy(),
        "pyarrow.Table": pyarrow.Table.from_pylist(PAIRS),
        "datasets.Dataset": datasets.Dataset.from_list(PAIRS),
        "rows": PAIRS,
        "columns": COLUMNS,
    }


@pytest.mark.parametrize("kind", list(_values()))
def test_each_kind_of_rows_is_stored_and_read_again(kind, rows, tmp_path):
    value = _values()[kind]
    assert read.is_rows(value)
    path = read.materialise(value, tmp_path / "data", "train")
    assert path == tmp_path / "data" / "train.parquet"
    assert [item.name for item in path.parent.iterdir()] == ["train.parquet"]
    assert rows(path).train.to_list() == PAIRS


def test_a_frame_that_was_joined_of_two_is_stored(rows, tmp_path):
    import pandas

    joined = pandas.concat([pandas.DataFrame(PAIRS), pandas.DataFrame(PAIRS)])
    assert rows(read.materialise(joined, tmp_path, "train")).train.to_list() == [*PAIRS, *PAIRS]


def test_a_frame_is_stored_without_datasets(tmp_path):
    code = f"""
import sys
sys.modules["datasets"] = None
import pandas
from nbtrain.data import read
frame = pandas.DataFrame({{"a": [1, 2], "b": ["x", 3.5]}})
from pathlib import Path
print(pandas.read_parquet(read.materialise(frame, Path({str(tmp_path)!r}), "train")).to_dict("list"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "{'a': [1, 2], 'b': ['\"x\"', '3.5']}", done.stderr


def test_splits_become_a_folder(rows, tmp_path):
    import datasets
    import pandas

    for value in (
        {"train": pandas.DataFrame(PAIRS), "valid": PAIRS[:2]},
        datasets.DatasetDict(train=datasets.Dataset.from_list(PAIRS), valid=datasets.Dataset.from_list(PAIRS[:2])),
    ):
        path = read.materialise(value, tmp_path / type(value).__name__, "value")
        found = rows(path)
        assert found.train.to_list() == PAIRS and found.valid.to_list() == PAIRS[:2]


def test_types_and_nested_values_survive(rows, tmp_path):
    content = [
        {"text": "a", "n": 1, "x": 1.5, "m": [{"role": "user", "content": "é"}], "any": 1},
        {"text": None, "n": 2, "x": None, "m": [], "any": "one"},
    ]
    assert rows(read.materialise(content, tmp_path, "v")).train.to_list() == content


def test_a_frame_of_mixed_objects_and_categories_is_stored(rows, tmp_path):
    import pandas

    frame = pandas.DataFrame({"any": [1, "one", None], "kind": pandas.Categorical(["a", "b", "a"]), 7: [1, 2, 3]})
    assert rows(read.materialise(frame, tmp_path, "v")).train.to_list() == [
        {"any": 1, "kind": "a", "7": 1},
        {"any": "one", "kind": "b", "7": 2},
        {"any": None, "kind": "a", "7": 3},
    ]


@pytest.mark.parametrize("value", [3, "text", [], {}, [1, 2], {"a": 1}, {"a": [1], "b": [1, 2]}, None, object()])
def test_what_holds_no_rows_is_refused_in_words(value, tmp_path):
    assert not read.is_rows(value)
    with pytest.raises(DataError, match="found "):
        read.materialise(value, tmp_path, "v")


def test_rows_that_cannot_be_stored_are_refused_in_words(tmp_path):
    import pandas

    twins = pandas.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DataError, match="found more than once: 'a'"):
        read.materialise(twins, tmp_path, "v")
    with pytest.raises(DataError, match="has no rows"):
        read.materialise(pandas.DataFrame({"a": []}), tmp_path, "v")
    with pytest.raises(DataError, match="cannot be stored"):
        read.materialise([{"text": "\ud800"}], tmp_path, "v")
    with pytest.raises(DataError, match="Row 101 is not a dict, found int"):
        read.materialise([{"a": 1}] * 100 + [5], tmp_path, "v")
    assert list(tmp_path.iterdir()) == []


def test_frames_are_listed_with_shape_and_columns():
    namespace = {**{name.replace(".", "_"): value for name, value in _values().items()}, "x": 3, "_hidden": PAIRS}
    namespace["both"] = {"train": PAIRS, "valid": PAIRS}
    namespace["Out"] = {"train": PAIRS}
    listed = read.frames(namespace)
    assert [frame.name for frame in listed] == sorted(set(namespace) - {"x", "_hidden", "Out"})
    shapes = {frame.type: (frame.rows, frame.columns) for frame in listed}
    assert shapes.pop("polars.LazyFrame") == (None, ())
    assert shapes.pop("splits") == (10, ("prompt", "response"))
    assert set(shapes.values()) == {(5, ("prompt", "response"))}


def test_listing_frames_imports_nothing():
    code = (
        "import sys\nfrom nbtrain.data import values\n"
        "print(values.frames({'a': [{'b': 1}], 'c': 3}))\n"
        "print([name for name in ('pandas', 'polars', 'pyarrow', 'datasets', 'numpy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[Frame(name='a', type='rows', rows=1, columns=('b',))]", "[]"]
