"""Texts that belong together: pairs, scored pairs, classed pairs, triplets, questions with answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtrain.data import columns, labels
from nbtrain.data.forms import text
from nbtrain.data.labelled import number
from nbtrain.data.labels import Labels
from nbtrain.errors import DataError, ParamError, listing

if TYPE_CHECKING:
    from datasets import Dataset

_PAIRED = (
    ("anchor", "query", "question", "sentence1", "text1", "question1", "premise", "title", "text", "source"),
    ("positive", "answer", "document", "passage", "context", "response", "paraphrase", "entailment", "sentence2",
     "text2", "question2", "hypothesis", "target"),
)  # fmt: skip
_COMPARED = (
    ("sentence1", "sentence_1", "text1", "question1", "premise", "sentence_a", "anchor", "query", "question", "text"),
    ("sentence2", "sentence_2", "text2", "question2", "hypothesis", "sentence_b", "positive", "answer", "document",
     "passage", "text_pair", "pair"),
)  # fmt: skip
_THIRD = ("negative", "hard_negative", "sentence3", "text3", "contradiction")
_TARGETS = {
    "pair_class": ("label", "labels", "target", "class", "is_duplicate", "score"),
    "pair_score": ("score", "scores", "similarity", "similarity_score", "target", "label", "relatedness"),
}
TRIPLETS, SCORED = ("triplet",), tuple(_TARGETS)
TEXTS = ("sentence1", "sentence2", "sentence3")


@dataclass(frozen=True)
class Form:
    """Which column holds what; see `check.Form`.

    method: pair, pair_class, pair_score, triplet or qa. labels: the classes of pair_class.
    """

    method: str
    columns: Mapping[str, str]
    labels: Labels | None = None

    def __str__(self) -> str:
        named = (role if role == column else f"{role} from {column}" for role, column in self.columns.items())
        return f"{self.method}: {', '.join(named)}"

    @property
    def roles(self) -> tuple[str, ...]:
        """Those of the texts."""
        return tuple(role for role in self.columns if role in TEXTS)

    def content(self, row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The row as (role, text); see `check.Form`."""
        texts = tuple(zip(self.roles, self.texts(row), strict=True))
        if "target" not in self.columns:
            return texts
        learnt = self.learnt(row)
        return (*texts, ("target", self.labels.names[int(learnt)] if self.labels else f"{learnt:g}"))

    def notes(self) -> list[str]:
        """What the user should know of how the columns are read."""
        return [f"{self.columns['target']}: {self.labels}."] if self.labels else []

    def texts(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """What is embedded of a row: two texts, of a triplet three.

        Raises:
            DataError: one is missing, or the last two of a triplet are the same; `where` is the column.
        """
        found = tuple(text(row[self.columns[role]], self.columns[role]) for role in self.roles)
        if self.method in TRIPLETS and found[1] == found[2]:
            what = f"the same text as in {self.columns['sentence2']}: nothing tells them apart"
            raise DataError(
                what, where=self.columns["sentence3"], fix="Give a text that is further away, or remove it."
            )
        return found

    def learnt(self, row: Mapping[str, Any]) -> float | int:
        """The score of a row, or the number of its class.

        Raises:
            DataError: there is none.
        """
        column = self.columns["target"]
        return self.labels.of(row[column], column)[0] if self.labels else number(row[column], column)

    @property
    def same_or_not(self) -> bool:
        """Whether the classes are 0 and 1: texts that do not belong together, and texts that do."""
        return self.labels is not None and tuple(name.lower() for name in self.labels.names) in (
            ("0", "1"),
            ("false", "true"),
            ("no", "yes"),
        )


def named(params: Any) -> dict[str, str]:
    """Role to column, as far as flags say it."""
    said = {
        "sentence1": params.sentence1_column,
        "sentence2": params.sentence2_column,
        "sentence3": params.sentence3_column,
        "target": params.target_column,
    }
    given = params.given()
    return {role: column for role, column in said.items() if f"{role}_column" in given and column}


def recognise(rows: Dataset, params: Any) -> Form:
    """The columns by the user's word, and else by their usual names; texts that are left are taken in their order.

    Raises:
        DataError: a role has no column, or one that the user names is not there.
    """
    roles, given = _roles(params.method), {**(params.column_mapping or {}), **named(params)}
    found = columns.find(rows.column_names, roles, given)
    texts = [name for name, kind in rows.features.items() if getattr(kind, "dtype", "") in ("string", "large_string")]
    free = [name for name in texts if name not in found.values()]
    lacking = [role for role in roles if role != "target" and role not in found]
    if lacking and len(free) == len(lacking):
        found |= dict(zip(lacking, free, strict=True))
    for role in roles:
        if role not in found:
            what = f"There is no column for {role} of {params.method}; there are {listing(rows.column_names)}."
            raise DataError(what, fix=f"Name it: --{role}-column.")
    ordered = {role: found[role] for role in roles}
    classes = labels.find(rows, ordered["target"], several=False) if params.method == "pair_class" else None
    return Form(params.method, ordered, classes)


def classes(params: Any) -> Callable[[Dataset], list[str]] | None:
    """What `read.read` holds rows out by: the class of each; None where there are none."""
    if params.method != "pair_class":
        return None
    return lambda rows: [str(cell) for cell in rows[recognise(rows, params).columns["target"]]]


def _roles(method: str) -> dict[str, Sequence[str]]:
    first, second = _COMPARED if method in SCORED else _PAIRED
    third = {"sentence3": _THIRD} if method in TRIPLETS else {}
    target = {"target": _TARGETS[method]} if method in SCORED else {}
    return {"sentence1": first, "sentence2": second, **third, **target}


def tidy(rows: Dataset, form: Form) -> Dataset:
    """The rows as sentence-transformers reads them: the texts in their order, and behind them "label"."""
    from datasets import Features, Value

    kinds = dict.fromkeys(form.roles, "string")
    if "target" in form.columns:
        kinds["label"] = "int64" if form.labels else "float64"

    def made(row: Mapping[str, Any]) -> dict[str, Any]:
        learnt = {"label": form.learnt(row)} if "label" in kinds else {}
        return dict(zip(form.roles, form.texts(row), strict=True)) | learnt

    chosen = list(dict.fromkeys(form.columns.values()))
    # said, not guessed from the first rows: whole numbers would make a column that takes no fractions
    features = Features({name: Value(kind) for name, kind in kinds.items()})
    return rows.select_columns(chosen).map(made, remove_columns=chosen, features=features)


def taken(rows: Dataset, batch: int) -> int:
    """Rows that an epoch of so many rows a batch can take in, where no text may stand twice in a batch; at most."""
    batches = math.ceil(len(rows) / batch)  # a Trainer takes no more of them, however many there are
    return min(sum(min(count, batches) for count in Counter(texts).values()) for texts in rows[:].values())


def sides(params: Any, row: Any) -> tuple[str, ...]:
    """The texts of a new row: one, two, or three.

    Args:
        row: a text; a pair or a triplet of texts; or a mapping with the columns that were trained on.

    Raises:
        ParamError: the row holds no texts.
    """
    if isinstance(row, Mapping):
        given = {role: name for role, name in ((params.column_mapping or {}) | named(params)).items() if name in row}
        roles = columns.find(row, _roles(params.method), given)
        found: Sequence[Any] = [row[roles[role]] for role in TEXTS if role in roles]
    else:
        found = row if isinstance(row, (list, tuple)) else [row]
    if not 1 <= len(found) <= len(TEXTS) or not all(isinstance(side, str) for side in found):
        what = f"a row to predict is a text, texts that are compared, or a mapping with them; found {str(row)[:60]!r}"
        raise ParamError(what)
    return tuple(found)
