"""The training table in each form that a family takes, made once and when it is first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtrain.trainers.tabular import preparing
from nbtrain.trainers.tabular.kinds import Column

if TYPE_CHECKING:
    import numpy
    import pandas


@dataclass(frozen=True)
class Viewed:
    """preparer: fitted to the training rows. x: (rows, columns) float64."""

    preparer: Any
    layout: preparing.Layout
    x: numpy.ndarray[Any, Any]


class Views:
    """Args: table: the typed training rows. columns: what they are. params: as `preparing.preparer` reads them."""

    def __init__(self, table: pandas.DataFrame, columns: Sequence[Column], params: Any) -> None:
        self.table, self.columns, self.params = table, columns, params
        self._made: dict[str, Viewed] = {}

    def of(self, view: preparing.View) -> Viewed:
        """The training rows in this form."""
        if view not in self._made:
            preparer = preparing.preparer(view, self.columns, self.params, len(self.table))
            x = preparer.fit_transform(self.table).astype("float64")
            self._made[view] = Viewed(preparer, preparing.layout(preparer), x)
        return self._made[view]
