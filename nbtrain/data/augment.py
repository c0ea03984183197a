"""Pictures changed a little each time they are seen, and the boxes on them with them.

Each change is drawn from a generator that the caller seeds: the same row at the same epoch is changed in the same way.
Boxes are (n, 4) floats: x, y, width, height in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

Boxes = Any
"""(n, 4) numpy array."""

_SMALLEST_CROP = 0.7  # share of each side that a crop keeps at least
_ANGLE = 12.0  # degrees
_LIGHT = 0.25  # most that brightness, contrast and colour change, as a share
_BLUR = 1.2  # pixels
_ERASED = 0.3  # share of each side, at most
_KEPT = 0.35  # share of a box that a crop must leave; of less nobody could say what it is


@dataclass(frozen=True)
class Seen:
    """A picture with the boxes on it. kept: (m,) rows of the original boxes that are still there."""

    image: Image
    boxes: Boxes
    kept: Boxes


def changed(image: Image, names: Sequence[str], chance: Random, boxes: Boxes = None) -> Seen:
    """The picture after the changes in `names`, each by chance.

    Args:
        image: RGB.
        names: of `CHANGES`, in this order.
        boxes: on the picture; None for none.
    """
    import numpy

    boxes = numpy.zeros((0, 4)) if boxes is None else numpy.asarray(boxes, dtype=float).reshape(-1, 4)
    kept = numpy.arange(len(boxes))
    for name in names:
        image, boxes = CHANGES[name](image, boxes, chance)
        visible = (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
        boxes, kept = boxes[visible], kept[visible]
    return Seen(image, boxes, kept)


def _flip(image: Image, boxes: Boxes, chance: Random) -> tuple[Image, Boxes]:
    """Left to right, every second time."""
    from PIL import ImageOps

    if chance.random() < 0.5:
        return image, boxes
    boxes = boxes.copy()
    boxes[:, 0] = image.width - boxes[:, 0] - boxes[:, 2]
    return ImageOps.mirror(image), boxes


def _upside_down(image: Image, boxes: Boxes, chance: Random) -> tuple[Image, Boxes]:
    """Top to bottom, every second time: for pictures from above."""
    from PIL import ImageOps

    if chance.random() < 0.5:
        return image, boxes
    boxes = boxes.copy()
    boxes[:, 1] = image.height - boxes[:, 1] - boxes[:, 3]
    return ImageOps.flip(image), boxes


def _crop(image: Image, boxes: Boxes, chance: Random) -> tuple[Image, Boxes]:
    """A part of the picture with its proportions."""
    share = chance.uniform(_SMALLEST_CROP, 1.0)
    width, height = max(1, round(image.width * share)), max(1, round(image.height * share))
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height)), _cut(boxes, left, top, width, height)


def _cut(boxes: Boxes, left: int, top: int, width: int, height: int) -> Boxes:
    """Boxes as a crop shows them; width 0 where too little of one is left."""
    import numpy

    area = boxes[:, 2] * boxes[:, 3]
    corners = numpy.stack([boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]], axis=1)
    corners -= [left, top, left, top]
    corners = corners.clip(0, [width, height, width, height])
    made = numpy.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    made[made[:, 2] * made[:, 3] < _KEPT * area] = 0
    return made


def _rotate(image: Image, boxes: Boxes, chance: Random) -> tuple[Image, Boxes]:
    """Turned by a few degrees; what comes in at the corners is grey. A box becomes the upright one round it."""
    import numpy
    from PIL import Image as Pillow

    angle = chance.uniform(-_ANGLE, _ANGLE)
    turned = image.rotate(angle, Pillow.Resampling.BILINEAR, fillcolor=(128, 128, 128))
    # the centre of the picture stays; y points down, so a turn to the left is one by minus the angle
    cosine, sine = math.cos(math.radians(-angle)), math.sin(math.radians(-angle))
    centre = numpy.array([image.width / 2, image.height / 2])
    points = boxes[:, None, :2] + boxes[:, None, 2:] * numpy.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    points = (points - centre) @ numpy.array([[cosine, sine], [-sine, cosine]]) + centre
    low, high = (points.min(axis=1), points.max(axis=1)) if len(boxes) else (boxes[:, :2], boxes[:, :2])
    return turned, _cut(numpy.concatenate([low, high - low], axis=1), 0, 0, image.width, image.height)


def _colour(image: Image, boxes: Boxes, chance: Random) -> tuple[Image, Boxes]:
    """Brightness, contrast and colour a little up or down."""
    from PIL import ImageEnhance

    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = kind(image).enhance(chance.uniform(1 - _LIGHT, 1 + _LIGHT))
    return image, boxes


def _blur(image: Image, boxes: Boxes, chance: Random) -> tuple[Image, Boxes]:
    """Out of focus, every third time."""
    from PIL import ImageFilter

    if chance.random() > 1 / 3:
        return image, boxes
    return image.filter(ImageFilter.GaussianBlur(chance.uniform(0.1, _BLUR))), boxes


def _erase(image: Image, boxes: Boxes, chance: Random) -> tuple[Image, Boxes]:
    """A grey patch on it, every second time."""
    if chance.random() < 0.5:
        return image, boxes
    width, height = (max(1, round(side * chance.uniform(0.05, _ERASED))) for side in image.size)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    image = image.copy()
    image.paste((128, 128, 128), (left, top, left + width, top + height))
    return image, boxes


CHANGES: dict[str, Callable[[Image, Boxes, Random], tuple[Image, Boxes]]] = {
    "crop": _crop,
    "flip": _flip,
    "upside-down": _upside_down,
    "rotate": _rotate,
    "colour": _colour,
    "blur": _blur,
    "erase": _erase,
}
