"""Questions in every form in which they come, and the windows that are read for them."""

import pytest
from datasets import Dataset

from nbtrain.data import spans
from nbtrain.data.spans import Answer, Question, Windows
from nbtrain.errors import DataError
from nbtrain.models import load
from nbtrain.trainers._texts import TINY_TEXT

TEXT = "The tower stands in Paris, near the river. Paris is old."
PARIS = (Answer("Paris", 20),)


def read(row):
    dataset = Dataset.from_list([row])
    return spans.recognise(dataset).read(dataset[0])


@pytest.mark.parametrize(
    "answers",
    [
        {"answers": {"text": ["Paris"], "answer_start": [20]}},
        {"answers": [{"text": "Paris", "answer_start": 20}]},
        {"answers": "{'text': ['Paris'], 'answer_start': [20]}"},
        {"answers": '{"text": ["Paris"], "answer_start": [20]}'},
        {"answer": "Paris", "answer_start": 20},
        {"answer": "Paris", "answer_start": "20"},
        {"answers": {"text": "Paris", "answer_start": 20}},
        {"answer_text": "Paris"},
    ],
    ids=str,
)
def test_answers_come_in_every_form(answers):
    assert read({"context": TEXT, "question": "Where?", **answers}) == Question("Where?", TEXT, PARIS)


@pytest.mark.parametrize(
    "answers",
    [
        {"answers": {"text": [], "answer_start": []}, "is_impossible": True},
        {"answer": ""},
        {"answer": None},
        {"answers": "[]"},
    ],
    ids=str,
)
def test_a_question_may_have_no_answer(answers):
    assert read({"context": TEXT, "question": "Who?", **answers}).answers == ()


def test_several_answers_keep_their_places():
    found = read({"context": TEXT, "question": "Where?", "answers": ["in Paris", "Paris"], "answer_start": [17, 43]})
    assert found.answers == (Answer("in Paris", 17), Answer("Paris", 43))


@pytest.mark.parametrize(
    ("answers", "told", "fix"),
    [
        ({"answer": "Paris", "answer_start": 42}, "at the offset 42 stands ' Pari'", "begins at 43"),
        ({"answer": "Paris", "answer_start": -1}, "at the offset -1", "begins at 20"),
        ({"answer": "Rome", "answer_start": 3}, "not the answer 'Rome'", "does not stand in the context"),
        ({"answer": "paris"}, "'paris' does not stand in the context", "letter by letter"),
        ({"answer": "Paris", "answer_start": "x"}, "is no whole number", "answer_start"),
        ({"answer": "Paris", "is_impossible": "True"}, "marked as without an answer", "Remove the mark"),
        ({"answers": "{'text': array(['Paris'])}"}, "the text of a numpy array", "parquet"),
    ],
    ids=str,
)
def test_an_answer_that_is_not_there_is_told_with_the_fix(answers, told, fix):
    with pytest.raises(DataError) as raised:
        read({"context": TEXT, "question": "Where?", **answers})
    assert told in raised.value.what
    assert fix in raised.value.fix


def test_the_files_of_squad_are_read_as_they_are(tmp_path):
    import json

    from nbtrain.data import json_rows

    asked = [
        {"id": "1", "question": "Where?", "answers": [{"text": "Paris", "answer_start": 20}], "is_impossible": False},
        {"id": "2", "question": "Who?", "answers": [], "is_impossible": True, "plausible_answers": []},
    ]
    articles = [{"title": "Towers", "paragraphs": [{"context": TEXT, "qas": asked}]}, {"title": "Broken"}]
    path = tmp_path / "train-v2.0.json"
    path.write_text(json.dumps({"version": "v2.0", "data": articles}))
    *rows, broken = [row for _, row, _ in json_rows.read_json(path)]
    dataset = Dataset.from_list(rows)
    form = spans.recognise(dataset)
    assert [form.read(row).answers for row in dataset] == [PARIS, ()]
    assert broken.reason.startswith("an article without paragraphs")


def test_a_column_that_is_missing_is_told_with_those_there_are():
    with pytest.raises(DataError, match="no column for question and for answers; there are context"):
        spans.recognise(Dataset.from_list([{"context": "x"}]))


@pytest.fixture(scope="module")
def tokenizer():
    return load.saved_tokenizer(str(TINY_TEXT))


def made(tokenizer, *questions, longest=32, overlap=8):
    columns = spans.windows(tokenizer, questions, Windows(longest, overlap))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_the_first_and_last_token_cover_the_answer(tokenizer):
    (window,) = made(tokenizer, Question("Where?", TEXT, PARIS))
    begin, end = window["offsets"][window["start_positions"]][0], window["offsets"][window["end_positions"]][1]
    assert TEXT[begin:end] == "Paris"


def test_a_long_text_is_read_in_windows_that_overlap_and_cover_it(tokenizer):
    text = " ".join(f"word{number}" for number in range(60))
    windows = made(tokenizer, Question("What?", text, (Answer("word59", text.index("word59")),)))
    assert len(windows) > 3
    assert all(len(window["input_ids"]) <= 32 for window in windows)
    pieces = [[pair for pair in window["offsets"] if pair[0] >= 0] for window in windows]
    assert pieces[0][0][0] == 0 and pieces[-1][-1][1] == len(text)
    assert all(one[-8:] == other[:8] for one, other in zip(pieces[:-1], pieces[1:], strict=True))
    held = [window["start_positions"] != window["blank"] for window in windows]
    assert held[-1] and not any(held[:-3])


def test_an_answer_that_a_window_cuts_is_not_in_it(tokenizer):
    text = " ".join(f"w{number}" for number in range(60))
    (first, *_) = made(tokenizer, Question("What?", text, (Answer(text, 0),)))
    assert (first["start_positions"], first["end_positions"]) == (first["blank"], first["blank"])


def test_a_long_question_loses_its_end(tokenizer):
    (window, *_) = made(tokenizer, Question("why " * 100, TEXT, PARIS))
    assert tokenizer.decode(window["input_ids"]).count("why") == 32 // 4
    assert max(pair[1] for pair in window["offsets"]) == len(TEXT)
