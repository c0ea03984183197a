"""What drawings are made of: a frame with its scale, lines without needless points, rules, words and figures."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from nbtrain.notebook.html import Markup, fill
from nbtrain.plain import number
from nbtrain.runs.curve import Point

WIDTH = 720
LEFT, RIGHT, TOP = 54, 696, 26
_NEAR = 0.3  # pixels by which a line may be off where points are left out


@dataclass(frozen=True)
class Frame:
    """A rectangle of the picture and what its edges mean; y grows downward, as in SVG."""

    top: float
    height: float
    steps: tuple[float, float]
    values: tuple[float, float]

    def place(self, point: Point) -> Point:
        """Where a (step, value) stands, in pixels."""
        (begin, end), (low, high) = self.steps, self.values
        across = (point[0] - begin) / ((end - begin) or 1)
        up = (point[1] - low) / ((high - low) or 1)
        return LEFT + across * (RIGHT - LEFT), self.top + (1 - up) * self.height


def ticks(low: float, high: float, about: int, *, whole: bool = False) -> list[float]:
    """Round numbers between `low` and `high`: multiples of 1, 2 or 5 times a power of ten, about so many."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low]
    unit = 10.0 ** math.floor(math.log10(span / about))
    pace = next(unit * factor for factor in (1, 2, 5, 10) if span / (unit * factor) <= about)
    pace = max(pace, 1.0) if whole else pace
    return [index * pace for index in range(math.ceil(low / pace - 1e-9), math.floor(high / pace + 1e-9) + 1)]


def thin(places: list[Point]) -> list[Point]:
    """The line without the points that lie on it anyway, to a third of a pixel; x rises."""
    kept, low, high = places[:1], -math.inf, math.inf
    for before, (x, y) in itertools.pairwise(places):
        x0, y0 = kept[-1]
        # the slopes at which a line from the last kept point passes near all points since
        if before != kept[-1] and not low <= (y - y0) / ((x - x0) or 1) <= high:
            kept.append(before)
            (x0, y0), low, high = before, -math.inf, math.inf
        run = (x - x0) or 1
        low, high = max(low, (y - y0 - _NEAR) / run), min(high, (y - y0 + _NEAR) / run)
    return kept + places[-1:] if len(places) > 1 else kept


def with_margin(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def rule(y: float) -> Markup:
    return fill(
        '<path d="M$left ${y}H$right" stroke="currentColor" stroke-opacity=".14"/>',
        left=LEFT,
        y=short(y),
        right=RIGHT,
    )


def words_at(x: float, y: float, text: str, anchor: str) -> Markup:
    return fill(
        '<text x="$x" y="$y" text-anchor="$anchor" fill="currentColor">$text</text>',
        x=short(x),
        y=short(y),
        anchor=anchor,
        text=text,
    )


def label(value: float) -> str:
    """At an axis, where zeros at the end say nothing and room is short."""
    return number(value) if 0 < abs(value) < 1e-3 or abs(value) >= 1000 else f"{value:.4g}"


def short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def levels(frame: Frame) -> list[Markup]:
    """Lines across, with their values at the left."""
    heights = [(frame.place((0, value))[1], value) for value in ticks(*frame.values, 5)]
    return [part for y, value in heights for part in (rule(y), words_at(LEFT - 8, y + 4, label(value), "end"))]


def grid(frame: Frame) -> list[Markup]:
    """`levels`, and the steps below."""
    parts = levels(frame)
    for step in ticks(*frame.steps, 7, whole=True):
        x, _ = frame.place((step, 0))
        parts.append(words_at(x, frame.top + frame.height + 16, number(int(step)), "middle"))
    return parts
