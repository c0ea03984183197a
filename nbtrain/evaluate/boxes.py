"""How well boxes were found: average precision as COCO measures it, overall, by size and by class."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

MOST = 100  # boxes of one picture that are measured, the surest
_SIZES = ("all", "small", "medium", "large")  # small: under 32 x 32 pixels of the original picture; large: over 96 x 96
_HALF, _THREE_QUARTERS = 0, 5  # overlaps of 0.5 and 0.75 among COCO's ten


@dataclass(frozen=True)
class Truth:
    """What is on one picture. boxes: (n, 4) x, y, width, height. classes: (n,). crowd: (n,) not to be found."""

    size: tuple[int, int]
    boxes: Sequence[Sequence[float]]
    classes: Sequence[int]
    crowd: Sequence[bool] = ()


@dataclass(frozen=True)
class Precision:
    """What was measured.

    values: map, map_50, map_75, map_small, map_medium, map_large, recall_100; in [0, 1], -1 where no such box is there.
    by_class: name to its map, map_50 and number of boxes.
    curves: name to 101 precisions at recalls 0, 0.01 ... 1, at an overlap of 0.5.
    """

    values: Mapping[str, float]
    by_class: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, list[float]]


def precision(truth: Sequence[Truth], found: Sequence[Any], names: Sequence[str]) -> Precision:
    """Average precision over overlaps of 0.5 to 0.95.

    Args:
        truth: of each picture.
        found: of each picture (m, 6): score, class, left, top, right, bottom in pixels.
        names: of the classes, by number.

    Source: Lin et al. 2014, arXiv:1405.0312; measured by pycocotools.
    """
    import numpy
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it tells of each of its steps
        right, said = COCO(), _found(found)
        right.dataset = _dataset(truth, names)
        right.createIndex()
        measured = COCOeval(right, right.loadRes(said), "bbox") if said else None
        if measured is not None:
            measured.params.maxDets = [1, 10, MOST]
            measured.evaluate()
            measured.accumulate()
    counts = numpy.bincount(numpy.concatenate([[0, *each.classes] for each in truth]).astype(int), minlength=len(names))
    counts[0] -= len(truth)
    if measured is None:
        table, recall = _nothing(truth, counts, len(names))
    else:
        table, recall = measured.eval["precision"][..., -1], measured.eval["recall"][..., -1]
    return _told(table, recall, names, counts)


def _dataset(truth: Sequence[Truth], names: Sequence[str]) -> dict[str, Any]:
    boxes = []
    for picture, each in enumerate(truth, start=1):
        crowd = each.crowd or [False] * len(each.boxes)
        for box, kind, group in zip(each.boxes, each.classes, crowd, strict=True):
            boxes.append({
                "id": len(boxes) + 1, "image_id": picture, "category_id": int(kind), "bbox": list(map(float, box)),
                "area": float(box[2] * box[3]), "iscrowd": int(group),
            })  # fmt: skip
    images = [
        {"id": picture, "width": each.size[0], "height": each.size[1]} for picture, each in enumerate(truth, start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    return {"info": {}, "images": images, "annotations": boxes, "categories": categories}


def _found(found: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": picture, "category_id": int(kind), "score": float(score),
            "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
        }
        for picture, rows in enumerate(found, start=1)
        for score, kind, left, top, right, bottom in rows
    ]  # fmt: skip


def _nothing(truth: Sequence[Truth], counts: Any, classes: int) -> tuple[Any, Any]:
    """The tables where nothing at all was found: 0 where there was something to find."""
    import numpy

    table = numpy.where(counts[None, None, :, None] > 0, 0.0, -1.0) * numpy.ones((10, 101, classes, len(_SIZES)))
    table[..., 1:] = -1.0
    return table, table[:, 0]


def _told(table: numpy.ndarray[Any, Any], recall: Any, names: Sequence[str], counts: Any) -> Precision:
    """The tables of COCO, (overlaps, recalls, classes, sizes), in words."""
    values = {
        "map": _mean(table[..., 0]),
        "map_50": _mean(table[_HALF, ..., 0]),
        "map_75": _mean(table[_THREE_QUARTERS, ..., 0]),
        **{f"map_{name}": _mean(table[..., at]) for at, name in enumerate(_SIZES) if at},
        "recall_100": _mean(recall[..., 0]),
    }
    by_class = {
        name: {
            "map": _mean(table[:, :, at, 0]), "map_50": _mean(table[_HALF, :, at, 0]), "boxes": int(counts[at])
        }
        for at, name in enumerate(names)
    }  # fmt: skip
    curves = {
        name: table[_HALF, :, at, 0].tolist() for at, name in enumerate(names) if (table[_HALF, :, at, 0] >= 0).all()
    }
    return Precision(values, by_class, curves)


def _mean(values: Any) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def renumbered(found: Any, own: Mapping[int, str], names: Sequence[str]) -> Any:
    """What was found on a picture, (m, 6), with the classes numbered as in `names`; others are left out.

    Args:
        own: the names of the numbers that stand there.
    """
    import numpy

    places = numpy.array([names.index(own[int(kind)]) if own[int(kind)] in names else -1 for kind in found[:, 1]])
    return numpy.insert(numpy.delete(found, 1, axis=1), 1, places, axis=1)[places >= 0] if len(found) else found
