"""Answers that stand in a text: where they stand, how they are counted, and that plain transformers does the same."""

import json
import runpy
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.errors import DataError, ParamError
from nbtrain.run import all_runs, train_here
from nbtrain.trainers import _texts
from nbtrain.trainers import extractive_question_answering as room
from nbtrain.trainers.extractive_question_answering import _answers

NAME = "extractive-question-answering"
SHORT = {"max_seq_length": 64, "max_doc_stride": 16, "batch_size": 16, "lr": 1e-3, "logging_steps": 1}
TEXT = "Grace works as a pilot. Hugo lives in Lima. Grace keeps two rabbits at home."
LONG = " ".join(f"Person{number} lives in Town{number}." for number in range(40)) + " " + TEXT


@pytest.fixture(scope="session")
def learnt(in_room):
    return in_room(NAME, epochs=10, **{**SHORT, "lr": 2e-3})


@pytest.fixture
def rows(tmp_path):
    """A file of so many rows of the demo, with changes."""

    def write(count=48, change=lambda row: row):
        path = tmp_path / "rows.jsonl"
        demo = sources.DEMO.with_name("extractive_question_answering.jsonl").read_text(encoding="utf-8").splitlines()
        path.write_text("".join(json.dumps(change(json.loads(line))) + "\n" for line in demo[:count]))
        return str(path)

    return write


def test_it_learns_to_find_answers(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["loss"] < first["loss"] / 1.5
    assert learnt.values["f1"] > first["f1"] + 0.2
    assert learnt.values["f1"] == max(each["f1"] for each in learnt.evaluations)
    assert {"exact_match", "has_answer_f1", "no_answer_f1"} <= set(last)


def test_samples_mark_the_answer_in_the_text(learnt):
    taken = [event for event in learnt.events if event.kind == "sampled"]
    assert taken[0].label == "base"
    sample = taken[-1].samples[0]
    assert set(sample) == {"prompt", "output", "expected"}
    assert sample["prompt"].endswith("?")
    assert sample["output"] == "(no answer)" or ("[" in sample["output"] and "]" in sample["output"])


def test_the_report_has_the_worst_answers_and_the_best_threshold(learnt):
    scores = [row["f1"] for row in learnt.report["worst_answers"]]
    assert scores == sorted(scores)
    assert sum(row["count"] for row in learnt.report["by_first_word"].values()) == 40
    assert learnt.report["best_null_threshold"]["f1"] >= learnt.values["f1"] - 1e-9
    assert (learnt.folder.figures / "by_first_word.png").stat().st_size > 1_000


def test_predict_gives_the_piece_and_its_characters(learnt):
    model, tokenizer = room.opened(learnt.params, str(learnt.folder.model))
    asked = {"question": "Where does Hugo live?", "context": TEXT}
    (found,) = room.predict(learnt.params, model, tokenizer, [asked], null_threshold=1e9)
    assert found["answer"] == TEXT[found["start"] : found["end"]] != ""
    assert found["score"] > -1e9
    (none,) = room.predict(learnt.params, model, tokenizer, [asked], null_threshold=-1e9)
    assert (none["answer"], none["start"], none["end"]) == ("", None, None)
    (short,) = room.predict(learnt.params, model, tokenizer, [asked], null_threshold=1e9, max_answer_length=1)
    assert len(tokenizer(short["answer"], add_special_tokens=False).input_ids) == 1
    assert room.predict(learnt.params, model, tokenizer, []) == []


def test_predict_reads_a_text_to_its_end(learnt):
    model, tokenizer = room.opened(learnt.params, str(learnt.folder.model))
    asked = [{"question": "Where does Hugo live?", "context": text} for text in (LONG, TEXT)]
    far, near = room.predict(learnt.params, model, tokenizer, asked, null_threshold=1e9)
    # the last piece of the long text holds the short one, so the best piece is at least as good
    assert far["score"] > -1e9
    assert far["answer"] == LONG[far["start"] : far["end"]]
    assert len(tokenizer(LONG).input_ids) > 4 * 64


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a text", "found str"),
        ({"question": "Who?"}, "has no context"),
        ({"question": "", "context": "x"}, "empty text"),
    ],
)
def test_a_row_that_asks_nothing_is_told(learnt, row, told):
    with pytest.raises(DataError, match=told):
        room.predict(learnt.params, None, None, [row])


def test_the_snippet_of_the_card_gives_the_same_answer(learnt, monkeypatch, capsys):
    monkeypatch.chdir(learnt.folder.path)
    library, code = room.usage(learnt.params, learnt.folder.model)
    exec(code, {})
    model, tokenizer = room.opened(learnt.params, str(learnt.folder.model))
    asked = {"question": "Where does the tower stand?", "context": "The tower stands in Paris, near the river."}
    (found,) = room.predict(learnt.params, model, tokenizer, [asked], null_threshold=1e9)
    assert capsys.readouterr().out.strip() == found["answer"]
    assert library == "transformers"


def test_a_model_that_saw_only_answers_always_gives_one(in_room, rows):
    found = in_room(NAME, **{**SHORT, "max_steps": 1, "data_path": rows(60, _with_answer)})
    model, tokenizer = room.opened(found.params, str(found.folder.model))
    assert getattr(model.config, "null_threshold", None) is None
    assert "best_null_threshold" not in found.report
    assert room.predict(found.params, model, tokenizer, [{"question": "Who?", "context": TEXT}])[0]["answer"]


def _with_answer(row):
    return {**row, "answers": {"text": [row["context"][:4]], "answer_start": [0]}}


def test_a_stopped_run_goes_on_to_the_same_weights(in_room, rows):
    given = {**SHORT, "data_path": rows(), "max_steps": 6, "save_strategy": "steps", "save_steps": 4}
    whole = in_room(NAME, **given)
    stopped = in_room(NAME, asked={4: "stop"}, **given)
    resumed = in_room(NAME, resume=stopped.folder, **given)
    assert whole.weights.keys() == resumed.weights.keys()
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_the_exported_script_trains_the_same_weights(workdir, rows):
    run = train_here(room.Params(**{**SHORT, "data_path": rows(), "max_steps": 3, "null_threshold": 1.5}))
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    again = all_runs()[-1]
    assert again.name != run.name
    one, other = (load_file(each.folder.model / "model.safetensors") for each in (run, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert json.loads((again.folder.model / "config.json").read_text())["null_threshold"] == 1.5


def plain_features(tokenizer, row):
    """As transformers' own example for SQuAD makes them, for a text that fits into one piece."""
    found = tokenizer(row["question"], row["context"], return_offsets_mapping=True)
    offsets, parts = found.pop("offset_mapping"), found.sequence_ids(0)
    start = end = 0
    if row["answers"]["text"]:
        first = row["answers"]["answer_start"][0]
        last = first + len(row["answers"]["text"][0])
        for at, (part, (begin, stop)) in enumerate(zip(parts, offsets, strict=True)):
            if part == 1 and begin <= first < stop:
                start = at
            if part == 1 and begin < last <= stop:
                end = at
    return {**found, "start_positions": start, "end_positions": end}


def test_the_losses_are_those_of_a_plain_script(in_room, rows):
    from datasets import Dataset
    from transformers import (
        AutoModelForQuestionAnswering,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )  # fmt: skip

    data = rows(96)
    given = {**SHORT, "max_seq_length": 128, "data_path": data, "valid_fraction": 0, "max_steps": 20}
    ours = in_room(NAME, **given)
    place = str(_texts.TINY_TEXT)
    tokenizer = AutoTokenizer.from_pretrained(place)
    features = [plain_features(tokenizer, json.loads(line)) for line in Path(data).read_text().splitlines()]
    set_seed(42)
    model = AutoModelForQuestionAnswering.from_pretrained(place, dtype=torch.float32)
    settings = TrainingArguments(
        output_dir=str(ours.folder.path / "plain"),
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        warmup_steps=2,
        max_steps=20,
        logging_steps=1,
        optim="adamw_torch_fused",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    dataset = Dataset.from_list(features)
    trainer = Trainer(model, settings, DataCollatorWithPadding(tokenizer), train_dataset=dataset)
    trainer.train()
    plain = [logged["loss"] for logged in trainer.state.log_history if "loss" in logged]
    assert len(plain) == 20
    assert ours.losses == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("extra", [{}, {"quantization": "int8"}], ids=str)
def test_an_adapter_and_the_new_head_learn(in_room, rows, extra):
    found = in_room(NAME, **{**SHORT, "data_path": rows(), "peft": True, "max_steps": 12, "lr": 1e-2, **extra})
    assert min(found.losses[-3:]) < found.losses[0] - 0.5
    model, tokenizer = room.opened(found.params, str(found.folder.model))
    assert "answer" in room.predict(found.params, model, tokenizer, [{"question": "Who?", "context": TEXT}])[0]


def test_pieces_that_cannot_move_on_are_refused():
    with pytest.raises(ParamError, match="--max-doc-stride 128 is more than half of --max-seq-length 128"):
        room.Params(max_seq_length=128)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"answers": {"text": ["Atlantis"], "answer_start": [0]}}, "It does not stand in the context"),
        ({"answers": {"text": ["Atlantis"]}}, "the answer 'Atlantis' does not stand in the context"),
        ({"question": " "}, "empty text"),
        ({"answers": {"text": ["a", "b"], "answer_start": [0]}}, "2 answers and 1 offsets"),
    ],
    ids=str,
)
def test_rows_that_cannot_be_used_are_told_before_a_model_is_opened(in_room, rows, change, told):
    spoilt = iter(range(100))
    data = rows(5, lambda row: {**row, **(change if next(spoilt) == 2 else {})})
    with pytest.raises(DataError) as raised:
        in_room(NAME, data_path=data, model="no/such/model", valid_fraction=0)
    assert told in str(raised.value)
    assert "1 of 5 rows cannot be used" in str(raised.value)
    assert "line 3" in str(raised.value)


def test_a_wrong_offset_is_told_with_the_right_one(in_room, rows):
    data = rows(3, lambda row: {**row, "context": TEXT, "answers": {"text": ["Lima"], "answer_start": [3]}})
    with pytest.raises(DataError, match="It begins at 38: correct the offset"):
        in_room(NAME, data_path=data, valid_fraction=0)


def test_questions_are_counted_over_all_pieces_of_their_text():
    from nbtrain.data.spans import Answer, Question

    question = Question("q", "aa bb cc dd", (Answer("dd", 9),))
    windows = [
        {"offsets": numpy.array([[-1, -1], [0, 2], [3, 5]]), "blank": 0, "question": 0},
        {"offsets": numpy.array([[-1, -1], [6, 8], [9, 11]]), "blank": 0, "question": 0},
    ]
    scores = [numpy.array([[0.0, 1, 0], [0, 1, 0]]), numpy.array([[0.0, 0, 3], [0, 0, 3]])]
    asked = _answers.Asked([question], windows)
    assert _answers.said_to(asked, _answers.Rule(None, 30), scores) == [(question, "dd")]
    assert _answers.measure(asked, _answers.Rule(None, 30), scores)["exact_match"] == 1.0
    assert _answers.measure(asked, _answers.Rule(-7.0, 30), scores)["exact_match"] == 0.0
    assert _answers.best_threshold([question], asked.answers(scores, _answers.Rule(None, 30))) == (-6.0, 1.0)


def test_check_tells_rows_and_an_example(rows, tmp_path):
    lines = trainers.load("extractive-qa").check(room.Params(data_path=rows(20)), tmp_path)
    assert any("Rows: train 18, valid 2. Read as questions: context, question, answers." in line for line in lines)
