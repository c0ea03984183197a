"""Boxes drawn on pictures: what was found beside what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtrain.evaluate.boxes import Truth

if TYPE_CHECKING:
    from PIL.Image import Image

# of boxes that were found, by class; each stands out from skin, sky and leaves
_COLOURS = ("#ff7f0e", "#e377c2", "#17becf", "#d62728", "#bcbd22", "#9467bd")
_TRUE = "#00e060"
_DASH = 6  # parts of a side, of which every second is drawn
_SIDE = 256  # pixels of a picture in the figure
_COLUMNS = 3


@dataclass(frozen=True)
class Drawn:
    """A picture with its boxes. found, expected: how many there are of each class, in words."""

    image: Image
    found: str
    expected: str


def compared(picture: Image, truth: Truth, found: Any, *, names: Sequence[str], threshold: float) -> Drawn:
    """The picture with true boxes dashed and those that were found drawn through.

    Args:
        found: (n, 6): score, class, left, top, right, bottom in pixels.
        threshold: boxes less sure are left out.
    """
    from PIL import ImageDraw

    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    width = max(1, round(max(picture.size) / 110))  # a pixel or so of a thumbnail
    for x, y, w, h in truth.boxes:
        _dashed(pen, (x, y, x + w, y + h), width)
    sure = [row for row in found if row[0] >= threshold]
    for _, kind, *corners in sure:
        left, top, right, bottom = map(float, corners)
        box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        pen.rectangle(box, outline=_COLOURS[int(kind) % len(_COLOURS)], width=width)
    return Drawn(drawn, _counted([int(row[1]) for row in sure], names), _counted(truth.classes, names))


def sheet(pictures: Sequence[Image], path: Path) -> None:
    """The pictures side by side in one PNG."""
    from PIL import Image, ImageOps

    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // max(columns, 1))
    page = Image.new("RGB", (max(columns, 1) * _SIDE, max(rows, 1) * _SIDE), "white")
    for at, picture in enumerate(pictures):
        page.paste(ImageOps.pad(picture, (_SIDE, _SIDE), color="white"), (at % columns * _SIDE, at // columns * _SIDE))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _counted(kinds: Sequence[int], names: Sequence[str]) -> str:
    counts = Counter(names[kind] for kind in kinds)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"


def _dashed(pen: Any, box: tuple[float, float, float, float], width: int) -> None:
    left, top, right, bottom = box
    for begin in range(0, _DASH, 2):
        one, other = begin / _DASH, (begin + 1) / _DASH
        across = [left + (right - left) * share for share in (one, other)]
        down = [top + (bottom - top) * share for share in (one, other)]
        for y in (top, bottom):
            pen.line([(across[0], y), (across[1], y)], fill=_TRUE, width=width)
        for x in (left, right):
            pen.line([(x, down[0]), (x, down[1])], fill=_TRUE, width=width)
