"""Rows about pictures: which column holds what, where pictures stand in texts, and what is told of bad rows."""

import json
from types import SimpleNamespace

import pytest
from PIL import Image

from nbtrain.data import albums, check, pictured
from nbtrain.errors import DataError

SOURCE = {
    "train_split": "train", "valid_split": None, "valid_fraction": 0, "max_samples": None, "column_mapping": None,
    "on_bad_rows": "stop", "seed": 1, "token": None, "room": "vlm",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Two pictures beside a table of rows, which is written when its rows are given."""
    (tmp_path / "images").mkdir()
    for at in range(3):
        Image.new("RGB", (8 + at, 8), (at * 80, 0, 0)).save(tmp_path / "images" / f"{at}.png")

    def write(rows, trainer="vqa", given=None):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        splits = albums.pictures(SimpleNamespace(data_path=str(path), **SOURCE), tmp_path / "cache")
        return splits, pictured.recognise(splits.train, trainer, given=given or {}, asked="Describe it.")

    return write


def read(found):
    splits, form = found
    return [form.read(row) for row in splits.train]


def test_a_question_stands_behind_its_pictures_whose_paths_are_whole(folder, tmp_path):
    rows = [{"images": ["images/0.png", "images/1.png"], "question": "Which is darker?", "answer": "the first"}]
    (talk,) = read(folder(rows))
    assert talk.pictures == tuple(str(tmp_path / "images" / f"{at}.png") for at in range(2))
    assert [message["role"] for message in talk.messages] == ["user", "assistant"]
    assert talk.messages[0]["content"] == "<image><image>Which is darker?"
    assert (talk.question, talk.answer, talk.references) == ("Which is darker?", "the first", ("the first",))


def test_the_answer_that_most_people_gave_is_learnt_and_all_are_right(folder):
    answers = [{"answer": "red"}, {"answer": "dark red"}, {"answer": "red"}]
    (talk,) = read(folder([{"image": "images/0.png", "question": "Colour?", "answers": answers}]))
    assert talk.answer == "red" and talk.references == ("red", "dark red")
    (number,) = read(folder([{"image": "images/0.png", "question": "How many?", "answer": 3}]))
    assert number.answer == "3"


CHATS = {
    "parts with places": [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A card."}]},
    ],
    "LLaVA's": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A card."}],
    "no places": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A card."}],
}


@pytest.mark.parametrize("messages", CHATS.values(), ids=CHATS)
def test_chats_are_read_however_they_hold_their_pictures(folder, messages):
    (talk,) = read(folder([{"image": "images/2.png", "messages": messages}]))
    assert pictured.parts(talk.messages[0]["content"]) == [{"type": "image"}, {"type": "text", "text": "What?"}]
    assert (talk.question, talk.answer) == ("What?", "A card.")


def test_a_part_of_a_chat_may_hold_its_picture(folder, tmp_path):
    messages = [
        {"role": "user", "content": [{"type": "image", "path": "images/1.png"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Dark."}]},
        {"role": "user", "content": [{"type": "text", "text": "And this?"}, {"type": "image", "path": "images/2.png"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Red."}]},
    ]
    (talk,) = read(folder([{"messages": messages}]))
    assert talk.pictures == tuple(str(tmp_path / "images" / f"{at}.png") for at in (1, 2))
    assert talk.messages[2]["content"] == "And this?<image>" and talk.answer == "Red."


def test_captions_need_no_question(folder):
    rows = [{"image": "images/0.png", "caption": "A square.", "question": "What?", "answer": "no"}]
    (talk,) = read(folder(rows, trainer="captioning"))
    assert (talk.question, talk.answer) == ("Describe it.", "A square.")


def test_questions_are_preferred_to_chats_and_a_named_column_to_both(folder):
    rows = [{"image": "images/0.png", "question": "Q?", "answer": "A.", "messages": CHATS["no places"]}]
    assert read(folder(rows))[0].question == "Q?"
    assert read(folder(rows, given={"messages": "messages"}))[0].question == "What?"


def test_a_missing_column_is_told_with_its_flag(folder):
    with pytest.raises(DataError, match="no column for the prompt and the text; there are image, other") as told:
        folder([{"image": "images/0.png", "other": "x"}])
    assert told.value.fix.startswith("Name it: --prompt-text-column, --text-column")
    with pytest.raises(DataError) as told:
        folder([{"image": "images/0.png", "text": "x"}])
    assert "--trainer captioning" in told.value.fix


FAULTS = {
    "there is no picture": {"image": "images/9.png", "question": "Q?", "answer": "A."},
    "broken.png is damaged or cut off": {"image": "images/broken.png", "question": "Q?", "answer": "A."},
    "nothing there": {"image": "images/0.png", "question": "Q?", "answer": None},
    "empty text": {"image": "images/0.png", "question": " ", "answer": "A."},
    "2 places for pictures, and 1 pictures": {"image": "images/0.png", "question": "<image><image>?", "answer": "A."},
    "<image> in an answer": {"image": "images/0.png", "question": "Q?", "answer": "<image>"},
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_row_that_cannot_be_used_is_told_with_its_line(folder, tmp_path, said):
    file = tmp_path / "images" / "broken.png"
    Image.effect_noise((64, 64), 60).save(file)
    file.write_bytes(file.read_bytes()[:1000])
    splits, form = folder([{"image": "images/1.png", "question": "Q?", "answer": "A."}, FAULTS[said]])
    with pytest.raises(DataError, match="1 of 2 rows cannot be used") as told:
        check.check(splits, form)
    assert "rows.jsonl line 2" in told.value.where and said in told.value.where


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "user", "content": "What?"}], "no turn of the assistant"),
        ([{"role": "user", "content": "<image><image>"}, {"role": "assistant", "content": "A."}], "2 places"),
        ([{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "<image>"}], "2 places"),
        ("nothing", "a list of messages is expected"),
    ],
)
def test_a_chat_that_cannot_be_used_says_why(folder, messages, said):
    splits, form = folder([{"image": "images/0.png", "messages": messages}], given={"messages": "messages"})
    with pytest.raises(DataError, match=said) as told:
        form.content(splits.train[0])
    assert told.value.where == "messages"


def test_the_notes_tell_what_saying_the_same_each_time_is_worth(folder):
    rows = [{"image": "images/0.png", "question": "Q?", "answer": answer} for answer in ("Yes", "yes", "no", "maybe")]
    splits, form = folder(rows)
    check.check(splits, form)
    assert form.notes() == ["Whoever always says 'yes' is right in 50.0% of all rows."]


def test_a_new_row_waits_for_its_answer():
    talk = pictured.waiting({"photo": "a.png", "ask": "Who?"}, "vqa", {"image": "photo", "prompt": "ask"}, "")
    assert (talk.pictures, talk.question) == (("a.png",), "Who?")
    chat = pictured.waiting({"image": "a.png", "messages": CHATS["no places"][:1]}, "vqa", {}, "")
    assert chat.messages[0]["content"] == "<image>What?"
    assert pictured.waiting({"image": "a.png"}, "captioning", {}, "Describe it.").question == "Describe it."
    with pytest.raises(DataError, match="has no prompt; it has image"):
        pictured.waiting({"image": "a.png"}, "vqa", {}, "")
