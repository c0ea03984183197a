"""Numbers of texts: what is learnt, in which unit, and that it is what plain transformers would do."""

import csv
import json
import random
import runpy
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.errors import DataError, ParamError
from nbtrain.models import load
from nbtrain.run import all_runs, train_here
from nbtrain.trainers import _texts

ROOM = trainers.load("text-regression")
DEMO = sources.DEMO.with_name("text_regression.csv")
SHORT = {"max_seq_length": 32, "batch_size": 16, "lr": 3e-3, "logging_steps": 1}
WORDS = {"many": 1.0, "few": -1.0, "some": 0.0}


def prices(count, seed=0):
    """Rows of a rule that can be learnt: a thousand for each "many", less a thousand for each "few"."""
    chance = random.Random(seed)
    rows = []
    for at in range(count):
        words = [chance.choice([*WORDS, "thing"]) for _ in range(6)]
        total = sum(WORDS.get(word, 0) for word in words)
        rows.append(
            {"text": f"{' '.join(words)} {at}", "price": 5000 + 1000 * total + 0.5, "mood": total / 100 + 0.005}
        )
    return rows


def warned(found):
    return "\n".join(event.message for event in found.events if event.kind == "warned")


def held_out(found):
    from nbtrain.data import read

    return read.read(found.params, found.folder.data).valid


@pytest.fixture(scope="session")
def learnt(in_room, tmp_path_factory):
    path = tmp_path_factory.mktemp("prices") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in prices(240)))
    given = {**SHORT, "epochs": 8, "valid_fraction": 0.2, "target_column": "price,mood"}
    return in_room("text-regression", data_path=str(path), **given)


def test_it_learns_several_numbers_at_once(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["loss"] < first["loss"] / 2
    assert last["pearson"] > 0.8 > first["pearson"]
    assert learnt.values["rmse"] == min(each["rmse"] for each in learnt.evaluations)


def test_the_saved_model_answers_in_the_unit_of_the_targets(learnt):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(learnt.folder.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(learnt.folder.model)
    rows = held_out(learnt)
    with torch.no_grad():
        said = model(**tokenizer(list(rows["text"]), padding=True, return_tensors="pt")).logits.numpy()
    expected = numpy.array([rows["price"], rows["mood"]]).T
    assert model.config.id2label == {0: "price", 1: "mood"}
    assert learnt.values["mae"] == pytest.approx(abs(said - expected).mean(), rel=1e-3)
    assert said[:, 0].mean() == pytest.approx(5000, rel=0.2)
    assert abs(said[:, 1]).max() < 0.2


def test_the_report_has_a_table_of_targets_and_a_figure(learnt):
    one, other = learnt.report["targets"]
    assert (one["target"], other["target"]) == ("price", "mood")
    assert (one["rmse"] + other["rmse"]) / 2 == pytest.approx(learnt.values["rmse"], rel=1e-4)
    assert (learnt.folder.figures / "residuals.png").read_bytes().startswith(b"\x89PNG")
    assert {"prompt", "output", "expected"} == set(learnt.report["worst"][0])


def test_predict_gives_numbers_by_name(learnt):
    model, tokenizer = ROOM.opened(learnt.params, str(learnt.folder.model))
    low, high = ROOM.predict(learnt.params, model, tokenizer, ["few few few few few few", {"text": "many " * 6}])
    assert set(low) == {"price", "mood"}
    assert low["price"] < 4000 < 6000 < high["price"]
    assert ROOM.predict(learnt.params, model, tokenizer, []) == []
    with pytest.raises(ParamError, match="predict of text-regression has no settings; found threshold"):
        ROOM.predict(learnt.params, model, tokenizer, ["many"], threshold=1)


def test_the_saved_model_is_measured_again(learnt, table):
    again = ROOM.evaluate(learnt.params, str(learnt.folder.model))
    assert again == pytest.approx({name: learnt.values[name] for name in again}, rel=1e-3)
    other = ROOM.evaluate(learnt.params, str(learnt.folder.model), table(prices(40, seed=1)))
    assert other["pearson"] > 0.8


def test_the_snippet_of_the_card_runs(learnt, monkeypatch, capsys):
    monkeypatch.chdir(learnt.folder.path)
    library, code = ROOM.usage(learnt.params, learnt.folder.model)
    exec(code, {})
    assert library == "transformers"
    assert capsys.readouterr().out.startswith("{'price': ")


def test_the_demo_is_learnt_and_its_pairs_are_found(in_room):
    found = in_room("text-regression", epochs=3, **{**SHORT, "max_seq_length": 64, "lr": 2e-3})
    assert "text from sentence, pair from phrase, target from complexity" in warned(found)
    assert found.values["pearson"] > 0.2
    model, tokenizer = ROOM.opened(found.params, str(found.folder.model))
    with DEMO.open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    one, two = ROOM.predict(found.params, model, tokenizer, [row, (row["sentence"], row["phrase"])])
    assert one == two
    assert 0 < one < 1


@pytest.mark.parametrize("extra", [{}, {"merge_adapter": False}], ids=str)
def test_an_adapter_answers_in_the_unit_of_the_targets(in_room, table, extra):
    given = {**SHORT, "data_path": table(prices(64)), "target_column": "price", "peft": True, "max_steps": 12}
    found = in_room("text-regression", **given, **extra)
    model, tokenizer = ROOM.opened(found.params, str(found.folder.model))
    assert ROOM.predict(found.params, model, tokenizer, ["some thing"])[0] == pytest.approx(5000, rel=0.3)


def test_a_last_layer_without_a_bias_leaves_the_unit_to_the_config(in_room, table, tmp_path, monkeypatch, capsys):
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = load.saved_tokenizer(str(load.TINY))
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "writer")
    tokenizer.save_pretrained(tmp_path / "writer")
    given = {**SHORT, "data_path": table(prices(48)), "target_column": "price", "max_steps": 2}
    found = in_room("text-regression", **given, model=str(tmp_path / "writer"))
    model, words = ROOM.opened(found.params, str(found.folder.model))
    assert ROOM.predict(found.params, model, words, ["some thing"])[0] == pytest.approx(5000, rel=0.5)
    monkeypatch.chdir(found.folder.path)
    exec(ROOM.usage(found.params, found.folder.model)[1], {})
    assert float(capsys.readouterr().out.strip("{}\n").split(": ")[1]) == pytest.approx(5000, rel=0.5)


def test_a_stopped_run_goes_on_to_the_same_weights(in_room, table):
    given = {**SHORT, "data_path": table(prices(64)), "target_column": "price", "max_steps": 6}
    given |= {"save_strategy": "steps", "save_steps": 3}
    whole = in_room("text-regression", **given)
    stopped = in_room("text-regression", asked={3: "stop"}, **given)
    resumed = in_room("text-regression", resume=stopped.folder, **given)
    assert whole.weights.keys() == resumed.weights.keys()
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_the_exported_script_trains_the_same_weights(workdir, table):
    given = {**SHORT, "data_path": table(prices(48)), "target_column": ["price", "mood"], "max_steps": 3}
    run = train_here(ROOM.Params(**given))
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    one, other = (load_file(each.folder.model / "model.safetensors") for each in (run, all_runs()[-1]))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("scaled", [True, False])
def test_the_losses_are_those_of_a_plain_script(in_room, table, scaled):
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )  # fmt: skip

    data = table(prices(120))
    given = {**SHORT, "data_path": data, "target_column": "mood", "valid_fraction": 0, "max_steps": 20}
    ours = in_room("text-regression", **given, scale_targets=scaled)
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()]
    numbers = numpy.array([row["mood"] for row in rows])
    numbers = (numbers - numbers.mean()) / numbers.std() if scaled else numbers
    tokenizer = AutoTokenizer.from_pretrained(_texts.TINY_TEXT)
    dataset = Dataset.from_list(
        [{**tokenizer(row["text"]), "labels": float(number)} for row, number in zip(rows, numbers, strict=True)]
    )
    set_seed(42)
    model = AutoModelForSequenceClassification.from_pretrained(
        _texts.TINY_TEXT, num_labels=1, problem_type="regression", dtype=torch.float32
    )
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


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"text": "a", "price": None}, r"line 5, column price: no number (null)"),
        ({"text": "a", "price": "cheap"}, "line 5, column price: a number is expected, found 'cheap'"),
        ({"text": "", "price": 1}, "line 5, column text: empty text"),
    ],
)
def test_rows_that_cannot_be_used_are_told_before_a_model_is_opened(in_room, table, bad, told):
    with pytest.raises(DataError) as raised:
        data = table([*prices(4), bad])
        in_room("text-regression", data_path=data, target_column="price", model="no/such/model")
    assert told in str(raised.value)


def test_a_target_that_is_always_the_same_is_told(in_room, table):
    data = table([{"text": f"text {at}", "score": 2.5} for at in range(9)])
    with pytest.raises(
        DataError, match="Column score is 2.5 in every row that is trained on: there is nothing to learn"
    ):
        in_room("text-regression", data_path=data)


def test_check_tells_the_targets_by_split(table, tmp_path):
    lines = ROOM.check(ROOM.Params(data_path=table(prices(40)), target_column="price"), tmp_path)
    assert any(line.startswith("  price: train ") and "; valid " in line for line in lines)
