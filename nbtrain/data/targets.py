"""Texts and what is to be written for each: translations, summaries, simplifications, answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nbtrain.data import columns
from nbtrain.data.forms import text
from nbtrain.errors import DataError, listing

if TYPE_CHECKING:
    from datasets import Dataset

ROLES: columns.Roles = {
    "source": (
        "source", "text", "src", "input", "document", "article", "dialogue", "abstract", "body", "complex", "original",
        "question", "sentence",
    ),
    "target": (
        "target", "summary", "highlights", "tgt", "output", "simple", "translation", "tldr", "answer", "label",
        "labels",
    ),
}  # fmt: skip
REFERENCES = "references"  # column of further texts that would be right; often only the rows to evaluate on have it


class Pair(NamedTuple):
    """One row. references: what may be written, the first of them is trained on."""

    source: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """Which column holds what; see `check.Form`.

    languages: of a column whose cells hold a text in each ({"en": ..., "fr": ...}): read from the first to the second.
    references: the column of further right texts, in the splits that have it.
    """

    columns: Mapping[str, str]
    languages: tuple[str, str] | None = None
    references: str = REFERENCES

    def __str__(self) -> str:
        if self.languages:
            return f"pairs: {self.languages[0]} to {self.languages[1]}, in {self.columns['source']}"
        return "pairs: " + ", ".join(
            role if role == column else f"{role} from {column}" for role, column in self.columns.items()
        )

    def content(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The row as (role, text); see `check.Form`."""
        read = self.read(row)
        return (("source", read.source), *(("target", each) for each in read.references))

    def notes(self) -> list[str]:
        """What the user should know of how the columns are read."""
        return []

    def read(self, row: Mapping[str, Any]) -> Pair:
        """The row as a text and its references: the target, or all in its list, and those of the column of references.

        Raises:
            DataError: the row cannot be used; `where` is its column.
        """
        column = self.columns["target"]
        source, target = row[self.columns["source"]], row[column]
        if self.languages:
            if not isinstance(target, Mapping):
                raise DataError("no texts by language", where=column, fix='Write {"en": "...", "fr": "..."}.')
            source, target = (target.get(language) for language in self.languages)
        found = [text(each, column) for each in (target if isinstance(target, list) and target else [target])]
        more = row.get(self.references) or []
        found += [each for each in more if isinstance(each, str) and each.strip()]
        return Pair(text(source, self.columns["source"]), tuple(dict.fromkeys(found)))


def recognise(
    dataset: Dataset, mapping: Mapping[str, str] | None = None, named: Mapping[str, str] | None = None
) -> Form:
    """The columns by the user's word, and else by their usual names; two columns alone are source and target.

    Args:
        mapping: role to column, as --column-mapping has it.
        named: role to column, from flags of their own; they go before the mapping.

    Raises:
        DataError: a role has no column, or one that the user names is not there.
    """
    names = dataset.column_names
    given = {**(mapping or {}), **(named or {})}
    references = given.pop("references", REFERENCES)
    if not given and (languages := _languages(dataset)):
        return languages
    found = columns.find(names, ROLES, given)
    free = [name for name in names if name not in (*found.values(), references)]
    for role, other in (("source", "target"), ("target", "source")):
        # names say nothing here (en and fr): what is left plays the part that is left, where that is beyond doubt
        if role not in found and (len(free) == 1 or (len(names) == 2 and other not in found)) and free:
            found[role] = free.pop(0)
    if lacking := [role for role in ("source", "target") if role not in found]:
        what = f"There is no column for the {' and the '.join(lacking)}; there are {listing(names)}."
        raise DataError(what, fix="Name it: --text-column (what is read), --target-column (what is written).")
    return Form(found, references=references)


def _languages(dataset: Dataset) -> Form | None:
    """The form of a column of texts by language, as translations of the hub have it."""
    for name, kind in dataset.features.items():
        if isinstance(kind, dict) and len(kind) == 2 and name in ("translation", "text", "pair"):
            return Form({"source": name, "target": name}, tuple(kind))  # type: ignore[arg-type]
    return None
