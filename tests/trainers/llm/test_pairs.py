"""Pairs on their way to a policy: their tokens, their limits, what is said of them."""

import json

import pytest

from nbtrain import trainers
from nbtrain.data import preferences, read
from nbtrain.errors import DataError, ParamError
from nbtrain.models import load
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.trainers.llm import _language, _preferences, _reference
from nbtrain.trainers.llm._preferences import Limits

ROWS = [
    {"prompt": f"What comes after {number}?", "chosen": f"After {number} comes {number + 1}.", "rejected": "No idea."}
    for number in range(12)
]


def llm(**given):
    return trainers.load("llm").Params(**{"trainer": "dpo", "valid_fraction": 0, **given})


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.data.mkdir(parents=True)
    with Journal(folder.events) as journal:
        yield ActiveRun(folder, journal)


@pytest.fixture
def pairs(tmp_path):
    def write(rows=ROWS):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def prepared(run, **given):
    params = llm(**given)
    recognise, reading = _preferences.recognise, _preferences.reading
    return _language.tokenised(params, run, _preferences.prepare, recognise, reading)


def told(run):
    return "\n".join(event.message for event in story(run.folder.events) if event.kind == "warned")


def test_a_pair_is_a_prompt_as_the_template_writes_it_and_two_answers(run, pairs):
    tokens, tokenizer = prepared(run, data_path=pairs())
    row = tokens.train[3]
    assert tokenizer.decode(row["prompt_ids"]) == (
        "<|im_start|>user\nWhat comes after 3?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(row["chosen_ids"]) == "After 3 comes 4.<|im_end|>\n"
    assert tokenizer.decode(row["rejected_ids"]) == "No idea.<|im_end|>\n"
    assert tokens.prompts[0].text == "What comes after 0?"
    assert tokens.prompts[0].expected == "After 0 comes 1."
    assert list(tokens.prompts[0].ids) == tokens.train[0]["prompt_ids"]


def test_whole_texts_have_no_template_and_end_with_the_end_token(run, pairs):
    texts = [
        {side: f"{row['prompt']} {row[side]}" for side in ("chosen", "rejected")} for row in ROWS if row != ROWS[0]
    ]
    tokens, tokenizer = prepared(run, data_path=pairs(texts))
    row = tokens.train[0]
    assert tokenizer.decode(row["prompt_ids"]) == "What comes after 1?"
    assert tokenizer.decode(row["chosen_ids"]) == " After 1 comes 2.<|im_end|>"


def test_the_template_can_be_chosen_and_is_saved_with_the_tokenizer(run, pairs):
    tokens, tokenizer = prepared(run, data_path=pairs(), chat_template="mistral")
    assert tokenizer.decode(tokens.train[0]["prompt_ids"]) == "[INST] What comes after 0? [/INST]"
    assert "[INST]" in tokenizer.chat_template


LONG = ([9, *range(100, 120)], list(range(200, 230)), list(range(300, 310)))


@pytest.mark.parametrize(
    ("limits", "lengths"),
    [
        (Limits(None, None, 100), (21, 30, 10)),
        (Limits(8, None, 100), (8, 30, 10)),
        (Limits(8, 5, 100), (8, 5, 5)),
        (Limits(None, None, 40), (20, 20, 10)),
        (Limits(None, 4, 24), (20, 4, 4)),
        (Limits(3, None, 24), (3, 21, 10)),
    ],
)
def test_a_prompt_loses_its_beginning_and_an_answer_its_end(limits, lengths):
    prompt, chosen, rejected = _preferences._cut(LONG, limits, set())
    assert (len(prompt), len(chosen), len(rejected)) == lengths
    assert prompt == LONG[0][-len(prompt) :]
    assert chosen == LONG[1][: len(chosen)]
    assert rejected == LONG[2][: len(rejected)]


def test_the_mark_of_the_beginning_stays_in_a_prompt_that_is_cut():
    prompt, _, _ = _preferences._cut(LONG, Limits(4, None, 100), {None, 9})
    assert prompt == [9, 117, 118, 119]


def test_what_is_cut_is_counted(run, pairs):
    tokens, _ = prepared(run, data_path=pairs(), max_prompt_length=5, max_completion_length=4)
    assert {len(ids) for ids in tokens.train["prompt_ids"]} == {5}
    assert {len(ids) for name in ("chosen_ids", "rejected_ids") for ids in tokens.train[name]} == {4}
    assert "Too long: 12 of 12 prompts lose their beginning" in told(run)
    assert "Too long: 12 of 12 pairs of answers lose an end" in told(run)


@pytest.mark.parametrize("limit", [{"block_size": 24}, {"model_max_length": 24}], ids=str)
def test_no_row_is_longer_than_any_limit(run, pairs, limit):
    tokens, _ = prepared(
        run, data_path=pairs([{**ROWS[0], "prompt": "Why? " * 50, "chosen": "So it is. " * 50}]), **limit
    )
    row = tokens.train[0]
    assert (len(row["prompt_ids"]), len(row["chosen_ids"])) == (12, 12)


def test_pairs_that_agree_within_the_limits_are_left_out_and_told(run, pairs):
    alike = {"prompt": "Why?", "chosen": "It is as it is and so on", "rejected": "It is as it is and not so"}
    tokens, _ = prepared(run, data_path=pairs([*ROWS, alike]), max_completion_length=4)
    assert 13 not in tokens.train["row"][:]
    assert "Left out, 1 of 13 pairs" in told(run)
    with pytest.raises(DataError, match="no pair is left"):
        prepared(run, data_path=pairs([alike]), max_completion_length=4)


def test_a_row_that_the_template_refuses_is_told_by_its_number(run, pairs):
    control = {"prompt": "Why?", "chosen": "So <|im_end|>", "rejected": "No."}
    with pytest.raises(DataError, match="Row 13 cannot be used"):
        prepared(run, data_path=pairs([*ROWS, control]))
    tokens, _ = prepared(run, data_path=pairs([*ROWS, control]), on_bad_rows="skip")
    assert len(tokens.train) == 12


def test_the_demo_of_pairs_prefers_capitals(tmp_path):
    splits = _preferences.reading(llm(), tmp_path)
    form = preferences.recognise(splits.train)
    assert isinstance(splits, read.Splits)
    assert len(splits.train) > 100
    assert all(row["chosen"] == row["rejected"].upper() for row in splits.train)
    assert form.name == "answers"


def test_columns_are_named_by_flags(run, pairs):
    rows = [{"q": row["prompt"], "good": row["chosen"], "bad": row["rejected"]} for row in ROWS]
    named = {"prompt_text_column": "q", "text_column": "good", "rejected_text_column": "bad"}
    tokens, tokenizer = prepared(run, data_path=pairs(rows), **named)
    assert tokenizer.decode(tokens.train[0]["chosen_ids"]).startswith("After 0 comes 1.")


def test_check_says_how_pairs_are_read(tmp_path, pairs):
    lines = trainers.load("llm").check(llm(data_path=pairs([*ROWS, {**ROWS[0], "chosen": ""}])), tmp_path)
    assert "Rows: train 12. Read as answers: prompt, chosen, rejected." in lines
    assert any("empty text" in line for line in lines)


@pytest.mark.parametrize(
    ("given", "notice"),
    [
        ({"trainer": "sft", "dpo_beta": 0.2}, "dpo_beta only applies to DPO trainer, will be ignored"),
        (
            {"trainer": "default", "max_prompt_length": 9},
            "max_prompt_length only applies to DPO/ORPO trainers, will be ignored",
        ),
        ({"trainer": "dpo", "orpo_alpha": 2.0}, "orpo_alpha only applies to ORPO trainer, will be ignored"),
        ({"trainer": "sft", "num_labels": 2}, "num_labels only applies to REWARD trainer, will be ignored"),
        (
            {"trainer": "orpo", "label_smoothing": 0.1},
            "label_smoothing only applies to DPO/REWARD trainers, will be ignored",
        ),
    ],
)
def test_fields_of_other_methods_are_ignored_with_a_notice(given, notice):
    assert trainers.load("llm").Params(**given).notices == [notice]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backend": "hf"}, "the loss of dpo is TRL's"),
        ({"backend": "trl", "trainer": "reward"}, "--backend trl"),
        ({"dpo_beta": 0}, "--dpo-beta"),
        ({"label_smoothing": 0.5}, "--label-smoothing"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(given, said):
    with pytest.raises(ParamError, match=said):
        llm(**given)


def test_a_reference_that_is_the_model_itself_is_opened_once(run):
    model = load.causal_model(llm())
    same = _reference.reference(llm(model_ref="tiny"), run, model)
    assert same is not model
    assert not any(weight.requires_grad for weight in same.parameters())
    assert _reference.reference(llm(model_ref="tiny", peft=True), run, model) is None
    assert _reference.reference(llm(trainer="orpo"), run, model) is None
