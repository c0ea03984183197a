"""What the rooms for pictures share: their fields, rows opened when it is their turn, batches, samples to look at."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from pydantic import BaseModel, field_validator

from nbtrain.data import columns
from nbtrain.data.augment import CHANGES
from nbtrain.data.images import ENDINGS, ROLES, label_of, opened
from nbtrain.errors import DataError, ParamError, listing, nearest
from nbtrain.models import load
from nbtrain.models.faults import in_words
from nbtrain.models.pretrained import TINY
from nbtrain.params import option
from nbtrain.params.streaming import not_streamed
from nbtrain.params.usual import names_of
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _encoder

SHOWN = 3  # samples at a time
_ASKED = 16  # pictures that a saved model is asked at once
_THUMBNAIL = 4096  # letters of base64 that a sample's picture takes at most
_SIDES = (112, 96, 80, 64, 48)  # pixels of its longer side, and
_QUALITIES = (70, 50, 35)  # of its JPEG, tried until it is small enough


class Pictures(BaseModel):
    """Where the pictures stand, and how they are changed."""

    image_column: str = option("image", "column of the pictures: paths, or the pictures themselves", group="Data")
    stream: bool = not_streamed(
        "its rows are paths, which are mapped; a picture is only opened when its batch is made, so memory does not "
        "grow with their number."
    )
    augmentation: str = option(
        "auto",
        f"changes drawn anew each epoch: auto (what cannot hurt here), none, or of {', '.join(CHANGES)}, with commas",
        group="Data",
        essential=True,
    )

    @field_validator("augmentation")
    @classmethod
    def _known_changes(cls, value: str) -> str:
        names = names_of(value)
        if strange := [name for name in names if name not in (*CHANGES, "auto", "none")]:
            raise ValueError(f"knows {', '.join(CHANGES)}, auto and none.{nearest(strange[0], CHANGES)}")
        if len(names) > 1 and {"auto", "none"} & set(names):
            raise ValueError("is auto, or none, or a list of changes")
        return value


def one_or_more(value: Any) -> Any:
    """A name as it is, several with commas between them as a list."""
    return names_of(value) if isinstance(value, str) and "," in value else value


def changes(params: Any, run: ActiveRun, auto: Sequence[str]) -> tuple[str, ...]:
    """The changes of this run, told. auto: those that cannot hurt what is learnt here."""
    names = names_of(params.augmentation)
    chosen = tuple(auto) if names in (["auto"], []) else () if names == ["none"] else tuple(names)
    known = tuple(name for name in CHANGES if name in chosen)
    if names == ["auto"] and known:
        run.warn(f"Pictures are changed a little in each epoch: {', '.join(known)} (--augmentation none: not at all).")
    return known


class Gallery:
    """Rows whose pictures are opened when it is their turn, so that memory does not grow with their number.

    Args:
        rows: a data set.
        made: (row, chance) to what a batch is made of. chance: a generator that row and epoch decide, None for rows
            that are not changed.
        seed: of the changes; None: nothing is changed.
    """

    def __init__(
        self, rows: Any, made: Callable[[Mapping[str, Any], Random | None], Any], seed: int | None = None
    ) -> None:
        self.rows, self.made, self.seed = rows, made, seed
        self.epoch = 0

    def at_epoch(self, epoch: int) -> None:
        """Told when an epoch begins, or goes on."""
        self.epoch = epoch

    def select(self, chosen: Iterable[int]) -> Gallery:
        """Some of the rows, unchanged."""
        return Gallery(self.rows.select(chosen), self.made)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Any:
        chance = None if self.seed is None else Random(f"{self.seed} {self.epoch} {row}")
        return self.made(self.rows[row], chance)


def placed(
    params: Any, rows: Any, role: str, usual: Sequence[str], *, named: str | None, needed: bool = True
) -> dict[str, str]:
    """Role to column: image, and `role` for what is learnt; by the user's word, else by their usual names.

    Args:
        usual: names of the column of `role`, the likeliest first.
        named: the column of `role` by a flag of its own.
        needed: whether it is an error where `role` has no column.

    Raises:
        DataError: there is no such column; those there are and the flag are told.
    """
    given = {**(params.column_mapping or {}), **({role: named} if named else {})}
    if "image_column" in params.given():
        given["image"] = params.image_column
    found = columns.find(rows.column_names, {**ROLES, role: usual}, given)
    if "image" not in found and len(held := [name for name in rows.column_names if _holds_pictures(rows, name)]) == 1:
        found["image"] = held[0]
    for each in ("image", role) if needed else ("image",):
        if each not in found:
            what = f"There is no column for {each}; there are {listing(rows.column_names)}."
            raise DataError(what, fix=f"Name it: --{each}-column.")
    return found


def _holds_pictures(rows: Any, name: str) -> bool:
    from datasets import Image

    kind, first = rows.features[name], next(iter(rows.select(range(min(1, len(rows))))[name]), None)
    named = isinstance(first, str) and first.lower().endswith(ENDINGS)
    return isinstance(kind, Image) or named or (isinstance(first, Mapping) and "bytes" in first)


def processor(params: Any, run: ActiveRun | None, tiny: str, better: str, **changed: Any) -> tuple[Any, Any]:
    """What makes a model's input of pictures, and the model's config.

    Args:
        tiny: the name of the built-in model. better: a hub id for those who train in earnest.
        changed: settings of the image processor that are not as the model was made.

    Raises:
        ModelError: the model is not there, or has no settings for its pictures.
    """
    from transformers import AutoConfig

    place = _encoder.place(params, TINY.parent / tiny, run, better=better)
    hub = {"token": params.token, "trust_remote_code": params.trust_remote_code}
    with in_words(place, "model"):
        config = AutoConfig.from_pretrained(place, **hub)
    return saved_processor(place, **hub, **changed), config


def saved_processor(place: str, **given: Any) -> Any:
    """The image processor of a model; torchvision's where that is installed, else Pillow's."""
    from transformers import AutoImageProcessor

    with in_words(place, "image processor"):
        backend = "torchvision" if find_spec("torchvision") else "pil"
        return AutoImageProcessor.from_pretrained(place, backend=backend, **given)


def collate(processor: Any, targets: Callable[[list[Any]], Any]) -> Callable[[list[tuple[Any, Any]]], dict[str, Any]]:
    """(picture, target) of some rows to a batch. targets: their targets to a tensor."""

    def batch(rows: list[tuple[Any, Any]]) -> dict[str, Any]:
        images, learnt = zip(*rows, strict=True)
        given = dict(processor(images=list(images), return_tensors="pt"))
        return given | {"labels": targets(list(learnt))}

    return batch


def asked(params: Any, model: Any, processor: Any, rows: Sequence[Any]) -> Any:
    """What a saved model says to new pictures: (rows, outputs) floats.

    Args:
        rows: paths, bytes, PIL images, arrays, or mappings with the column of the pictures.
    """
    import numpy
    import torch

    found = []
    for begin in range(0, len(rows), _ASKED):
        images = [picture_of(params, row) for row in rows[begin : begin + _ASKED]]
        batch = processor(images=images, return_tensors="pt").to(model.device)
        with torch.no_grad():
            found.append(model(**batch).logits.float().cpu().numpy())
    return numpy.concatenate(found) if found else numpy.zeros((0, model.config.num_labels))


def picture_of(params: Any, row: Any) -> Any:
    """The picture of a new row, as RGB.

    Raises:
        ParamError: the row holds none. DataError: it cannot be opened.
    """
    if isinstance(row, Mapping) and not {"bytes", "path"} & set(row):
        column = (params.column_mapping or {}).get("image", params.image_column)
        if column not in row:
            raise ParamError(f"a row to predict has no {column!r}; it has {', '.join(map(str, row))}")
        row = row[column]
    return opened(row)


def open_saved(params: Any, path: str, auto: str) -> tuple[Any, Any]:
    """The saved model, on the device that a run would use, and its image processor."""
    trusted = params.trust_remote_code
    model = load.saved_headed(auto, path, trust_remote_code=trusted).to(load.device().kind)
    return model, saved_processor(path, trust_remote_code=trusted)


def sample(cell: Any, at: int, *, image: Any = None, **told: Any) -> dict[str, Any]:
    """A sample with its picture: a small JPEG in base64, and `alt`, what it is for those who do not see it.

    Args:
        cell: the picture as its row holds it. at: its number among the rows that are shown.
        image: what is drawn in its place.
        told: the sample's other parts.
    """
    name = name_of(cell, at)
    drawn = thumbnail(image if image is not None else opened(cell))
    return {"prompt": name, **told, "picture": drawn, "alt": f"the picture {name}"}


def name_of(cell: Any, at: int) -> str:
    """What a picture is called: its folder and file, else its number."""
    return label_of(cell) or f"picture {at + 1}"


def thumbnail(image: Any) -> str:
    """A picture of at most 112 pixels, as JPEG in at most 4,096 letters of base64; '' where none is small enough."""
    for side in _SIDES:
        small = image.copy()
        small.thumbnail((side, side))
        for quality in _QUALITIES:
            file = io.BytesIO()
            small.save(file, "JPEG", quality=quality, optimize=True)
            letters = base64.b64encode(file.getvalue()).decode()
            if len(letters) <= _THUMBNAIL:
                return letters
    return ""


def usage(path: Path, auto: str, said: str) -> tuple[str, str]:
    """The library that opens the model in `path`, and how.

    Args:
        said: Python that shows what the `model` says to `inputs`, those that `processor` makes of `picture`.
    """
    adapter = path / "adapter_config.json"
    library, names, opening = "transformers", "AutoImageProcessor", f'model = {auto}.from_pretrained("model")'
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
        library, names = "peft", "AutoConfig, AutoImageProcessor"
        opening = f"""\
config = AutoConfig.from_pretrained("model")
base = {auto}.from_pretrained({base!r}, config=config, ignore_mismatched_sizes=True)
model = PeftModel.from_pretrained(base, "model")"""
    imported = "from peft import PeftModel\n" if library == "peft" else ""
    code = f"""\
{imported}from PIL import Image
from transformers import {names}, {auto}

{opening}  # this folder's
processor = AutoImageProcessor.from_pretrained("model")
picture = Image.open("picture.jpg").convert("RGB")
inputs = processor(picture, return_tensors="pt")
{said}"""
    return library, code
