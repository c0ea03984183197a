"""Boxes on pictures: read from COCO, VOC and tables, judged, and given to a model as (x, y, width, height).

Coordinates are pixels of the upright picture, from its left upper corner; a box is [x, y, width, height] as in COCO.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbtrain.data.images import Seen, size_of
from nbtrain.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

Box = tuple[float, float, float, float]

_BOX_KEYS = ("bbox", "bboxes", "boxes", "box")
_CLASS_KEYS = ("category", "categories", "label", "labels", "class", "classes", "name", "category_id")
_SLACK = 1.0  # pixels beyond an edge that rounding explains
_LOOKED_AT = 2_000  # rows by which the order of the four numbers is told


@dataclass(frozen=True)
class Objects:
    """What is on one picture. boxes: each [x, y, width, height]. names: their classes. crowd: groups, not trained."""

    boxes: tuple[Box, ...] = ()
    names: tuple[str, ...] = ()
    crowd: tuple[bool, ...] = ()


def objects(cell: Any, *, corners: bool = False) -> Objects:
    """The objects of a row, however the column holds them.

    Args:
        cell: {"bbox": [[...]], "category": [...]}, a list of {"bbox", "category"}, or either as JSON; None for none.
        corners: a box is (left, top, right, bottom).

    Raises:
        DataError: no boxes, not four numbers each, or as many classes as boxes there are not.
    """
    cell = _parsed(cell)
    if cell is None or cell == []:
        return Objects()
    if isinstance(cell, Mapping):
        boxes, names = _one_of(cell, _BOX_KEYS), _one_of(cell, _CLASS_KEYS)
        crowd = cell.get("iscrowd") or [False] * len(boxes)
    elif isinstance(cell, list) and all(isinstance(each, Mapping) for each in cell):
        boxes = [_one_of(each, _BOX_KEYS) for each in cell]
        names = [_one_of(each, _CLASS_KEYS) for each in cell]
        crowd = [each.get("iscrowd", False) for each in cell]
    else:
        raise DataError(
            f"no objects: {type(cell).__name__}", fix='Write {"bbox": [[x, y, w, h]], "category": ["..."]}.'
        )
    if not len(boxes) == len(names) == len(crowd):
        raise DataError(f"{len(boxes)} boxes and {len(names)} classes", fix="Give each box its class.")
    made = tuple(_numbers(box, at, corners) for at, box in enumerate(boxes, start=1))
    return Objects(made, tuple(_class(name, at) for at, name in enumerate(names, start=1)), tuple(map(bool, crowd)))


def _parsed(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell) if cell.strip() else None
    except ValueError:
        raise DataError("the objects are text that is no JSON", fix="Write them as JSON.") from None


def _one_of(cell: Mapping[str, Any], keys: Sequence[str]) -> Any:
    key = next((key for key in keys if cell.get(key) is not None), None)
    if key is None:
        raise DataError(f"the objects have no {keys[0]}; they have {', '.join(map(str, cell))}", fix=f"Add {keys[0]}.")
    return cell[key]


def _numbers(box: Any, at: int, corners: bool) -> Box:
    try:
        first, second, third, fourth = (float(number) for number in box)
    except (TypeError, ValueError):
        raise DataError(f"box {at} is not four numbers: {box!r}"[:120], fix="Write [x, y, width, height].") from None
    return (first, second, third - first, fourth - second) if corners else (first, second, third, fourth)


def _class(name: Any, at: int) -> str:
    if name is None or not str(name).strip() or name != name:  # NaN differs from itself
        raise DataError(f"box {at} has no class", fix="Name it.")
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name).strip()


def fitted(found: Objects, size: tuple[int, int]) -> tuple[Objects, int]:
    """The objects with boxes cut at the picture's edges, and how many were cut.

    Args:
        size: (width, height) of the picture.

    Raises:
        DataError: a box has no area, or lies outside; which one, and what may have been meant.
    """
    width, height = size
    made, cut = [], 0
    for at, (x, y, w, h) in enumerate(found.boxes, start=1):
        told = f"box {at} ({x:g}, {y:g}, {w:g}, {h:g})"
        if not w > 0 or not h > 0:  # also where one is no number
            raise DataError(f"{told} has no area", fix="Remove it, or mend its width and height.")
        left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
        if right - left <= 0 or bottom - top <= 0:
            fix = "Boxes are pixels from the left upper corner of the upright picture."
            raise DataError(f"{told} is outside of its picture, {width} x {height}", fix=fix)
        cut += x < -_SLACK or y < -_SLACK or x + w > width + _SLACK or y + h > height + _SLACK
        made.append((left, top, right - left, bottom - top))
    return Objects(tuple(made), found.names, found.crowd), cut


@dataclass
class Reading:
    """How the boxes of a data set are read, and what was mended in them.

    corners: the four numbers are (left, top, right, bottom). known: classes that may occur, None while they are learnt.
    """

    column: str
    corners: bool = False
    known: Sequence[str] | None = None
    counts: Counter[str] = field(default_factory=Counter)
    cut: int = 0

    def told(self, picture: Seen, row: Mapping[str, Any]) -> str:
        """The objects of a row in text, for `PictureForm`."""
        try:
            _same_size(picture.size, row.get("width"), row.get("height"))
            found, cut = fitted(objects(row[self.column], corners=self.corners), picture.size)
            strange = next((name for name in found.names if self.known is not None and name not in self.known), None)
            if strange is not None:
                raise DataError(f"the class {strange!r} is none of those trained", fix="Mend it, or add it to train.")
        except DataError as error:
            raise DataError(error.what, where=self.column, fix=error.fix) from None
        self.cut += cut
        self.counts.update(found.names)
        pairs = zip(found.names, found.boxes, strict=True)
        return "; ".join(f"{name} {' '.join(f'{number:g}' for number in box)}" for name, box in pairs) or "nothing"

    def remarks(self) -> list[str]:
        """What was mended, and how many objects there are of each class."""
        counted = ", ".join(f"{name} {count:,}" for name, count in self.counts.most_common(20))
        notes = [f"Objects: {counted}."] if counted else []
        if self.corners:
            notes.append("The four numbers of a box are read as left, top, right, bottom.")
        if self.cut:
            notes.append(f"{self.cut:,} boxes stand out of their picture and are cut at its edge.")
        return notes


def _same_size(size: tuple[int, int], width: Any, height: Any) -> None:
    """The boxes were drawn on a picture of this size.

    Raises:
        DataError: the picture has another one.
    """
    if not width or not height or (width, height) == size:
        return
    what = f"its boxes are for {width} x {height} pixels, and the picture has {size[0]} x {size[1]}"
    turned = (height, width) == size
    fix = "Save it without the turn in its EXIF." if turned else "Scale the boxes, or give the picture they are for."
    raise DataError(what + (" when it is upright" if turned else ""), fix=fix)


def are_corners(rows: Dataset, image: str, column: str) -> bool:
    """Whether the four numbers of a box are (left, top, right, bottom).

    They are where, read as (x, y, width, height), some leave their picture, while read as corners none does.

    Raises:
        DataError: the numbers are shares of the picture.
    """
    beyond, bent, largest = 0, 0, 0.0
    for row in rows.select(range(min(len(rows), _LOOKED_AT))):
        try:
            found, size = objects(row[column]), size_of(row[image])
        except DataError:
            continue  # told by the check, with its row
        right, bottom = size[0] + _SLACK, size[1] + _SLACK
        for x, y, third, fourth in found.boxes:
            largest = max(largest, x, y, third, fourth)
            beyond += x + third > right or y + fourth > bottom
            bent += not (x < third <= right and y < fourth <= bottom)
    if 0 < largest <= 1:
        what = "The boxes are shares of their pictures: no number is above 1."
        raise DataError(what, where=f"column {column}", fix="Multiply them by the pictures' width and height.")
    return beyond > 0 and not bent


def classes(rows: Dataset, column: str) -> list[str]:
    """The names of the classes, in their natural order: numbers by size, before words by the alphabet."""
    found = set[str]()
    for cell in rows.select_columns([column])[column]:
        try:
            found.update(objects(cell).names)
        except DataError:
            continue  # told by the check, with its row
    return sorted(found, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
