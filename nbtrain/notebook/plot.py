"""Several lines in one picture, told apart by dashes as well as by colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nbtrain.notebook.html import Markup, fill, join
from nbtrain.notebook.shapes import (
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Frame,
    levels,
    short,
    thin,
    with_margin,
    words_at,
)
from nbtrain.runs.curve import Point, Stroke

_HEIGHT = 210
_LETTER = 6.2  # pixels, about: how wide a letter is, only the page knows
# middle tones, 3.5 to 1 on white and on black; each with a dash of its own
LOOKS = (
    ("#3b82c4", ""),
    ("#c2701c", "7 3"),
    ("#2f8f5b", "2 3"),
    ("#d64a45", "9 3 2 3"),
    ("#8b6bc8", "5 2"),
    ("#8a7a3d", "1 3"),
    ("#3a8f96", "12 4"),
    ("#b0548f", "6 2 2 2"),
)


@dataclass(frozen=True)
class Line:
    """A line of a picture. look: which of LOOKS. marks: points that stand out. faint: drawn thin, and not named."""

    name: str
    strokes: Sequence[Stroke]
    look: int = 0
    marks: Sequence[Point] = ()
    faint: bool = False


@dataclass(frozen=True)
class Across:
    """The horizontal axis. labelled: its ticks, (place, text). name: what it is. signs: places that are named."""

    low: float
    high: float
    labelled: Sequence[tuple[float, str]]
    name: str
    signs: Sequence[tuple[float, str]] = field(default=())


def plot(lines: Sequence[Line], across: Across, *, title: str, sentence: str, highest: float | None = None) -> Markup:
    """The picture; nothing where no line has a point.

    Args:
        sentence: what it shows, for those who do not see it.
        highest: value above which lines are cut off.
    """
    values = [value for line in lines for stroke in line.strokes for _, value in stroke]
    values += [value for line in lines for _, value in line.marks]
    if not values:
        return Markup()
    top = max(values) if highest is None else min(max(values), highest)
    named = [line for line in lines if not line.faint]
    legend, deep = _legend(named)
    frame = Frame(TOP + deep, _HEIGHT, (across.low, across.high), with_margin(min(values), top))
    parts = [*_grid(frame, across), legend, *(_drawn(line, frame, top) for line in lines), *_signs(frame, across)]
    return fill(
        '<svg role="img" viewBox="0 0 $width $height" width="$width" font-size="11" fill="none" '
        'xmlns="http://www.w3.org/2000/svg"><title>$title</title><desc>$sentence</desc>$parts</svg>',
        width=WIDTH,
        height=round(frame.top + frame.height + 36),
        title=title,
        sentence=sentence,
        parts=join(parts),
    )


def _drawn(line: Line, frame: Frame, top: float) -> Markup:
    colour, dashes = LOOKS[line.look % len(LOOKS)]
    path = ""
    for stroke in line.strokes:
        places = thin([frame.place((x, min(value, top))) for x, value in stroke])
        path += "M" + " ".join(f"{short(x)},{short(y)}" for x, y in places) + ("h2" if len(places) == 1 else "")
    shown = fill(
        '<path d="$path" stroke="$colour" stroke-dasharray="$dashes" stroke-width="$width" stroke-opacity="$opacity" '
        'stroke-linejoin="round"/>',
        path=path,
        colour=colour,
        dashes="none" if line.faint else dashes or "none",
        width=1 if line.faint else 2,
        opacity=0.4 if line.faint else 1,
    )
    marks = [
        fill('<path d="M$x ${y}m0-4 4 4-4 4-4-4z" fill="$colour"/>', x=short(x), y=short(y), colour=colour)
        for x, y in (frame.place((step, min(value, top))) for step, value in line.marks)
    ]
    return join([shown, *marks])


def _legend(lines: Sequence[Line]) -> tuple[Markup, int]:
    """What each line is, above the grid, and how many pixels more than one row it takes."""
    parts, x, y = [], float(LEFT), 14
    for line in lines:
        colour, dashes = LOOKS[line.look % len(LOOKS)]
        wide = 45 + _LETTER * len(line.name)
        if x > LEFT and x + wide > RIGHT:
            x, y = float(LEFT), y + 16
        parts.append(
            fill(
                '<path d="M$x ${y}h26" stroke="$colour" stroke-width="2" stroke-dasharray="$dashes"/>',
                x=short(x),
                y=y - 4,
                colour=colour,
                dashes=dashes or "none",
            )
        )
        parts.append(words_at(x + 32, y, line.name, "start"))
        x += wide
    return join(parts), y - 14


def _grid(frame: Frame, across: Across) -> list[Markup]:
    parts, bottom = levels(frame), frame.top + frame.height
    for place, text in across.labelled:
        parts.append(words_at(frame.place((place, 0))[0], bottom + 16, text, "middle"))
    return [*parts, words_at(RIGHT, bottom + 31, across.name, "end")]


def _signs(frame: Frame, across: Across) -> list[Markup]:
    parts = []
    for at, (place, text) in enumerate(across.signs):
        x, _ = frame.place((place, 0))
        parts.append(
            fill(
                '<path d="M$x ${top}v$deep" stroke="currentColor" stroke-opacity=".55" stroke-dasharray="3 3"/>',
                x=short(x),
                top=short(frame.top),
                deep=short(frame.height),
            )
        )
        parts.append(words_at(x + 4, frame.top + 12 + 14 * at, text, "start"))
    return parts
