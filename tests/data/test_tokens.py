"""Whole data sets as tokens."""

import pytest

from nbtrain.data import chat, check
from nbtrain.data.templates import TEMPLATES
from nbtrain.errors import DataError

CHATML = TEMPLATES["chatml"]


@pytest.fixture
def tokens(tokenizer, tmp_path):
    """Encode rows: tokens(rows, max_length=...) gives the data set and what was told."""

    def make(rows, **how):
        import datasets

        data, told = datasets.Dataset.from_list(rows), []
        how = {"template": CHATML, "max_length": 64, "cache": tmp_path, "warn": told.append, **how}
        return chat.tokenised(data, chat.recognise(data), tokenizer, **how), told

    return make


PAIRS = [{"prompt": "what is the name of the sea", "response": "the sea " * (n + 1)} for n in range(5)]


def test_each_row_is_as_encode_gives_it(tokens, tokenizer):
    found, told = tokens(PAIRS)
    assert found.column_names == ["input_ids", "labels", "length", "cut", "row"] and not told
    for row, pair in zip(found, PAIRS, strict=True):
        turns = [{"role": "user", "content": pair["prompt"]}, {"role": "assistant", "content": pair["response"]}]
        expected = chat.encode(turns, tokenizer, template=CHATML)
        assert row["input_ids"] == expected.input_ids
        masked = [-100 if not flag else token for token, flag in zip(row["input_ids"], expected.trained, strict=True)]
        assert row["labels"] == masked
        assert (row["length"], row["cut"]) == (len(expected.input_ids), 0)


def test_tokens_are_small_integers_in_a_mapped_file_that_is_used_again(tokens, tmp_path):
    found, _ = tokens(PAIRS)
    assert found.features["input_ids"].feature.dtype == found.features["labels"].feature.dtype == "int32"
    files = sorted(tmp_path.glob("tokens-*.arrow"))
    assert [item["filename"] for item in found.cache_files] == [str(path) for path in files]
    written = files[0].stat().st_mtime_ns
    again, _ = tokens(PAIRS)
    assert again.to_list() == found.to_list() and files[0].stat().st_mtime_ns == written
    tokens(PAIRS, max_length=60)
    assert len(list(tmp_path.glob("tokens-*.arrow"))) == 2


def test_rows_that_are_cut_are_counted(tokens):
    whole, _ = tokens(PAIRS)
    limit = whole["length"][2]
    found, told = tokens(PAIRS, max_length=limit)
    lost = [max(0, length - limit) for length in whole["length"]]
    assert found["cut"][:] == lost and sum(map(bool, lost)) == 2
    assert told == [f"Longer than {limit} tokens: 2 of 5 rows; {sum(lost)} tokens are cut off at their ends."]
    counted = check.lengths(found)
    assert counted["max"] == limit and counted["cut"] == 2 and counted["rows"] == 5
    assert counted["tokens"] == sum(found["length"])


def test_rows_of_which_nothing_is_trained_are_left_out_and_told(tokens):
    long = {"prompt": "what is the sea " * 20, "response": "sea"}
    found, told = tokens([PAIRS[0], long, PAIRS[1]])
    assert len(found) == 2
    assert told[1] == "Left out, 1 of 3 rows (number 2): no token of theirs is trained."
    with pytest.raises(DataError, match="No row has a token to train on within 64 tokens"):
        tokens([long])


def test_a_row_that_the_template_refuses_stops_or_is_left_out(tokens):
    template = CHATML + "{% if 'sea sea' in messages[-1].content %}{{ raise_exception('too wet') }}{% endif %}"
    rows = [PAIRS[0], {"prompt": "q", "response": "sea sea"}]
    with pytest.raises(DataError, match="Row 2 cannot be used: the chat template refuses the row: too wet") as caught:
        tokens(rows, template=template)
    assert "--on-bad-rows skip" in caught.value.fix
    found, told = tokens(rows, template=template, on_bad_rows="skip")
    assert len(found) == 1
    assert told == ["Left out, 1 of 2 rows (number 2): the chat template refuses the row: too wet."]


def test_text_is_trained_throughout_and_ended(tokens, tokenizer):
    found, _ = tokens([{"text": "the sea"}, {"text": "the name<|endoftext|>"}])
    assert found["labels"][:] == found["input_ids"][:]
    assert [tokenizer.decode(ids) for ids in found["input_ids"]] == ["the sea<|endoftext|>", "the name<|endoftext|>"]
    open_ended, _ = tokens([{"text": "the sea"}], add_eos=False)
    assert tokenizer.decode(open_ended[0]["input_ids"]) == "the sea"


def test_long_text_goes_on_in_the_next_row(tokens, tokenizer):
    text = "what is the name of the sea? " * 20
    found, told = tokens([{"text": text}, {"text": "the sea"}], max_length=16, split_long=True)
    assert not told and max(found["length"]) == 16 and set(found["length"][:-2]) == {16}
    joined = tokenizer.decode([token for ids in found["input_ids"] for token in ids])
    assert joined == f"{text}<|endoftext|>the sea<|endoftext|>"


def test_a_chat_trained_throughout_loses_nothing_when_split(tokens, tokenizer):
    found, told = tokens(PAIRS, max_length=16, split_long=True, response_only=False)
    assert not told and found["labels"][:] == found["input_ids"][:]
    joined = tokenizer.decode([token for ids in found["input_ids"] for token in ids])
    assert all(pair["response"] in joined for pair in PAIRS)
