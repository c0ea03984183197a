"""Classes of texts: labels of every kind, what is told of the rows, and what the parameters change."""

import csv
import json

import pytest

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.errors import DataError, ParamError

ROOM = trainers.load("text-classification")
DEMO = sources.DEMO.with_name("text_classification.csv")
SHORT = {"max_seq_length": 32, "batch_size": 16, "lr": 3e-3, "logging_steps": 1}


def demo(count=10_000):
    with open(DEMO, encoding="utf-8") as file:
        return list(csv.DictReader(file))[:count]


def warned(found):
    return "\n".join(event.message for event in found.events if event.kind == "warned")


@pytest.fixture
def several(table):
    """Rows with any of three labels, each shown by its word."""
    words = {"red": "rose fire blood", "green": "grass leaf frog", "blue": "sea sky ice"}
    texts = [(name,) for name in words] + [("red", "blue"), ("green", "blue"), ()]
    found = [
        {
            "text": " ".join(["it is", *(words[name].split()[at % 3] for name in names), "here"]),
            "labels": list(names),
        }
        for at in range(20)
        for names in texts
    ]
    return table(found, "several")


def test_labels_of_rows_with_several_are_learnt_and_their_thresholds_kept(in_room, several, monkeypatch, capsys):
    found = in_room("text-classification", data_path=several, epochs=6, class_weights="balanced", **SHORT)
    config = json.loads((found.folder.model / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert found.values["f1_micro"] > 0.9 > found.evaluations[0]["f1_micro"]
    assert len(config["label_thresholds"]) == 3
    model, tokenizer = ROOM.opened(found.params, str(found.folder.model))
    both, none = ROOM.predict(found.params, model, tokenizer, ["it is rose sea here", "it is here"])
    assert both["labels"] == ["blue", "red"]
    assert none["labels"] == []
    everything = ROOM.predict(found.params, model, tokenizer, ["it is here"], threshold=0)[0]
    assert everything["labels"] == ["blue", "green", "red"]
    measured = ROOM.evaluate(found.params, str(found.folder.model))
    assert measured["f1_micro"] > 0.9
    assert measured["loss"] < 0.3
    monkeypatch.chdir(found.folder.path)
    exec(ROOM.usage(found.params, found.folder.model)[1], {})
    assert capsys.readouterr().out.startswith("[")
    assert "confusion" not in found.report


def test_pairs_of_texts_are_read_together(in_room, table):
    same = [{"premise": one, "hypothesis": two, "label": int(one == two)} for one in "abcd" for two in "abcd"]
    found = in_room("text-classification", data_path=table(same * 3), max_steps=1, **SHORT)
    assert "text from premise, pair from hypothesis, target from label" in warned(found)
    sample = next(event for event in found.events if event.kind == "sampled").samples[0]
    assert " | " in sample["prompt"]


def test_weights_of_classes_change_the_loss(in_room, table):
    given = {**SHORT, "data_path": table(demo(48)), "max_steps": 1, "valid_fraction": 0}
    plain = in_room("text-classification", **given).losses[0]
    weighted = in_room("text-classification", **given, class_weights={"GetWeather": 10.0}).losses[0]
    assert weighted > plain * 1.2
    with pytest.raises(ParamError, match=r"--class-weights names 'getweather'.*Did you mean GetWeather\?"):
        in_room("text-classification", **given, class_weights={"getweather": 2.0})


def test_accumulated_batches_weigh_as_one(in_room, table, several):
    for data, weights in ((table(demo(48)), None), (table(demo(48)), "balanced"), (several, None)):
        given = {**SHORT, "data_path": data, "max_steps": 2, "valid_fraction": 0, "class_weights": weights, "lr": 1e-9}
        whole = in_room("text-classification", **given)
        parts = in_room("text-classification", **{**given, "batch_size": 4, "gradient_accumulation": 4})
        # dropout draws other numbers for smaller batches; a loss that is not divided would be four times as large
        assert parts.losses == pytest.approx(whole.losses, rel=0.15)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"text": " ", "label": "GetWeather"}, "line 49, column text: empty text"),
        ({"text": "rain", "label": None}, "line 49, column label: no label (null)"),
        (
            {"text": "rain", "label": ["GetWeather", "PlayMusic"]},
            "line 49, column label: 2 labels (GetWeather, PlayMusic)",
        ),
        ({"text": "rain", "label": 0.5}, "line 49, column label: 0.5 is a number with a fraction, and no class"),
    ],
)
def test_rows_that_cannot_be_used_are_told_before_a_model_is_opened(in_room, table, bad, told):
    with pytest.raises(DataError) as raised:
        in_room("text-classification", data_path=table([*demo(48), bad]), model="no/such/model")
    assert told in str(raised.value)


def test_rows_that_cannot_be_used_are_left_out_on_request(in_room, table):
    data = table([*demo(48), {"text": None, "label": "GetWeather"}])
    found = in_room("text-classification", data_path=data, on_bad_rows="skip", max_steps=1, valid_fraction=0, **SHORT)
    assert "1 rows cannot be used and are left out" in warned(found)
    assert next(event for event in found.events if event.kind == "started").facts["rows"] == 48


def test_a_class_that_only_the_rows_to_evaluate_on_have_is_told_by_its_row(in_room, tmp_path):
    for name, labels in (("train", "abab"), ("valid", "abc")):
        lines = [json.dumps({"text": f"{name} {at}", "label": label}) for at, label in enumerate(labels)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    with pytest.raises(
        DataError, match=r"valid.jsonl line 3, column label: label 'c' is not among the 2 of the training"
    ):
        in_room("text-classification", data_path=str(tmp_path), model="no/such/model")


def test_rare_classes_are_told(in_room, table):
    data = table([*({"text": f"text {at}", "label": "ab"[at % 2]} for at in range(20)), {"text": "last", "label": "c"}])
    found = in_room("text-classification", data_path=data, max_steps=1, **SHORT)
    assert "With one row to train on: c." in warned(found)
    assert "c: train 1 (5.3%), valid 0 (0.0%)" in warned(found)


def test_what_is_cut_off_is_told(in_room, table):
    found = in_room(
        "text-classification", **{**SHORT, "data_path": table(demo(48)), "max_seq_length": 8, "max_steps": 1}
    )
    assert "Longer than 8 tokens: " in warned(found)


def test_check_tells_the_classes_by_split(table, tmp_path):
    lines = ROOM.check(ROOM.Params(data_path=table(demo(60))), tmp_path)
    assert any("Read as texts: text, target from label." in line for line in lines)
    assert any(line.startswith("  GetWeather: train ") and "valid 1" in line for line in lines)


def test_a_metric_of_the_users_choice_decides_on_the_best(in_room, table):
    given = {**SHORT, "data_path": table(demo(48)), "max_steps": 4, "eval_strategy": "steps", "eval_steps": 2}
    found = in_room("text-classification", metric="loss", **given)
    assert found.values["loss"] == min(each["loss"] for each in found.evaluations)


def test_a_metric_that_does_not_rise_by_the_threshold_ends_the_training(in_room, table):
    given = {
        **SHORT,
        "data_path": table(demo(48)),
        "epochs": 6,
        "early_stopping_patience": 2,
        "early_stopping_threshold": 2.0,
    }
    found = in_room("text-classification", **given)
    assert len(found.evaluations) == 3
    assert "has not been better for 2 evaluations" in warned(found)


def test_a_threshold_is_for_rows_with_several_labels(in_room, table, several):
    given = {**SHORT, "max_steps": 1, "threshold": 0.25}
    one = in_room("text-classification", data_path=table(demo(48)), **given)
    assert "threshold only applies to rows with several labels, will be ignored" in warned(one)
    many = in_room("text-classification", data_path=several, **given)
    assert json.loads((many.folder.model / "config.json").read_text())["label_thresholds"] == [0.25] * 3
