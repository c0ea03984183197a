"""Two arms, measured in turn: A B A B ..., so that a machine that slows down slows both."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One goal's outcome: medians of both arms, their ratio, and how far the arms spread.

    spread: (largest - smallest) / median of our arm's runs.
    """

    goal: str
    ours: float
    peer: float
    unit: str
    ratio: float
    spread: float
    count: int
    target: str
    note: str = ""

    def __str__(self) -> str:
        figures = f"{self.ours:10.4g} {self.peer:10.4g} {self.unit:<12} ratio {self.ratio:7.3f} ({self.target})"
        return f"{self.goal:<34} {figures} spread {self.spread:5.1%} n={self.count} {self.note}"


HEAD = f"{'goal':<34} {'ours':>10} {'peer':>10}"


def alternate(ours: Callable[[], float], peer: Callable[[], float], count: int) -> tuple[list[float], list[float]]:
    """`count` figures of each arm after one run of each that is not counted."""
    ours(), peer()
    pairs = [(ours(), peer()) for _ in range(count)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def line(goal: str, ours: list[float], peer: list[float], *, unit: str, target: str, note: str = "") -> Line:
    """The outcome of two arms; the ratio is the median of the pairwise ratios, ours over the peer's."""
    middle = statistics.median(ours)
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    spread = (max(ours) - min(ours)) / middle
    return Line(goal, middle, statistics.median(peer), unit, ratio, spread, len(ours), target, note)
