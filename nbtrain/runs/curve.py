"""Series of any length, kept as the few points that a picture can show."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from nbtrain.runs.record import Record

Point = tuple[float, float]
Stroke = list[Point]
"""Points that are joined by a line; where a value is not a number one stroke ends and the next begins."""

BUCKETS = 160  # about four pixels each; with a minimum and a maximum, at most 320 points a series
_OTHERS = 10  # values in the table beside the curve
_MEMORY = 0.04  # of the whole length: how far back the smooth line looks
_NO_LOSS = ("learning_rate", "grad_norm", "epoch", "_per_second", "memory", "tokens")


@dataclass(slots=True)
class _Bucket:
    index: int
    low: Point
    high: Point
    steps: float = 0.0
    total: float = 0.0
    count: int = 0
    broken: bool = False

    def take(self, other: _Bucket) -> None:
        if other.count:
            self.low = other.low if not self.count or other.low[1] < self.low[1] else self.low
            self.high = other.high if not self.count or other.high[1] > self.high[1] else self.high
        self.steps, self.total, self.count = (
            self.steps + other.steps,
            self.total + other.total,
            self.count + other.count,
        )
        self.broken |= other.broken


class Curve:
    """One series, folded as it grows: a point costs the same whatever came before it.

    Steps fall into buckets of one width, which doubles when there are too many; each keeps its minimum and maximum,
    so no spike is lost, and its mean.
    """

    def __init__(self) -> None:
        self._width = 1
        self._buckets: list[_Bucket] = []

    def add(self, step: int, value: float) -> None:
        """Take one more point; steps rise."""
        index = step // self._width
        last = self._buckets[-1] if self._buckets else None
        point = (step, value)
        if last is None or index > last.index:
            last = _Bucket(index, point, point)
            self._buckets.append(last)
        if not math.isfinite(value):
            last.broken = True
        else:
            if not last.count or value < last.low[1]:
                last.low = point
            if not last.count or value > last.high[1]:
                last.high = point
            last.steps, last.total, last.count = last.steps + step, last.total + value, last.count + 1
        while len(self._buckets) > BUCKETS:
            self._widen()

    def _widen(self) -> None:
        self._width *= 2
        merged: list[_Bucket] = []
        for bucket in self._buckets:
            bucket.index //= 2
            if merged and merged[-1].index == bucket.index:
                merged[-1].take(bucket)
            else:
                merged.append(bucket)
        self._buckets = merged

    def raw(self) -> list[Stroke]:
        """The series as it is: every point, or the minimum and maximum of each bucket, in the order of their steps."""
        pairs = ((sorted({bucket.low, bucket.high}) if bucket.count else [], bucket.broken) for bucket in self._buckets)
        return _strokes(pairs)

    def smooth(self) -> list[Stroke]:
        """The mean of what came before, weighted by exp(-distance / memory): the recent counts most.

        The memory is a twenty-fifth of the whole length, so a short series is hardly smoothed and a long one well;
        the weights add to one from the first point on (no pull towards zero).
        """
        found = [bucket for bucket in self._buckets if bucket.count]
        if not found:
            return []
        middles = [bucket.steps / bucket.count for bucket in found]
        memory = max((middles[-1] - middles[0]) * _MEMORY, 1e-9)
        total = weight = 0.0
        pairs, before = [], middles[0]
        for bucket, middle in zip(found, middles, strict=True):
            fade, before = math.exp((before - middle) / memory), middle
            total, weight = total * fade + bucket.total, weight * fade + bucket.count
            pairs.append(([(middle, total / weight)], bucket.broken))
        return _strokes(pairs)


def _strokes(pairs: Iterable[tuple[Sequence[Point], bool]]) -> list[Stroke]:
    strokes: list[Stroke] = [[]]
    for points, broken in pairs:
        strokes[-1].extend(points)
        if broken:
            strokes.append([])
    return [stroke for stroke in strokes if stroke]


@dataclass
class Curves:
    """The curves of one record, brought up to date by `update`: only what is new is folded."""

    loss: Curve = field(default_factory=Curve)
    valid: Curve = field(default_factory=Curve)
    rate: Curve = field(default_factory=Curve)
    others: dict[str, Curve] = field(default_factory=dict)
    metric: str = "loss"
    _seen: dict[str, tuple[Sequence[Any], int]] = field(default_factory=dict)

    def update(self, record: Record) -> Self:
        """Fold what the record has learnt since the last call."""
        self.metric = metric(record)
        self.loss = self._folded("loss", self.loss, record.series.get(series(record), []))
        self.rate = self._folded("rate", self.rate, record.series.get("learning_rate", []))
        for name in others(record):
            self.others[name] = self._folded(f"other {name}", self.others.get(name, Curve()), record.series[name])
        self.valid = self._folded("valid", self.valid, record.evaluations, self._of_evaluation)
        return self

    def _of_evaluation(self, row: Mapping[str, float]) -> tuple[int, float] | None:
        return (int(row["step"]), row[self.metric]) if self.metric in row else None

    def _folded(
        self, name: str, curve: Curve, found: list[Any], point: Callable[[Any], tuple[int, float] | None] = tuple
    ) -> Curve:
        """`curve` with what it lacks of `found`; a new one where the run went back, and its lists are new."""
        before, count = self._seen.get(name, ((), 0))
        if before is not found:
            curve, count = Curve(), 0
        self._seen[name] = (found, len(found))
        for each in found[count:]:
            if made := point(each):
                curve.add(*made)
        return curve


def metric(record: Record) -> str:
    """What is drawn of the evaluations: what is drawn of the training, else the loss, else the first value."""
    names = [name for row in record.evaluations[:1] for name in row if name != "step"]
    wanted = record.started.curve if record.started else "loss"
    return next((name for name in (wanted, "loss", *names) if name in names), "loss")


def series(record: Record) -> str:
    """What is drawn of the training: what the room says, else the loss, else the first value that is a result."""
    results = [name for name in record.series if not any(part in name for part in _NO_LOSS)]
    wanted = record.started.curve if record.started else "loss"
    return next((name for name in (wanted, "loss", *results) if name in results), "loss")


def others(record: Record) -> list[str]:
    """The results that are logged beside the curve: rewards, margins, a divergence; the first few."""
    drawn = series(record)
    results = (name for name in record.series if name != drawn and not any(part in name for part in _NO_LOSS))
    return list(itertools.islice(results, _OTHERS))


def sparkline(curve: Curve, width: int = 48) -> str:
    """The curve in one line of text, a gap where there is no number."""
    points = [point for stroke in curve.smooth() for point in stroke]
    if len(points) < 2:
        return ""
    cells: list[list[float]] = [[] for _ in range(min(width, len(points)))]
    first, last = points[0][0], points[-1][0]
    for step, value in points:
        cells[min(int((step - first) / ((last - first) or 1) * len(cells)), len(cells) - 1)].append(value)
    means = [sum(cell) / len(cell) if cell else None for cell in cells]
    low, high = min(value for _, value in points), max(value for _, value in points)
    return "".join(" " if mean is None else "▁▂▃▄▅▆▇█"[round(7 * (mean - low) / ((high - low) or 1))] for mean in means)
