"""Image classification: one class for each picture, or any number of labels.

Data: folders named as their classes, or image (a path, or the picture itself) and target (a class, or a list of labels)
Result: a model that gives each class a score
Extra: nbtrain[vision]
Source: Dosovitskiy et al. 2020, arXiv:2010.11929; He et al. 2015, arXiv:1512.03385
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from nbtrain.data import albums, labels, read
from nbtrain.data.augment import changed
from nbtrain.data.images import PictureForm, Seen
from nbtrain.data.images import opened as open_picture
from nbtrain.errors import DataError, ParamError
from nbtrain.evaluate.examples import Examples
from nbtrain.models.pretrained import TINY
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.usual import Headed
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _classes, _encoder, _examples, _pictures

AUTO = "AutoModelForImageClassification"
BETTER = "google/vit-base-patch16-224"
USUAL = ("target", "label", "labels", "class", "classes", "category", "categories", "tag", "tags", "species")
HARMLESS = ("crop", "colour")  # a digit or a hand that is mirrored or turned may be another one
LISTED = 20  # rows that the model is most mistaken about, in the report


class ImageClassificationParams(
    _pictures.Pictures,
    _classes.Classed,
    Headed,
    Basic,
    Data,
    Model,
    Optim,
    Precision,
    Peft,
    Checkpoints,
    Evaluation,
    Shown,
    Base,
):
    """Parameters of `image-classification`."""

    metric: (
        Literal["accuracy", "f1_macro", "f1_micro", "f1_weighted", "precision", "recall", "mcc", "auc", "loss"] | None
    ) = option(
        None, "by which evaluations are compared; none: accuracy, with several labels f1_micro", group="Evaluation"
    )


Params = ImageClassificationParams
PIPELINE = "image-classification"
says = _examples.saying("classes")


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    _encoder.begin(params)
    run.stage("reading the data")
    splits, form, found = _read(params, run.folder.data)
    splits = _encoder.judged(params, run, splits, form)
    run.warn("\n".join(_balance(found, splits, form)))
    classes = _classes.Classes(found, params.threshold)
    processor, config = _pictures.processor(params, run, "image", BETTER)
    classes.describe(config)
    names = _pictures.changes(params, run, HARMLESS)
    image, target = form.columns["image"], form.columns["target"]

    def made(row: Mapping[str, Any], chance: Any) -> tuple[Any, Any]:
        picture = open_picture(row[image])
        if chance is not None:
            picture = changed(picture, names, chance).image
        return picture, classes.mark(found.of(row[target], target))

    held = None if splits.valid is None else _pictures.Gallery(splits.valid, made)
    shown = splits.valid if splits.valid is not None else splits.train
    cells = shown.select_columns([target])[target]
    expected = classes.expected([classes.mark(found.of(cell, target)) for cell in cells])

    def conclude(model: Any, said: Sequence[Any]) -> None:
        classes.decide(expected, said, model.config)
        worst = [_named(shown, image, at) | dict(told) for at, told in classes.worst(expected, said, LISTED)]
        run.report |= classes.report(expected, said, run.folder.figures) | {"worst": worst}

    def show(said: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
        worst = classes.worst(expected, said, _pictures.SHOWN)
        return tuple(_pictures.sample(shown[at][image], at, **told) for at, told in worst)

    counts = Counter(at for cell in splits.train.select_columns([target])[target] for at in found.of(cell, target))
    job = _encoder.Job(
        auto=AUTO,
        config=config,
        train=_pictures.Gallery(splits.train, made, params.seed if names else None),
        valid=held,
        collate=_pictures.collate(processor, classes.targets),
        measure=partial(classes.measure, expected),
        show=show,
        metric=params.metric or ("f1_micro" if classes.several else "accuracy"),
        tiny=TINY.parent / "image",
        processor=processor,
        # always ours: of the models here some divide theirs by the rows of a whole step, and some do not
        loss=classes.loss(params.class_weights or {}, counts, len(splits.train)),
        ready=partial(classes.begin, {} if params.class_weights else counts, len(splits.train)),
        conclude=conclude,
    )
    return _encoder.fit(params, run, job)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and every picture opened, and the classes by split."""
    splits, form, found = _read(params, cache)
    return _encoder.check(params, splits, form, more=partial(_balance, found))


def _read(params: Any, cache: Path) -> tuple[read.Splits, PictureForm, labels.Labels]:
    """The rows, how they are read, and their classes."""

    named = params.target_column if "target_column" in params.given() else None

    def by_class(rows: Any) -> list[str]:
        target = _pictures.placed(params, rows, "target", USUAL, named=named)["target"]
        return [str(cell) for cell in rows.select_columns([target])[target]]

    splits = albums.pictures(params, cache, by=by_class)
    columns = _pictures.placed(params, splits.train, "target", USUAL, named=named)
    target = columns["target"]
    found = labels.find(splits.train, target, several=params.multi_label, order=params.labels)

    def told(picture: Seen, row: Mapping[str, Any]) -> str:
        return ", ".join(found.names[at] for at in found.of(row[target], target))

    described = f"pictures from {columns['image']}, {target}: {found}"
    return splits, PictureForm(columns, told, described), found


def _balance(found: labels.Labels, splits: read.Splits, form: PictureForm) -> list[str]:
    """The classes by split."""
    target = form.columns["target"]
    counts = {
        name: Counter(at for cell in rows.select_columns([target])[target] for at in _tried(found, cell, target))
        for name, rows, _ in splits.items()
    }
    lines = ["Classes:", *labels.balance(counts, found, {name: len(rows) for name, rows, _ in splits.items()})]
    if rare := [name for at, name in enumerate(found.names) if counts["train"][at] < 2]:
        lines.append(f"With no more than one picture to train on: {', '.join(rare[:10])}. They cannot be learnt.")
    return lines


def _tried(found: labels.Labels, cell: Any, column: str) -> tuple[int, ...]:
    try:
        return found.of(cell, column)
    except DataError:  # told with its row when the rows are judged
        return ()


def _named(rows: Any, image: str, at: int) -> dict[str, Any]:
    return {"prompt": _pictures.name_of(rows[at][image], at)}


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its image processor."""
    return _pictures.open_saved(params, path, AUTO)


def predict(params: Any, model: Any, processor: Any, rows: Sequence[Any], **settings: Any) -> list[dict[str, Any]]:
    """The class of each picture, or its labels, with the scores of all.

    Args:
        rows: paths, bytes, PIL images, arrays, or mappings with the column of the pictures.
        settings: threshold (several labels; in place of those that were tuned).

    Returns:
        {"label", "score", "scores"}; with several labels {"labels", "scores"}.
    """
    if unknown := settings.keys() - {"threshold"}:
        raise ParamError(f"predict has no setting {', '.join(sorted(unknown))}", fix="it has threshold")
    said = _pictures.asked(params, model, processor, rows)
    return _classes.answers(model.config, said, settings.get("threshold"))


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    splits, form, found = _read(_examples.reading(params, data), cache)
    rows = _examples.usable(params, splits, form, data)
    image, target = form.columns["image"], form.columns["target"]

    def ask(model: Any, processor: Any, cells: Sequence[Any]) -> list[dict[str, Any]]:
        return _examples.labelled(predict(params, model, processor, [open_picture(cell) for cell in cells]))

    expected = [[found.names[at] for at in found.of(cell, target)] for cell in rows[target]]
    return Examples("classes", [row[image] for row in rows], expected, ask, tuple(found.names))


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to classify a picture."""
    return _pictures.usage(path, AUTO, _classes.spoken(path).replace("**tokens", "**inputs"))
