"""Preferences: recognised in every shape, made into pairs, judged before a model is loaded."""

import json

import pytest
from datasets import Dataset

from nbtrain.data import check, preferences
from nbtrain.errors import DataError

ASK = [{"role": "user", "content": "Why?"}]
YES, NO = [{"role": "assistant", "content": "Because."}], [{"role": "assistant", "content": "No idea."}]
PAIR = (ASK, YES, NO)
TALK = [*ASK, {"role": "assistant", "content": "Hm."}, {"role": "user", "content": "Well?"}]


def form_of(row, **given):
    return preferences.recognise(Dataset.from_list([row]), **given)


def read(row, **given):
    form = form_of(row, **given)
    return form.name, tuple(form.pair(row))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "Why?", "chosen": "Because.", "rejected": "No idea."}, "answers"),
        ({"Question": "Why?", "id": 3, "Chosen": "Because.", "REJECTED": "No idea."}, "answers"),
        ({"prompt": ASK, "chosen": YES, "rejected": NO}, "answers"),
        ({"prompt": ASK, "chosen": "Because.", "rejected": NO}, "answers"),
        ({"prompt": ASK, "chosen": ASK + YES, "rejected": ASK + NO}, "conversations"),
        ({"prompt": "why", "chosen": ASK + YES, "rejected": ASK + NO}, "conversations"),
        ({"chosen": ASK + YES, "rejected": ASK + NO}, "conversations"),
        ({"chosen": json.dumps(ASK + YES), "rejected": json.dumps(ASK + NO)}, "conversations"),
        ({"prompt": json.dumps(ASK), "chosen": json.dumps(YES), "rejected": json.dumps(NO)}, "answers"),
        (
            {
                "chosen": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}],
                "rejected": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "No idea."}],
            },
            "conversations",
        ),
    ],
)
def test_a_pair_is_found_in_every_shape(row, name):
    assert read(row) == (name, PAIR)


def test_columns_are_taken_by_the_users_word():
    row = {"a": "Why?", "b": "Because.", "c": "No idea.", "chosen": "x", "rejected": "y"}
    named = {"prompt": "a", "chosen": "b", "rejected": "c"}
    assert read(row, named=named) == ("answers", PAIR)
    assert read(row, mapping=named) == ("answers", PAIR)
    assert read(row, mapping={"prompt": "a", "chosen": "b"}, named={"rejected": "c", "chosen": "B"}) == (
        "answers",
        PAIR,
    )


def test_a_column_text_is_the_chosen_answer_where_there_is_no_other():
    assert read({"prompt": "Why?", "text": "Because.", "rejected": "No idea."}) == ("answers", PAIR)


def test_a_system_message_stands_before_the_prompt():
    _, pair = read({"system": "Be kind.", "prompt": "Why?", "chosen": "Because.", "rejected": "No idea."})
    assert pair[0] == [{"role": "system", "content": "Be kind."}, *ASK]


def test_whole_texts_have_their_common_words_as_prompt():
    row = {"chosen": "Why is it so? Because it is.", "rejected": "Why is it so? Beats me."}
    assert read(row) == ("texts", ("Why is it so?", " Because it is.", " Beats me."))


def test_whole_texts_without_a_common_beginning_are_pairs_only_where_no_prompt_is_needed():
    row = {"chosen": "Good.", "rejected": "Bad."}
    assert read(row, prompted=False) == ("texts", ("", "Good.", "Bad."))
    with pytest.raises(DataError, match="do not begin alike"):
        read(row)


def test_a_conversation_may_go_on_for_several_turns():
    name, pair = read({"chosen": TALK + YES, "rejected": TALK + NO})
    assert (name, pair) == ("conversations", (TALK, YES, NO))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {},
            "no column for rejected (--rejected-text-column); there are prompt, chosen, rejecte. Did you mean rejecte?",
        ),
        ({"named": {"rejected": "rejectd"}}, "no column 'rejectd' for rejected (--rejected-text-column)"),
        ({"named": {"chosen": "no"}}, "no column 'no' for chosen (--text-column)"),
        ({"named": {"prompt": "no"}}, "no column 'no' for prompt (--prompt-text-column)"),
    ],
)
def test_a_missing_column_is_told_with_its_flag_and_the_nearest(given, told):
    with pytest.raises(DataError) as caught:
        form_of({"prompt": "Why?", "chosen": "Because.", "rejecte": "No."}, **given)
    assert told in caught.value.what


def test_answers_as_messages_need_a_prompt():
    with pytest.raises(DataError, match=r"no column for prompt \(--prompt-text-column\)"):
        form_of({"chosen": YES, "rejected": NO})


@pytest.mark.parametrize(
    ("changes", "told", "where"),
    [
        ({"rejected": "Because."}, "both answers are the same", "rejected"),
        ({"rejected": None}, "nothing there", "rejected"),
        ({"chosen": "  "}, "empty text", "chosen"),
        ({"prompt": ""}, "empty text", "prompt"),
        ({"chosen": [{"role": "user", "content": "I?"}]}, "the prompts differ: user speaks", "chosen"),
        ({"prompt": [{"role": "assistant", "content": "Hi"}]}, "starts with assistant", "chosen"),
        ({"prompt": TALK[:2]}, "roles do not alternate", "chosen"),
        ({"chosen": 7}, "text is expected, found int", "chosen"),
    ],
)
def test_an_answer_that_cannot_be_used_is_told_with_its_column(changes, told, where):
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No idea."}
    with pytest.raises(DataError, match=told) as caught:
        form_of(row).pair(row | changes)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("chosen", "rejected", "told"),
    [
        (ASK + YES, ASK + YES, "both answers are the same"),
        (ASK + YES, [{"role": "user", "content": "What?"}, *NO], "the prompts differ"),
        (TALK + YES, [*TALK[:2], {"role": "user", "content": "And?"}, *NO], "the prompts differ: user speaks"),
        (ASK + YES, ASK, "nothing follows"),
        ([], ASK + NO, "a list of messages is expected"),
    ],
)
def test_conversations_that_make_no_pair_are_told(chosen, rejected, told):
    form = form_of({"chosen": ASK + YES, "rejected": ASK + NO})
    with pytest.raises(DataError, match=told):
        form.pair({"chosen": chosen, "rejected": rejected})


def test_rows_are_judged_by_number(rows, tmp_path):
    good = {"prompt": "Why?", "chosen": "Because.", "rejected": "No idea."}
    lines = [good, good | {"rejected": "Because."}, good | {"prompt": "How?"}, good | {"chosen": ""}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    splits = rows(path)
    form = preferences.recognise(splits.train)
    with pytest.raises(DataError) as caught:
        check.check(splits, form)
    assert caught.value.what == "2 of 4 rows cannot be used."
    assert "line 2" in caught.value.where
    assert "line 4" in caught.value.where
    kept, report = check.check(splits, form, on_bad_rows="skip")
    assert kept.train["prompt"][:] == ["Why?", "How?"]
    assert "  chosen: Because." in report.lines()
    assert report.lines()[0] == "Rows: train 2. Read as answers: prompt, chosen, rejected."


def test_what_is_read_in_another_way_than_it_stands_is_told():
    assert form_of({"chosen": ASK + YES, "rejected": ASK + NO}).notes() == [
        "What both conversations begin with is the prompt."
    ]
    assert "no chat template" in form_of({"chosen": "a b", "rejected": "a c"}).notes()[0]
    assert form_of({"prompt": 1, "chosen": "a b", "rejected": "a c"}).notes() == ["Numbers are read as text: prompt."]
