"""Rows that are read as they are needed: each once a pass, in an order that can be gone on from."""

import csv
import gzip
import json

import datasets
import pytest

from nbtrain import trainers
from nbtrain.data import chat, check, read, stream, survey
from nbtrain.errors import DataError

ROWS = [{"prompt": f"What is {number}?", "response": f"It is {number + 1}."} for number in range(60)]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Windows and first looks of so few rows that a small file has several."""
    monkeypatch.setattr(stream, "WINDOW", 7)
    monkeypatch.setattr(survey, "HEAD", 20)


@pytest.fixture
def write(tmp_path):
    """Rows as a folder of shards of any format; its path."""

    def go(form="jsonl", rows=ROWS, shards=3):
        folder = tmp_path / f"{form}-{shards}"
        folder.mkdir()
        for at in range(shards):
            some = rows[at * len(rows) // shards : (at + 1) * len(rows) // shards]
            WRITERS[form](folder / f"part-{at}.{form}", some)
        return folder

    return go


def lines(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.write(text)


def commas(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


WRITERS = {
    "jsonl": lines,
    "json.gz": lines,
    "json": lambda path, rows: path.write_text(json.dumps(rows)),
    "csv": commas,
    "parquet": lambda path, rows: datasets.Dataset.from_list(rows).to_parquet(path),
}


@pytest.fixture
def opened(tmp_path):
    """A stream, judged; and what the check found."""

    def go(path, **given):
        params = trainers.load("llm").Params(**({"trainer": "sft", "data_path": str(path), "stream": True} | given))
        splits = read.read(params, tmp_path / "cache")
        assert not (tmp_path / "cache").exists(), "nothing of the data is written"
        form = chat.recognise(splits.train, params.column_mapping, {})
        return check.check(splits, form, on_bad_rows=params.on_bad_rows)

    return go


def drawn(rows, number=0, state=None):
    return [row["prompt"] for _, some in rows.windows(number, state) for row in some]


def asked(rows):
    return [row["prompt"] for row in rows]


@pytest.mark.parametrize("form", WRITERS)
def test_each_row_is_drawn_once_a_pass_or_held_out_whatever_the_files_are(form, write, opened):
    splits, report = opened(write(form))
    everything = sorted(asked(ROWS))
    for number in range(2):
        assert sorted(drawn(splits.train, number) + asked(splits.valid)) == everything
    assert report.rows == {"train": 54, "valid": 6} and len(splits.train) == splits.train.count == 54
    assert drawn(splits.train, 0) != drawn(splits.train, 1), "each pass has an order of its own"
    assert drawn(splits.train, 0) == drawn(splits.train, 0)
    assert asked(splits.train) == [prompt for prompt in asked(ROWS) if prompt not in asked(splits.valid)]


def test_what_is_held_out_is_chosen_by_the_seed_from_all_rows(write, opened):
    path = write()
    one, same, other = (asked(opened(path, seed=seed)[0].valid) for seed in (1, 1, 2))
    assert one == same != other
    numbers = [int(prompt[8:-1]) for prompt in asked(opened(path, valid_fraction=0.5)[0].valid)]
    assert len(numbers) == 30 and numbers == sorted(numbers) and min(numbers) < 20 and max(numbers) >= 40


@pytest.mark.parametrize("given", [0, 3, 7, 25, 54])
def test_a_pass_goes_on_behind_any_row_as_if_it_had_never_ended(given, write, opened):
    rows = opened(write())[0].train
    whole, before = drawn(rows), 0
    for state, some in rows.windows(0):  # noqa: B007  that of the window which holds the row
        count = len(list(some))
        if before + count > given or before + count == len(whole):
            break
        before += count
    state = json.loads(json.dumps(state))  # as it stands in a checkpoint
    assert drawn(rows, 0, state)[given - before :] == whole[given:]


def test_a_buffer_of_datasets_forgets_its_rows_when_a_state_is_loaded():
    def shuffled():
        rows = datasets.Dataset.from_list([{"at": at} for at in range(40)]).to_iterable_dataset()
        return rows.shuffle(0, buffer_size=8)

    begun, again = shuffled(), shuffled()
    before = [row["at"] for row, _ in zip(begun, range(6), strict=False)]
    again.load_state_dict(begun.state_dict())
    assert len({*before, *(row["at"] for row in again)}) < 40, "once it does not, windows are needless"


def test_a_place_is_that_of_the_row_in_its_file(write, opened):
    splits, _ = opened(write(), valid_fraction=0.3)
    for _, some in splits.train.windows(1):
        for row in some:
            number, place = splits.places["train"].find(row[""])
            asked_for = int(row["prompt"][8:-1])
            assert (number, place) == (asked_for % 20 + 1, f"part-{asked_for // 20}.jsonl line {number}")


def test_first_rows_only_are_used_where_samples_are_counted(write, opened):
    splits, report = opened(write(), max_samples=25)
    assert sum(report.rows.values()) == 25
    assert sorted(drawn(splits.train, 1) + asked(splits.valid)) == sorted(asked(ROWS[:25]))


def test_a_split_that_is_named_is_evaluated_on(write, opened, tmp_path):
    folder = write(shards=1)
    lines(folder / "validation.jsonl", [{"prompt": "a?", "response": "b"}, ROWS[5]])
    splits, report = opened(folder)
    assert asked(splits.valid) == ["a?", ROWS[5]["prompt"]] and len(drawn(splits.train)) == 60
    assert report.leaked == (6,) and "6" in report.warnings()[-1]


def test_a_data_set_that_was_saved_is_streamed(tmp_path, opened):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    splits, _ = opened(tmp_path / "saved")
    assert sorted(drawn(splits.train) + asked(splits.valid)) == sorted(asked(ROWS))


def spoilt(at, row):
    return [*ROWS[:at], row, *ROWS[at + 1 :]]


def test_faulty_rows_are_those_that_mapped_rows_have_and_each_is_trained_or_listed(write, opened, tmp_path):
    folder = write(rows=spoilt(33, {"prompt": "No answer?", "other": 1}))
    with (folder / "part-1.jsonl").open("a") as file:
        file.write('{"prompt": "torn\n')
    splits, report = opened(folder, on_bad_rows="skip", valid_fraction=0)
    params = trainers.load("llm").Params(trainer="sft", data_path=str(folder), valid_fraction=0)
    mapped = read.read(params, tmp_path / "mapped")
    _, same = check.check(mapped, chat.recognise(mapped.train, None, {}), on_bad_rows="skip")
    assert list(map(str, report.faults)) == list(map(str, same.faults)) and report.rows == same.rows
    assert str(report.faults[0]) == "part-1.jsonl line 14, column response: nothing there (null)"
    assert len(drawn(splits.train)) + len(report.faults) == 61
    with pytest.raises(DataError, match="2 of 61 rows"):
        opened(folder, valid_fraction=0)


def test_a_file_that_breaks_off_is_named_with_its_last_row(write, opened):
    folder = write("json.gz")
    path = folder / "part-2.json.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"part-2.json.gz breaks off") as caught:
        opened(folder)
    assert "part-2.json.gz, after row" in caught.value.where


def test_a_file_that_is_another_one_than_at_the_first_look_ends_the_run(write, opened):
    folder = write()
    rows = opened(folder)[0].train
    lines(folder / "part-1.jsonl", ROWS[20:35])
    with pytest.raises(DataError, match="part-1.jsonl has 15 rows now, and had 20"):
        drawn(rows)


def test_a_row_that_was_spoilt_since_it_was_judged_ends_the_run(write, opened):
    folder = write()
    rows = opened(folder)[0].train
    lines(folder / "part-2.jsonl", [*ROWS[40:59], {"prompt": "", "response": "x"}])
    with pytest.raises(DataError, match="part-2.jsonl line 20, column prompt: empty text") as caught:
        drawn(rows)
    assert "resume" in caught.value.fix


def tokens_of(rows, form, tokenizer, tmp_path, **given):
    how = {"template": chat.template_for(tokenizer, "chatml"), "max_length": 40, "cache": tmp_path} | given
    return chat.tokenised(rows, form, tokenizer, **how)


@pytest.mark.parametrize("given", [{}, {"response_only": False, "split_long": True, "max_length": 16}])
def test_rows_of_a_stream_are_the_same_tokens_as_mapped_ones(given, write, opened, tokenizer, tmp_path):
    folder = write()
    splits, report = opened(folder, valid_fraction=0)
    params = trainers.load("llm").Params(trainer="sft", data_path=str(folder), valid_fraction=0)
    mapped = tokens_of(read.read(params, tmp_path).train, report.form, tokenizer, tmp_path, **given)
    rows = tokens_of(splits.train, report.form, tokenizer, tmp_path / "none", **given)
    found = [row for _, some in rows.windows(0) for row in some]
    assert found[0].keys() == {"input_ids", "labels", "length", "cut", "row"} == set(mapped.column_names)
    assert sorted(found, key=str) == sorted(mapped, key=str) and not (tmp_path / "none").exists()


def test_a_late_row_that_the_template_refuses_is_left_out_and_told_or_ends_the_run(write, opened, tokenizer, tmp_path):
    folder, told = write(rows=spoilt(50, {"prompt": "<|im_end|>?", "response": "No."})), []
    splits, report = opened(folder, valid_fraction=0)
    rows = tokens_of(splits.train, report.form, tokenizer, tmp_path, on_bad_rows="skip", warn=told.append)
    for number in range(2):
        assert sum(len(list(some)) for _, some in rows.windows(number)) == 59
    assert len(told) == 1 and told[0].startswith("Left out: row 51: '<|im_end|>' stands in a message")
    with pytest.raises(DataError, match="Row 51 cannot be used"):
        [list(some) for _, some in tokens_of(splits.train, report.form, tokenizer, tmp_path).windows(0)]


# rows that are not looked at before

LATE = {"max_steps": 5, "judge_first": False}


def test_rows_that_are_judged_as_they_come_are_left_out_and_told_or_end_the_run(write, opened):
    folder, told = write(rows=spoilt(50, {"prompt": "No answer?"})), []
    splits, report = opened(folder, on_bad_rows="skip", **LATE)
    assert splits.train.count is None and len(splits.train) == 18 and report.rows == {"train": 18, "valid": 2}
    kept = drawn(splits.train.telling(told.append))
    assert sorted(kept + asked(splits.valid)) == sorted(asked(ROWS[:50] + ROWS[51:]))
    assert told == ["Left out: part-2.jsonl line 11, column response: nothing there (null)."]
    with pytest.raises(DataError, match="part-2.jsonl line 11"):
        drawn(opened(folder, **LATE)[0].train)


def test_many_faulty_rows_are_counted_and_not_told_one_by_one(write, opened):
    folder, told = write(rows=[*ROWS[:20], *[{"prompt": f"{at}?"} for at in range(300)]], shards=1), []
    drawn(opened(folder, on_bad_rows="skip", **LATE)[0].train.telling(told.append))
    assert len(told) == 102 and told[-1].startswith("Left out (256 rows by now): part-0.jsonl line ")


def test_a_file_that_breaks_off_late_is_mended_and_the_pass_goes_on_where_it_was(write, opened):
    folder = write("json.gz")
    whole = drawn(opened(folder, valid_fraction=0, **LATE)[0].train)
    path, begun = folder / "part-2.json.gz", []
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    rows = opened(folder, valid_fraction=0, **LATE)[0].train
    with pytest.raises(DataError, match=r"part-2.json.gz breaks off") as caught:
        begun.extend((state, asked(some)) for state, some in rows.windows(0))
    assert "part-2.json.gz, after row" in caught.value.where
    path.write_bytes(good)
    before = [prompt for _, some in begun[:-1] for prompt in some]
    assert before and before + drawn(rows, 0, json.loads(json.dumps(begun[-1][0]))) == whole


@pytest.fixture
def hub(monkeypatch, write):
    """A data set of the hub, read from there: a folder of parquet files stands for it."""
    real, folder = datasets.load_dataset, write("parquet")

    def load(name, config, *, token=None, streaming=False):
        assert (name, config, streaming) == ("some/rows", None, True)
        return real("parquet", data_files={"train": str(folder / "*.parquet")}, streaming=True)

    monkeypatch.setattr(datasets, "load_dataset", load)


def test_a_data_set_of_the_hub_is_read_from_there_and_gone_on_with(hub, opened):
    splits, _ = opened("some/rows", max_steps=5)
    rows = splits.train
    assert not rows.whole and len(splits.valid) == 2
    whole = drawn(rows)
    assert sorted(whole + asked(splits.valid)) == sorted(asked(ROWS))
    states = [(json.loads(json.dumps(state)), len(list(some))) for state, some in rows.windows(0)]
    at = sum(count for _, count in states[:4])
    assert drawn(rows, 0, states[4][0]) == whole[at:]


def test_a_stream_that_nobody_counts_needs_steps(hub, opened):
    with pytest.raises(DataError, match="needs --max-steps"):
        opened("some/rows")


def test_an_archive_is_not_unpacked_behind_ones_back(tmp_path, opened):
    (tmp_path / "rows.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be streamed"):
        opened(tmp_path / "rows.zip")
