"""Texts, or pairs of them, each with its classes or its numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from nbtrain.data import columns
from nbtrain.data.forms import text
from nbtrain.data.labels import Labels
from nbtrain.errors import DataError, listing

if TYPE_CHECKING:
    from datasets import Dataset

TEXTS: columns.Roles = {
    "text": (
        "text", "sentence", "sentence1", "text1", "premise", "question1", "question", "query", "content", "body",
        "document", "review", "comment", "tweet", "headline", "title", "message", "utterance", "prompt", "input",
        "anchor",
    ),
    "pair": ("text_pair", "sentence2", "text2", "hypothesis", "question2", "pair", "phrase", "token"),
}  # fmt: skip
CLASSES = (
    "target", "label", "labels", "class", "classes", "category", "categories", "intent", "sentiment", "emotion",
    "emotions", "topic", "topics", "tag", "tags",
)  # fmt: skip
NUMBERS = ("target", "targets", "score", "scores", "label", "labels", "value", "rating", "stars", "similarity")


class Texts(NamedTuple):
    """What a model reads of a row. pair: "" where there is one text."""

    text: str
    pair: str = ""


@dataclass(frozen=True)
class Form:
    """Which column holds what; see `check.Form`.

    columns: text, pair where there is one, and what is to be learnt: target, or a role for each of several.
    labels: the classes; None: the targets are numbers. numbers: roles of texts whose column holds numbers throughout.
    names: of the targets that are numbers.
    """

    columns: Mapping[str, str]
    labels: Labels | None = None
    numbers: frozenset[str] = field(default_factory=frozenset)
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = ((role, column) for role, column in self.columns.items())
        return "texts: " + ", ".join(role if role == column else f"{role} from {column}" for role, column in named)

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns of what is to be learnt."""
        return tuple(column for role, column in self.columns.items() if role not in TEXTS)

    def content(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The row as (role, text); see `check.Form`."""
        texts = self.texts(row)
        shown = [("text", texts.text), *([("pair", texts.pair)] if "pair" in self.columns else [])]
        if self.labels is None:
            return (*shown, *((name, f"{value:g}") for name, value in zip(self.names, self.values(row), strict=True)))
        return (*shown, ("label", ", ".join(self.labels.names[at] for at in self.classes(row))))

    def notes(self) -> list[str]:
        """What the user should know of how the columns are read."""
        learnt = [f"{self.columns['target']}: {self.labels}."] if self.labels else []
        return learnt + ([f"Numbers are read as text: {', '.join(sorted(self.numbers))}."] if self.numbers else [])

    def texts(self, row: Mapping[str, Any]) -> Texts:
        """What the model reads of a row.

        Raises:
            DataError: there is nothing to read; `where` is its column.
        """
        found = (
            text(row[self.columns[role]], self.columns[role], role in self.numbers)
            for role in TEXTS
            if role in self.columns
        )
        return Texts(*found)

    def classes(self, row: Mapping[str, Any]) -> tuple[int, ...]:
        """The numbers of the row's classes.

        Raises:
            DataError: as `Labels.of`.
        """
        column = self.columns["target"]
        return self.labels.of(row[column], column) if self.labels else ()

    def values(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """The row's numbers: one a column, or those of a list.

        Raises:
            DataError: there is none, or one that cannot be learnt.
        """
        if len(self.targets) > 1:
            return tuple(number(row[column], column) for column in self.targets)
        column, cell = self.targets[0], row[self.targets[0]]
        values = _listed(cell) or [cell]
        if len(values) != len(self.names):
            what = f"{len(values)} numbers, where other rows have {len(self.names)}"
            raise DataError(what, where=column, fix="Give each row the same targets.")
        return tuple(number(value, column) for value in values)

    def shown(self, row: Mapping[str, Any]) -> str:
        """What the model reads of a row, for a screen."""
        return " | ".join(side for side in self.texts(row) if side)


def number(value: Any, column: str) -> float:
    """The number in a cell.

    Raises:
        DataError: there is none, or it is not finite.
    """
    if value is None or value == "" or value != value:
        raise DataError("no number (null)", where=column, fix="Fill it, or remove the row.")
    try:
        found = float(value.strip() if isinstance(value, str) else value)
    except (TypeError, ValueError):
        what = f"a number is expected, found {str(value)[:40]!r}"
        raise DataError(what, where=column, fix="Write it with a point, or remove the row.") from None
    if not math.isfinite(found):
        raise DataError(f"{value} is not a finite number", where=column, fix="Mend it, or remove the row.")
    return found


def _listed(value: Any) -> Sequence[Any] | None:
    """The list in a cell, or in its text."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, (list, tuple)) else None


def named(dataset: Dataset, targets: Sequence[str]) -> tuple[str, ...]:
    """The targets by name: their columns, or the places of the lists in one column."""
    if len(targets) > 1:
        return tuple(targets)
    listed = _listed(next((cell for cell in dataset[targets[0]] if cell is not None), None))
    return tuple(f"{targets[0]} {at}" for at in range(1, len(listed) + 1)) if listed else tuple(targets)


def find(
    dataset: Dataset,
    mapping: Mapping[str, str] | None,
    named: Mapping[str, str],
    targets: Sequence[str] = (),
    *,
    classes: bool,
) -> tuple[dict[str, str], frozenset[str]]:
    """Role to column, by the user's word and else by their usual names; and the texts that are numbers throughout.

    Args:
        mapping: role to column, as --column-mapping has it.
        named: role to column, from flags of their own; they go before the mapping.
        targets: the columns of the targets, by the user's word.
        classes: whether classes are to be learnt, or numbers.

    Raises:
        DataError: a role has no column, or one that the user names is not there.
    """
    names = dataset.column_names
    given = {**(mapping or {}), **named}
    if missing := [name for name in targets if name not in names]:
        raise columns.absent("target", missing[0], names)
    usual = () if targets else CLASSES if classes else NUMBERS
    found = columns.find([name for name in names if name not in targets], {**TEXTS, "target": usual}, given)
    learnt = list(targets) or [found.pop("target")] if targets or "target" in found else _left(dataset, found, classes)
    if "text" not in found:
        free = [name for name in names if name not in (*found.values(), *learnt) and _is(dataset, name, "string")]
        if len(free) != 1:
            what = f"There is no column for the text; there are {listing(names)}."
            raise DataError(what, fix="Name it: --text-column.")
        found = {"text": free[0], **found}
    if not learnt:
        what = f"There is no column of {'classes' if classes else 'numbers'} to learn; there are {listing(names)}."
        raise DataError(what, fix="Name it: --target-column.")
    roles = ["target"] if len(learnt) == 1 else [f"target {at}" for at in range(1, len(learnt) + 1)]
    read = {role: found[role] for role in TEXTS if role in found}
    numbers = frozenset(role for role, column in read.items() if _is(dataset, column, "number"))
    return read | dict(zip(roles, learnt, strict=True)), numbers


def _left(dataset: Dataset, found: Mapping[str, str], classes: bool) -> list[str]:
    """The targets where no name says which: the one column that is left; all columns of fractions."""
    free = [name for name in dataset.column_names if name not in found.values()]
    if classes:
        return free if len(free) == 1 and "text" in found else []
    return [name for name in free if _is(dataset, name, "fraction")] or [
        name for name in free if _is(dataset, name, "number")
    ][:1]


def _is(dataset: Dataset, column: str, kind: str) -> bool:
    from pyarrow import types

    found = dataset.features.arrow_schema.field(column).type
    if kind == "string":
        return bool(types.is_string(found) or types.is_large_string(found))
    broken = bool(types.is_floating(found))
    if kind == "fraction" and types.is_string(found):
        return _reads_as_numbers(dataset, column)
    return broken or (kind == "number" and bool(types.is_integer(found)))


def _reads_as_numbers(dataset: Dataset, column: str) -> bool:
    """Whether the first cells of a text column, as CSV has them, are numbers with fractions."""
    cells = dataset.select(range(min(len(dataset), 50)))[column]
    try:
        return any(not number(cell, column).is_integer() for cell in cells)
    except DataError:
        return False
