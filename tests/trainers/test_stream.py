"""Rows that are streamed: each is trained on once an epoch, and a run that goes on is the same to the bit."""

import json
import os
import random
import signal
import time
from types import SimpleNamespace

import pytest
from datasets import Dataset
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.data import chat, check, read, stream, survey
from nbtrain.errors import DataError, ParamError, TrainingError
from nbtrain.run import start
from nbtrain.runs import checkpoints
from nbtrain.runs.folder import RunFolder
from nbtrain.trainers import _feed

WORDS = "the a one two red blue old new house street river bridge runs stands sees finds under over".split()


def sentence(chance, count=8):
    return " ".join(chance.choice(WORDS) for _ in range(count))


def rows_of(kind, count, seed=0):
    chance, made = random.Random(seed), []
    for _ in range(count):
        text = sentence(chance)
        made.append(
            {
                "text": {"text": f"{text}. {sentence(chance, 20)}."},
                "pair": {"prompt": f"What {text}?", "response": sentence(chance)},
                "preference": {"prompt": f"What {text}?", "chosen": text, "rejected": sentence(chance, 3)},
                "class": {"text": text, "target": ("calm", "loud")["red" in text]},
                "number": {"text": text, "target": text.count("e") / 4},
                "tags": {"tokens": text.split(), "tags": ["B-N" if len(w) > 4 else "O" for w in text.split()]},
                "target": {"source": text, "target": " ".join(reversed(text.split()))},
            }[kind]
        )
    return made


WAYS = {
    "sft": ("llm", "pair", {"trainer": "sft"}),
    "packed": ("llm", "pair", {"trainer": "sft", "packing": True, "block_size": 48}),
    "default": ("llm", "text", {"trainer": "default", "block_size": 32}),
    "padded": ("llm", "pair", {"trainer": "sft", "attn_implementation": "sdpa", "gradient_accumulation": 3}),
    "dpo": ("llm", "preference", {"trainer": "dpo"}),
    "reward": ("llm", "preference", {"trainer": "reward"}),
    "classes": ("text-classification", "class", {}),
    "numbers": ("text-regression", "number", {}),
    "tags": ("token-classification", "tags", {}),
    "targets": ("seq2seq", "target", {"generate_rows": 2}),
}
SHORT = {"batch_size": 4, "logging_steps": 1, "epochs": 2, "lr": 1e-3, "stream": True, "best_model": False}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Windows and first looks of so few rows that a short run has several."""
    monkeypatch.setattr(stream, "WINDOW", 10)
    monkeypatch.setattr(survey, "HEAD", 12)


@pytest.fixture
def shards(tmp_path):
    """A folder of three files of rows; its path."""

    def write(kind, count=30):
        folder = tmp_path / f"{kind}-{count}"
        folder.mkdir(exist_ok=True)
        made = rows_of(kind, count)
        for at in range(3):
            lines = [json.dumps(row) + "\n" for row in made[at * count // 3 : (at + 1) * count // 3]]
            (folder / f"part-{at}.jsonl").write_text("".join(lines))
        return folder

    return write


def told(run):
    return "\n".join(event.message for event in run.events if event.kind == "warned")


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_was_stopped_in_the_middle_of_a_window_ends_with_the_same_weights(way, shards, in_room, same):
    room, kind, given = WAYS[way]
    given = {"data_path": str(shards(kind)), **SHORT, **given}
    whole = in_room(room, **given)
    part = in_room(room, asked={4: "stop"}, **given)
    assert len(part.losses) < len(whole.losses)
    rest = in_room(room, resume=part.folder, **given)
    assert same(whole, rest) and whole.weights
    assert [event for event in rest.events if event.kind == "logged"][-1].epoch == 2.0
    assert rest.losses == whole.losses and rest.evaluations[-1] == whole.evaluations[-1]


LATE = {"judge_first": False, "max_steps": 12, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "no"}


def test_a_stream_that_nobody_counts_is_saved_by_steps_and_goes_on_the_same(shards, in_room, same):
    given = {"trainer": "sft", "data_path": str(shards("pair")), **SHORT, "judge_first": False, "max_steps": 12}
    whole = in_room("llm", save_steps=5, **given)
    part = in_room("llm", save_steps=5, asked={8: "stop"}, **given)
    rest = in_room("llm", save_steps=5, resume=part.folder, **given)
    assert same(whole, rest) and rest.losses == whole.losses and len(whole.losses) == 12
    assert [event.step for event in whole.events if event.kind == "saved"] == [5, 10, 12]
    assert "no known end: it is saved and measured by --save-steps" in told(whole)
    assert "rows" not in next(event for event in whole.events if event.kind == "started").facts


def test_a_row_that_ends_a_run_is_mended_and_the_run_goes_on_as_if_nothing_had_been(shards, in_room, same, tmp_path):
    given = {"trainer": "sft", **SHORT, **LATE, "max_steps": 7, "valid_fraction": 0}
    whole = in_room("llm", data_path=str(shards("pair")), **given)
    path = shards("pair") / "part-2.jsonl"
    good = path.read_text()
    path.write_text(good.replace('"response"', '"answer"', 3).replace('"answer"', '"response"', 2))
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(DataError, match=r"part-2.jsonl line 3, column response: nothing there") as caught:
        in_room("llm", data_path=str(path.parent), resume=folder, **given)
    assert "resume" in caught.value.fix and checkpoints.newest(folder).name == "checkpoint-4"
    path.write_text(good)
    rest = in_room("llm", data_path=str(path.parent), resume=folder, **given)
    assert same(whole, rest) and rest.losses[-3:] == whole.losses[-3:]


def test_a_worker_that_is_killed_goes_on_to_the_same_weights(shards, workdir):
    given = {"trainer": "sft", "data_path": str(shards("pair", 60)), **SHORT, "save_strategy": "steps", "save_steps": 3}
    params = trainers.load("llm").Params(**given, eval_strategy="no", sample_max_new_tokens=2)
    straight = start(params.but(project_name="straight")).wait(120)
    run = start(params.but(project_name="killed"))
    while run.record.step < 4 and run.status in ("starting", "running"):
        time.sleep(0.02)
    os.kill(run.worker.pid, signal.SIGKILL)
    run.worker.wait(10)
    assert run.resume().wait(120).status == "finished"
    one, other = (load_file(each.folder.model / "model.safetensors") for each in (straight, run))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    assert run.record.series["loss"] == straight.record.series["loss"]
    kept = [len(Dataset.from_file(str(path))) for path in run.folder.data.rglob("*") if path.is_file()]
    assert kept == [6], "of the rows only those that are held out are on the disk"


def test_a_checkpoint_of_mapped_rows_is_none_of_a_stream(shards, in_room):
    given = {"trainer": "sft", "data_path": str(shards("pair")), **SHORT, "epochs": 1}
    mapped = in_room("llm", **{**given, "stream": False})
    begin = str(checkpoints.newest(mapped.folder))
    with pytest.raises(ParamError, match="were not streamed"):
        in_room("llm", resume_from_checkpoint=begin, **given)


@pytest.mark.parametrize(("room", "kind"), [("llm", "pair"), ("text-classification", "class")])
def test_the_rows_that_were_held_out_of_a_stream_are_measured_again_and_others_too(room, kind, shards, in_room):
    given = {"trainer": "sft"} if room == "llm" else {"metric": "loss"}
    run = in_room(room, data_path=str(shards(kind)), **{**SHORT, "epochs": 1}, **given)
    found = trainers.load(room).evaluate(run.params, str(run.folder.model))
    assert found["loss"] == pytest.approx(run.evaluations[-1]["loss"], abs=1e-4)
    other = trainers.load(room).evaluate(run.params, str(run.folder.model), rows_of(kind, 20, seed=1))
    assert other["loss"] > 0 and other["loss"] != found["loss"]


# what a Trainer draws


@pytest.fixture
def judged(shards, tmp_path):
    """Pairs as they are read and judged, without a tokenizer."""
    params = trainers.load("llm").Params(trainer="sft", data_path=str(shards("pair")), stream=True, valid_fraction=0)
    splits = read.read(params, tmp_path)
    return check.check(splits, chat.recognise(splits.train, None, {}))[0].train


def test_an_epoch_draws_each_row_once_and_names_those_of_a_step(judged):
    feed, epochs = _feed.Feed(judged, 30), []
    for _ in range(2):
        rows = [row for at in range(0, 30, 4) for row in feed.__getitems__(range(at, min(at + 4, 30)))]
        epochs.append([row["prompt"] for row in rows])
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1] and len(set(epochs[0])) == 30
    assert feed["prompt"] == [*epochs[0], *epochs[1]]
    with pytest.raises(TrainingError, match="row 17 was asked for where 30 is next"):
        feed.__getitems__([17])


def test_a_stream_without_a_row_to_train_ends(judged):
    feed = _feed.Feed(judged.map(lambda some: {"prompt": []}, batched=True), 30)
    with pytest.raises(DataError, match="No row of the stream"):
        feed.__getitems__([0])


def test_a_run_that_is_only_looked_at_takes_the_first_rows_for_all(judged):
    run, params = SimpleNamespace(rehearsal=object(), resume_from=None), SimpleNamespace(max_steps=-1)
    halves = judged.map(lambda some: {"part": [part for text in some["prompt"] for part in (text, text)]}, batched=True)
    assert halves.count is None
    rows, count = _feed.drawn(halves, params, run)
    assert rows is halves.head and count == 60


# what cannot be


@pytest.mark.parametrize(
    ("room", "given", "said"),
    [
        ("llm", {"trainer": "ppo", "rl_reward_fn": len}, "ppo: the prompts of a step are drawn by their numbers"),
        ("llm", {"trainer": "grpo", "rl_reward_fn": len}, "grpo: each prompt is asked several times"),
        ("llm", {"trainer": "sft", "backend": "native"}, "--backend native: its loop draws rows by their numbers"),
        ("llm", {"trainer": "sft", "backend": "trl"}, "--backend trl"),
        ("llm", {"trainer": "sft", "use_distillation": True, "teacher_model": "tiny"}, "what a teacher says"),
        ("llm", {"trainer": "sft", "conversation_extension": 2}, "--conversation-extension: chats are joined"),
        ("llm", {"trainer": "sft", "save_processed_data": "local"}, "it writes all rows to the disk"),
        ("llm", {"trainer": "sft", "auto_find_batch_size": True}, "it tries the longest of all rows"),
        ("llm", {"data_path": [{"text": "a"}]}, "a variable is in memory already"),
        ("text-classification", {"judge_first": False}, "--no-judge-first needs --max-steps"),
        ("tabular", {}, "learn from all rows at once"),
        ("generic", {}, "the script reads its data by itself"),
        ("sentence-transformers", {}, "a batch must hold no text twice"),
        ("extractive-question-answering", {}, "put together again by the number of its question"),
        ("image-classification", {}, "only opened when its batch is made"),
        ("object-detection", {}, "only opened when its batch is made"),
        ("vlm", {}, "only opened when its batch is made"),
    ],
)
def test_what_cannot_be_streamed_is_refused_with_its_reason_before_anything_is_read(room, given, said):
    with pytest.raises(ParamError) as caught:
        trainers.load(room).Params(**given, stream=True)
    assert said in f"{caught.value} {caught.value.why}"
