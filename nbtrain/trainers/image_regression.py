"""Image regression: a number for each picture, or several (a count, an age, a quality, coordinates).

Data: image (a path, or the picture itself) and target (a number; several columns, or a list, for several)
Result: a model whose outputs are the numbers
Extra: nbtrain[vision]
Source: He et al. 2015, arXiv:1512.03385; Lathuiliere et al. 2018, arXiv:1803.08450 (deep regression)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from nbtrain.data import albums, columns, labelled, read
from nbtrain.data.augment import changed
from nbtrain.data.images import PictureForm, Seen
from nbtrain.data.images import opened as open_picture
from nbtrain.errors import DataError, ParamError, listing
from nbtrain.evaluate.examples import Examples
from nbtrain.models.pretrained import TINY
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic, Checkpoints, Data, Evaluation, Model, Optim, Peft, Precision, Shown
from nbtrain.params.usual import Headed
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder, _examples, _numbers, _pictures

AUTO = "AutoModelForImageClassification"  # with one output for each number
BETTER = "google/vit-base-patch16-224"
HARMLESS = ()  # a crop changes a count, a flip a coordinate, a brighter picture its quality
LISTED = 20  # rows that the model is most mistaken about, in the report
_LOOKED_AT = 50  # cells by which a column of numbers is known


class ImageRegressionParams(
    _pictures.Pictures, Headed, Basic, Data, Model, Optim, Precision, Peft, Checkpoints, Evaluation, Shown, Base
):
    """Parameters of `image-regression`."""

    target_column: Annotated[str | list[str], BeforeValidator(_pictures.one_or_more)] = option(
        "target", "column of the number; several with commas, or as JSON", group="Data"
    )
    scale_targets: bool = option(
        True, "train on numbers of mean 0 and spread 1; the saved model answers in their own unit", group="Training"
    )
    metric: Literal["mae", "mse", "rmse", "r2", "pearson", "spearman", "loss"] = option(
        "rmse", "by which evaluations are compared", group="Evaluation"
    )


Params = ImageRegressionParams
PIPELINE = "image-classification"
says = _examples.saying("numbers")


def train(params: Any, run: ActiveRun) -> dict[str, float]:
    """Train; the last evaluation's values, or the best one's, and the totals."""
    _encoder.begin(params)
    run.stage("reading the data")
    splits, form = _read(params, run.folder.data)
    splits = _encoder.judged(params, run, splits, form)
    processor, config = _pictures.processor(params, run, "image", BETTER)
    names = _pictures.changes(params, run, HARMLESS)
    image, learnt = form.columns["image"], _learnt(form, splits.train)
    values = _values(splits, learnt)
    numbers = _numbers.Numbers.of(values["train"], learnt.names, scale=params.scale_targets)
    numbers.describe(config)
    run.warn("\n".join(_spread(splits, form)))

    def made(row: Mapping[str, Any], chance: Any) -> tuple[Any, Sequence[float]]:
        picture = open_picture(row[image])
        if chance is not None:
            picture = changed(picture, names, chance).image
        return picture, learnt.values(row)

    shown = splits.valid if splits.valid is not None else splits.train
    expected = numbers.expected(values.get("valid", values["train"]))

    def conclude(model: Any, said: Sequence[Any]) -> None:
        worst = [
            {"prompt": _pictures.name_of(shown[at][image], at), **told}
            for at, told in numbers.worst(expected, said, LISTED)
        ]
        run.report |= numbers.report(expected, said, run.folder.figures) | {"worst": worst}

    def show(said: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
        worst = numbers.worst(expected, said, _pictures.SHOWN)
        return tuple(_pictures.sample(shown[at][image], at, **told) for at, told in worst)

    job = _encoder.Job(
        auto=AUTO,
        config=config,
        train=_pictures.Gallery(splits.train, made, params.seed if names else None),
        valid=None if splits.valid is None else _pictures.Gallery(splits.valid, made),
        collate=_pictures.collate(processor, numbers.targets),
        measure=partial(numbers.measure, expected),
        show=show,
        metric=params.metric,
        tiny=TINY.parent / "image",
        processor=processor,
        conclude=conclude,
        finish=numbers.fold,
    )
    return _encoder.fit(params, run, job)


def check(params: Any, cache: Path) -> list[str]:
    """The data, read and every picture opened, and what the numbers are by split."""
    splits, form = _read(params, cache)
    return _encoder.check(params, splits, form, more=_spread)


def _read(params: Any, cache: Path) -> tuple[read.Splits, PictureForm]:
    """The rows, and how they are read."""
    splits = albums.pictures(params, cache)
    rows = splits.train
    named = params.target_column if "target_column" in params.given() else None
    one = named if isinstance(named, str) else None
    found = _pictures.placed(params, rows, "target", labelled.NUMBERS, named=one, needed=False)
    chosen = [found["target"]] if one else list(named or ())
    if missing := [name for name in chosen if name not in rows.column_names]:
        raise columns.absent("target", missing[0], rows.column_names)
    if not chosen:
        chosen = [found["target"]] if "target" in found else _all_numbers(rows, found["image"])
    placed = {"image": found["image"], **{f"target {at}": name for at, name in enumerate(chosen, start=1)}}
    form = PictureForm(
        placed, lambda picture, row: "", f"pictures from {found['image']}, numbers from {', '.join(chosen)}"
    )
    learnt = _learnt(form, rows)

    def told(picture: Seen, row: Mapping[str, Any]) -> str:
        return ", ".join(f"{value:g}" for value in learnt.values(row))

    return splits, replace(form, told=told)


def _all_numbers(rows: Any, image: str) -> list[str]:
    """Where no name says what is learnt: every column of numbers.

    Raises:
        DataError: there is none.
    """
    first, found = rows.select(range(min(len(rows), _LOOKED_AT))), []
    for name in rows.column_names:
        try:
            if name != image and all(labelled.number(cell, name) is not None for cell in first[name]):
                found.append(name)
        except DataError:
            continue
    if not found:
        what = f"There is no column of numbers to learn; there are {listing(rows.column_names)}."
        raise DataError(what, fix="Name it: --target-column.")
    return found


def _learnt(form: PictureForm, rows: Any) -> labelled.Form:
    """How the numbers of a row are read."""
    columns = {role: column for role, column in form.columns.items() if role != "image"}
    return labelled.Form(columns, names=labelled.named(rows, tuple(columns.values())))


def _values(splits: read.Splits, learnt: labelled.Form) -> dict[str, list[tuple[float, ...]]]:
    """The numbers of all rows, by split; pictures are not touched."""
    columns = list(learnt.targets)
    return {name: [learnt.values(row) for row in rows.select_columns(columns)] for name, rows, _ in splits.items()}


def _spread(splits: read.Splits, form: PictureForm) -> list[str]:
    """The numbers by split."""
    learnt = _learnt(form, splits.train)
    return _numbers.spread(_values(splits, learnt), learnt.names)


def opened(params: Any, path: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its image processor."""
    return _pictures.open_saved(params, path, AUTO)


def predict(params: Any, model: Any, processor: Any, rows: Sequence[Any], **settings: Any) -> list[Any]:
    """The number of each picture, in the unit of the target; a number for each target where there are several.

    Args:
        rows: paths, bytes, PIL images, arrays, or mappings with the column of the pictures.
    """
    if settings:
        raise ParamError(f"predict has no setting {', '.join(sorted(settings))}")
    return _numbers.answers(model.config, _pictures.asked(params, model, processor, rows))


def examples(params: Any, data: Any, cache: Path) -> Examples:
    """The rows to measure a saved model on; see `evaluate.examples`."""
    splits, form = _read(_examples.reading(params, data), cache)
    rows = _examples.usable(params, splits, form, data)
    learnt, image = _learnt(form, rows), form.columns["image"]

    def ask(model: Any, processor: Any, cells: Sequence[Any]) -> list[list[float]]:
        return _examples.numbered(predict(params, model, processor, [open_picture(cell) for cell in cells]))

    expected = [list(learnt.values(row)) for row in rows.select_columns(list(learnt.targets))]
    return Examples("numbers", [row[image] for row in rows], expected, ask, tuple(learnt.names))


def usage(params: Any, path: Path) -> tuple[str, str]:
    """The library that opens the model, and how to ask it."""
    return _pictures.usage(path, AUTO, _numbers.spoken(path).replace("**tokens", "**inputs"))
