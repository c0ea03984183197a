"""What a teacher and its student see: other prompts, answers that the teacher writes, pairs; and what is refused."""

import json
from types import SimpleNamespace

import numpy
import pytest
import torch

from nbtrain import trainers
from nbtrain.data import functions
from nbtrain.errors import DataError, ParamError, TrainingError
from nbtrain.models import load
from nbtrain.trainers.llm import _pairs, _preferences, _views

QUESTIONS = [f"What comes after {number}?" for number in range(30)]
LONG = "You count upwards, and answer in one sentence.\n{input}"


def shout(prompts):
    """A teacher that is a function."""
    return [prompt.upper() for prompt in prompts]


@pytest.fixture(scope="module")
def asked(table):
    """A file of questions without answers."""
    return table([{"prompt": question} for question in QUESTIONS])


def trained_text(tokenizer, row, name="labels"):
    return tokenizer.decode([label for label in row[name] if label != -100])


# another prompt


def test_both_rows_end_in_the_same_trained_tokens(prepared, pairs, teacher):
    found = prepared(
        data_path=pairs, teacher_model=teacher, teacher_prompt_template=LONG, student_prompt_template="{input} Short!"
    )
    for row in found.tokens.train:
        theirs, ours = (found.tokenizer.decode(row[name]) for name in ("teacher_ids", "input_ids"))
        assert "You count upwards" in theirs
        assert "You count upwards" not in ours
        assert "? Short!" in ours
        assert [label for label in row["labels"] if label != -100] == [
            label for label in row["teacher_labels"] if label != -100
        ]
        first = row["labels"].index(next(label for label in row["labels"] if label != -100))
        begin = len(row["teacher_ids"]) - len(row["input_ids"][first:])
        assert row["teacher_ids"][begin:] == row["input_ids"][first:]
        assert row["teacher_labels"][:begin] == [-100] * begin


def test_the_same_prompt_makes_no_rows_of_the_teachers_own(prepared, pairs, teacher):
    assert "teacher_ids" not in prepared(data_path=pairs, teacher_model=teacher).tokens.train.column_names


def test_a_pair_of_rows_by_hand():
    row = {"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4], "cut": 0}
    found = _views.pair(row, [7, 8, 9], [], limit=10)
    assert (found["teacher_ids"], found["teacher_labels"]) == ([7, 8, 9, 3, 4], [-100, -100, -100, 3, 4])
    short = _views.pair(row, [7, 8, 9], [], limit=4)
    assert (short["input_ids"], short["teacher_ids"], short["cut"]) == ([1, 2, 3], [7, 8, 9, 3], 1)
    assert _views.pair(row, [7, 8, 9], [], limit=3) is None
    # a text, whose first token nobody can foresee but behind a lead
    text = {"input_ids": [1, 2], "labels": [1, 2], "cut": 0}
    assert _views.pair(text, [7], [], limit=9)["teacher_labels"] == [-100, -100, 2]
    led = _views.pair(text, [7], [5, 6], limit=9)
    assert (led["input_ids"], led["labels"]) == ([5, 6, 1, 2], [-100, -100, 1, 2])
    assert (led["teacher_ids"], led["teacher_labels"]) == ([7, 1, 2], [-100, 1, 2])
    assert _views.pair(text, [], [5], limit=9)["labels"] == [-100, -100, 2]


def test_a_prompt_is_internalised(whole, pairs, teacher):
    run = whole(
        trainer="sft", data_path=pairs, use_distillation=True, teacher_model=teacher, teacher_prompt_template=LONG,
        epochs=2,
    )  # fmt: skip
    assert run.evaluations[-1]["kl"] < run.evaluations[0]["kl"] * 0.7


def test_text_stands_behind_the_leads_of_both(prepared, table, teacher):
    path = table([{"text": f"The number {number} is a number."} for number in range(20)])
    found = prepared(
        trainer="default", data_path=path, teacher_model=teacher,
        teacher_prompt_template="A list of numbers: {input}", student_prompt_template="List: {input}",
    )  # fmt: skip
    row = found.tokens.train[0]
    assert found.tokenizer.decode(row["teacher_ids"]).startswith("A list of numbers: The number")
    assert found.tokenizer.decode(row["input_ids"]).startswith("List: The number")
    assert trained_text(found.tokenizer, row) == trained_text(found.tokenizer, row, "teacher_labels")
    assert trained_text(found.tokenizer, row).startswith("The number")


def test_text_without_a_lead_is_packed_as_ever(whole, table, teacher):
    path = table([{"text": f"The number {number} is a number."} for number in range(60)])
    run = whole(data_path=path, use_distillation=True, teacher_model=teacher, block_size=32, distill_alpha=1, epochs=2)
    assert run.evaluations[-1]["kl"] < run.evaluations[0]["kl"]


# answers that the teacher writes


def test_a_model_answers_prompts_once_and_what_it_wrote_is_kept(prepared, asked, teacher, monkeypatch):
    found = prepared(data_path=asked, teacher_model=teacher)
    lines = [json.loads(line) for line in (found.folder.data / "teacher-answers.jsonl").read_text().splitlines()]
    assert len(lines) == len(QUESTIONS)
    assert sum("comes" in line["answer"] for line in lines) > 20
    written = {trained_text(found.tokenizer, row).replace("<|im_end|>", "").strip() for row in found.tokens.train}
    assert written <= {line["answer"].strip() for line in lines}
    assert "What the teacher wrote took 5 calls" in found.told


def test_a_teacher_who_wrote_every_answer_counts_alone(whole, asked, teacher):
    given = {"trainer": "sft", "data_path": asked, "use_distillation": True, "teacher_model": teacher, "epochs": 2}
    run = whole(**given, distill_max_teacher_length=40)
    assert "it counts alone" in run.told
    assert [each["loss"] for each in run.logged] == pytest.approx([each["divergence"] for each in run.logged], rel=1e-4)
    assert run.evaluations[-1]["kl"] < 0.8 * run.evaluations[0]["kl"]


def test_a_resumed_run_asks_for_no_answer_again(whole, asked):
    calls = []

    def counted(prompts):
        calls.append(len(prompts))
        return shout(prompts)

    given = {"trainer": "sft", "data_path": asked, "use_distillation": True, "teacher_model": counted}
    first = whole(**given, stop=2)
    before = len(calls)
    rest, straight = whole(**given, resume=first.folder), whole(**given)
    assert before > 0
    assert len(calls) == 2 * before
    assert all(torch.equal(straight.weights[name], rest.weights[name]) for name in straight.weights)


def test_a_function_of_the_notebook_teaches_by_its_file(prepared, asked, tmp_path):
    place = functions.store(shout, tmp_path / "kept")
    found = prepared(data_path=asked, teacher_model=str(place), teacher_prompt_template="Say: {input}")
    words = [trained_text(found.tokenizer, row) for row in found.tokens.train]
    assert all(text.startswith("SAY: WHAT COMES AFTER") for text in words)
    assert found.tokens.teacher is None
    assert "the student learns from its text" in found.told


def test_a_file_of_answers_teaches(prepared, asked, table):
    answers = table([{"question": question, "answer": f"{place}!"} for place, question in enumerate(QUESTIONS[:25])])
    found = prepared(data_path=asked, teacher_model=answers, valid_fraction=0)
    assert len(found.tokens.train) == 25
    assert trained_text(found.tokenizer, found.tokens.train[7]).startswith("7!")
    assert "Left out, 5 of 30 rows of train: the teacher has no answer to them." in found.told


def test_where_the_data_has_answers_alpha_is_the_teachers_share(prepared, pairs):
    def said(alpha):
        found = prepared(data_path=pairs, teacher_model=shout, distill_alpha=alpha, valid_fraction=0)
        return sum("WHAT" in trained_text(found.tokenizer, row) for row in found.tokens.train)

    drawn = numpy.random.default_rng(42).random(30)
    assert [said(alpha) for alpha in (0, 0.7, 1)] == [0, (drawn < 0.7).sum(), 30]


def test_text_goes_on_as_the_teacher_says(prepared, table):
    path = table([{"text": f"number {number}"} for number in range(9)])
    found = prepared(
        trainer="default", data_path=path, teacher_model=lambda prompts: [" then more" for _ in prompts],
        distill_alpha=1, packing=False, valid_fraction=0,
    )  # fmt: skip
    assert trained_text(found.tokenizer, found.tokens.train[0]).startswith("number 0then more")


def test_a_column_of_text_is_the_prompt_of_chats(prepared, table):
    path = table([{"text": question} for question in QUESTIONS])
    found = prepared(data_path=path, teacher_model=shout)
    assert "Read as prompts: prompt from text" in found.told
    assert trained_text(found.tokenizer, found.tokens.train[0]).startswith("WHAT COMES")


def test_a_teacher_with_other_tokens_teaches_by_text(prepared, asked, place_of_stranger):
    found = prepared(
        data_path=asked, teacher_model=place_of_stranger, distill_temperature=2.0, distill_max_teacher_length=40
    )
    assert found.tokens.teacher is None
    assert "--distill-temperature is for logits" in found.told


@pytest.fixture
def place_of_stranger(tmp_path):
    """The built-in model with one more token."""
    place = tmp_path / "stranger"
    tokenizer = load.tokenizer(SimpleNamespace(model="tiny", token=None, trust_remote_code=False))
    model = load.saved_model("tiny")
    tokenizer.add_tokens(["<|new|>"])
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


# pairs


@pytest.fixture(scope="module")
def preferences(table):
    return table(
        [
            {"prompt": question, "chosen": f"After {number} comes {number + 1}.", "rejected": "I do not know."}
            for number, question in enumerate(QUESTIONS)
        ]
    )


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_pairs_are_learnt_beside_the_teacher(whole, preferences, teacher, method):
    given = {"trainer": method, "data_path": preferences, "max_steps": 4, "lr": 3e-4, "valid_fraction": 0.2}
    run = whole(**given, use_distillation=True, teacher_model=teacher, teacher_prompt_template=LONG)
    assert run.evaluations[-1]["kl"] < run.evaluations[0]["kl"]
    assert "rewards/accuracies" in run.values
    plain, beside = (
        whole(**(given | {"max_steps": 2, "valid_fraction": 0}), **more)
        for more in ({}, {"use_distillation": True, "teacher_model": teacher, "distill_alpha": 0})
    )
    assert [each["loss"] for each in beside.logged] == pytest.approx([each["loss"] for each in plain.logged], rel=1e-4)


def test_on_text_the_teacher_writes_the_chosen_answers(prepared, preferences):
    found = prepared(
        _pairs.prepare, _preferences.recognise, trainer="dpo", data_path=preferences, teacher_model=shout,
        distill_alpha=1, student_prompt_template="Tell: {input}",
    )  # fmt: skip
    row = found.tokens.train[0]
    assert found.tokenizer.decode(row["chosen_ids"]).startswith("WHAT COMES")
    assert found.tokenizer.decode(row["rejected_ids"]).startswith("I do not know")
    assert "Tell: What comes" in found.tokenizer.decode(row["prompt_ids"])


# what is refused


def llm(**given):
    return trainers.load("llm").Params(**given)


def test_distillation_is_sft_with_a_teacher():
    params = llm(trainer="distillation", teacher_model="tiny")
    assert (params.trainer, params.method, params.use_distillation) == ("sft", "sft", True)
    assert params.notices == ["--trainer distillation is --trainer sft --use-distillation"]


def test_ppo_refuses_a_teacher_and_reward_ignores_one():
    with pytest.raises(ParamError, match="Distillation is not supported with PPO trainer"):
        llm(trainer="ppo", use_distillation=True, rl_reward_fn="length")
    params = llm(trainer="reward", use_distillation=True, teacher_model="tiny")
    assert params.notices == ["Distillation is not supported for reward models, will be ignored"]
    assert not params.use_distillation


def test_a_teacher_without_distillation_is_told():
    assert llm(trainer="sft", teacher_model="tiny").notices == [
        "teacher_model only applies with --use-distillation, will be ignored"
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"trainer": "sft"}, "--use-distillation needs --teacher-model"),
        ({"teacher_model": "tiny", "teacher_prompt_template": "no place"}, "--teacher-prompt-template has no {input}"),
        ({"teacher_model": "tiny", "distill_alpha": 1.5}, "--distill-alpha"),
    ],
)
def test_what_cannot_be_taught_is_refused_before_anything_is_read(given, told):
    with pytest.raises(ParamError, match=told):
        llm(use_distillation=True, **given)


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"backend": "trl"}, ParamError, "--backend trl has a loss of its own"),
        ({"teacher_prompt_template": LONG, "packing": True}, ParamError, "which --packing joins"),
        ({"teacher_prompt_template": LONG, "distill_max_teacher_length": 12}, DataError, "No row has room"),
        ({"teacher_model": lambda prompts: prompts[:1]}, TrainingError, "was asked 8 prompts and gave 1 answers"),
    ],
)
def test_what_cannot_be_taught_is_told_before_a_model_is_trained(prepared, pairs, teacher, given, error, told):
    with pytest.raises(error, match=told):
        prepared(**({"data_path": pairs, "teacher_model": teacher} | given))


def test_a_teacher_that_raises_is_told(prepared, asked):
    def broken(prompts):
        raise ValueError("no credit left")

    with pytest.raises(TrainingError, match="the teacher raised ValueError: no credit left"):
        prepared(data_path=asked, teacher_model=broken)
