"""Rows that are read as they are needed, in an order that a checkpoint can go on from.

A pass over the data is read in windows: up to 10,000 rows, drawn in an order that seed, pass and place decide, then
handed through the same functions that mapped rows take. `datasets` loses what its own shuffle buffer holds when a state
is loaded; a window is read again from where it began, so a state is a few numbers and what follows is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from nbtrain.data.decoding import Row, Unreadable
from nbtrain.data.shards import Drawn
from nbtrain.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

WINDOW = 10_000  # rows that are shuffled together ...
_CHARACTERS = 64 << 20  # ... or fewer, where they are long
TOLD = 100  # rows that are left out and told one by one


class Read(Protocol):
    """What rows are read from."""

    def looked(self) -> Iterator[Drawn]:
        """The rows in the order of the split, those left out that are held out."""

    def opened(self, number: int) -> IterableDataset:
        """The rows of a pass, as `Source.opened` gives them."""


@dataclass(frozen=True)
class _Stage:
    """A function over some rows at a time, as `Dataset.map` takes it; gives the columns of the rows that it makes."""

    function: Callable[..., Mapping[str, Any]]
    batched: bool
    size: int
    numbered: bool
    more: Mapping[str, Any]

    def over(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        while some := list(islice(rows, self.size if self.batched else 1)):
            numbers = [row.pop("", 0) for row in some]
            given: Any = {name: [row[name] for row in some] for name in some[0]} if self.batched else some[0]
            place: Any = numbers if self.batched else numbers[0]
            made = self.function(given, *([place] if self.numbered else []), **self.more)
            if not self.batched:
                yield dict(made)
                continue
            for values in zip(*made.values(), strict=True):
                yield dict(zip(made, values, strict=True))


@dataclass(frozen=True, eq=False)
class Stream:
    """The rows of a split that is not held anywhere. What is asked by number is told of its first rows.

    read: where the rows come from. head: the first rows, in memory. seed: of the order. whole: whether all rows were
    seen, so that what is asked of a column is asked of all. count: rows of a pass, None where nobody knows; expected:
    about how many. judge: of a row whether it is trained on. columns: none for all. stages: what is made of the rows.
    """

    read: Read
    head: Dataset
    seed: int
    whole: bool
    count: int | None
    expected: float = 0.0
    judge: Judge | None = None
    columns: tuple[str, ...] = ()
    stages: tuple[_Stage, ...] = ()

    @property
    def column_names(self) -> list[str]:
        """The columns."""
        return self.head.column_names

    @property
    def features(self) -> Any:
        """The types of the columns, by the first rows."""
        return self.head.features

    @property
    def _fingerprint(self) -> str:
        return str(self.head._fingerprint)

    @property
    def _asked_whole(self) -> bool:
        return self.whole and not self.stages

    def __len__(self) -> int:
        return self.count if self._asked_whole and self.count is not None else len(self.head)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str) and self._asked_whole:
            return (row[key] for row in self.select_columns([key]))
        return self.head[key]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self._asked_whole:
            yield from self.head
            return
        for drawn in self.read.looked():
            if not isinstance(drawn.row, Unreadable) and self._is_good(drawn):
                yield self._cells(drawn.row)

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """The rows, so many at a time, as columns."""
        rows = iter(self)
        while some := list(islice(rows, batch_size)):
            yield {name: [row[name] for row in some] for name in self.column_names}

    def select(self, numbers: Any) -> Dataset:
        """Some of the first rows."""
        return self.head.select([number for number in numbers if number < len(self.head)])

    def select_columns(self, names: Sequence[str]) -> Stream:
        """The same rows with these columns."""
        if self.stages:
            return self.map(lambda some: {name: some[name] for name in names}, batched=True)
        return replace(self, head=self.head.select_columns(list(names)), columns=tuple(names))

    def map(  # noqa: PLR0913  as a Dataset has it
        self,
        function: Callable[..., Mapping[str, Any]],
        *,
        batched: bool = False,
        batch_size: int = 1_000,
        with_indices: bool = False,
        fn_kwargs: Mapping[str, Any] | None = None,
        remove_columns: Sequence[str] = (),
        **_: Any,
    ) -> Stream:
        """What `function` makes of the rows, when they are drawn; the first ones are made now.

        It gives all columns that are left, and may give more rows or fewer than it takes. Words about a cache do not
        matter here.
        """
        head = self.head.map(
            function,
            batched=batched,
            batch_size=batch_size,
            with_indices=with_indices,
            fn_kwargs=dict(fn_kwargs or {}),
            remove_columns=self.head.column_names,
            keep_in_memory=True,
            load_from_cache_file=False,
            new_fingerprint=f"{self.head._fingerprint[:40]}-{len(self.stages)}",  # else datasets pickles the function
        )
        # rows that are cut up, joined or left out are not counted
        count = self.count if len(head) == len(self.head) else None
        expected = self.expected * len(head) / max(len(self.head), 1)
        stage = _Stage(function, batched, batch_size, with_indices, dict(fn_kwargs or {}))
        columns = self.columns or tuple(self.column_names)
        made = {"head": head, "count": count, "expected": expected, "columns": columns}
        return replace(self, **made, stages=(*self.stages, stage))

    def judged(self, judge: Judge, kept: Any) -> Stream:
        """The rows that `judge` lets through.

        Args:
            kept: numbers of the good ones, rising: of all rows, or of the first.
        """
        head = self.head.select(kept[kept < len(self.head)])
        judge = replace(judge, before=self.whole)
        return replace(self, head=head, judge=judge, count=len(kept) if self.whole else None, expected=len(kept))

    def telling(self, tell: Callable[[str], None]) -> Stream:
        """The same rows; `tell` is told of those that are left out as they come."""
        return replace(self, judge=replace(self.judge, tell=tell)) if self.judge else self

    def _cells(self, row: Row) -> dict[str, Any]:
        return {name: row.get(name) for name in self.columns or self.column_names}

    def _is_good(self, drawn: Drawn, aloud: bool = False) -> bool:
        return self.judge is None or self.judge(drawn, aloud)

    def windows(self, number: int, state: Mapping[str, Any] | None = None) -> Iterator[tuple[dict[str, Any], Any]]:
        """A pass in windows: (state of its beginning, the rows that it gives, made as they are asked for).

        Args:
            number: of the pass, from 0. state: of the window to begin with.
        """
        import numpy

        source = self.read.opened(number)
        begun = int(state["begun"]) if state else 0
        if state and state["rows"] is not None:
            source.load_state_dict(state["rows"])
        rows = iter(source)
        here = state["rows"] if state else None
        while True:
            some, size, taken = list[Drawn](), 0, 0
            while taken < WINDOW and size < _CHARACTERS and (each := next(rows, None)):
                taken += 1
                if each["drawn"] is not None:
                    some.append(each["drawn"])
                    size += each["drawn"].size
            if not taken:
                return
            order = numpy.random.default_rng((self.seed, number, begun)).permutation(len(some))
            yield {"begun": begun, "rows": here}, self._made(some, order, number)
            begun, here = begun + taken, source.state_dict()

    def _made(self, some: Sequence[Drawn], order: Any, number: int) -> Iterator[dict[str, Any]]:
        drawn = (some[at] for at in order)
        good = (each for each in drawn if self._is_good(each, aloud=not number))  # each is told once
        # "" is no column's name: a header without one is given one
        rows = ({"": each.at, **self._cells(each.row)} for each in good)  # type: ignore[arg-type]
        for stage in self.stages:
            rows = stage.over(rows)
        return rows


@dataclass(frozen=True)
class Judge:
    """Whether a row is trained on.

    form: as `check.Form`. stop: a row that cannot be used ends the run. before: all rows were judged before.
    """

    form: Any
    stop: bool
    before: bool = False
    tell: Callable[[str], None] = lambda text: None
    told: list[int] = field(default_factory=lambda: [0])

    def __call__(self, drawn: Drawn, aloud: bool) -> bool:
        """Whether this row is; where it is not, and it was not known before, it is told or ends the run."""
        row, fault = drawn.row, None
        if isinstance(row, Unreadable):
            fault = DataError(row.reason, fix=row.fix)
        else:
            try:
                self.form.content({name: row.get(name) for name in self.form.columns.values()})
            except DataError as error:
                fault = error
        if fault is not None:
            self._refuse(fault, drawn, aloud)
        return fault is None

    def _refuse(self, fault: DataError, drawn: Drawn, aloud: bool) -> None:
        name, unit, number = drawn.place
        column = f", column {fault.where}" if fault.where else ""
        place = f"{name} {unit} {number}{column}"
        if self.stop:
            fix = f"{fault.fix} Then resume the run. Or leave such rows out: --on-bad-rows skip."
            raise DataError(f"{place}: {fault.what}.", where=place, fix=fix)
        if self.before or not aloud:
            return  # it stands in the list of the first look, or was told in the first pass
        self.told[0] += 1
        count = self.told[0]
        if count <= TOLD or count & (count - 1) == 0:
            more = f" ({count:,} rows by now)" if count > TOLD else ""
            self.tell(f"Left out{more}: {place}: {fault.what}.")


def first(rows: Any) -> tuple[Dataset, str]:
    """The rows that can be looked at, and how they are to be called: all of mapped ones, the first of a stream."""
    return (rows.head, f"Of the first {len(rows.head):,} rows: ") if isinstance(rows, Stream) else (rows, "")
