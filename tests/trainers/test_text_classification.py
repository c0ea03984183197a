"""Classes of texts: what is learnt, told and saved, and that it is what plain transformers would do."""

import csv
import json
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.errors import DataError, ParamError
from nbtrain.run import all_runs, train_here
from nbtrain.trainers import _texts

ROOM = trainers.load("text-classification")
DEMO = sources.DEMO.with_name("text_classification.csv")
SHORT = {"max_seq_length": 32, "batch_size": 16, "lr": 3e-3, "logging_steps": 1}
INTENTS = (
    "AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook", "SearchCreativeWork",
    "SearchScreeningEvent",
)  # fmt: skip


def demo(count=10_000):
    with open(DEMO, encoding="utf-8") as file:
        return list(csv.DictReader(file))[:count]


@pytest.fixture(scope="session")
def learnt(in_room):
    """Seven intents: the demo."""
    return in_room("text-classification", epochs=6, **SHORT)


def test_it_learns_to_tell_intents_apart(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["loss"] < first["loss"] / 2
    assert last["f1_macro"] > 0.6 > first["f1_macro"]
    assert sum(learnt.losses[-10:]) < sum(learnt.losses[:10]) / 2


def test_the_values_are_those_of_the_best_evaluation(learnt):
    assert learnt.values["f1_macro"] == max(each["f1_macro"] for each in learnt.evaluations)
    started = next(event for event in learnt.events if event.kind == "started")
    assert (started.metric, started.facts["rows"], started.facts["valid_rows"]) == ("f1_macro", 283, 32)


def held_out(found):
    """The texts and classes that a run held out, by its own split."""
    from nbtrain.data import read

    splits = read.read(found.params, found.folder.data, by=lambda rows: rows["label"])
    return [row["text"] for row in splits.valid], [row["label"] for row in splits.valid]


def test_plain_transformers_and_scikit_learn_find_the_same_values(learnt):
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(learnt.folder.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(learnt.folder.model)
    texts, labels = held_out(learnt)
    with torch.no_grad():
        tokens = tokenizer(texts, truncation=True, max_length=32, padding=True, return_tensors="pt")
        logits = model(**tokens).logits
    said = [model.config.id2label[at] for at in logits.argmax(-1).tolist()]
    numbers = torch.tensor([model.config.label2id[label] for label in labels])
    assert learnt.values["accuracy"] == pytest.approx(accuracy_score(labels, said))
    assert learnt.values["f1_macro"] == pytest.approx(f1_score(labels, said, average="macro", zero_division=0))
    assert learnt.values["mcc"] == pytest.approx(matthews_corrcoef(labels, said))
    assert learnt.values["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, numbers).item(), rel=1e-4)


def test_the_classes_stand_in_the_config_in_their_order(learnt):
    config = json.loads((learnt.folder.model / "config.json").read_text())
    assert config["id2label"] == {str(at): name for at, name in enumerate(INTENTS)}
    assert config["problem_type"] == "single_label_classification"


def test_each_class_is_held_out_by_its_share(learnt):
    _, labels = held_out(learnt)
    assert {labels.count(name) for name in INTENTS} <= {4, 5}


def test_the_report_has_a_confusion_matrix_and_a_table_of_classes(learnt):
    table = learnt.report["confusion"]["expected_by_predicted"]
    right = sum(table[at][at] for at in range(7))
    assert learnt.report["confusion"]["labels"] == list(INTENTS)
    assert sum(map(sum, table)) == 32
    assert right / 32 == pytest.approx(learnt.values["accuracy"])
    assert [row["rows"] for row in learnt.report["classes"]] == [sum(line) for line in table]
    for name in ("confusion.png", "classes.png"):
        assert (learnt.folder.figures / name).read_bytes().startswith(b"\x89PNG")


def test_samples_are_what_the_model_is_most_mistaken_about(learnt):
    last = [event for event in learnt.events if event.kind == "sampled"][-1]
    mistakes = [each["output"] != each["expected"] for each in learnt.report["worst"]]
    assert mistakes == sorted(mistakes, reverse=True)  # what is wrong is worse than what is right, but unsure
    assert set(last.samples[0]) == {"prompt", "output", "expected", "confidence"}
    assert last.samples[0]["prompt"] in {row["text"] for row in demo()}


def test_predict_takes_texts_pairs_and_rows(learnt):
    model, tokenizer = ROOM.opened(learnt.params, str(learnt.folder.model))
    text = "will it rain in Paris tomorrow"
    one, two = ROOM.predict(learnt.params, model, tokenizer, [text, {"text": text}])
    assert one["label"] == two["label"] == "GetWeather"
    assert one["score"] == max(one["scores"].values())
    assert sum(one["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert tuple(one["scores"]) == INTENTS
    assert ROOM.predict(learnt.params, model, tokenizer, []) == []
    assert ROOM.predict(learnt.params, model, tokenizer, [(text, "and then")])[0]["label"] in INTENTS
    with pytest.raises(ParamError, match="a row to predict is a text"):
        ROOM.predict(learnt.params, model, tokenizer, [{"other": 3}])
    with pytest.raises(ParamError, match="no setting temperature"):
        ROOM.predict(learnt.params, model, tokenizer, [text], temperature=1)


def test_the_saved_model_is_measured_again(learnt, table):
    again = ROOM.evaluate(learnt.params, str(learnt.folder.model))
    assert {name: again[name] for name in ("accuracy", "f1_macro", "auc", "loss")} == pytest.approx(
        {name: learnt.values[name] for name in ("accuracy", "f1_macro", "auc", "loss")}, rel=1e-4
    )
    known = ROOM.evaluate(learnt.params, str(learnt.folder.model), table(demo(60)))
    assert known["accuracy"] > 0.7
    with pytest.raises(DataError, match="label 'x' is not among the 7"):
        ROOM.evaluate(learnt.params, str(learnt.folder.model), table([{"text": "a", "label": "x"}]))


def test_the_snippet_of_the_card_runs(learnt, monkeypatch, capsys):
    monkeypatch.chdir(learnt.folder.path)
    library, code = ROOM.usage(learnt.params, learnt.folder.model)
    exec(code, {})
    assert library == "transformers"
    assert set(INTENTS) <= set(capsys.readouterr().out.replace("'", " ").replace(":", " ").split())


@pytest.mark.parametrize(
    "extra", [{}, {"quantization": "int4"}, {"quantization": "int8"}, {"merge_adapter": False}], ids=str
)
def test_an_adapter_learns_with_its_head_and_is_saved(in_room, table, extra, monkeypatch, capsys):
    given = {**SHORT, "data_path": table(demo(96)), "peft": True, "max_steps": 30, "lr": 5e-3, "best_model": False}
    found = in_room("text-classification", **given, **extra)
    assert sum(found.losses[-3:]) < sum(found.losses[:3]) - 0.3
    apart = extra == {"merge_adapter": False}
    assert (found.folder.model / "adapter_config.json").exists() == apart
    model, tokenizer = ROOM.opened(found.params, str(found.folder.model))
    assert tuple(ROOM.predict(found.params, model, tokenizer, ["play a song"])[0]["scores"]) == INTENTS
    monkeypatch.chdir(found.folder.path)
    library, code = ROOM.usage(found.params, found.folder.model)
    exec(code, {})
    assert (library == "peft") == apart
    assert "PlayMusic" in capsys.readouterr().out


def test_a_saved_adapter_is_where_the_next_training_begins(in_room, table):
    given = {**SHORT, "data_path": table(demo(48)), "max_steps": 6, "best_model": False}
    first = in_room("text-classification", **given, peft=True, merge_adapter=False)
    still = {**given, "max_steps": 1, "lr": 1e-12}
    second = in_room("text-classification", **still, model=str(first.folder.model))
    one, other = (
        ROOM.predict(found.params, *ROOM.opened(found.params, str(found.folder.model)), ["play a song"])[0]["scores"]
        for found in (first, second)
    )
    assert other == pytest.approx(one, abs=1e-4)


def test_a_stopped_run_goes_on_to_the_same_weights(in_room, table):
    given = {**SHORT, "data_path": table(demo(48)), "max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    whole = in_room("text-classification", **given)
    stopped = in_room("text-classification", asked={3: "stop"}, **given)
    resumed = in_room("text-classification", resume=stopped.folder, **given)
    assert len(stopped.losses) == 3
    assert whole.weights.keys() == resumed.weights.keys()
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_the_exported_script_trains_the_same_weights(workdir, table):
    run = train_here(
        ROOM.Params(**SHORT, data_path=table(demo(48)), max_steps=3, class_weights="balanced", labels=[*INTENTS])
    )
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    again = all_runs()[-1]
    assert again.name != run.name
    one, other = (load_file(each.folder.model / "model.safetensors") for each in (run, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert run.predict("play a song")["label"] == again.predict("play a song")["label"]


def test_the_losses_are_those_of_a_plain_script(in_room, table):
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )  # fmt: skip

    data = table(demo(120))
    ours = in_room("text-classification", **{**SHORT, "data_path": data, "valid_fraction": 0, "max_steps": 20})
    tokenizer = AutoTokenizer.from_pretrained(_texts.TINY_TEXT)
    dataset = Dataset.from_list(
        [
            {**tokenizer(row["text"], truncation=True, max_length=32), "labels": INTENTS.index(row["label"])}
            for row in map(json.loads, Path(data).read_text().splitlines())
        ]
    )
    set_seed(42)
    model = AutoModelForSequenceClassification.from_pretrained(_texts.TINY_TEXT, num_labels=7, dtype=torch.float32)
    settings = TrainingArguments(
        output_dir=str(ours.folder.path / "plain"),
        per_device_train_batch_size=16,
        learning_rate=3e-3,
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
    trainer = Trainer(model, settings, DataCollatorWithPadding(tokenizer), train_dataset=dataset)
    trainer.train()
    plain = [logged["loss"] for logged in trainer.state.log_history if "loss" in logged]
    assert len(plain) == 20
    assert ours.losses == pytest.approx(plain, abs=1e-5)
