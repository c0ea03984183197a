"""Boxes on pictures: learnt, measured, drawn and saved; through every kind of model."""

import base64
import io
import json
import runpy

import numpy
import pytest
import torch
from PIL import Image, ImageDraw

from nbtrain import trainers
from nbtrain.errors import DataError, ParamError
from nbtrain.evaluate import boxes as measures
from nbtrain.run import all_runs, train_here
from nbtrain.trainers import _drawn, _pictures
from nbtrain.trainers.object_detection import found_in

ROOM = trainers.load("object-detection")
SHORT = {"batch_size": 4, "lr": 1e-3, "logging_steps": 1, "early_stopping_patience": 1000}
COLOURS = {"disc": (230, 70, 60), "tile": (70, 90, 240)}


def picture(seed):
    """One to three things on a dark picture, and where they are."""
    chance = numpy.random.default_rng(seed)
    image = Image.new("RGB", (96, 80), (25, 25, 25))
    pen, boxes, names = ImageDraw.Draw(image), [], []
    for at in range(1 + seed % 3):
        side, name = int(chance.integers(16, 26)), ("disc", "tile")[int(chance.integers(0, 2))]
        x, y = 2 + at * 32 + int(chance.integers(0, 4)), int(chance.integers(2, 50))
        (pen.ellipse if name == "disc" else pen.rectangle)((x, y, x + side - 1, y + side - 1), fill=COLOURS[name])
        boxes.append([x, y, side, side])
        names.append(name)
    return image, {"bbox": boxes, "category": names}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("things")
    lines = []
    for at in range(24):
        image, objects = picture(at)
        image.save(folder / f"{at}.png")
        lines.append(json.dumps({"file_name": f"{at}.png", "objects": objects}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return str(folder)


@pytest.fixture(scope="session")
def learnt(in_room, folder):
    return in_room(
        "object-detection", data_path=folder, epochs=5, valid_fraction=0.25, image_square_size=96,
        augmentation="crop,colour", metric="loss", **SHORT,
    )  # fmt: skip


def test_the_loss_falls_on_held_out_pictures(learnt):
    first, last = learnt.evaluations[0], learnt.evaluations[-1]
    assert last["loss"] < 0.75 * first["loss"]
    assert sum(learnt.losses[-4:]) < 0.8 * sum(learnt.losses[:4])
    assert {"map", "map_50", "map_75", "recall_100"} <= set(last)
    assert 0 <= last["map"] <= last["map_50"] <= 1


def test_the_report_and_the_figures_say_how_good_it_is(learnt):
    by_class = {each["label"]: each for each in learnt.report["classes"]}
    assert set(by_class) == {"disc", "tile"} and sum(each["boxes"] for each in by_class.values()) > 6
    assert numpy.mean([each["map"] for each in by_class.values()]) == pytest.approx(learnt.values["map"], abs=1e-6)
    for name in ("precision_recall.png", "boxes.png"):
        assert (learnt.folder.figures / name).read_bytes().startswith(b"\x89PNG")


def test_samples_show_boxes_that_were_found_and_true_ones(learnt):
    taken = [event for event in learnt.events if event.kind == "sampled"]
    assert taken[0].label == "base" and len(taken[-1].samples) == 3
    sample = taken[-1].samples[0]
    assert Image.open(io.BytesIO(base64.b64decode(sample["picture"]))).format == "JPEG"
    assert sample["alt"].endswith("boxes: found drawn through, true dashed")
    assert {word for part in sample["expected"].split(", ") for word in part.split()[1:]} <= {"disc", "tile"}


def test_plain_transformers_finds_the_same_boxes(learnt):
    from transformers import AutoModelForObjectDetection

    plain = AutoModelForObjectDetection.from_pretrained(learnt.folder.model).eval()
    processor = _pictures.saved_processor(str(learnt.folder.model))
    image, _ = picture(3)
    with torch.no_grad():
        outputs = plain(**processor(images=[image], return_tensors="pt"))
    (expected,) = processor.post_process_object_detection(outputs, threshold=0.05, target_sizes=[(80, 96)])
    model, opened = ROOM.opened(learnt.params, str(learnt.folder.model))
    (said,) = ROOM.predict(learnt.params, model, opened, [image], threshold=0.05)
    assert len(said) == len(expected["scores"]) > 0
    assert said[0]["score"] == pytest.approx(expected["scores"].max().item(), abs=1e-5)
    best = expected["boxes"][expected["scores"].argmax()].clamp(min=0).tolist()
    assert said[0]["box"] == pytest.approx(
        [min(best[0], 96), min(best[1], 80), min(best[2], 96), min(best[3], 80)], abs=0.1
    )
    assert plain.config.id2label == {0: "disc", 1: "tile"}
    with pytest.raises(ParamError, match="has no setting size"):
        ROOM.predict(learnt.params, model, opened, [image], size=1)


def test_the_snippet_of_the_card_runs_without_nbtrain(learnt, tmp_path, monkeypatch):
    library, code = ROOM.usage(learnt.params, learnt.folder.model)
    (tmp_path / "model").symlink_to(learnt.folder.model)
    picture(4)[0].save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "snippet", "exec"), names)
    assert library == "transformers" and set(names["found"]) == {"scores", "labels", "boxes"}


def test_a_stopped_run_goes_on_to_the_same_weights(in_room, folder, same):
    given = {**SHORT, "data_path": folder, "image_square_size": 64, "max_steps": 5, "metric": "loss"}
    whole = in_room("object-detection", **given)
    begun = in_room("object-detection", asked={3: "stop"}, **given)
    ended = in_room("object-detection", resume=begun.folder, **given)
    assert len(begun.losses) < 5 and same(whole, ended)
    assert whole.losses == ended.losses


def test_the_script_of_a_run_trains_the_same_weights(folder, workdir):
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    run = train_here(ROOM.Params(data_path=folder, image_square_size=64, max_steps=3, **SHORT))
    assert run.status == "finished", run.error
    runpy.run_path(str(run.folder.script), run_name="__main__")
    one, other = (load_file(each.folder.model / "model.safetensors") for each in all_runs())
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def small(kind):
    """A model of this kind and its image processor, both small and new."""
    from transformers import (
        ConditionalDetrConfig,
        ConditionalDetrForObjectDetection,
        DetrConfig,
        DetrForObjectDetection,
        ResNetConfig,
        YolosConfig,
        YolosForObjectDetection,
    )  # fmt: skip

    shape = {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 12,
    }  # fmt: skip
    backbone = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    torch.manual_seed(0)
    if kind == "yolos":
        config = YolosConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[64, 64],
            num_detection_tokens=12,
        )  # fmt: skip
        return YolosForObjectDetection(config), "yolos.image_processing_pil_yolos", "YolosImageProcessorPil"
    made, model = {
        "detr": (DetrConfig, DetrForObjectDetection),
        "conditional_detr": (ConditionalDetrConfig, ConditionalDetrForObjectDetection),
    }[kind]
    config = made(backbone_config=backbone, **shape)
    name = {"detr": "Detr", "conditional_detr": "ConditionalDetr"}[kind]
    return model(config), f"{kind}.image_processing_pil_{kind}", f"{name}ImageProcessorPil"


@pytest.fixture
def saved(tmp_path):
    import importlib

    def save(kind, **size):
        model, module, name = small(kind)
        model.save_pretrained(tmp_path / kind)
        processor = getattr(importlib.import_module(f"transformers.models.{module}"), name)
        processor(**size).save_pretrained(tmp_path / kind)
        return str(tmp_path / kind)

    return save


@pytest.mark.parametrize("kind", ["detr", "conditional_detr", "yolos"])
def test_each_kind_of_model_trains_and_is_measured(in_room, folder, saved, kind):
    found = in_room(
        "object-detection", data_path=folder, model=saved(kind), image_square_size=64, max_steps=6, max_samples=8,
        **SHORT,
    )  # fmt: skip
    assert len(found.losses) == 6 and all(numpy.isfinite(found.losses))
    assert found.values["map"] >= 0
    model, processor = ROOM.opened(found.params, str(found.folder.model))
    (said,) = ROOM.predict(found.params, model, processor, [picture(1)[0]], threshold=0.0)
    assert {each["label"] for each in said} <= {"disc", "tile"}
    assert all(0 <= x <= 96 and 0 <= y <= 80 for each in said for x, y in (each["box"][:2], each["box"][2:]))


def test_boxes_of_padded_pictures_come_back_to_their_place(saved):
    """Two pictures of other proportions in one batch: what is right on the padded one is told on the original."""
    from types import SimpleNamespace

    processor = _pictures.saved_processor(saved("detr", size={"shortest_edge": 64, "longest_edge": 128}))
    wide, high, box = Image.new("RGB", (120, 60)), Image.new("RGB", (60, 90)), [12, 15, 30, 24]
    noted = [
        {"image_id": at, "annotations": [{"bbox": box, "category_id": 0, "area": 720, "iscrowd": 0}]} for at in (0, 1)
    ]
    given = processor(images=[wide, high], annotations=noted, return_tensors="pt")
    assert (given["pixel_mask"] == 0).any(), "nothing is padded: the test says nothing"
    right = torch.stack([label["boxes"] for label in given["labels"]])
    outputs = SimpleNamespace(logits=torch.tensor([[[9.0, 0.0]]] * 2), pred_boxes=right)
    sizes = [label["orig_size"].tolist() for label in given["labels"]]
    for rows in found_in(processor, outputs, sizes, given["pixel_mask"]):
        assert rows[0][2:] == pytest.approx([12, 15, 42, 39], abs=0.1)


def test_true_boxes_are_dashed_and_found_ones_drawn_through():
    truth = measures.Truth((80, 60), [[10, 10, 30, 30]], [1])
    found = numpy.array([[0.9, 0, 45, 20, 70, 50], [0.1, 1, 0, 0, 20, 20]])
    drawn = _drawn.compared(Image.new("RGB", (80, 60)), truth, found, names=("disc", "tile"), threshold=0.5)
    assert (drawn.found, drawn.expected) == ("1 disc", "1 tile")
    pixels = numpy.asarray(drawn.image).sum(axis=2)
    assert (pixels[20, 45:70] > 0).all() and 0.3 < (pixels[10, 10:40] > 0).mean() < 0.8
    assert pixels[:9, :9].sum() == 0


def test_a_side_is_a_multiple_of_32_and_tiny_keeps_its_own_unless_asked(learnt, in_room, folder):
    assert json.loads((learnt.folder.model / "preprocessor_config.json").read_text())["size"] == {
        "height": 96,
        "width": 96,
    }
    found = in_room(
        "object-detection", data_path=folder, max_samples=4, max_steps=1, image_square_size=70, valid_fraction=0,
        **SHORT,
    )  # fmt: skip
    warned = [event.message for event in found.events if event.kind == "warned"]
    assert any("--image-square-size 70 is taken as 96" in message for message in warned)


def test_boxes_that_cannot_be_right_end_the_run_before_a_model_is_loaded(in_room, folder, tmp_path):
    lines = [json.dumps({"image": f"{folder}/{at}.png", "objects": picture(at)[1]}) for at in range(4)]
    lines[2] = json.dumps({"image": f"{folder}/2.png", "objects": {"bbox": [[200, 10, 5, 5]], "category": ["disc"]}})
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="1 of 4 rows") as told:
        in_room("object-detection", data_path=str(tmp_path / "rows.jsonl"), valid_fraction=0, model="nobody/none")
    assert "line 3, column objects: box 1 (200, 10, 5, 5) is outside of its picture, 96 x 80" in told.value.where


def test_the_demo_has_the_objects_of_its_classes(tmp_path):
    lines = ROOM.check(ROOM.Params(), tmp_path)
    assert "demo" in lines[0] and any("3 classes: Platelets, RBC, WBC" in line for line in lines)
