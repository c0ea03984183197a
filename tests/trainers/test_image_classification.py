"""Classes of pictures: what is learnt, told and saved, and that it is what plain transformers would do."""

import base64
import io
import json
import runpy

import numpy
import pytest
import torch
from PIL import Image, ImageDraw

from nbtrain import trainers
from nbtrain.data import sources
from nbtrain.data.images import opened
from nbtrain.errors import DataError, ModelError, ParamError
from nbtrain.run import all_runs, train_here
from nbtrain.trainers import _pictures

ROOM = trainers.load("image-classification")
DEMO = sources.DEMO.with_name("image_classification.parquet")
SHORT = {"batch_size": 8, "lr": 2e-3, "logging_steps": 1, "early_stopping_patience": 1000}
SHAPES = ("circle", "square", "stripe")


def picture(shapes, seed):
    """A dark picture with these shapes on it, anywhere."""
    chance = numpy.random.default_rng(seed)
    image = Image.new("RGB", (48, 40), tuple(int(each) for each in chance.integers(0, 60, 3)))
    pen = ImageDraw.Draw(image)
    for at, name in enumerate(shapes):
        x, y = int(chance.integers(2, 30)), int(chance.integers(2, 22))
        colour = [(230, 60, 60), (60, 230, 60), (80, 80, 250)][SHAPES.index(name)]
        if name == "circle":
            pen.ellipse((x, y, x + 14, y + 14), fill=colour)
        elif name == "square":
            pen.rectangle((x, y, x + 13, y + 13), fill=colour)
        else:
            pen.rectangle((0, y + at, 48, y + at + 4), fill=colour)
    return image


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder with a folder of pictures for each shape."""
    folder = tmp_path_factory.mktemp("shapes")
    for name in SHAPES:
        (folder / name).mkdir()
        for at in range(14):
            picture([name], at).save(folder / name / f"{at}.png")
    return folder


@pytest.fixture(scope="session")
def learnt(in_room, shapes):
    return in_room("image-classification", data_path=str(shapes), epochs=5, valid_fraction=0.2, **SHORT)


def warned(found):
    return "\n".join(event.message for event in found.events if event.kind == "warned")


def held_out(found):
    splits, form, _ = ROOM._read(found.params, found.folder.data)
    return list(splits.valid), form


def test_it_learns_to_tell_shapes_apart(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["loss"] < first["loss"] / 2
    assert last["accuracy"] > 0.7 > first["accuracy"]
    assert sum(learnt.losses[-4:]) < sum(learnt.losses[:4]) / 2


def test_plain_transformers_says_the_same_of_the_held_out_pictures(learnt):
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(learnt.folder.model).eval()
    processor = _pictures.saved_processor(str(learnt.folder.model))
    rows, _ = held_out(learnt)
    images = [Image.open(row["image"]).convert("RGB") for row in rows]
    with torch.no_grad():
        logits = model(**processor(images=images, return_tensors="pt")).logits
    said = [model.config.id2label[at] for at in logits.argmax(-1).tolist()]
    right = [one == row["label"] for one, row in zip(said, rows, strict=True)]
    assert learnt.values["accuracy"] == pytest.approx(sum(right) / len(right))
    numbers = torch.tensor([model.config.label2id[row["label"]] for row in rows])
    loss = torch.nn.functional.cross_entropy(logits, numbers).item()
    assert learnt.values["loss"] == pytest.approx(loss, rel=1e-4)


def test_the_report_and_the_figures_say_how_good_it_is(learnt):
    table = learnt.report["confusion"]["expected_by_predicted"]
    assert learnt.report["confusion"]["labels"] == list(SHAPES)
    assert sum(map(sum, table)) == 8
    assert sum(table[at][at] for at in range(3)) / 8 == pytest.approx(learnt.values["accuracy"])
    for name in ("confusion.png", "classes.png"):
        assert (learnt.folder.figures / name).read_bytes().startswith(b"\x89PNG")


def test_samples_show_the_pictures_that_it_is_most_mistaken_about(learnt):
    last = [event for event in learnt.events if event.kind == "sampled"][-1]
    assert len(last.samples) == 3
    for sample in last.samples:
        assert list(sample) == ["prompt", "output", "expected", "confidence", "picture", "alt"]
        data = base64.b64decode(sample["picture"], validate=True)
        assert len(sample["picture"]) <= 4096 and Image.open(io.BytesIO(data)).format == "JPEG"
        assert sample["prompt"].split("/")[0] == sample["expected"]
        assert sample["alt"] == f"the picture {sample['prompt']}"


def test_the_classes_are_counted_by_split(learnt, shapes, tmp_path):
    assert all(
        f"{name}: train 11 (32.4%), valid 3" in warned(learnt) or f"{name}: train 12" in warned(learnt)
        for name in SHAPES
    )
    lines = ROOM.check(ROOM.Params(data_path=str(shapes)), tmp_path)
    assert any("one of 3 classes: circle, square, stripe" in line for line in lines)
    assert any(line.strip().startswith("square: train 1") for line in lines)


def test_predict_takes_a_picture_in_any_form(learnt):
    model, processor = ROOM.opened(learnt.params, str(learnt.folder.model))
    rows, _ = held_out(learnt)
    path = rows[0]["image"]
    with open(path, "rb") as file:
        data = file.read()
    forms = [path, data, Image.open(path), numpy.asarray(opened(path)), {"image": path}, {"bytes": data, "path": None}]
    said = ROOM.predict(learnt.params, model, processor, forms)
    assert len({each["label"] for each in said}) == 1
    assert all(each["scores"] == pytest.approx(said[0]["scores"], abs=1e-5) for each in said)
    assert sum(said[0]["scores"].values()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ParamError, match="has no setting temperature"):
        ROOM.predict(learnt.params, model, processor, forms, temperature=1)
    with pytest.raises(ParamError, match="a row to predict has no 'image'; it has photo"):
        ROOM.predict(learnt.params, model, processor, [{"photo": path}])
    with pytest.raises(DataError, match="there is no picture"):
        ROOM.predict(learnt.params, model, processor, ["nowhere.png"])


def test_the_snippet_of_the_card_runs_without_nbtrain(learnt, tmp_path, monkeypatch, capsys):
    library, code = ROOM.usage(learnt.params, learnt.folder.model)
    (tmp_path / "model").symlink_to(learnt.folder.model)
    rows, _ = held_out(learnt)
    Image.open(rows[0]["image"]).save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "snippet", "exec"), {})
    assert library == "transformers" and "nbtrain" not in code
    assert set(eval(capsys.readouterr().out.strip())) == set(SHAPES)


def test_a_stopped_run_goes_on_to_the_same_weights(in_room, shapes, same):
    given = {**SHORT, "data_path": str(shapes), "max_steps": 10, "save_strategy": "steps", "save_steps": 100}
    whole = in_room("image-classification", **given)
    begun = in_room("image-classification", asked={6: "stop"}, **given)  # in the middle of the second epoch
    ended = in_room("image-classification", resume=begun.folder, **given)
    assert len(begun.losses) < 10 and same(whole, ended)
    assert whole.losses == ended.losses


def test_the_script_of_a_run_trains_the_same_weights(shapes, workdir):
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    run = train_here(ROOM.Params(data_path=str(shapes), max_steps=4, **SHORT))
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    one, other = (load_file(each.folder.model / "model.safetensors") for each in all_runs())
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_plain_script_of_transformers_has_the_same_losses(in_room, tmp_path):
    """Twenty steps of a vision transformer with public names only."""
    import pyarrow.parquet as parquet
    from transformers import (
        AutoConfig,
        AutoModelForImageClassification,
        Trainer,
        TrainingArguments,
        ViTConfig,
        ViTForImageClassification,
        set_seed,
    )  # fmt: skip

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=64, patch_size=16
    )
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    processor = _pictures.saved_processor(str(_pictures.TINY.parent / "image"))
    processor.save_pretrained(tmp_path / "vit")
    found = in_room(
        "image-classification", data_path=str(DEMO), model=str(tmp_path / "vit"), max_steps=20, lr=1e-3, batch_size=4,
        logging_steps=1, augmentation="none", valid_fraction=0,
    )  # fmt: skip

    rows = parquet.read_table(DEMO).to_pylist()
    names = ["hat", "pants", "shoes"]
    config = AutoConfig.from_pretrained(tmp_path / "vit", num_labels=3)
    set_seed(42)
    model = AutoModelForImageClassification.from_pretrained(
        tmp_path / "vit", config=config, ignore_mismatched_sizes=True
    )

    def batch(chosen):
        images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in chosen]
        labels = torch.tensor([names.index(row["label"]) for row in chosen])
        return {**processor(images=images, return_tensors="pt"), "labels": labels}

    arguments = TrainingArguments(
        output_dir=str(tmp_path / "plain"), max_steps=20, learning_rate=1e-3, per_device_train_batch_size=4,
        warmup_steps=2, logging_steps=1, use_cpu=True, remove_unused_columns=False, report_to="none",
        disable_tqdm=True, save_strategy="no", seed=42,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=batch)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert found.losses == pytest.approx(losses, abs=1e-4, rel=1e-5)
    assert len(losses) == 20


def test_a_vision_transformer_learns_through_an_adapter(in_room, shapes, tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=64, patch_size=16
    )
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    _pictures.saved_processor(str(_pictures.TINY.parent / "image")).save_pretrained(tmp_path / "vit")
    given = {**SHORT, "data_path": str(shapes), "model": str(tmp_path / "vit"), "peft": True, "max_steps": 12}
    found = in_room("image-classification", **{**given, "lr": 2e-2})
    assert found.losses[-1] < found.losses[0]
    started = next(event for event in found.events if event.kind == "started")
    assert started.facts["trainable"] < started.facts["parameters"] / 2
    assert (found.folder.path / "adapter" / "adapter_config.json").is_file()
    with pytest.raises(ModelError, match="matches no layer of the model"):
        in_room("image-classification", **given, target_modules="nonsense")


@pytest.fixture(scope="session")
def several(in_room, tmp_path_factory):
    """Pictures with any of the three shapes."""
    folder = tmp_path_factory.mktemp("several")
    sets = [("circle",), ("square",), ("stripe",), ("circle", "stripe"), ("square", "stripe"), ()]
    rows = []
    for at in range(60):
        names = sets[at % len(sets)]
        picture(names, at).save(folder / f"{at}.png")
        rows.append({"file_name": f"{at}.png", "labels": list(names)})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return in_room("image-classification", data_path=str(folder), epochs=8, valid_fraction=0.2, **SHORT)


def test_pictures_may_have_any_number_of_labels(several):
    config = json.loads((several.folder.model / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification" and len(config["label_thresholds"]) == 3
    assert several.values["f1_micro"] > 0.7 > several.evaluations[0]["f1_micro"]
    model, processor = ROOM.opened(several.params, str(several.folder.model))
    (said,) = ROOM.predict(several.params, model, processor, [picture(["circle"], 999)], threshold=0.0)
    assert said["labels"] == list(SHAPES) and set(said["scores"]) == set(SHAPES)


def test_a_faulty_picture_or_label_ends_the_run_before_a_model_is_loaded(in_room, shapes, tmp_path):
    rows = [{"image": str(shapes / "circle" / f"{at}.png"), "label": "circle"} for at in range(3)]
    rows += [{"image": str(shapes / "square" / f"{at}.png"), "label": "square"} for at in range(3)]
    rows[1]["image"], rows[4]["label"] = str(shapes / "none.png"), None
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="2 of 6 rows cannot be used") as told:
        in_room("image-classification", data_path=str(tmp_path / "rows.jsonl"), model="nobody/none", valid_fraction=0)
    assert "line 2, column image: there is no picture" in told.value.where
    assert "line 5, column label: no label (null)" in told.value.where


@pytest.mark.parametrize(
    ("value", "said"),
    [("flap", "knows crop, flip"), ("auto,flip", "is auto, or none, or a list"), ("flip,none", "is auto, or none")],
)
def test_changes_that_there_are_not_are_refused(value, said):
    with pytest.raises(ParamError, match=said):
        ROOM.Params(augmentation=value)
