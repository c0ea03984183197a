"""Every row judged before a model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from nbtrain.data import prints
from nbtrain.data.pages import let_go
from nbtrain.data.places import Fault, Places
from nbtrain.data.read import Splits
from nbtrain.data.stream import Judge, Stream
from nbtrain.errors import DataError, listing

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset

__all__ = ["Fault", "Findings", "Form", "Report", "check", "lengths"]

_ROWS = 256  # judged at once
_LET_GO = 64 * _ROWS  # rows after which what was read of a file is handed back
_SHOWN = 5
_COUNTED = ("label", "target")  # roles whose values are classes, where there are few of them
_CLASSES, _LETTERS = 60, 60  # more classes, or longer values, are none


Content = tuple[tuple[str, str], ...]
"""What is trained on of one row, as (role, text): equal rows have equal content."""


class Form(Protocol):
    """How a data set holds what a room trains on; each family of rooms has its own. Its str() tells the user."""

    @property
    def columns(self) -> Mapping[str, str]:
        """Role to column."""

    def content(self, row: Mapping[str, Any]) -> Content:
        """What is trained on of this row.

        Raises:
            DataError: the row cannot be used; `where` is its column.
        """

    def notes(self) -> list[str]:
        """What the user should know of how the columns are read."""


@dataclass(frozen=True)
class Report:
    """What was found.

    rows: split to the rows that are kept; with the faults they are all rows of the source. repeated: split to the rows
    that an earlier row of the same split equals. leaked: numbers of the rows of train that valid has too.
    examples: split to its first rows, as they are read. classes: split to the rows of each class, none where there are
    no classes.
    """

    form: Form
    rows: Mapping[str, int]
    faults: tuple[Fault, ...] = ()
    repeated: Mapping[str, int] = field(default_factory=dict)
    leaked: tuple[int, ...] = ()
    examples: Mapping[str, tuple[Content, ...]] = field(default_factory=dict)
    classes: Mapping[str, Counter[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report for a screen."""
        counts = ", ".join(f"{name} {count:,}" for name, count in self.rows.items())
        found = [f"Rows: {counts}. Read as {self.form}."]
        found += self.form.notes()
        found += [
            f"  {role}: {_short(content)}" for each in self.examples.get("train", ())[:1] for role, content in each
        ]
        found += self.warnings()
        found += [f"  {fault}" for fault in self.faults[:_SHOWN]]
        return found

    def warnings(self) -> list[str]:
        """What the user should know before it trains."""
        found = []
        if self.faults:
            more = f"; the first {_SHOWN} are shown" if len(self.faults) > _SHOWN else ""
            found.append(f"{len(self.faults):,} rows cannot be used and are left out{more}.")
        for name, count in self.repeated.items():
            if count:
                found.append(f"{count:,} rows of {name} repeat an earlier one.")
        if self.leaked and set(self.rows) >= {"train", "valid"}:
            numbers = ", ".join(f"{row:,}" for row in self.leaked[:_SHOWN]) + ", ..." * (len(self.leaked) > _SHOWN)
            found.append(
                f"{len(self.leaked):,} rows of train are in valid too (rows {numbers}): what is measured on them is "
                "memory."
            )
        return found


class Findings(list[str]):
    """What judging found, in lines for a screen; and what pages that can draw want to know beside them.

    report, splits: None where the room judges in its own way; splits are the rows that can be used.
    rendered: tokenises some rows as a run would, given those that can be used.
    boxed: a row and its picture to the picture with what is on it drawn in, and that in words.
    """

    def __init__(
        self,
        lines: Iterable[str],
        *,
        report: Report | None = None,
        splits: Splits | None = None,
        rendered: Callable[[Splits], Rendered] | None = None,
        boxed: Callable[[Mapping[str, Any], Any], tuple[Any, str]] | None = None,
    ) -> None:
        super().__init__(lines)
        self.report, self.splits, self.rendered, self.boxed = report, splits, rendered, boxed


class Rendered(NamedTuple):
    """Rows as the model reads them.

    rows: (which part of a row it is, '' where it is the whole; its pieces, (text, whether it is marked)); none where no
    part of a row is only read. lines: how long they are, and what is cut off. marked: what the marked pieces are.
    """

    rows: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]
    lines: tuple[str, ...]
    marked: str = "what is trained"

    def first(self) -> tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]:
        """The parts of the first row."""
        return self.rows[: len({name for name, _ in self.rows})]


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 100 else f"{flat[:97]}..."


@dataclass(frozen=True)
class _Judged:
    """A split after judgement. kept: its good rows. prints: (kept,) uint64, equal where rows are equal."""

    kept: numpy.ndarray[Any, Any]
    prints: numpy.ndarray[Any, Any]
    faults: list[Fault]
    examples: tuple[Content, ...]
    classes: Counter[str]


def check(splits: Splits, form: Form, *, on_bad_rows: Literal["stop", "skip"] = "stop") -> tuple[Splits, Report]:
    """Judge every row of every split, in memory that holds a few hundred rows and 16 bytes for each.

    Args:
        splits: as `read` gives them.
        form: as `chat.recognise` gives it, or a room's own.
        on_bad_rows: rows that cannot be used are an error, or are left out and listed in the report.

    Returns:
        The splits without the rows that cannot be used, and what was found.

    Raises:
        DataError: there are such rows (the first are listed) and they are not to be left out, or no other row is left.
    """
    judged = {name: _judge(name, rows, places, form) for name, rows, places in splits.items()}
    faults = sorted([*splits.faults, *(fault for part in judged.values() for fault in part.faults)], key=_order)
    total = sum(len(rows) for _, rows, _ in splits.items()) + len(splits.faults)
    if faults and on_bad_rows == "stop":
        raise _unusable(faults, total, "Mend them, or leave them out: --on-bad-rows skip.")
    if not len(judged["train"].kept):
        raise _unusable(faults, total, "No row to train on is left.")
    repeated = {name: prints.repeated(part.prints) for name, part in judged.items()}
    leaked: tuple[int, ...] = ()
    if "valid" in judged:
        shared = prints.shared(judged["train"].prints, judged["valid"].prints)
        places, rows = splits.places.get("train", Places()), judged["train"].kept
        leaked = tuple(places.find(int(rows[row]))[0] for row in shared)
    kept = {name: len(part.kept) for name, part in judged.items()}
    examples = {name: part.examples for name, part in judged.items()}
    classes = {name: part.classes for name, part in judged.items()} if all(p.classes for p in judged.values()) else {}
    report = Report(form, kept, tuple(faults), repeated, leaked, examples, classes)
    splits = _without(splits, judged) if faults else splits
    if isinstance(splits.train, Stream):  # its rows are read again when they are trained on, and then judged again
        judge = Judge(form, on_bad_rows == "stop")
        splits = replace(splits, train=splits.train.judged(judge, judged["train"].kept))
    return splits, report


def _order(fault: Fault) -> tuple[str, str, int]:
    return fault.split, fault.place.rpartition(" ")[0], fault.row


def _unusable(faults: list[Fault], total: int, fix: str) -> DataError:
    listed = [f"{fault}. {fault.fix}" for fault in faults[:_SHOWN]]
    more = [f"... and {len(faults) - _SHOWN:,} more"] if len(faults) > _SHOWN else []
    what = f"{len(faults):,} of {total:,} rows cannot be used."
    return DataError(what, where="\n  ".join([*listed, *more]), fix=fix)


def _without(splits: Splits, judged: Mapping[str, _Judged]) -> Splits:
    streams = isinstance(splits.train, Stream)
    places = {
        name: where if streams and name == "train" else where.choose(judged[name].kept)
        for name, _, where in splits.items()
    }
    valid, notices = splits.valid, list(splits.notices)
    if valid is not None:
        valid = valid.select(judged["valid"].kept)
        if not len(valid):
            valid = None
            notices.append("No row to evaluate on is left.")
    train = splits.train if streams else splits.train.select(judged["train"].kept)
    return replace(splits, train=train, valid=valid, notices=notices, places=places, faults=())


def _judge(name: str, rows: Dataset, places: Places, form: Form) -> _Judged:
    import numpy

    columns = list(dict.fromkeys(form.columns.values()))
    if missing := [column for column in columns if column not in rows.column_names]:
        what = f"The split {name} has no column {missing[0]!r}; it has {listing(rows.column_names)}."
        raise DataError(what, fix="Both splits need the same columns.")
    bad = numpy.zeros(len(rows), dtype=bool)
    found = numpy.zeros(len(rows), dtype=numpy.uint64)
    faults, examples, classes, at = list[Fault](), list[Content](), _Classes(), 0
    for batch in rows.select_columns(columns).iter(_ROWS):
        if at % _LET_GO == 0 and not isinstance(rows, Stream):
            let_go(rows)
        for values in zip(*(batch[column] for column in columns), strict=True):
            try:
                content = form.content(dict(zip(columns, values, strict=True)))
                found[at] = prints.of(content)
                classes.count(content)
                if len(examples) < _SHOWN:
                    examples.append(content)
            except DataError as error:
                number, place = places.find(at)
                faults.append(Fault(name, number, error.where, error.what, error.fix, place))
                bad[at] = True
            at += 1
    kept = numpy.flatnonzero(~bad) if faults else numpy.arange(len(rows), dtype=numpy.uint32)
    return _Judged(kept, found[kept] if faults else found, faults, tuple(examples), classes.counts)


class _Classes:
    """The classes of a split, counted until there are too many to be classes."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self._over = False

    def count(self, content: Content) -> None:
        """Count the class of one row."""
        for role, text in content if not self._over else ():
            if role in _COUNTED:
                self.counts[text] += 1
                if len(text) > _LETTERS or len(self.counts) > _CLASSES:
                    self.counts.clear()
                    self._over = True
                    return


def lengths(tokens: Dataset) -> dict[str, float]:
    """Tokens a row, of what `chat.tokenised` gave.

    Returns:
        rows, tokens (all rows together), min, median, mean, p95, max, and cut (rows that lost their end).
    """
    import numpy

    table = tokens.with_format("numpy", columns=["length", "cut"])
    return spread(table["length"][:]) | {"cut": int(numpy.count_nonzero(numpy.asarray(table["cut"][:])))}


def spread(counts: Sequence[int]) -> dict[str, float]:
    """How many tokens some rows have: rows, tokens (all together), min, median, mean, p95, max."""
    import numpy

    count = numpy.asarray(counts)
    return {
        "rows": len(count),
        "tokens": int(count.sum()),
        "min": int(count.min()),
        "median": float(numpy.median(count)),
        "mean": float(count.mean()),
        "p95": float(numpy.percentile(count, 95)),
        "max": int(count.max()),
    }


def told(found: Mapping[str, float]) -> str:
    """What `spread` gives, in words."""
    return (
        f"{found['min']:,} to {found['max']:,}, half of them up to {found['median']:,.0f}, "
        f"95 of 100 up to {found['p95']:,.0f}"
    )
