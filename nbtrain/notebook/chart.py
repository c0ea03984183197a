"""The curve as inline SVG: the training loss raw and smooth, the validation as marks, the learning rate below."""

from __future__ import annotations

from collections.abc import Iterable

from nbtrain.notebook.html import Markup, fill, join
from nbtrain.notebook.shapes import (
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Frame,
    grid,
    label,
    rule,
    short,
    thin,
    with_margin,
    words_at,
)
from nbtrain.plain import number, words
from nbtrain.runs.curve import Curves, Point, Stroke, series
from nbtrain.runs.record import Record

_HEIGHT, _RATE_HEIGHT, _GAP = 190, 34, 34
_MARKS = 40  # evaluations; more would be a caterpillar
_CHANGES = 8  # by hand
_LOOKS = {
    "raw": fill('stroke="var(--train,#3b82c4)" stroke-opacity=".45"'),
    "smooth": fill('stroke="var(--train,#3b82c4)" stroke-width="2" stroke-linejoin="round"'),
    "valid": fill('stroke="var(--valid,#c2701c)" stroke-width="1.5"'),
    "rate": fill('stroke="currentColor" stroke-opacity=".7"'),
}


def chart(curves: Curves, record: Record, sentence: str) -> Markup:
    """The drawing, or nothing while there is no point.

    Args:
        curves: those of the record, up to date.
        sentence: what the curve did, for those who do not see it.
    """
    raw, smooth, valid, rate = curves.loss.raw(), curves.loss.smooth(), curves.valid.raw(), curves.rate.raw()
    values = [value for strokes in (raw, valid) for stroke in strokes for _, value in stroke]
    if not values:
        return Markup()
    name, best = series(record), record.best(curves.metric)
    steps = (0.0, float(max(record.step, 1)))
    main = Frame(TOP, _HEIGHT, steps, with_margin(min(values), max(values)))
    parts = [*grid(main), _legend(name, curves.metric, bool(raw), bool(valid))]
    parts += [_line("raw", raw, main), _line("smooth", smooth, main), _line("valid", valid, main)]
    parts += [*_marks(valid, main, best), *_changes(record, main)]
    bottom = TOP + _HEIGHT
    if rate:
        highest = max(value for stroke in rate for _, value in stroke)
        below = Frame(bottom + _GAP, _RATE_HEIGHT, steps, (0.0, highest or 1.0))
        parts += [_line("rate", rate, below), *_rate_axis(below, highest)]
        bottom = below.top + below.height
    return fill(
        '<svg role="img" viewBox="0 0 $width $height" width="$width" font-size="11" fill="none" '
        'xmlns="http://www.w3.org/2000/svg">'
        "<title>$title</title><desc>$sentence</desc>$parts</svg>",
        width=WIDTH,
        height=round(bottom + 8 + (0 if rate else 18)),
        title=f"{words(name)} over steps",
        sentence=sentence,
        parts=join(parts),
    )


def _line(kind: str, strokes: Iterable[Stroke], frame: Frame) -> Markup:
    """All strokes of one series in one path: a gap then costs a letter. A stroke of one point is a dash."""
    drawn = []
    for stroke in strokes:
        places = [frame.place(point) for point in stroke]
        if len(places) == 1:
            drawn.append(f"M{short(places[0][0] - 2)},{short(places[0][1])}h4")
        elif kind == "raw":  # the larger half of the frame, and all of it jagged: whole pixels do
            drawn.append("M" + " ".join(f"{x:.0f},{y:.0f}" for x, y in places))
        else:
            drawn.append("M" + " ".join(f"{short(x)},{short(y)}" for x, y in thin(places)))
    return fill('<path class="$kind" d="$drawn" $look/>', kind=kind, drawn="".join(drawn), look=_LOOKS[kind])


def _marks(strokes: list[Stroke], frame: Frame, best: Point | None) -> list[Markup]:
    """A diamond for each evaluation, that says its numbers under the pointer; the best says so."""
    points = [point for stroke in strokes for point in stroke]
    if len(points) > _MARKS:
        points = [point for point in points if point == best] + points[-1:]
    found = [
        fill(
            '<path class="mark" fill="var(--valid,#c2701c)" d="M$x ${y}m0-5 5 5-5 5-5-5z">'
            "<title>step $step: $value</title></path>",
            x=short(x),
            y=short(y),
            step=number(int(step)),
            value=number(value),
        )
        for step, value in points
        for x, y in [frame.place((step, value))]
    ]
    if best is not None:
        x, y = frame.place(best)
        found.append(words_at(x, y - 10, "best", "middle"))
    return found


def _changes(record: Record, frame: Frame) -> list[Markup]:
    """A line upright where a value was changed by hand, with what it was made."""
    parts = []
    for change in record.by_hand[-_CHANGES:]:
        x, _ = frame.place((min(change.step or 0, record.step), 0))
        aside, anchor = (-4, "end") if x > RIGHT - 80 else (4, "start")
        told = f"{change.name} {number(change.new)}, was {number(change.old)}"
        drawn = fill(
            '<path class="change" stroke="currentColor" stroke-opacity=".6" stroke-dasharray="3 3" '
            'd="M$x ${top}v$height"><title>from step $step on: $told</title></path>',
            x=short(x), top=frame.top, height=frame.height, step=number(change.step), told=told,
        )  # fmt: skip
        parts += [drawn, words_at(x + aside, frame.top + 9, f"{change.name} {change.new}", anchor)]
    return parts


def _rate_axis(frame: Frame, highest: float) -> list[Markup]:
    return [
        rule(frame.top + frame.height),
        words_at(LEFT - 8, frame.top + 6, label(highest), "end"),
        words_at(LEFT - 8, frame.top + frame.height + 2, "0", "end"),
        words_at(RIGHT, frame.top - 4, "learning rate", "end"),
    ]


def _legend(name: str, metric: str, trained: bool, validated: bool) -> Markup:
    """What each line is, in a row above the grid."""
    entries = [("smooth", f"training {words(name)}, smoothed"), ("raw", "as logged")] if trained else []
    entries += [("valid", f"validation {words(metric)}")] if validated else []
    parts, x = [], LEFT
    for kind, text in entries:
        parts.append(fill('<path d="M$x 10h18" $look/>', x=x, look=_LOOKS[kind]))
        if kind == "valid":
            parts.append(fill('<path d="M$x 5l5 5-5 5-5-5z" fill="var(--valid,#c2701c)"/>', x=x + 9))
        parts.append(words_at(x + 25, 14, text, "start"))
        x += 45 + 6 * len(text)  # about: how wide a letter is, only the page knows
    return join(parts)
