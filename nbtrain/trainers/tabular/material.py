"""What trials learn from, in each form that a family takes, and what the best of them gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtrain.trainers.tabular import preparing, scoring
from nbtrain.trainers.tabular.families import Family
from nbtrain.trainers.tabular.goals import Goal
from nbtrain.trainers.tabular.kinds import Column

if TYPE_CHECKING:
    import numpy
    import pandas

    Array = numpy.ndarray[Any, Any]


@dataclass(frozen=True)
class Viewed:
    """preparer: fitted to the training rows. x: (rows, columns) float64. codes: columns of categories."""

    preparer: Any
    x: Array
    codes: tuple[int, ...]


class Views:
    """The training rows in each view, made once and when it is first asked for.

    Args:
        table: the typed training rows. columns: what they are. params: as `preparing.preparer` reads them.
    """

    def __init__(self, table: pandas.DataFrame, columns: Sequence[Column], params: Any) -> None:
        self.table, self.columns, self.params = table, columns, params
        self._made: dict[str, Viewed] = {}

    def of(self, view: preparing.View) -> Viewed:
        """The training rows in this form."""
        if view not in self._made:
            preparer = preparing.preparer(view, self.columns, self.params, len(self.table))
            x = preparer.fit_transform(self.table).astype("float64")
            self._made[view] = Viewed(preparer, x, preparing.codes(view, self.columns))
        return self._made[view]


@dataclass(frozen=True)
class Material:
    """What is learnt from. targets: (rows, targets). folds: (rows to fit to, rows to measure), each an array."""

    goal: Goal
    views: Views
    targets: Array
    folds: Sequence[tuple[Array, Array]]
    threads: int

    def no_guesses(self) -> Array:
        """(rows, width) of NaN."""
        import numpy

        return numpy.full((len(self.targets), self.goal.width), numpy.nan)

    def score(self, metric: str, guesses: Array) -> float:
        """The mean over the folds; NaN where a row has no guess."""
        values = [scoring.score(metric, self.goal, self.targets[held], guesses[held]) for _, held in self.folds]
        return sum(values) / len(values)


@dataclass(frozen=True)
class Candidate:
    """The best trial of a family.

    rounds: trees for each target, where the family has such. guesses: (rows, width), each made by a model that had not
    seen the row; NaN where there is none. seconds: of one fit to all targets.
    """

    family: Family
    trial: int
    score: float
    settings: dict[str, Any]
    rounds: tuple[int, ...]
    guesses: Array
    seconds: float
