"""What can go wrong, each told in four parts: what, where, why, and what to do.

NbtrainError
├── ParamError     a parameter that does not exist, is out of its range, or does not fit the others
├── DataError      data that cannot be read, lacks a column, or has rows that cannot be used
├── ModelError     a model that cannot be found, opened, quantised or trained
├── MissingExtra   a package that this room needs and that is not installed, or too old
├── RunError       a run that cannot be started, found, resumed or locked
├── TrainingError  training that stopped being one: NaN loss, out of memory, disk full
└── WorkerDied     the process that trained is gone; why is in words (signal, out of memory, exit in the middle)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from nbtrain.plain import visible
from nbtrain.redact import redact


class NbtrainError(Exception):
    """Root of the tree; never raised itself.

    Args:
        what: one sentence: what was expected and what was found.
        where: file and row, parameter, step; whatever finds the place.
        why: the cause, where it is known and not plain from `what`.
        fix: what to do next.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.why, self.fix = what, where, why, fix

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The error as it stands on a screen: the sentence first, then its parts, each with its name."""
        parts = (("where", self.where), ("why", self.why), ("what to do", self.fix))
        told = [self.what, *(f"{name}: {text}" for name, text in parts if text)]
        # a front end obeys escapes, and a notebook saves the text
        return [redact(visible(line)) for line in told]

    def _render_traceback_(self) -> list[str]:
        # IPython 7.34, 8 and 9 ask an exception for this before they draw its frames
        name, first, *rest = type(self).__name__, *self.lines()
        return [f"{name}: {first}", *(f"  {line}" for line in rest)]

    def record(self) -> dict[str, str]:
        """The error as plain data, for the journal."""
        return {"kind": type(self).__name__, "what": self.what, "where": self.where, "why": self.why, "fix": self.fix}


class ParamError(NbtrainError, ValueError):
    """A parameter that does not exist, is out of its range, or does not fit the others.

    Attributes:
        faults: by parameter, what is wrong with it, in words; '' holds what concerns several. Empty where unknown.
    """

    faults: Mapping[str, str] = {}


class DataError(NbtrainError, ValueError):
    """Data that cannot be read, lacks a column, or has rows that cannot be used.

    Attributes:
        column: one that the user names and that is not there; '' where that is not the fault.
    """

    column = ""


class ModelError(NbtrainError):
    """A model that cannot be found, opened, quantised or trained."""


class MissingExtra(NbtrainError, ImportError):
    """A package that is not installed, or too old."""


class RunError(NbtrainError):
    """A run that cannot be started, found, resumed or locked."""


class TrainingError(NbtrainError):
    """Training that stopped being one: NaN loss, out of memory, disk full."""


class WorkerDied(NbtrainError):
    """The process that trained is gone without a word of its own."""


KINDS: dict[str, type[NbtrainError]] = {
    kind.__name__: kind
    for kind in (ParamError, DataError, ModelError, MissingExtra, RunError, TrainingError, WorkerDied)
}


def from_record(record: Mapping[str, str]) -> NbtrainError:
    """The error that `NbtrainError.record` wrote; an unknown kind becomes a TrainingError that names it."""
    parts = {part: record.get(part, "") for part in ("where", "why", "fix")}
    kind = KINDS.get(record.get("kind", ""))
    if kind is None:
        return TrainingError(f"{record.get('kind', 'Error')}: {record.get('what', '')}", **parts)
    return kind(record.get("what", ""), **parts)


def nearest(word: str, known: Iterable[str]) -> str:
    """' Did you mean X?' for the known word nearest to `word`, or '' where none is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {found[0]}?" if found else ""


def listing(words: Iterable[object], most: int = 20) -> str:
    """'a, b, c': the words that there are, as many of them as leave room on a screen for the rest of the error."""
    known = [str(word) for word in words]
    return ", ".join(known[:most]) + (f" and {len(known) - most:,} more" if len(known) > most else "")
