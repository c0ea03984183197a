"""The data as it would be trained on: what is learnt of a row, classes, faults, pictures."""

import itertools
import json

import pytest
from PIL import Image

import nbtrain
from nbtrain import trainers

CHATS = [
    {"messages": [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": f"Answer {n}."}]}
    for n in range(20)
]


def test_a_prompt_is_shown_with_what_is_trained_of_it(workdir):
    found = nbtrain.check(nbtrain.LLMTrainingParams(trainer="sft", data_path=CHATS))
    ((_, first), *_) = found.rendered.rows
    assert ["".join(text for text, trained in first if trained)] == [f"{found.rows['train'][0][1][1]}<|im_end|>"], (
        "the answer and its end, no more"
    )
    assert "Question" in "".join(text for text, trained in first if not trained)
    lines = found.lines()
    marked = next(line for line in lines if "⟦" in line and "between" not in line)
    assert "⟦Answer" in marked


def test_rows_of_the_notebook_are_told_by_their_kind_and_files_by_their_names(workdir, tmp_path):
    import pandas as pd

    frame = pd.DataFrame([{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(20)])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    given = (frame, "pandas.DataFrame of the notebook"), (str(tmp_path / "rows.csv"), "rows.csv")
    rooms = (nbtrain.TextClassificationParams, {}), (nbtrain.TabularParams, {"target_columns": ["label"]})
    for (data, told), (room, more) in itertools.product(given, rooms):
        found = nbtrain.check(room(data_path=data, **more))
        assert sum(told in line for line in found.told) == 1 and not any("value.parquet" in line for line in found.told)


def test_all_is_trained_where_a_method_trains_all(workdir):
    found = nbtrain.check(nbtrain.LLMTrainingParams(trainer="default", data_path=[{"text": "one two"}] * 3))
    assert [trained for _, trained in found.rendered.rows[0][1]] == [True]


@pytest.mark.parametrize("method", ["dpo", "orpo", "reward"])
def test_both_answers_of_a_pair_are_shown_with_where_they_begin(workdir, method):
    rows = [{"prompt": f"Question {n}?", "chosen": f"Good {n}.", "rejected": f"Bad {n}."} for n in range(10)]
    found = nbtrain.check(nbtrain.LLMTrainingParams(trainer=method, data_path=rows))
    names, parts = zip(*found.rendered.first(), strict=True)
    assert names == ("The chosen answer", "The rejected answer")
    for pieces, word in zip(parts, ("Good", "Bad"), strict=True):
        read, marked = ("".join(text for text, each in pieces if each is learnt) for learnt in (False, True))
        assert "Question" in read and marked.startswith(word)
    assert any(line.startswith("Tokens a row, train, rejected: ") for line in found.rendered.lines)
    lines = found.lines()
    (head,) = (line for line in lines if line.startswith("The chosen answer as the model reads it"))
    assert found.rendered.marked in head and "The rejected answer:" in lines


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_of_a_prompt_nothing_is_trained(workdir, method):
    rows = [{"prompt": f"Question {n}?"} for n in range(10)]
    found = nbtrain.check(nbtrain.LLMTrainingParams(trainer=method, data_path=rows, rl_reward_fn="length"))
    ((name, pieces),) = found.rendered.first()
    assert name == "The first prompt" and [marked for _, marked in pieces] == [False]
    assert "The first prompt as the model reads it:" in found.lines()


def test_lengths_and_what_is_cut_are_told(workdir):
    rows = [{"text": "word " * 40}] * 3 + [{"text": "short"}] * 7
    asked = nbtrain.LLMTrainingParams(trainer="sft", data_path=rows, max_seq_length=16, valid_fraction=0.0)
    lines = "\n".join(nbtrain.check(asked).lines())
    assert "Tokens a row, train: " in lines and "; 3 are cut." in lines
    assert "Longer than 16 tokens: 3 of 10 rows" in lines


def test_classes_are_counted_by_split(workdir):
    rows = [{"text": f"a rather long text, number {n}", "label": "ham" if n % 4 else "spam"} for n in range(40)]
    found = nbtrain.check(nbtrain.TextClassificationParams(data_path=rows, max_seq_length=4))
    assert {split: sum(counts.values()) for split, counts in found.classes.items()} == {"train": 36, "valid": 4}
    assert found.classes["train"] + found.classes["valid"] == {"ham": 30, "spam": 10}
    assert any("36 lose their end (--max-seq-length) at 4" in line for line in found.rendered.lines)


@pytest.mark.parametrize(
    ("room", "parts"),
    [
        ("seq2seq", ("source", "target")),
        ("token-classification", ("tokens",)),
        ("extractive-question-answering", ("question", "context")),
        ("sentence-transformers", ("sentence1", "sentence2")),
    ],
)
def test_each_part_of_a_row_has_its_lengths_and_its_limit(workdir, room, parts):
    short = {"max_seq_length": 32, "max_doc_stride": 8} if room.startswith("extractive") else {"max_seq_length": 12}
    asked = trainers.load(room).Params(max_samples=30, valid_fraction=0.2, **short)
    lines = [line for line in nbtrain.check(asked).rendered.lines if ", train" in line]
    assert [line.split(":")[0].rsplit(", ", 1)[1] for line in lines] == list(parts)
    most = {line: int(line.split(" to ")[1].split(",")[0]) for line in lines}
    over = {line: int(line.split("; ")[1].split(" ")[0]) for line in lines}
    limits = {line: int(line.rstrip(".").split(" ")[-1]) for line in lines}
    assert all((over[line] > 0) == (most[line] > limits[line]) for line in lines)
    assert any(over.values())


def test_texts_are_no_classes_however_often_they_repeat(workdir):
    found = nbtrain.check(nbtrain.LLMTrainingParams(trainer="sft", data_path=CHATS))
    assert found.classes is None


def test_a_row_that_cannot_be_used_comes_with_its_fix(workdir):
    rows = [*CHATS, {"messages": [{"role": "user", "content": "no answer"}]}]
    found = nbtrain.check(nbtrain.LLMTrainingParams(trainer="sft", data_path=rows))
    (fault,) = found.faults
    assert fault.row == 21 and fault.fix
    assert any(fault.fix in line for line in found.lines())


def test_a_model_that_is_not_there_takes_nothing_from_what_is_known_of_the_rows(workdir):
    found = nbtrain.check(nbtrain.LLMTrainingParams(trainer="sft", data_path=CHATS, model="nobody/nothing"))
    assert found.rendered is None
    assert any("Rows: train 18, valid 2" in line for line in found.told)
    assert "not shown in tokens" in found.told[-1]


def test_pictures_are_shown_with_what_is_on_them(workdir):
    found = nbtrain.check(trainers.load("object-detection").Params())
    assert len(found.pictures) == 8
    told, letters = found.pictures[0]
    assert "WBC" in told or "RBC" in told
    assert 0 < len(letters) <= 4096


@pytest.mark.parametrize("written", [list, json.dumps])
def test_of_several_pictures_of_a_row_the_first_is_shown_with_its_answer(workdir, written):
    Image.new("RGB", (32, 32), "red").save(workdir / "red.png")
    rows = [
        {"images": written([str(workdir / "red.png")] * 2), "question": f"Number {n}?", "answer": "red"}
        for n in range(4)
    ]
    found = nbtrain.check(nbtrain.VLMTrainingParams(data_path=rows))
    assert [told for told, _ in found.pictures] == ["red"] * 3
