"""What is found in whole data sets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nbtrain.data import chat, check


def _lines(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_repeated_rows_and_rows_in_both_splits_are_counted(tmp_path, rows):
    train = [{"text": f"t{n}"} for n in (1, 2, 3, 2, 4, 1)]
    _lines(tmp_path / "d" / "train.jsonl", train)
    _lines(tmp_path / "d" / "valid.jsonl", [{"text": "t3"}, {"text": "t4"}, {"text": "new"}, {"text": "new"}])
    splits = rows(tmp_path / "d")
    same, report = check.check(splits, chat.recognise(splits.train))
    assert same is splits
    assert report.repeated == {"train": 2, "valid": 1}
    assert report.leaked == (3, 5)
    assert "2 rows of train are in valid too (rows 3, 5): what is measured on them is memory." in report.lines()


def test_equal_splits_are_told_row_by_row(tmp_path, rows):
    for name in ("train", "valid"):
        _lines(tmp_path / "d" / f"{name}.jsonl", [{"text": f"t{n}"} for n in range(7)])
    splits = rows(tmp_path / "d")
    _, report = check.check(splits, chat.recognise(splits.train))
    assert report.leaked == (1, 2, 3, 4, 5, 6, 7)


def test_the_report_shows_the_mapping_and_the_first_row(tmp_path, rows):
    splits = rows(
        _lines(tmp_path / "a.jsonl", [{"question": "how many?", "answer": 4}, {"question": "b", "answer": 5}])
    )
    _, report = check.check(splits, chat.recognise(splits.train))
    assert report.lines() == [
        "Rows: train 2. Read as pair: prompt from question, response from answer.",
        "Numbers are read as text: response.",
        "  user: how many?",
        "  assistant: 4",
    ]


def test_a_split_without_the_column_is_told(tmp_path, rows):
    _lines(tmp_path / "d" / "train.jsonl", [{"text": "a"}])
    _lines(tmp_path / "d" / "valid.jsonl", [{"body": "a"}])
    splits = rows(tmp_path / "d")
    with pytest.raises(check.DataError, match="The split valid has no column 'text'; it has body"):
        check.check(splits, chat.recognise(splits.train))


def test_a_valid_split_without_a_usable_row_is_left_out(tmp_path, rows):
    _lines(tmp_path / "d" / "train.jsonl", [{"text": "a"}])
    _lines(tmp_path / "d" / "valid.jsonl", [{"text": ""}])
    splits = rows(tmp_path / "d")
    kept, report = check.check(splits, chat.recognise(splits.train), on_bad_rows="skip")
    assert kept.valid is None and "No row to evaluate on is left." in kept.notices
    assert [(fault.split, fault.row, fault.column) for fault in report.faults] == [("valid", 1, "text")]


MEASURE = """
import json, sys, threading, time
from pathlib import Path
from types import SimpleNamespace
import datasets, pyarrow, numpy
from nbtrain.data import chat, check, read

highest = 0

def anonymous():  # MB that are no pages of a mapped file
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

def watch():
    global highest
    while True:
        highest = max(highest, anonymous())
        time.sleep(0.01)

def run(count, folder):
    path = Path(folder) / f"{count}.jsonl"
    with path.open("w") as file:
        for n in range(count):
            asked, said = f"question {n} " * 20, f"a{n} " * 40
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
            file.write(json.dumps({"messages": turns}) + chr(10))
    params = SimpleNamespace(data_path=str(path), train_split="train", valid_split=None, valid_fraction=0.1,
                             max_samples=None, seed=1)
    splits = read.read(params, Path(folder) / "cache")
    kept, report = check.check(splits, chat.recognise(splits.train))
    assert len(kept.train) + len(kept.valid) == count, report
    return path.stat().st_size / 2**20

run(10_000, sys.argv[1])
before = anonymous()
threading.Thread(target=watch, daemon=True).start()
size = run(300_000, sys.argv[1])
print(json.dumps({"grown": highest - before, "file": size}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert measured["file"] > 150
    assert measured["grown"] < 60
