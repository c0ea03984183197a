"""Rows and models that the room for pictures and texts cannot use, and what it says of them."""

import json

import pytest
from PIL import Image

from nbtrain import trainers
from nbtrain.errors import DataError, ModelError
from nbtrain.trainers.vlm import TINY, _models

ROOM = trainers.load("vlm")
FEW = {"batch_size": 8, "max_steps": 1, "max_samples": 48, "generate_rows": 2, "max_target_length": 12}


@pytest.fixture
def good(tmp_path):
    """A picture beside the tables."""
    Image.new("RGB", (20, 20), "red").save(tmp_path / "good.png")


def warned(found):
    return "\n".join(event.message for event in found.events if event.kind == "warned")


def test_bad_rows_are_told_before_a_model_is_opened_or_left_out(in_room, table, good):
    rows = [{"image": "good.png", "question": "Colour?", "answer": "red"} for _ in range(6)]
    rows[1]["image"], rows[4]["answer"] = "none.png", None
    path = table(rows)
    with pytest.raises(DataError, match="2 of 6 rows cannot be used") as told:
        in_room("vlm", data_path=path, model="nobody/none", valid_fraction=0)
    assert "line 2, column image: there is no picture" in told.value.where
    assert "line 5, column answer: nothing there (null)" in told.value.where
    found = in_room("vlm", **FEW, data_path=path, valid_fraction=0, on_bad_rows="skip")
    assert found.losses and "2 rows cannot be used and are left out" in warned(found)


def test_a_text_that_the_tokenizer_takes_for_a_mark_is_told_by_row(in_room, table, good):
    rows = [{"image": "good.png", "question": f"Colour? {mark}", "answer": "red"} for mark in ("", "<|im_end|>")]
    with pytest.raises(DataError, match="1 of 2 rows cannot be used") as told:
        in_room("vlm", **FEW, data_path=table(rows), valid_fraction=0)
    assert "line 2" in told.value.where and "'<|im_end|>' stands in a message" in told.value.where


def test_long_texts_lose_their_end_and_it_is_told(in_room):
    found = in_room("vlm", **{**FEW, "max_seq_length": 4, "trainer": "captioning"})
    assert "A text of the assistant loses its end in" in warned(found)
    assert "A text of the user loses its end in 48 rows (--max-seq-length)" in warned(found)


def test_check_tells_rows_columns_and_what_is_easy(tmp_path):
    lines = ROOM.check(ROOM.Params(max_samples=40), tmp_path)
    assert any("Read as pictures with texts: image, prompt from question, text from answer" in line for line in lines)
    assert any(line.startswith("Whoever always says") for line in lines)


def test_a_model_that_does_not_write_about_pictures_is_refused(in_room, tmp_path):
    from transformers import CLIPConfig

    with pytest.raises(ModelError, match="does not write about pictures: it is a LlamaForCausalLM"):
        in_room("vlm", **FEW, model=str(TINY.parent / "llm"))
    CLIPConfig().save_pretrained(tmp_path / "clip")
    with pytest.raises(ModelError, match="does not write about pictures") as told:
        in_room("vlm", **FEW, model=str(tmp_path / "clip"))
    assert "compares pictures with texts" in told.value.why


def test_a_prompt_for_captions_is_none_for_questions():
    assert ROOM.Params(caption_prompt="Tell.").notices == [
        "caption_prompt only applies to CAPTIONING trainer, will be ignored"
    ]
    params, _ = ROOM.Params.read(json.loads('{"trainer": "captioning", "caption_prompt": "Tell."}'))
    assert _models.usual_prompt(params, "blip") == "Tell."
    assert _models.usual_prompt(ROOM.Params(trainer="captioning"), "blip") == ""
