"""The runs of a folder, each with its state, its best value and the course of its loss."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from nbtrain.answers import Answer, aligned
from nbtrain.plain import duration, line, number
from nbtrain.run import Run
from nbtrain.runs import folder
from nbtrain.runs.curve import Curve, Curves, sparkline

SHOWN = 20  # runs; to fold the journals of thousands would take minutes
_COURSE = 16  # letters of a sparkline
HEAD = ("name", "state", "step", "best", "age", "loss")


@dataclass(frozen=True)
class Listed:
    """One run. age: seconds since it was made. curve: of its training. best: (metric, value), None before the first."""

    name: str
    state: str
    step: int
    total: int | None
    best: tuple[str, float] | None
    age: float
    curve: Curve

    def cells(self) -> tuple[str, ...]:
        """What a table says of it, the course of its loss left out."""
        step = f"{self.step}/{self.total}" if self.total else str(self.step)
        best = f"{self.best[0]} {number(self.best[1])}" if self.best else "-"
        return line(self.name), self.state, step, best, duration(self.age)


@dataclass(frozen=True, repr=False)
class Listing(Answer):
    """The runs below a folder, newest last. older: how many more there are."""

    place: Path
    runs: tuple[Listed, ...]
    older: int = 0

    def lines(self) -> list[str]:
        """A table, one run a line."""
        if not self.runs:
            return [f"no runs in {self.place}"]
        table = [HEAD, *((*each.cells(), sparkline(each.curve, _COURSE)) for each in self.runs)]
        return [*aligned(table), *self.more()]

    def more(self) -> list[str]:
        """That there are older ones, where there are."""
        return [f"and {self.older} older ones: runs --all"] if self.older else []


def listed(root: str | os.PathLike[str] = ".", *, everything: bool = False) -> Listing:
    """The runs below `root`; without `everything` the newest twenty."""
    there = folder.all_runs(root)
    shown = there if everything else there[-SHOWN:]
    return Listing(Path(root).resolve(), tuple(map(_listed, shown)), len(there) - len(shown))


def _listed(found: folder.RunFolder) -> Listed:
    run = Run(found)
    record = run.record
    best = record.best()
    return Listed(
        name=run.name,
        state=run.status,
        step=record.step,
        total=record.total_steps,
        best=(record.metric, best[1]) if best else None,
        age=time.time() - found.params.stat().st_mtime,
        curve=Curves().update(record).loss,
    )
