"""Prompts come in many shapes, and each becomes a conversation that waits for an answer."""

import pytest
from datasets import Dataset

from nbtrain.data import prompts
from nbtrain.errors import DataError


def only(row, **given):
    dataset = Dataset.from_list([row])
    form = prompts.recognise(dataset, **given)
    return form, form.messages(dataset[0])


QUESTION = [{"role": "user", "content": "Why?"}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "answer": "4", "solution": "2 + 2"},
        {"question": "Why?", "context": "none of it"},
        {"text": "Why?"},
        {"prompt": QUESTION},
        {"messages": QUESTION},
        {"messages": [*QUESTION, {"role": "assistant", "content": "Because."}]},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
    ],
)
def test_each_shape_becomes_a_conversation_that_waits_for_an_answer(row):
    assert only(row)[1] == QUESTION


def test_the_input_of_an_instruction_belongs_to_the_prompt():
    assert only({"instruction": "Translate.", "input": "Haus"})[1][0]["content"] == "Translate.\n\nHaus"
    assert only({"instruction": "Sing.", "input": ""})[1][0]["content"] == "Sing."


def test_a_system_prompt_comes_first():
    turns = only({"system": "Be short.", "prompt": "Why?"})[1]
    assert turns == [{"role": "system", "content": "Be short."}, *QUESTION]


def test_a_column_can_be_named():
    assert only({"a": "no", "b": "Why?"}, mapping={"prompt": "b", "answer": "a"})[1] == QUESTION
    assert only({"prompt": "no", "b": "Why?"}, named={"prompt": "b"})[1] == QUESTION


def test_columns_without_prompts_are_told():
    with pytest.raises(DataError, match="The columns a, b hold no prompts"):
        only({"a": "x", "b": "y"})
    with pytest.raises(DataError, match="There is no column 'question'"):
        only({"prompt": "x"}, named={"prompt": "question"})


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": None, "x": 1}, "null"),
        ({"messages": [{"role": "assistant", "content": "Because."}]}, "nothing to answer"),
    ],
)
def test_a_row_that_asks_nothing_is_a_fault(row, why):
    dataset = Dataset.from_list([row])
    form = prompts.Prompts({name: name for name in ("prompt", "messages") if name in row})
    with pytest.raises(DataError, match=why) as caught:
        form.content(dataset[0])
    assert caught.value.where in row


def test_the_form_tells_how_it_reads():
    assert str(only({"question": "Why?"})[0]) == "prompts: prompt from question"
    assert only({"prompt": 7})[0].notes() == ["Numbers are read as text: prompt."]
