"""What is held of a stream: the same few rows however many there are, and fewer where they are long."""

import json

import pytest

from nbtrain import trainers
from nbtrain.data import chat, check, read, stream, survey


@pytest.fixture
def looked(tmp_path):
    """A stream of so many rows of so many letters, judged."""

    def go(count, letters=8, **given):
        path = tmp_path / f"{count}-{letters}.jsonl"
        text = "".join(json.dumps({"prompt": f"{at}", "response": "x" * letters}) + "\n" for at in range(count))
        path.write_text(text)
        params = trainers.load("llm").Params(**{"trainer": "sft", "data_path": str(path), "stream": True} | given)
        splits = read.read(params, tmp_path)
        return check.check(splits, chat.recognise(splits.train, None, {}))[0]

    return go


def test_first_rows_and_held_out_rows_are_no_more_where_there_are_more(looked):
    few, many = looked(12_000), looked(40_000)
    assert len(few.valid) == len(many.valid) == 1_000
    assert 1_700 < len(few.train.head) < len(many.train.head) < 2_000
    assert many.train.count == len(many.train) == 39_000
    windows = [len(list(rows)) for _, rows in many.train.windows(0)]
    assert len(windows) == 4 and sum(windows) == 39_000


def test_of_long_rows_fewer_are_held_at_once(looked, monkeypatch):
    for module, name in ((survey, "_CHARACTERS"), (survey, "_HELD_CHARACTERS"), (stream, "_CHARACTERS")):
        monkeypatch.setattr(module, name, 20_000)
    splits = looked(400, letters=1_000)
    assert len(splits.valid) == 19 and len(splits.train.head) <= 20
    windows = [len(list(rows)) for _, rows in splits.train.windows(0)]
    assert max(windows) <= 20 and sum(windows) == 381


def test_each_row_is_as_likely_to_be_held_out_as_another():
    drawn = [0] * 50
    for seed in range(400):
        chance, lot = survey.random.Random(seed), survey._Lot(5)
        for at in range(50):
            lot.offer(chance.random(), at, 0, at, 1, {"text": "a"})
        for row in lot.rows:
            drawn[row[1]] += 1
    assert sum(drawn) == 2_000 and min(drawn) > 15 and max(drawn) < 75  # each 40, give or take 6
