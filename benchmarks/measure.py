"""Two arms, measured in turn: A B A B ..., so that a machine that slows down slows both."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Ours, Peer = TypeVar("Ours"), TypeVar("Peer")
Figures = list[float]

FEWEST = 3  # pairs of an A/A run
BOUND = 0.05  # spread of an A/A run above which a comparison says nothing

HEAD = f"{'goal':<44} {'ours':>9} {'peer':>9} {'unit':<9} {'ratio':>7}  {'target':<8} {'spread':>7} {'n':>3}"


@dataclass(frozen=True)
class Line:
    """One comparison.

    ours, peer: medians. ratio: median of the ratios pair by pair, ours to the peer's. spread: of the A/A run, see
    `spread`; of nothing measured in time, 0. bound: the spread above which the line is void.
    """

    goal: str
    ours: float
    peer: float
    unit: str
    ratio: float
    target: str
    spread: float
    count: int
    note: str = ""
    bound: float = BOUND

    def noted(self, note: str) -> Line:
        """The same with a note."""
        return dataclasses.replace(self, note=note)

    def __str__(self) -> str:
        void = f"VOID: the A/A run spreads more than {self.bound:.0%}; " if self.spread > self.bound else ""
        told = f"\n{'':4}{void}{self.note}" if void or self.note else ""
        figures = f"{self.ours:>9.4g} {self.peer:>9.4g} {self.unit:<9} {self.ratio:>7.3f}  {self.target:<8}"
        return f"{self.goal:<44} {figures} {self.spread:>7.1%} {self.count:>3}{told}"


def alternate(ours: Callable[[], Ours], peer: Callable[[], Peer], count: int) -> tuple[list[Ours], list[Peer]]:
    """`count` measurements of each arm, in turn."""
    pairs = [(ours(), peer()) for _ in range(count)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def ratios(ours: Sequence[float], peer: Sequence[float]) -> Figures:
    """Pair by pair, ours to the peer's."""
    return [one / other for one, other in zip(ours, peer, strict=True)]


def spread(figures: Figures) -> float:
    """How far a repetition may be off: the figures in three series, and the distance between their medians.

    Args:
        figures: at least three, of an arm against itself.
    """
    medians = [statistics.median(figures[start::3]) for start in range(3)]
    return (max(medians) - min(medians)) / statistics.median(figures)


def same(arm: Callable[[], float], count: int = FEWEST) -> float:
    """The spread of an arm against itself, after one run that warms files and caches."""
    arm()
    return spread(ratios(*alternate(arm, arm, max(count, FEWEST))))


def line(goal: str, ours: Figures, peer: Figures, **given: object) -> Line:
    """The comparison of what `alternate` gave; `given`: the other fields of Line."""
    found = ratios(ours, peer)
    middle = statistics.median
    return Line(goal, middle(ours), middle(peer), ratio=middle(found), count=len(found), **given)  # type: ignore[arg-type]


def compare(  # noqa: PLR0913
    goal: str, ours: Callable[[], float], peer: Callable[[], float], *, count: int, unit: str, target: str,
    note: str = "", bound: float = BOUND,
) -> Line:  # fmt: skip
    """The peer's arm against itself, then ours against it; `count` pairs each."""
    noise = same(peer, count)
    ours()
    return line(goal, *alternate(ours, peer, count), unit=unit, target=target, spread=noise, note=note, bound=bound)
