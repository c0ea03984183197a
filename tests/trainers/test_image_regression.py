"""Numbers of pictures: learnt scaled, measured and saved in their own unit."""

import csv
import io
import json
import runpy

import numpy
import pytest
import torch
from PIL import Image

from nbtrain import trainers
from nbtrain.errors import DataError, ParamError
from nbtrain.run import all_runs, train_here
from nbtrain.trainers import _pictures

ROOM = trainers.load("image-regression")
SHORT = {"batch_size": 8, "lr": 3e-3, "logging_steps": 1, "early_stopping_patience": 1000}


def picture(share):
    """A dark picture, of which this share is bright from the left."""
    image = Image.new("RGB", (50, 40), (20, 20, 30))
    image.paste((240, 230, 60), (0, 0, round(50 * share), 40))
    return image


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """Forty pictures and a table: how wide the bright part is, in a unit far from 1, and how wide the dark one."""
    folder = tmp_path_factory.mktemp("bars")
    chance = numpy.random.default_rng(0)
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "bright", "dark"])
        for at in range(40):
            share = chance.uniform(0.05, 0.95)
            picture(share).save(folder / f"{at}.png")
            writer.writerow([f"{at}.png", round(5000 + 1000 * share, 2), round(2 - 2 * share, 3)])
    return str(folder / "labels.csv")


@pytest.fixture(scope="session")
def learnt(in_room, table):
    return in_room("image-regression", data_path=table, epochs=14, valid_fraction=0.2, **SHORT)


def held_out(found):
    return list(ROOM._read(found.params, found.folder.data)[0].valid)


def test_all_columns_of_numbers_are_learnt_where_none_is_named(learnt):
    config = json.loads((learnt.folder.model / "config.json").read_text())
    assert config["id2label"] == {"0": "bright", "1": "dark"} and config["problem_type"] == "regression"


def test_it_learns_and_its_values_are_in_the_unit_of_the_targets(learnt):
    first, best = learnt.evaluations[0], learnt.values
    assert best["rmse"] < first["rmse"] / 2
    assert 5 < best["rmse"] < 250  # bright is spread by 280, dark by half a unit
    assert best["r2"] > 0.4


def test_the_saved_model_answers_in_the_unit_of_the_targets_without_nbtrain(learnt):
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(learnt.folder.model).eval()
    processor = _pictures.saved_processor(str(learnt.folder.model))
    rows = held_out(learnt)
    images = [Image.open(row["image"]).convert("RGB") for row in rows]
    with torch.no_grad():
        said = model(**processor(images=images, return_tensors="pt")).logits.double().numpy()
    expected = numpy.array([[float(row["bright"]), float(row["dark"])] for row in rows])
    mae = abs(said - expected).mean()
    assert learnt.values["mae"] == pytest.approx(mae, rel=1e-3)
    assert 5000 < said[:, 0].mean() < 6000


def test_the_report_and_the_samples_are_in_that_unit_too(learnt):
    targets = {each["target"]: each for each in learnt.report["targets"]}
    assert (targets["bright"]["mae"] + targets["dark"]["mae"]) / 2 == pytest.approx(learnt.values["mae"], rel=1e-4)
    assert (learnt.folder.figures / "residuals.png").read_bytes().startswith(b"\x89PNG")
    last = [event for event in learnt.events if event.kind == "sampled"][-1]
    assert last.samples[0]["expected"].startswith("bright 5") and len(last.samples[0]["picture"]) <= 4096


def test_predict_gives_a_number_for_each_target(learnt):
    model, processor = ROOM.opened(learnt.params, str(learnt.folder.model))
    few, many = ROOM.predict(learnt.params, model, processor, [picture(0.1), picture(0.9)])
    assert few["bright"] < many["bright"] and few["dark"] > many["dark"]
    with pytest.raises(ParamError, match="has no setting threshold"):
        ROOM.predict(learnt.params, model, processor, [picture(0.5)], threshold=1)


def test_the_snippet_of_the_card_runs_without_nbtrain(learnt, tmp_path, monkeypatch, capsys):
    _, code = ROOM.usage(learnt.params, learnt.folder.model)
    (tmp_path / "model").symlink_to(learnt.folder.model)
    picture(0.5).save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "snippet", "exec"), {})
    assert set(eval(capsys.readouterr().out.strip())) == {"bright", "dark"}


def test_a_stopped_run_goes_on_to_the_same_weights_and_a_script_gives_them_again(in_room, table, same, workdir):
    given = {**SHORT, "data_path": table, "target_column": "bright", "augmentation": "flip,colour", "max_steps": 6}
    begun = in_room("image-regression", asked={3: "stop"}, **given)
    ended = in_room("image-regression", resume=begun.folder, **given)
    torch.set_num_threads(1)
    run = train_here(ROOM.Params(**given))
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    from safetensors.torch import load_file

    found = [load_file(each.folder.model / "model.safetensors") for each in all_runs()]
    assert len(found) == 2
    for weights in found:
        assert all(torch.equal(weights[name], ended.weights[name]) for name in weights)


def rows_of(tmp_path, values, **more):
    picture(0.5).save(tmp_path / "a.png")
    rows = [{"image": "a.png", "target": value} for value in values]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ROOM.Params(data_path=str(tmp_path / "rows.jsonl"), valid_fraction=0, **more)


def test_rows_that_hold_no_number_are_told_before_a_model_is_loaded(tmp_path, in_room):
    params = rows_of(tmp_path, [1, "two", None, 4, float("inf")])
    with pytest.raises(DataError, match="3 of 5 rows") as told:
        in_room("image-regression", data_path=params.data_path, valid_fraction=0, model="nobody/none")
    assert "line 2, column target: a number is expected, found 'two'" in told.value.where
    assert "line 3, column target: no number (null)" in told.value.where


def test_a_target_may_be_a_list_and_a_constant_one_is_refused(tmp_path, in_room):
    lines = ROOM.check(rows_of(tmp_path, [[1, 2], [3, 4], [5, 7]]), tmp_path / "cache")
    assert any("target 2: train 4.333" in line for line in lines)
    params = rows_of(tmp_path, [3, 3, 3])
    with pytest.raises(DataError, match="is 3 in every row"):
        in_room("image-regression", data_path=params.data_path, valid_fraction=0)
    (tmp_path / "rows.jsonl").write_text('{"image": "a.png", "name": "x"}\n' * 3)
    with pytest.raises(DataError, match="no column of numbers to learn; there are image, name"):
        ROOM.check(params, tmp_path / "other")


def test_a_folder_of_numbers_is_a_table_too(tmp_path):
    for name in ("3", "7.5"):
        (tmp_path / "set" / name).mkdir(parents=True)
        picture(0.5).save(tmp_path / "set" / name / "a.png")
    lines = ROOM.check(ROOM.Params(data_path=str(tmp_path / "set"), valid_fraction=0), tmp_path / "cache")
    assert any("label: train 5.25 ± 2.25, 3 to 7.5" in line for line in lines)


def test_pictures_are_left_as_they_are_unless_changes_are_named(learnt):
    warned = [event.message for event in learnt.events if event.kind == "warned"]
    assert not any("Pictures are changed" in message for message in warned)


def test_bytes_are_pictures_too(learnt):
    file = io.BytesIO()
    picture(0.4).save(file, "PNG")
    model, processor = ROOM.opened(learnt.params, str(learnt.folder.model))
    one, other = ROOM.predict(learnt.params, model, processor, [file.getvalue(), picture(0.4)])
    assert one == other
