"""Where a row stands in the user's own file, and what is wrong with it."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used.

    split: as in `Splits`. row: its number in the file, from 1 (the line number in JSON lines). column: "" for the whole
    row. place: file and row in words.
    """

    split: str
    row: int
    column: str
    reason: str
    fix: str
    place: str = ""

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"{self.place or f'{self.split} row {self.row}'}{column}: {self.reason}"


class Span(NamedTuple):
    """Rows that follow each other in one file: row `start` of the split is number `first` of `file`."""

    start: int
    file: str
    first: int
    unit: str


@dataclass
class Places:
    """Where each row of a split comes from, in memory that grows with the gaps between rows and not with the rows.

    spans: sorted by `start`. chosen: row of the source for each row of the split, None where all rows are kept.
    """

    spans: list[Span] = field(default_factory=list)
    chosen: numpy.ndarray[Any, Any] | None = None

    def add(self, row: int, file: str, number: int, unit: str) -> None:
        """Row `row` (from 0) is number `number` of `file`; rows are told in order."""
        if self.spans:
            start, known, first, _ = self.spans[-1]
            if file == known and number - first == row - start:
                return
        self.spans.append(Span(row, file, number, unit))

    def choose(self, rows: Sequence[int] | numpy.ndarray[Any, Any]) -> Places:
        """The places of these rows of the split, in this order."""
        import numpy

        chosen = numpy.asarray(rows, dtype=numpy.int64)
        return Places(self.spans, chosen if self.chosen is None else self.chosen[chosen])

    def without(self, rows: Sequence[int]) -> Places:
        """The places of all rows but these (rising), where none were chosen yet."""
        kept = Places()
        for start in sorted({*(span.start for span in self.spans), *(row + 1 for row in rows)} - set(rows)):
            span = self.spans[bisect.bisect_right(self.spans, start, key=lambda span: span.start) - 1]
            moved = start - bisect.bisect_left(rows, start)
            kept.spans.append(Span(moved, span.file, span.first + start - span.start, span.unit))
        return kept

    def find(self, row: int) -> tuple[int, str]:
        """(number in the file, place in words) of row `row` (from 0) of the split."""
        source = row if self.chosen is None else int(self.chosen[row])
        at = bisect.bisect_right(self.spans, source, key=lambda span: span.start) - 1
        if at < 0:
            return source + 1, f"row {source + 1}"
        span = self.spans[at]
        number = span.first + source - span.start
        return number, f"{span.file} {span.unit} {number}"
