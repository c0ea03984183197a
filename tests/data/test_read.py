"""Each source that the data may come from, read as rows."""

import gzip
import json
import tarfile
import zipfile

import pytest

from nbtrain.data import read
from nbtrain.errors import DataError

PAIRS = [{"prompt": f"question {n}", "response": f"answer {n}"} for n in range(10)]
LINES = "".join(json.dumps(row) + "\n" for row in PAIRS)
CSV = "prompt,response\n" + "".join(f"question {n},answer {n}\n" for n in range(10))


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _table():
    import pyarrow as pa

    return pa.Table.from_pylist(PAIRS)


def _parquet(path):
    import pyarrow.parquet as parquet

    parquet.write_table(_table(), path)


def _stream(path):
    import pyarrow as pa

    with pa.ipc.new_stream(str(path), _table().schema) as writer:
        writer.write_table(_table())


def _feather(path):
    import pyarrow.feather as feather

    feather.write_feather(_table(), str(path))


def _workbook(path):
    import openpyxl

    book = openpyxl.Workbook()
    for row in [["prompt", "response"], *([row["prompt"], row["response"]] for row in PAIRS)]:
        book.active.append(row)
    book.save(path)


FILES = {
    "a.jsonl": LINES,
    "lines.json": LINES,
    "a.json": json.dumps(PAIRS),
    "array.jsonl": json.dumps(PAIRS, indent=1),
    "data.json": json.dumps({"version": 1, "data": PAIRS}),
    "columns.json": json.dumps({name: [row[name] for row in PAIRS] for name in PAIRS[0]}),
    "a.csv": CSV,
    "semicolons.csv": CSV.replace(",", ";"),
    "a.tsv": CSV.replace(",", "\t"),
    "a.csv.gz": gzip.compress(CSV.encode()),
    "a.jsonl.gz": gzip.compress(LINES.encode()),
    "mark.csv": b"\xef\xbb\xbf" + CSV.encode(),
    "utf16.csv": CSV.encode("utf-16"),
    "utf16_without_mark.jsonl": LINES.encode("utf-16-le"),
    "mixed_newlines.csv": CSV.replace("\n", "\r\n", 4),
    "blank_lines.jsonl": LINES.replace("\n", "\n\n"),
    "a.parquet": _parquet,
    "stream.arrow": _stream,
    "a.feather": _feather,
    "a.xlsx": _workbook,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_each_format_gives_its_rows(name, rows, tmp_path):
    content = FILES[name]
    content(tmp_path / name) if callable(content) else _write(tmp_path / name, content)
    found = rows(tmp_path / name)
    assert found.train.to_list() == PAIRS
    assert found.valid is None and not found.faults


def test_what_is_read_lies_in_a_file_of_the_cache(rows, tmp_path):
    found = rows(_write(tmp_path / "a.jsonl", LINES))
    files = [item["filename"] for item in found.train.cache_files]
    assert files and all(name.startswith(str(tmp_path / "cache")) for name in files)


def test_a_file_that_changed_is_read_again(rows, tmp_path):
    assert len(rows(_write(tmp_path / "a.jsonl", LINES)).train) == 10
    assert len(rows(_write(tmp_path / "a.jsonl", LINES * 2)).train) == 20


def test_cells_of_csv_stay_text(rows, tmp_path):
    found = rows(_write(tmp_path / "a.csv", 'code,text\n007,"two\nlines, and ""quotes"""\n1.50,NA\n'))
    assert found.train.to_list() == [
        {"code": "007", "text": 'two\nlines, and "quotes"'},
        {"code": "1.50", "text": "NA"},
    ]


def test_text_becomes_documents_that_joined_are_the_file(rows, tmp_path):
    paragraphs = ["\n".join(f"line {n} of {at}" for n in range(20)) for at in range(40)]
    text = "\n\n".join(paragraphs) + "\n"
    documents = rows(_write(tmp_path / "a.txt", text)).train["text"][:]
    assert "".join(documents) == text
    assert all(2_000 <= len(document) < 2_400 for document in documents[:-1])
    assert all(document.endswith("\n\n") for document in documents[:-1])


def test_text_without_a_blank_line_or_a_newline_is_cut_too(rows, tmp_path):
    text = "word " * 50_000
    documents = rows(_write(tmp_path / "a.txt", text)).train["text"][:]
    assert "".join(documents) == text and len(documents) > 1
    lines = "one line\n" * 5_000
    documents = rows(_write(tmp_path / "b.txt", lines)).train["text"][:]
    assert "".join(documents) == lines and max(map(len, documents)) < 8_100


@pytest.mark.parametrize(
    "names",
    [("train.jsonl", "validation.jsonl"), ("x.train.jsonl", "x.dev.jsonl"), ("train/a.jsonl", "val/b.jsonl")],
)
def test_a_folder_is_read_by_the_splits_in_its_names(names, rows, tmp_path):
    folder = tmp_path / "data set"
    _write(folder / names[0], LINES)
    _write(folder / names[1], LINES[: len(LINES) // 2])
    _write(folder / "README.txt", "not data")
    found = rows(folder)
    assert (len(found.train), len(found.valid)) == (10, 5)


def test_a_folder_of_links_to_files_is_read_as_the_hub_keeps_its_snapshots(rows, tmp_path):
    blob = _write(tmp_path / "blobs" / "3f2a", LINES)
    snapshot = tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "train.jsonl").symlink_to(blob)
    assert rows(snapshot).train.num_rows == len(PAIRS)


def test_the_test_split_serves_only_where_there_is_no_other(rows, tmp_path):
    for at, name in enumerate(["train", "test", "validation"], start=1):
        _write(tmp_path / "d" / f"{name}-00000-of-00001.jsonl", LINES * at)
    assert len(rows(tmp_path / "d").valid) == 30
    assert len(rows(tmp_path / "d", valid_split="test").valid) == 20


def test_a_train_file_finds_its_validation_beside_it(rows, tmp_path):
    _write(tmp_path / "x.train.jsonl", LINES * 2)
    _write(tmp_path / "x.validation.jsonl", LINES)
    found = rows(tmp_path / "x.train.jsonl")
    assert (len(found.train), len(found.valid)) == (20, 10)
    assert "x.validation.jsonl is the validation split." in found.notices


def test_shards_and_globs_are_joined_in_order(rows, tmp_path):
    _write(tmp_path / "b.jsonl", '{"text": "second", "more": 1}\n')
    _write(tmp_path / "a.jsonl", '{"text": "first"}\n')
    found = rows(str(tmp_path / "*.jsonl"))
    assert found.train.to_list() == [{"text": "first", "more": None}, {"text": "second", "more": 1}]
    assert found.places["train"].find(1) == (1, "b.jsonl line 1")


def test_archives_are_read_as_folders(rows, tmp_path):
    source = _write(tmp_path / "train.jsonl", LINES)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(source, "inner/train.jsonl")
        file.writestr("__MACOSX/._train.jsonl", "x")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        file.add(source, "train.jsonl")
    for name in ("a.zip", "a.tar.gz"):
        assert rows(tmp_path / name).train.to_list() == PAIRS


def test_a_saved_data_set_is_read(rows, tmp_path):
    import datasets

    saved = datasets.Dataset.from_list(PAIRS)
    datasets.DatasetDict(train=saved, test=saved.select([1])).save_to_disk(tmp_path / "saved")
    found = rows(tmp_path / "saved")
    assert found.train.to_list() == PAIRS and found.valid.to_list() == PAIRS[1:2]


def test_the_demo_is_built_in(rows):
    found = rows("demo", valid_fraction=0.1)
    assert len(found.train) + len(found.valid) == 161
    assert found.train.column_names == ["messages"]


def test_a_part_is_held_out_by_the_seed(rows, tmp_path):
    source = _write(tmp_path / "a.jsonl", LINES)
    first, again = rows(source, valid_fraction=0.3), rows(source, valid_fraction=0.3)
    other = rows(source, valid_fraction=0.3, seed=7)
    assert first.valid["prompt"][:] == again.valid["prompt"][:] != other.valid["prompt"][:]
    assert (len(first.train), len(first.valid)) == (7, 3)
    assert sorted(first.train["prompt"][:] + first.valid["prompt"][:]) == sorted(row["prompt"] for row in PAIRS)
    assert "3 of 10 rows are held out to evaluate on (--valid-fraction 0.3, seed 42)." in first.notices


def test_at_least_one_row_is_held_out_and_one_is_left(rows, tmp_path):
    source = _write(tmp_path / "a.jsonl", LINES)
    assert len(rows(source, valid_fraction=0.001).valid) == 1
    two = _write(tmp_path / "b.jsonl", "".join(LINES.splitlines(True)[:2]))
    found = rows(two, valid_fraction=0.99)
    assert (len(found.train), len(found.valid)) == (1, 1)


def test_of_one_row_nothing_is_held_out(rows, tmp_path):
    found = rows(_write(tmp_path / "a.jsonl", '{"text": "alone"}\n'), valid_fraction=0.5)
    assert len(found.train) == 1 and found.valid is None
    assert found.notices == ["There is one row: nothing can be held out, so nothing is evaluated."]


def test_max_samples_chooses_by_the_seed_before_a_part_is_held_out(rows, tmp_path):
    source = _write(tmp_path / "a.jsonl", LINES)
    found = rows(source, max_samples=5, valid_fraction=0.2)
    assert (len(found.train), len(found.valid)) == (4, 1)
    chosen = sorted(found.train["prompt"][:] + found.valid["prompt"][:])
    assert chosen == sorted(rows(source, max_samples=5).train["prompt"][:])


def test_places_follow_each_choice_of_rows(rows, tmp_path):
    broken = LINES.splitlines(True)
    broken[3] = "not json\n"
    found = rows(_write(tmp_path / "a.jsonl", "\n" + "".join(broken)), valid_fraction=0.4)
    assert [fault.place for fault in found.faults] == ["a.jsonl line 5"]
    for _, part, places in found.items():
        for at, prompt in enumerate(part["prompt"][:]):
            number = int(prompt.split()[1]) + 2  # an empty line comes first, lines count from 1
            assert places.find(at) == (number, f"a.jsonl line {number}")


def test_read_materialises_what_is_no_path(params, tmp_path):
    found = read.read(params(PAIRS), tmp_path)
    assert len(found.train) + len(found.valid) == 10


def test_mixed_types_come_back_as_they_were(rows, tmp_path):
    content = [{"a": 1, "m": [{"x": 1}]}, {"a": "text", "m": [{"x": "y"}]}, {"a": None, "m": None}, {"a": [1], "m": []}]
    found = rows(_write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in content)))
    assert found.train.to_list() == content


def test_a_type_that_changes_after_a_thousand_rows_is_one_column(rows, tmp_path):
    content = [{"a": None}] * 1_500 + [{"a": 3}] * 1_000 + [{"a": "late"}]
    found = rows(_write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in content)))
    assert found.train[0]["a"] is None and found.train[2_000]["a"] == 3 and found.train[2_500]["a"] == "late"


def test_no_such_file_names_the_nearest(rows, tmp_path):
    _write(tmp_path / "dolly.jsonl", LINES)
    with pytest.raises(DataError, match=r"There is no file or folder .*doly\.jsonl\. Did you mean dolly\.jsonl\?"):
        rows(tmp_path / "doly.jsonl")


def test_a_hub_id_without_a_network_is_told_in_words(rows):
    with pytest.raises(DataError, match="no file or folder here") as caught:
        rows("someone/some-data:config")
    assert "offline" in caught.value.why
