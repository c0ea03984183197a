"""Forms of chat data: recognised by their columns, turned into messages."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbtrain.data import chat, columns
from nbtrain.errors import DataError

TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def _dataset(*rows):
    import datasets

    return datasets.Dataset.from_list(list(rows))


def _read(row, **given):
    form = chat.recognise(_dataset(row), **given)
    return form.name, chat.messages(_dataset(row)[0], form)


PAIRS = [
    ("question", "answer"), ("prompt", "response"), ("prompt", "completion"), ("instruction", "response"),
    ("instruction", "output"), ("query", "answer"), ("input", "output"), ("problem", "solution"), ("user", "assistant"),
    ("Question", "Answer"), ("source", "target"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "said"), PAIRS)
def test_pairs_of_columns_are_a_question_and_its_answer(asked, said):
    assert _read({"id": 3, asked: "q", said: "a"}) == ("pair", TALK)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": TALK}, "messages"),
        ({"chat": TALK, "text": "other"}, "messages"),
        ({"messages": json.dumps(TALK)}, "messages"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "sharegpt"),
        ({"conversation": [{"role": "User", "content": "q"}, {"role": "bot", "content": "a"}]}, "messages"),
        ({"instruction": "q", "input": "", "output": "a"}, "alpaca"),
        ({"instruction": "q", "input": None, "output": "a", "text": "all of it"}, "alpaca"),
        ({"prompt": TALK[:1], "completion": TALK[1:]}, "pair"),
    ],
)
def test_each_form_gives_the_same_messages(row, name):
    assert _read(row) == (name, TALK)


def test_the_input_of_alpaca_follows_its_instruction():
    _, messages = _read({"instruction": "add", "input": "1 and 2", "output": "3"})
    assert messages[0]["content"] == "add\n\n1 and 2"
    assert _read({"instruction": "q", "context": "c", "response": "a"})[1][0]["content"] == "q\n\nc"


def test_a_system_prompt_goes_first_and_an_empty_one_is_none():
    system = {"role": "system", "content": "be brief"}
    assert _read({"system_prompt": "be brief", "question": "q", "response": "a"}) == ("pair", [system, *TALK])
    assert _read({"system_prompt": "", "question": "q", "response": "a"}) == ("pair", TALK)
    assert _read({"messages": [system, *TALK]})[1] == [system, *TALK]
    assert _read({"messages": [{"role": "system", "content": ""}, *TALK]})[1] == TALK


def test_parts_of_text_are_joined_and_tools_are_let_through():
    parts = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in TALK]
    assert _read({"messages": parts})[1] == TALK
    calls = [{"function": {"name": "add", "arguments": "{}"}}]
    turns = [
        TALK[0],
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "3", "tool_calls": None},
        {"role": "assistant", "content": "a", "tool_calls": None},
    ]
    found = _read({"messages": turns})[1]
    assert [turn["role"] for turn in found] == ["user", "assistant", "tool", "assistant"]
    assert found[1]["tool_calls"] == calls


def test_text_is_recognised_last():
    form = chat.recognise(_dataset({"text": "t", "label": 1}))
    assert (form.name, form.columns) == ("text", {"text": "text"})
    assert chat.recognise(_dataset({"text": "t", "prompt": "p", "response": "r"})).name == "pair"


def test_the_users_word_goes_before_what_names_suggest():
    data = _dataset({"text": "t", "prompt": "p", "response": "r", "notes": "n"})
    assert chat.recognise(data, {"text": "notes"}) == chat.Form("text", {"text": "notes"})
    assert chat.recognise(data, {"response": "notes"}).columns == {"prompt": "prompt", "response": "notes"}
    assert chat.recognise(data, {"text": "notes"}, {"text": "text"}).columns == {"text": "text"}
    assert chat.recognise(_dataset({"my chat": TALK}), {"messages": "my chat"}).name == "messages"
    assert chat.recognise(_dataset({"my chat": TALK}), None, {"text": "my chat"}).name == "messages"


def test_a_missing_column_names_those_there_are_and_the_nearest():
    with pytest.raises(DataError, match="no column 'bdy' for text; there are body, title. Did you mean body?"):
        chat.recognise(_dataset({"body": "x", "title": "y"}), {"text": "bdy"})
    with pytest.raises(DataError, match="names the role 'txt'.*Did you mean text?"):
        chat.recognise(_dataset({"body": "x"}), {"txt": "body"})
    with pytest.raises(DataError, match="The columns foo, bar are no known form"):
        chat.recognise(_dataset({"foo": "x", "bar": "y"}))
    with pytest.raises(DataError, match="Column foo holds no list of messages"):
        chat.recognise(_dataset({"foo": "x"}), {"messages": "foo"})


def test_a_column_plays_one_role_only():
    found = columns.find(["Input", "output"], {"a": ("input",), "b": ("input", "output")})
    assert found == {"a": "Input", "b": "output"}


def test_columns_that_hold_numbers_throughout_are_read_as_text():
    data = _dataset({"question": "q", "answer": 4}, {"question": "p", "answer": 5})
    form = chat.recognise(data)
    assert form.numbers == {"response"}
    assert chat.messages(data[0], form)[1]["content"] == "4"


SAID = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)


@given(st.lists(SAID, min_size=2, max_size=8).filter(lambda said: len(said) % 2 == 0))
def test_any_conversation_reads_the_same_in_every_form(said):
    talk = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
    other = [{"from": ("human", "gpt")[at % 2], "value": text} for at, text in enumerate(said)]
    form = chat.Form("messages", {"messages": "m"})
    assert chat.messages({"m": talk}, form) == talk
    assert chat.messages({"m": json.dumps(talk)}, form) == talk
    assert chat.messages({"m": other}, chat.Form("sharegpt", {"messages": "m"})) == talk
    pair = chat.Form("pair", {"prompt": "p", "response": "r"})
    assert chat.messages({"p": talk[:-1], "r": talk[-1]["content"]}, pair) == talk
