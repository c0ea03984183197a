"""Object detection: boxes round the things on a picture, each with its class.

Data: COCO json, VOC xml, or rows with image and objects: {"bbox": [[x, y, width, height], ...], "category": [...]}
Result: a model that gives boxes with classes and scores
Extra: nbtrain[vision]
Source: Carion et al. 2020, arXiv:2005.12872 (DETR); Zhao et al. 2023, arXiv:2304.08069 (RT-DETR)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from nbtrain.data import albums, annotations, boxes, read
from nbtrain.data.augment import changed
from nbtrain.data.images import PictureForm, size_of
from nbtrain.data.images import opened as open_picture
from nbtrain.errors import DataError, ParamError
from nbtrain.evaluate import boxes as measures
from nbtrain.evaluate import figures
from nbtrain.evaluate.examples import Examples
from nbtrain.models.pretrained import TINY
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.usual import Headed, alone
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _drawn, _encoder, _examples, _pictures

AUTO, PIPELINE = "AutoModelForObjectDetection", "object-detection"
BETTER = "PekingU/rtdetr_r18vd"
USUAL = ("objects", "annotations", "boxes", "labels")
HARMLESS = ("crop", "colour")
STRIDE = 32  # pixels; detectors halve a picture five times, and some cannot halve an odd side
Alone = alone("transformers divides the loss of several by their number twice. More --gradient-accumulation works")
SHEET = 6  # pictures of the figure


class ObjectDetectionParams(
    _pictures.Pictures, Alone, Headed, Basic, Data, Model, Optim, Precision, Peft, Checkpoints, Evaluation, Shown, Base
):
    """Parameters of `object-detection`."""

    objects_column: str = option("objects", "column of the boxes and their classes", group="Data")
    box_format: Literal["auto", "xywh", "xyxy"] = option(
        "auto",
        "the four numbers of a box in a table: left, top and then width, height (xywh), or right, bottom (xyxy)",
        group="Data",
    )
    image_square_size: int | None = option(
        600,
        "pictures are scaled to a square of this side; none: as the model was made, and so with tiny",
        group="Model",
        unit="pixels",
        ge=STRIDE,
    )
    threshold: float = option(
        0.3, "boxes at least as sure as this are drawn and predicted", group="Evaluation", unit="score", ge=0, le=1
    )
    metric: Literal["map", "map_50", "map_75", "loss"] = option(
        "map", "by which evaluations are compared", group="Evaluation"
    )


Params = ObjectDetectionParams
says = _examples.saying("boxes")


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    _encoder.begin(params)
    run.stage("reading the data")
    splits, form, reading = _read(params, run.folder.data)
    splits = _encoder.judged(params, run, splits, form)
    names = list(reading.known or ())
    processor, config = _processor(params, run)
    config.num_labels, config.id2label = len(names), dict(enumerate(names))
    config.label2id = {name: at for at, name in enumerate(names)}
    changes = _pictures.changes(params, run, HARMLESS)
    image = form.columns["image"]

    def made(row: Mapping[str, Any], chance: Any) -> tuple[Any, measures.Truth]:
        picture, there = open_picture(row[image]), _truth(row, image, reading)
        if chance is None:
            return picture, there
        seen = changed(picture, changes, chance, there.boxes)
        kept = ([part[at] for at in seen.kept] for part in (there.classes, there.crowd))
        return seen.image, measures.Truth(seen.image.size, seen.boxes.tolist(), *kept)

    shown = splits.valid if splits.valid is not None else splits.train
    truth = [_truth(row, image, reading) for row in shown]
    draw = partial(_drawn.compared, names=names, threshold=params.threshold)

    def show(said: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
        return tuple(
            _sample(shown[at][image], at, there, found, draw)
            for at, (there, found) in enumerate(zip(truth[: _pictures.SHOWN], said, strict=False))
        )

    def conclude(model: Any, said: Sequence[Any]) -> None:
        found = measures.precision(truth, said, names)
        figures.curves(
            found.curves, run.folder.figures / "precision_recall.png", ("recall", "precision at overlap 0.5")
        )
        sheet = [draw(open_picture(shown[at][image]), truth[at], said[at]).image for at in range(min(SHEET, len(said)))]
        _drawn.sheet(sheet, run.folder.figures / "boxes.png")
        run.report |= {"classes": [{"label": name, **values} for name, values in found.by_class.items()]}

    job = _encoder.Job(
        auto=AUTO,
        config=config,
        train=_pictures.Gallery(splits.train, made, params.seed if changes else None),
        valid=None if splits.valid is None else _pictures.Gallery(splits.valid, made),
        collate=partial(_batch, processor),
        measure=lambda said: _measured(truth, said, names),
        show=show,
        metric=params.metric,
        tiny=TINY.parent / "detection",
        processor=processor,
        rows=partial(_found, processor),
        conclude=conclude,
    )
    return _encoder.fit(params, run, job)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and every picture opened, and the objects by class."""
    splits, form, reading = _read(params, cache)
    image, names = form.columns["image"], list(reading.known or ())

    def boxed(row: Mapping[str, Any], picture: Any) -> tuple[Any, str]:
        drawn = _drawn.compared(picture, _truth(row, image, reading), (), names=names, threshold=1.0)
        return drawn.image, drawn.expected

    return _encoder.check(params, splits, form, boxed=boxed)


def _read(params: Any, cache: Path) -> tuple[read.Splits, PictureForm, boxes.Reading]:
    """The rows, how they are read, and how their boxes are."""
    splits = albums.pictures(params, cache, other=annotations.annotated)
    named = params.objects_column if "objects_column" in params.given() else None
    columns = _pictures.placed(params, splits.train, "objects", USUAL, named=named)
    if {"width", "height"} <= set(splits.train.column_names):
        columns |= {"width": "width", "height": "height"}
    image, column = columns["image"], columns["objects"]
    corners = params.box_format == "xyxy" or (
        params.box_format == "auto" and boxes.are_corners(splits.train, image, column)
    )
    known = boxes.classes(splits.train, column)
    if not known:
        raise DataError(f"Column {column} has no object at all: there is nothing to find.", fix="Name another column.")
    reading = boxes.Reading(column, corners, known)
    described = f"pictures from {image}, boxes from {column}: {len(known)} classes: {', '.join(known[:8])}"
    return splits, PictureForm(columns, reading.told, described, reading.remarks), reading


def _truth(row: Mapping[str, Any], image: str, reading: boxes.Reading) -> measures.Truth:
    """What is on the picture of a row that was judged."""
    size, known = size_of(row[image]), reading.known or ()
    there, _ = boxes.fitted(boxes.objects(row[reading.column], corners=reading.corners), size)
    return measures.Truth(size, there.boxes, [known.index(name) for name in there.names], there.crowd)


def _processor(params: Any, run: ActiveRun) -> tuple[Any, Any]:
    """The image processor, for the size that is asked for, and the model's config."""
    side, asked = params.image_square_size, "image_square_size" in params.given()
    if side is None or (params.model == "tiny" and not asked):
        return _pictures.processor(params, run, "detection", BETTER)
    whole = math.ceil(side / STRIDE) * STRIDE
    if whole != side and asked:
        run.warn(f"--image-square-size {side} is taken as {whole}: a side is a multiple of {STRIDE} pixels.")
    return _pictures.processor(params, run, "detection", BETTER, size={"height": whole, "width": whole})


def _batch(processor: Any, rows: list[tuple[Any, measures.Truth]]) -> dict[str, Any]:
    """Pictures and what is on them, as the image processor gives them to the model."""
    noted = [{"image_id": at, "annotations": _annotated(there)} for at, (_, there) in enumerate(rows)]
    given = dict(processor(images=[picture for picture, _ in rows], annotations=noted, return_tensors="pt"))
    return given | {"labels": [dict(label) for label in given["labels"]]}


def _annotated(there: measures.Truth) -> list[dict[str, Any]]:
    crowd = there.crowd or [False] * len(there.boxes)
    return [
        {"bbox": list(box), "category_id": kind, "area": box[2] * box[3], "iscrowd": int(group)}
        for box, kind, group in zip(there.boxes, there.classes, crowd, strict=True)
    ]


def _found(processor: Any, outputs: Any, batch: Mapping[str, Any]) -> list[Any]:
    """For each picture (n, 6): score, class, left, top, right, bottom in pixels of the original; the surest first."""
    sizes = [label["orig_size"].tolist() for label in batch["labels"]]
    return found_in(processor, outputs, sizes, batch.get("pixel_mask"))


def found_in(processor: Any, outputs: Any, sizes: Sequence[Sequence[int]], mask: Any = None) -> list[Any]:
    """As `_found`. sizes: (height, width) of each original. mask: 1 where a padded picture is, 0 beside it."""
    import torch

    # a box is told in shares of the padded picture
    scaled = [
        [float(side) * padded for side, padded in zip(size, _padding(mask, at), strict=True)]
        for at, size in enumerate(sizes)
    ]
    told = processor.post_process_object_detection(outputs, threshold=-1.0, target_sizes=torch.tensor(scaled))
    rows = []
    for (height, width), each in zip(sizes, told, strict=True):
        order = each["scores"].argsort(descending=True, stable=True)[: measures.MOST]
        edge = torch.tensor([width, height, width, height], dtype=torch.float32)
        corners = each["boxes"][order].float().cpu().clamp(min=0).minimum(edge)
        score, kind = (each[name][order].float().cpu()[:, None] for name in ("scores", "labels"))
        rows.append(torch.cat([score, kind, corners], dim=1).numpy())
    return rows


def _padding(mask: Any, at: int) -> tuple[float, float]:
    """How much higher and wider a picture is with its padding than without."""
    if mask is None:
        return 1.0, 1.0
    height, width = mask.shape[-2:]
    return height / float(mask[at, :, 0].sum()), width / float(mask[at, 0, :].sum())


def _measured(truth: Sequence[measures.Truth], said: Sequence[Any], names: Sequence[str]) -> dict[str, float]:
    found = measures.precision(truth, said, names).values
    return {name: value for name, value in found.items() if value >= 0 or name == "map"}


def _sample(cell: Any, at: int, there: measures.Truth, found: Any, draw: Any) -> dict[str, Any]:
    """A picture with the boxes that were found and those that are true."""
    drawn = draw(open_picture(cell), there, found)
    told = _pictures.sample(cell, at, image=drawn.image, output=drawn.found, expected=drawn.expected)
    return told | {"alt": f"{told['alt']}; boxes: found drawn through, true dashed"}


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its image processor."""
    return _pictures.open_saved(params, path, AUTO)


def predict(params: Any, model: Any, processor: Any, rows: Sequence[Any], **settings: Any) -> list[list[Any]]:
    """The objects on each picture, the surest first.

    Args:
        rows: paths, bytes, PIL images, arrays, or mappings with the column of the pictures.
        settings: threshold, in place of the parameter's.

    Returns:
        For each picture a list of {"label", "score", "box"}; box: left, top, right, bottom in pixels of the picture.
    """
    if unknown := settings.keys() - {"threshold"}:
        raise ParamError(f"predict has no setting {', '.join(sorted(unknown))}", fix="it has threshold")
    threshold, names = settings.get("threshold", params.threshold), model.config.id2label
    return [
        [
            {"label": names[int(kind)], "score": float(score), "box": [round(float(x), 1) for x in box]}
            for score, kind, *box in _look(model, processor, _pictures.picture_of(params, row))
            if score >= threshold
        ]
        for row in rows
    ]


def _look(model: Any, processor: Any, picture: Any) -> Any:
    """What is found on one picture; see `found_in`."""
    import torch

    with torch.no_grad():
        outputs = model(**(inputs := processor(images=[picture], return_tensors="pt").to(model.device)))
    return found_in(processor, outputs, [(picture.height, picture.width)], inputs.get("pixel_mask"))[0]


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    splits, form, reading = _read(_examples.reading(params, data), cache)
    rows, image = list(_examples.usable(params, splits, form, data)), form.columns["image"]
    names, truth = tuple(reading.known or ()), [_truth(row, image, reading) for row in rows]

    def ask(model: Any, processor: Any, cells: Sequence[Any]) -> list[Any]:
        own = model.config.id2label
        return [measures.renumbered(_look(model, processor, open_picture(cell)), own, names) for cell in cells]

    return Examples("boxes", [row[image] for row in rows], truth, ask, names)


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to find objects with it."""
    said = f"""\
import torch

with torch.no_grad():
    outputs = model(**inputs)
size = [(picture.height, picture.width)]
found = processor.post_process_object_detection(outputs, threshold={params.threshold}, target_sizes=size)[0]
for score, label, box in zip(found["scores"], found["labels"], found["boxes"]):
    print(model.config.id2label[label.item()], round(score.item(), 3), [round(side) for side in box.tolist()])"""
    return _pictures.usage(path, AUTO, said)
