"""A sweep as inline SVG: the best so far, every trial across its parameters, and how much each of them matters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nbtrain.events import Tried
from nbtrain.notebook import trials
from nbtrain.notebook.html import Markup, fill, join
from nbtrain.notebook.shapes import LEFT, RIGHT, TOP, WIDTH, Frame, grid, short, with_margin, words_at
from nbtrain.plain import line, number
from nbtrain.runs.record import Record

_HEIGHT = 130
_AXES_TOP, _AXES_HEIGHT = 24, 150
_LINES = 40  # trials that are drawn across the axes, the best ones; more would be a carpet
_POINTS = 60  # trials of the first drawing, the last ones
_AXES = 7
_BAR, _ROW = 360, 18
_NEAR = 4  # pixels
_WIDE = 20.0  # of what is above zero and spans more than this, the size matters, not the difference
_SVG = (
    '<svg role="img" class="$kind" viewBox="0 0 $width $height" width="$width" font-size="11" fill="none" '
    'xmlns="http://www.w3.org/2000/svg"><title>$title</title><desc>$told</desc>$parts</svg>'
)
_TRAIN, _VALID = fill("var(--train,#3b82c4)"), fill("var(--valid,#c2701c)")


def drawn(record: Record, sentence: str) -> Markup:
    """The drawings that there is something to draw for.

    Args:
        sentence: what the sweep came to, for those who do not see it.
    """
    done = [trial for trial in record.trials.values() if trial.state == "complete" and trial.value is not None]
    return join([_course(record, done, sentence), _across(record, done, sentence), _importance(record)]) if done else (
        Markup()
    )  # fmt: skip


def _course(record: Record, done: Sequence[Tried], sentence: str) -> Markup:
    """The value of each trial in the order of their ends, and the best until then as a line of steps."""
    points = [(trial.step or 0, trial.value or 0.0, trial.trial) for trial in done][-_POINTS:]
    best = record.series.get("best", [])
    values = [value for _, value, _ in points] + [value for _, value in best]
    last = float(max(record.total_steps or 0, record.step, 1))
    frame = Frame(TOP, _HEIGHT, (0.0, last), with_margin(min(values), max(values)))
    marks = [
        fill(
            '<circle class="mark" cx="$x" cy="$y" r="3.5" fill="$colour"><title>trial $trial: $value</title></circle>',
            x=short(x), y=short(y), trial=number(trial), value=number(value), colour=_VALID,
        )
        for step, value, trial in points
        for x, y in [frame.place((step, value))]
    ]  # fmt: skip
    name = line(record.metric.replace("_", " "), 32)
    parts = [*grid(frame), *_legend(name), _stairs(best, frame), *marks]
    height = TOP + _HEIGHT + 26
    return _svg("course", height, f"{name} of each trial, and the best so far", sentence, parts)


def _stairs(best: Sequence[tuple[int, float]], frame: Frame) -> Markup:
    if not best:
        return Markup()
    # a corner where the value changes, and one every few pixels at most: a long sweep is no longer to draw
    corners = [point for before, point in itertools.pairwise([(0, math.nan), *best]) if point[1] != before[1]]
    places = list({round(x / _NEAR): (x, y) for x, y in map(frame.place, corners)}.values())
    path = f"M{short(places[0][0])},{short(places[0][1])}" + "".join(f"H{short(x)}V{short(y)}" for x, y in places[1:])
    path += f"H{short(RIGHT)}"
    return fill('<path class="best" d="$path" stroke="$colour" stroke-width="2"/>', path=path, colour=_TRAIN)


def _legend(name: str) -> list[Markup]:
    return [
        fill('<path d="M$x 10h18" stroke="$colour" stroke-width="2"/>', x=LEFT, colour=_TRAIN),
        words_at(LEFT + 25, 14, f"best {name} so far", "start"),
        fill('<circle cx="$x" cy="10" r="3.5" fill="$colour"/>', x=LEFT + 219, colour=_VALID),
        words_at(LEFT + 230, 14, "a trial, when it ended", "start"),
    ]


@dataclass(frozen=True)
class _Axis:
    """One parameter, or the metric, and the places of its values: 0 at the bottom, 1 at the top."""

    name: str
    low: str
    high: str
    places: dict[int, float]


def _across(record: Record, done: Sequence[Tried], sentence: str) -> Markup:
    """Parallel coordinates: an axis a parameter, the metric last, a line a trial; the best is thick."""
    shown = trials.names(record)[: _AXES - 1]
    sign = 1 if trials.lower(record) else -1
    ranked = sorted(done, key=lambda trial: (sign * (trial.value or 0.0), trial.trial))[:_LINES]
    if len(ranked) < 2 or not shown:
        return Markup()
    axes = [_axis(name, {trial.trial: trial.given.get(name) for trial in ranked}) for name in shown]
    axes.append(_axis(record.metric, {trial.trial: trial.value for trial in ranked}))
    gap = (RIGHT - LEFT - 30) / (len(axes) - 1)
    across = [LEFT + 10 + gap * index for index in range(len(axes))]
    bottom = _AXES_TOP + _AXES_HEIGHT
    parts: list[Markup] = []
    for trial in reversed(ranked):
        points = [(x, bottom - axis.places[trial.trial] * _AXES_HEIGHT) for x, axis in zip(across, axes, strict=True)]
        parts.append(_thread(trial, points, first=trial is ranked[0]))
    for x, axis in zip(across, axes, strict=True):
        upright = fill('<path d="M$x ${top}V$bottom" stroke="currentColor" stroke-opacity=".4"/>',
                       x=short(x), top=_AXES_TOP, bottom=bottom)  # fmt: skip
        ends = [words_at(x, bottom + 14, axis.low, "middle"), words_at(x, _AXES_TOP - 4, axis.high, "middle")]
        parts += [upright, *ends, words_at(x, bottom + 30, line(axis.name.replace("_", " "), 18), "middle")]
    return _svg("across", bottom + 38, "each trial across its parameters; the best is thick", sentence, parts)


def _thread(trial: Tried, points: Iterable[tuple[float, float]], *, first: bool) -> Markup:
    path = "M" + " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    look = (
        fill('stroke="$colour" stroke-width="2.5"', colour=_TRAIN)
        if first
        else fill('stroke="currentColor" stroke-opacity=".28"')
    )
    told = f"trial {trial.trial}{', the best' if first else ''}: {number(trial.value)}"
    return fill('<path class="trial" d="$path" $look><title>$told</title></path>', path=path, look=look, told=told)


def _axis(name: str, values: dict[int, Any]) -> _Axis:
    numbers = {trial: float(value) for trial, value in values.items() if _is_number(value)}
    if len(numbers) < len(values):
        kinds = sorted({trials.cell(value) for value in values.values()})
        span = max(len(kinds) - 1, 1)
        places = {trial: kinds.index(trials.cell(value)) / span for trial, value in values.items()}
        return _Axis(name, line(kinds[0], 14), line(kinds[-1], 14) if len(kinds) > 1 else "", places)
    low, high = min(numbers.values()), max(numbers.values())
    scale = math.log if low > 0 and high / low > _WIDE else float
    begin, span = scale(low), (scale(high) - scale(low)) or 1.0
    places = {trial: (scale(value) - begin) / span for trial, value in numbers.items()}
    whole = all(isinstance(value, int) for value in values.values())
    ends = (number(int(low)), number(int(high))) if whole else (number(low), number(high))
    return _Axis(name, ends[0], ends[1] if high > low else "", places)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _importance(record: Record) -> Markup:
    """A bar a parameter: its share in what the metric came to."""
    shares = list(trials.importance(record).items())[:_AXES]
    if not shares:
        return Markup()
    parts = [words_at(LEFT, 14, "what matters: share of each parameter in the differences", "start")]
    for index, (name, share) in enumerate(shares):
        y = 24 + index * _ROW
        parts.append(words_at(LEFT + 96, y + 10, line(name.replace("_", " "), 18), "end"))
        parts.append(
            fill('<rect class="share" x="$x" y="$y" width="$width" height="11" rx="2" fill="$colour"/>',
                 x=LEFT + 104, y=y, width=short(max(share, 0.0) * _BAR), colour=_TRAIN)
        )  # fmt: skip
        parts.append(words_at(LEFT + 112 + max(share, 0.0) * _BAR, y + 10, f"{100 * share:.0f} %", "start"))
    told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares)
    return _svg("importance", 30 + len(shares) * _ROW, "how much each parameter matters", told, parts)


def _svg(kind: str, height: float, title: str, told: str, parts: Iterable[Markup]) -> Markup:
    return fill(_SVG, kind=kind, width=WIDTH, height=round(height), title=title, told=told, parts=join(parts))
