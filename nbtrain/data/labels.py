"""The classes of a column: numbers, names, or lists of them, in every form in which they are written."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtrain.errors import DataError, nearest

if TYPE_CHECKING:
    from datasets import Dataset

_SEPARATORS = ("|", ";", ",")
_RECURRING = 0.75  # share of the parts that stand in other cells as well: else the separator is part of a name
_FEW = 0.1  # share of the rows with several labels, up to which they are mistakes in a column of single ones
_MANY = 0.5  # classes a row: with more of them the column holds no classes
_ROWS = 50  # fewer rows say nothing about that
_SHOWN = 8
_LISTED = 20  # classes of a balance
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_BROKEN = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Labels:
    """The classes of a column.

    names: in the order of their numbers. several: whether a row may have any number of them.
    separator: between the labels of one cell, "" where there is none.
    known: names of the numbers that stand in the cells, where the data says them; () where cells hold the names.
    indicators: whether a cell is a list with a 0 or a 1 for each class.
    """

    names: tuple[str, ...]
    several: bool = False
    separator: str = ""
    known: tuple[str, ...] = ()
    indicators: bool = False

    def __str__(self) -> str:
        shown = ", ".join(self.names[:_SHOWN]) + ", ..." * (len(self.names) > _SHOWN)
        written = f", separated by {self.separator!r}" if self.separator else ", as 0 and 1" if self.indicators else ""
        many = f"any of {len(self.names)} labels{written}" if self.several else f"one of {len(self.names)} classes"
        return f"{many}: {shown}"

    def of(self, value: Any, column: str) -> tuple[int, ...]:
        """The numbers of the classes in a cell, rising; one of them unless `several`.

        Raises:
            DataError: the cell holds no label, one that is not known, or several where there is one.
        """
        try:
            parts = _parts(value, self.separator if self.several else "", self.known)
        except ValueError as error:
            raise DataError(str(error), where=column, fix="Write a name, a whole number, or a list of them.") from None
        if self.indicators:
            return self._marked(parts, column)
        if not self.several and len(parts) != 1:
            what = f"{len(parts)} labels ({', '.join(parts[:_SHOWN])}) in a column of single ones"
            raise DataError(what, where=column, fix="Leave one, or let rows have several: --multi-label.")
        return tuple(sorted({self._number(part, column) for part in parts}))

    def _number(self, name: str, column: str) -> int:
        if name in self.names:
            return self.names.index(name)
        what = f"label {name!r} is not among the {len(self.names)} of the training rows.{nearest(name, self.names)}"
        fix = "Mend it, remove the row, or put such a row among those trained on."
        if not self.several and any(mark in name for mark in _SEPARATORS):
            fix = "Leave one label, or let rows have several: --multi-label."
        raise DataError(what, where=column, fix=fix)

    def _marked(self, parts: Sequence[str], column: str) -> tuple[int, ...]:
        if len(parts) != len(self.names) or set(parts) - {"0", "1"}:
            what = f"{len(self.names)} marks of 0 and 1 are expected, found {', '.join(parts[:_SHOWN])}"
            raise DataError(what, where=column, fix="Write one mark for each class.")
        return tuple(at for at, mark in enumerate(parts) if mark == "1")


def find(
    dataset: Dataset,
    column: str,
    *,
    several: bool | None = None,
    order: Sequence[str] | None = None,
    held_out: Dataset | None = None,
) -> Labels:
    """The classes of `column`.

    Args:
        dataset: the rows that are trained on.
        several: whether a row may have several, by the user's word; None: as the cells show.
        order: the classes in the user's order, also such as no row has.
        held_out: rows whose classes count, too, where they were taken from the others without a look at them.

    Raises:
        DataError: there is one class, or what stands there is no classes.
    """
    known = _declared(dataset, column)
    both = (part.select_columns([column]).iter(1_000) for part in (dataset, held_out) if part is not None)
    cells = Counter(_hashable(value) for part in both for batch in part for value in batch[column])
    separator = "" if known or several is False else _separator([cell for cell in cells if isinstance(cell, str)])
    parts = {cell: found for cell in cells if (found := _tried(cell, separator, known)) is not None}
    total = sum(cells[cell] for cell in parts)
    if several is None:
        lists = all(isinstance(cell, tuple) for cell in parts)
        several = bool(parts) and (lists or sum(cells[cell] for cell in parts if len(parts[cell]) != 1) > _FEW * total)
    if several and (count := _indicated(parts.values())):
        names = tuple(order or (str(number) for number in range(count)))
        return Labels(names, several=True, indicators=True)
    single = {name for found in parts.values() for name in found if several or len(found) == 1}
    if not several:
        _refuse_no_classes(column, cells, single, total)
        single = {name for name in single if name}
    names = tuple(order or known or sorted(single, key=_rank))
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no label at all"
        raise DataError(f"Column {column} has {found}: there is nothing to tell apart.", fix="Name another column.")
    return Labels(names, several, separator if several else "", known)


def _declared(dataset: Dataset, column: str) -> tuple[str, ...]:
    """The names that the data set itself says for the numbers in its cells."""
    kind = dataset.features[column]
    kind = getattr(kind, "feature", kind[0] if isinstance(kind, list) else kind)
    return tuple(getattr(kind, "names", None) or ())


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tried(cell: Any, separator: str, known: Sequence[str]) -> list[str] | None:
    try:
        return _parts(cell, separator, known)
    except ValueError:
        return None


def _parts(value: Any, separator: str, known: Sequence[str]) -> list[str]:
    """The labels of a cell, each as a name.

    Raises:
        ValueError: with what is wrong.
    """
    if isinstance(value, str) and (value := value.strip()) and value[0] in "[(" and value[-1] in "])":
        value = _list(value)
    if isinstance(value, str) and separator:
        value = [part.strip() for part in value.split(separator) if part.strip()]
    if isinstance(value, (list, tuple)):
        return [_name(part, known) for part in value]
    return [_name(value, known)]


def _list(text: str) -> Any:
    """The list that stands in a text, as JSON, Python or numpy write it; else the text."""
    # numpy writes no commas, and Python would join what stands side by side
    apart = re.sub(r"(?<=['\"])\s+(?=['\"])", ", ", text)
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(apart)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return list(found) if isinstance(found, (list, tuple)) else text
    return text


def _name(value: Any, known: Sequence[str]) -> str:
    if value is None or value != value:
        raise ValueError("no label (null)")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value:g} is a number with a fraction, and no class")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and known:
        if not 0 <= value < len(known):
            raise ValueError(f"{value:g} is not among the numbers 0 to {len(known) - 1} of the classes")
        return known[int(value)]
    if isinstance(value, (bool, int, float)):
        return str(value) if isinstance(value, bool) else str(int(value))
    if not isinstance(value, str):
        raise ValueError(f"a label is expected, found {type(value).__name__}")
    if not (text := value.strip()):
        raise ValueError("an empty label")
    # what was a column of whole numbers with gaps comes as 1.0 out of a table
    return str(int(float(text))) if _WHOLE.fullmatch(text) and "." in text else text


def _separator(cells: Sequence[str]) -> str:
    """What stands between several labels of a cell, "" where it may as well be part of a name."""
    plain = [cell for cell in cells if not cell.strip().startswith(("[", "("))]
    for mark in _SEPARATORS:
        split = [{part.strip() for part in cell.split(mark)} - {""} for cell in plain]
        stands = Counter(part for parts in split for part in parts)
        joined = {part for parts in split if len(parts) > 1 for part in parts}
        if joined and sum(stands[part] > 1 for part in joined) >= _RECURRING * len(joined):
            return mark
    return ""


def _indicated(lists: Any) -> int:
    """How many classes, where each list has a 0 or a 1 for each of them; else 0."""
    lengths, marks, repeated = set(), set(), False
    for parts in lists:
        lengths.add(len(parts))
        marks.update(parts)
        repeated = repeated or len(set(parts)) < len(parts)
    return lengths.pop() if repeated and len(lengths) == 1 and marks <= {"0", "1"} else 0


def _refuse_no_classes(column: str, cells: Mapping[Any, int], names: set[str], total: int) -> None:
    broken = sum(
        count
        for cell, count in cells.items()
        if (isinstance(cell, float) and cell == cell and not cell.is_integer())
        or (isinstance(cell, str) and _BROKEN.fullmatch(cell.strip()) and not _WHOLE.fullmatch(cell.strip()))
    )
    if broken > _MANY * sum(cells.values()):
        what = f"Column {column} holds numbers with fractions, and no classes."
        raise DataError(what, fix="Train them with text-regression, or name another column: --target-column.")
    if total >= _ROWS and len(names) > _MANY * total:
        what = f"Column {column} has {len(names):,} different values in {total:,} rows: these are no classes."
        raise DataError(what, fix="Name another column: --target-column.")


def _rank(name: str) -> tuple[int, float, str]:
    """Numbers by their size, before names by the alphabet."""
    return (0, float(name), "") if _WHOLE.fullmatch(name) else (1, 0.0, name)


def balance(counts: Mapping[str, Counter[int]], labels: Labels, rows: Mapping[str, int]) -> Iterator[str]:
    """Lines: each class with its rows, by split.

    Args:
        counts: split to class to its rows. rows: split to all its rows.
    """
    splits = list(counts)
    order = sorted(range(len(labels.names)), key=lambda number: -counts[splits[0]][number])
    for number in order[:_LISTED]:
        parts = (
            f"{name} {counts[name][number]:,} ({counts[name][number] / max(rows[name], 1):.1%})" for name in splits
        )
        yield f"  {labels.names[number]}: {', '.join(parts)}"
    if len(order) > _LISTED:
        least, most = (counts[splits[0]][order[at]] for at in (-1, _LISTED))
        yield f"  and {len(order) - _LISTED} more, with {least:,} to {most:,} rows of {splits[0]}"
