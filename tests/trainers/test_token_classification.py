"""A tag for each token: how rows are read, how entities are counted, and that plain transformers does the same."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.errors import DataError
from nbtrain.run import all_runs, train_here
from nbtrain.trainers import _texts
from nbtrain.trainers import token_classification as room

NAME = "token-classification"
SHORT = {"max_seq_length": 48, "batch_size": 16, "lr": 2e-3, "logging_steps": 1}


@pytest.fixture(scope="session")
def learnt(in_room):
    return in_room(NAME, epochs=8, **SHORT)


@pytest.fixture
def rows(tmp_path):
    """A file of so many rows of the demo, with changes."""

    def write(count=48, change=lambda row: row):
        path = tmp_path / "rows.jsonl"
        demo = sources.DEMO.with_name("token_classification.jsonl").read_text(encoding="utf-8").splitlines()
        path.write_text("".join(json.dumps(change(json.loads(line))) + "\n" for line in demo[:count]))
        return str(path)

    return write


def test_it_learns_entities(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["loss"] < first["loss"] / 2
    assert learnt.values["f1"] > 0.3 > first["f1"] + 0.2
    assert learnt.values["f1"] == max(each["f1"] for each in learnt.evaluations)
    assert {"precision", "recall", "accuracy"} <= set(last)


def test_samples_mark_entities_in_the_text(learnt):
    taken = [event for event in learnt.events if event.kind == "sampled"]
    assert taken[0].label == "base"
    for sample in taken[-1].samples:
        assert set(sample) == {"prompt", "output", "expected"}
        assert "[" in sample["expected"] and ": " in sample["expected"]
        assert "[" not in sample["prompt"]


def test_the_report_has_a_table_by_kind_and_the_worst_rows(learnt):
    table = learnt.report["by_kind"]
    assert set(table) >= {"artist", "city", "timeRange"}
    assert all(0 <= row["f1"] <= 1 and row["count"] >= 0 for row in table.values())
    wrong = [row["wrong_tokens"] for row in learnt.report["worst"]]
    assert wrong == sorted(wrong, reverse=True) and wrong[-1] > 0
    assert {"by_class.png", "confusion.png"} == {path.name for path in learnt.folder.figures.iterdir()}


def test_the_saved_model_knows_its_tags(learnt):
    config = json.loads((learnt.folder.model / "config.json").read_text())
    assert config["id2label"]["0"] == "O"
    assert config["id2label"]["1"] == "B-artist"
    assert config["label2id"]["B-artist"] == 1


def test_predict_takes_texts_tokens_and_rows(learnt):
    model, tokenizer = room.opened(learnt.params, str(learnt.folder.model))
    words = ["play", "music", "by", "Madonna"]
    found = room.predict(learnt.params, model, tokenizer, [" ".join(words), words, {"tokens": words}])
    assert found[0] == found[1] == found[2]
    assert found[0]["tokens"] == words
    assert len(found[0]["tags"]) == len(found[0]["scores"]) == 4
    for entity in found[0]["entities"]:
        assert entity["text"] == " ".join(words[entity["start"] : entity["end"]])
    assert room.predict(learnt.params, model, tokenizer, []) == []
    with pytest.raises(DataError, match="no tokens"):
        room.predict(learnt.params, model, tokenizer, [{"other": 1}])


def test_tokens_beyond_the_longest_row_have_no_tag(learnt):
    model, tokenizer = room.opened(learnt.params, str(learnt.folder.model))
    (found,) = room.predict(learnt.params, model, tokenizer, [["play"] * 60])
    assert len(found["tags"]) == 60
    assert found["tags"][-1] is None and found["tags"][0] is not None


def test_the_snippet_of_the_card_runs(learnt, monkeypatch, capsys):
    monkeypatch.chdir(learnt.folder.path)
    library, code = room.usage(learnt.params, learnt.folder.model)
    exec(code, {})
    model, tokenizer = room.opened(learnt.params, str(learnt.folder.model))
    (found,) = room.predict(learnt.params, model, tokenizer, [["Book", "a", "table", "in", "Paris"]])
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed == [list(pair) for pair in zip(found["tokens"], found["tags"], strict=True)]
    assert library == "transformers"


def test_a_token_is_labelled_at_its_first_piece(rows):
    from nbtrain.data import tags
    from nbtrain.models import load

    tokenizer = load.saved_tokenizer(str(_texts.TINY_TEXT))
    from datasets import Dataset

    dataset = Dataset.from_list([{"tokens": ["play", "Xylophonistically", "now"], "tags": ["O", "B-a", "I-a"]}])
    form = tags.recognise(dataset)
    told = []
    (row,) = room._tokenised(dataset, form, tokenizer, 48, told.append)
    pieces = tokenizer.convert_ids_to_tokens(row["input_ids"])
    labelled = {piece: label for piece, label in zip(pieces, row["labels"], strict=True) if label != -100}
    assert list(labelled.values()) == [0, 1, 2]
    assert len(pieces) > 3 + len(labelled)
    assert not told


def test_plain_tags_are_counted_by_token(in_room, tmp_path):
    path = tmp_path / "pos.conll"
    path.write_text("The\tDET\ndog\tNOUN\nruns\tVERB\n\nA\tDET\ncat\tNOUN\nsleeps\tVERB\n\n" * 12)
    found = in_room(NAME, **{**SHORT, "data_path": str(path), "epochs": 6})
    assert found.values["accuracy"] > 0.9
    assert {"f1_macro", "f1_weighted"} <= set(found.values)
    assert {row["label"] for row in found.report["by_tag"]} == {"DET", "NOUN", "VERB"}
    samples = [event for event in found.events if event.kind == "sampled"][-1].samples
    assert samples[0]["expected"] in ("The/DET dog/NOUN runs/VERB", "A/DET cat/NOUN sleeps/VERB")
    model, tokenizer = room.opened(found.params, str(found.folder.model))
    (said,) = room.predict(found.params, model, tokenizer, ["The dog runs"])
    assert said["tags"] == ["DET", "NOUN", "VERB"] and "entities" not in said


def test_a_stopped_run_goes_on_to_the_same_weights(in_room, rows):
    given = {**SHORT, "data_path": rows(), "max_steps": 6, "save_strategy": "steps", "save_steps": 4}
    whole = in_room(NAME, **given)
    stopped = in_room(NAME, asked={4: "stop"}, **given)
    resumed = in_room(NAME, resume=stopped.folder, **given)
    assert whole.weights.keys() == resumed.weights.keys()
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_the_exported_script_trains_the_same_weights(workdir, rows):
    run = train_here(room.Params(**{**SHORT, "data_path": rows(), "max_steps": 3}))
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    again = all_runs()[-1]
    assert again.name != run.name
    one, other = (load_file(each.folder.model / "model.safetensors") for each in (run, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def plain_features(tokenizer, row, names):
    """As transformers' own example makes them."""
    found = tokenizer(row["tokens"], is_split_into_words=True)
    labels, before = [], None
    for word in found.word_ids():
        labels.append(-100 if word is None or word == before else names.index(row["tags"][word]))
        before = word
    return {**found, "labels": labels}


def test_the_losses_are_those_of_a_plain_script(in_room, rows):
    from datasets import Dataset
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )  # fmt: skip

    data = rows(96)
    ours = in_room(NAME, **{**SHORT, "data_path": data, "valid_fraction": 0, "max_steps": 20})
    place, config = str(_texts.TINY_TEXT), json.loads((ours.folder.model / "config.json").read_text())
    names = list(config["id2label"].values())
    tokenizer = AutoTokenizer.from_pretrained(place)
    found = [plain_features(tokenizer, json.loads(line), names) for line in Path(data).read_text().splitlines()]
    set_seed(42)
    model = AutoModelForTokenClassification.from_pretrained(place, dtype=torch.float32, num_labels=len(names))
    settings = TrainingArguments(
        output_dir=str(ours.folder.path / "plain"),
        per_device_train_batch_size=16,
        learning_rate=2e-3,
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
    collate = DataCollatorForTokenClassification(tokenizer)
    trainer = Trainer(model, settings, collate, train_dataset=Dataset.from_list(found))
    trainer.train()
    plain = [logged["loss"] for logged in trainer.state.log_history if "loss" in logged]
    assert len(plain) == 20
    assert ours.losses == pytest.approx(plain, abs=1e-5)


def test_an_adapter_and_the_new_head_learn(in_room, rows):
    found = in_room(NAME, **{**SHORT, "data_path": rows(), "peft": True, "max_steps": 12, "lr": 1e-2})
    assert min(found.losses[-3:]) < found.losses[0] - 0.5
    model, tokenizer = room.opened(found.params, str(found.folder.model))
    assert len(room.predict(found.params, model, tokenizer, ["play music"])[0]["tags"]) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tags": ["O"]}, "tokens and 1 tags"),
        ({"tokens": ["play", " ", "x"], "tags": ["O", "O", "O"]}, "token 2: empty text"),
        ({"tokens": []}, "no tokens"),
        ({"tokens": ["play"], "tags": [None]}, "no tag: None"),
        ({"tokens": None}, "a list is expected, found NoneType"),
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


def test_check_tells_rows_and_kinds(rows, tmp_path):
    lines = trainers.load(NAME).check(room.Params(data_path=rows(20)), tmp_path)
    assert any("Rows: train 18, valid 2. Read as entities in BIO: tokens, tags." in line for line in lines)
    assert any("kinds of entities: " in line for line in lines)
