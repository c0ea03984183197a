"""Damaged and strange data: each ends in words that say what, where and what to do, or is read as it is meant."""

import gzip
import json
import os

import pytest

from nbtrain.data import chat, check
from nbtrain.errors import DataError

GOOD = '{"prompt": "p%d", "response": "r%d"}\n'
LINES = "".join(GOOD % (n, n) for n in range(6))


@pytest.fixture
def write(tmp_path):
    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return path

    return make


@pytest.fixture
def checked(rows):
    """Read, recognise and check a source."""

    def make(source, on_bad_rows="stop", **values):
        splits = rows(source, **values)
        return check.check(splits, chat.recognise(splits.train), on_bad_rows=on_bad_rows)

    return make


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jsonl", "", "the file is empty"),
        ("blank.txt", "\n \n\n", "has no rows"),
        ("header.csv", "prompt,response\n", "has no rows"),
        ("nothing.json", "[]", "has no rows"),
        ("twins.csv", "text,label,text\na,b,c\n", "found more than once: 'text'"),
        ("quote.csv", 'prompt,response\na,b\nc,"never\nclosed\n', "quote that opens in line 3 is never closed"),
        ("broken.json", '{"data": [1, 2', "is not JSON"),
        ("array.json", '[{"a": 1}, {"a": ', "breaks off or is damaged after row 1"),
        ("cut.parquet", b"PAR1 and then nothing", "damaged, cut off, or not what its name says"),
        ("cut.arrow", b"ARROW1\0\0 and no more", "damaged, cut off, or not what its name says"),
        ("cut.jsonl.gz", gzip.compress(LINES.encode() * 999)[:-30], "breaks off"),
        ("no.jsonl.gz", b"\x1f\x8b but not gzip", "cannot be read"),
        ("fake.xlsx", "text", "cannot be read"),
        ("picture.png", b"\x89PNG", "what can be read ends in"),
        ("binary.jsonl", bytes(range(128, 256)) + b"\n", "not one row can be read"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_where(name, content, said, write, rows):
    with pytest.raises(DataError) as caught:
        rows(write(name, content))
    assert said in str(caught.value)
    assert caught.value.fix or "ends in" in said
    assert "Traceback" not in str(caught.value)


def test_a_file_without_permission_is_told_in_words(write, rows):
    path = write("a.jsonl", LINES)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads every file")
    with pytest.raises(DataError, match="cannot be read"):
        rows(path)


def test_a_truncated_parquet_is_told_in_words(tmp_path, rows):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"text": ["a" * 1_000] * 100}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"b\.parquet cannot be read: it is damaged, cut off"):
        rows(tmp_path / "b.parquet")


def test_a_wrong_split_name_lists_those_there_are(tmp_path, write, rows):
    with pytest.raises(DataError, match="no split 'validation'; it has train"):
        rows(write("a.jsonl", LINES), valid_split="validation")
    with pytest.raises(DataError, match="no split 'trian'; it has train. Did you mean train?"):
        rows(write("a.jsonl", LINES), train_split="trian")


def test_the_same_split_twice_is_refused(write, rows):
    with pytest.raises(DataError, match="--train-split and --valid-split are both 'train'"):
        rows(write("a.jsonl", LINES), valid_split="train")


def test_an_empty_split_is_told(tmp_path, rows):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.jsonl").write_text(LINES)
    (tmp_path / "d" / "valid.jsonl").write_text("")
    with pytest.raises(DataError, match=r"valid\.jsonl has no rows"):
        rows(tmp_path / "d")


BAD_LINES = {
    "one bad line": ('{"prompt": "p", "response": \n', "not JSON"),
    "a list": ("[1, 2]\n", "found list"),
    "a NUL byte": ('{"prompt": "p\0", "response": "r"}\n', "not JSON"),
    "an escaped NUL": ('{"prompt": "p\\u0000", "response": "r"}\n', "a NUL byte"),
    "an escaped surrogate": ('{"prompt": "p\\ud800", "response": "r"}\n', "no text"),
    "bytes of another encoding": ('{"prompt": "\udce9t\udce9", "response": "r"}\n', "no text"),
    "null": ('{"prompt": null, "response": "r"}\n', "nothing there"),
    "a missing column": ('{"prompt": "p"}\n', "nothing there"),
    "white space": ('{"prompt": " \\n\\t", "response": "r"}\n', "empty text"),
    "an empty answer": ('{"prompt": "p", "response": ""}\n', "empty text"),
    "a number among texts": ('{"prompt": 5, "response": "r"}\n', "found int"),
    "a list among texts": ('{"prompt": ["p"], "response": "r"}\n', "found list"),
    "true": ('{"prompt": true, "response": "r"}\n', "found bool"),
    "wrong case": ('{"Prompt": "p", "response": "r"}\n', "nothing there"),
    "50 MB in one cell": ('{"prompt": "%s", "response": "r"}\n' % ("x" * 50_000_000), "50,000,000 characters"),
    "nested too deep": ('{"prompt": ' + "[" * 100_000 + "\n", "not JSON"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_by_its_number_or_left_out_and_listed(name, write, checked):
    line, reason = BAD_LINES[name]
    raw = [text.encode("utf-8", "surrogateescape") for text in LINES.splitlines(True)]
    raw.insert(3, line.encode("utf-8", "surrogateescape"))
    source = write("a.jsonl", b"".join(raw))
    with pytest.raises(DataError) as caught:
        checked(source)
    assert caught.value.what == "1 of 7 rows cannot be used."
    assert "a.jsonl line 4" in caught.value.where and reason in caught.value.where
    assert "--on-bad-rows skip" in caught.value.fix
    assert len(str(caught.value)) < 1_000
    kept, report = checked(source, on_bad_rows="skip")
    assert kept.train["prompt"][:] == [f"p{n}" for n in range(6)]
    assert [fault.row for fault in report.faults] == [4]
    assert kept.places["train"].find(3) == (5, "a.jsonl line 5")


def test_rows_of_csv_with_too_many_cells_are_faults(write, checked):
    source = write("a.csv", "prompt,response\na,b\nc,d,e\nf\ng,h\n")
    kept, report = checked(source, on_bad_rows="skip")
    assert kept.train["prompt"][:] == ["a", "g"]
    assert [(fault.row, fault.reason) for fault in report.faults] == [
        (2, "3 cells where the header has 2"),
        (3, "1 cells where the header has 2"),
    ]


def test_a_misquoted_cell_costs_its_row_only(write, checked):
    kept, report = checked(write("a.csv", 'prompt,response\n"a"x,b\nc,d\n'), on_bad_rows="skip")
    assert kept.train["prompt"][:] == ["c"] and report.faults[0].row == 1


def test_all_rows_are_kept_or_listed(write, checked):
    lines = [
        GOOD % (n, n) if n % 3 else "broken\n" if n % 2 else '{"prompt": "", "response": "r"}\n' for n in range(999)
    ]
    kept, report = checked(write("a.jsonl", "".join(lines)), on_bad_rows="skip", valid_fraction=0.1)
    assert len(kept.train) + len(kept.valid) + len(report.faults) == 999
    assert len({fault.row for fault in report.faults}) == 333


def test_nothing_left_after_skipping_is_an_error(write, checked):
    with pytest.raises(DataError, match="2 of 2 rows cannot be used") as caught:
        checked(write("a.jsonl", '{"prompt": "", "response": "a"}\n{"prompt": "b", "response": ""}\n'), "skip")
    assert "No row to train on is left" in caught.value.fix


def test_hostile_text_is_only_text(write, checked):
    hostile = ["\u202eevil", "\x1b[31mred", "<script>alert(1)</script>", "../../etc/passwd", "{0.__class__}", "$(id)"]
    source = write("a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in hostile))
    kept, report = checked(source)
    assert kept.train["text"][:] == hostile and not report.faults


def test_columns_in_another_case_are_found(write, checked):
    _, report = checked(write("a.csv", "Prompt,RESPONSE\na,b\n"))
    assert report.form.columns == {"prompt": "Prompt", "response": "RESPONSE"}


CHATS = {
    "unknown role": ([{"role": "wizard", "content": "x"}], "unknown role 'wizard'"),
    "no role": ([{"content": "x"}], "unknown role None"),
    "not alternating": (["user", "user", "assistant"], "user follows user"),
    "assistant twice": (["user", "assistant", "assistant"], "assistant follows assistant"),
    "starts with the assistant": (["assistant", "user", "assistant"], "starts with assistant"),
    "no assistant": (["user"], "no turn of the assistant"),
    "late system": (["user", "system", "assistant"], "system message that is not the first"),
    "empty list": ([], "found nothing"),
    "null": (None, "found nothing"),
    "a word": ("hello", "found str"),
    "empty content": (
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}],
        "empty text in a message",
    ),
    "null content": ([{"role": "user", "content": None}, {"role": "assistant", "content": "x"}], "nothing there"),
    "content is a number": ([{"role": "user", "content": 3}, {"role": "assistant", "content": "x"}], "found int"),
    "a message that is text": (["plain text"], "found str"),
    "a picture": ([{"role": "user", "content": [{"type": "image"}]}], "parts that are not text"),
}


@pytest.mark.parametrize("name", CHATS)
def test_a_conversation_that_teaches_no_answer_is_a_fault(name, write, checked):
    turns, reason = CHATS[name]
    if isinstance(turns, list) and turns and isinstance(turns[0], str) and turns != ["plain text"]:
        turns = [{"role": role, "content": "x"} for role in turns]
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    lines = [json.dumps(row) for row in (good, {"messages": turns}, good)]
    with pytest.raises(DataError) as caught:
        checked(write("a.jsonl", "\n".join(lines)))
    assert "a.jsonl line 2, column messages" in caught.value.where
    assert reason in caught.value.where
    assert caught.value.what.startswith("1 of 3 rows")
