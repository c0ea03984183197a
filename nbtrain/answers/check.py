"""The data of a run, read and judged before a model is loaded, and shown as the model would read it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtrain import trainers
from nbtrain.answers import Answer
from nbtrain.data import columns
from nbtrain.data.check import Content, Findings, Rendered
from nbtrain.data.places import Fault
from nbtrain.errors import NbtrainError
from nbtrain.params import Params

PICTURES, FAULTS = 8, 10
_LETTERS = 500  # of a prompt on a screen


@dataclass(frozen=True, repr=False)
class Checked(Answer):
    """What was found.

    told: in lines; those that begin with spaces are details, which a page has in tables. rows: split to its first rows
    as they are read. classes: split to the rows of each class. rendered: rows in tokens. pictures: (what is learnt of
    it, JPEG in base64).
    """

    name: str
    told: tuple[str, ...]
    rows: Mapping[str, tuple[Content, ...]]
    faults: tuple[Fault, ...] = ()
    classes: Mapping[str, Mapping[str, int]] | None = None
    rendered: Rendered | None = None
    pictures: tuple[tuple[str, str], ...] = ()

    def lines(self) -> list[str]:
        """What was found, and the first row as a model reads it, with what is trained of it between ⟦ and ⟧."""
        lines = [*self.told, *(f"  row {fault.row}: {fault.fix}" for fault in self.faults[:FAULTS] if fault.fix)]
        if self.rendered is None:
            return lines
        lines += self.rendered.lines
        for at, (name, pieces) in enumerate(self.rendered.first()):
            text = "".join(f"⟦{text}⟧" if marked else text for text, marked in pieces)
            shown = text[:_LETTERS] + " ..." * (len(text) > _LETTERS)
            mark = f"; between ⟦ and ⟧ stands {self.rendered.marked}" * ("⟦" in text)
            head = f"{name}:" if at else f"{name or 'The first row'} as the model reads it{mark}:"
            lines += [head, *(f"  {each}" for each in shown.split("\n"))]
        return lines


def check(params: Params) -> Checked:
    """Judge every row and show what a model would read; nothing is trained.

    Raises:
        DataError: the data cannot be read.
    """
    name = f"{params.room} {params.method}".rstrip()
    with tempfile.TemporaryDirectory(prefix="nbtrain-", ignore_cleanup_errors=True) as cache:
        with columns.placed(params):
            lines = trainers.load(params.room).check(params, Path(cache))
        told = [*params.notices, *lines]
        found = lines if isinstance(lines, Findings) else Findings(lines)
        rendered = None
        if found.rendered is not None and found.splits is not None:
            try:
                rendered = found.rendered(found.splits)
            except NbtrainError as error:  # a model that cannot be had takes nothing from what is known of the rows
                told.append(f"The rows are not shown in tokens: {error.what}")
        report = found.report
        return Checked(
            name,
            tuple(told),
            report.examples if report else {},
            report.faults if report else (),
            report.classes if report and report.classes else None,
            rendered,
            tuple(_pictures(found)),
        )


def _pictures(found: Findings) -> list[tuple[str, str]]:
    """The first pictures of the training rows, small, each with what is learnt of it."""
    form = found.report.form if found.report else None
    if form is None or found.splits is None or "image" not in form.columns:
        return []
    from nbtrain.data.images import opened
    from nbtrain.data.pictured import listed
    from nbtrain.trainers._pictures import thumbnail

    column, shown = form.columns["image"], []
    rows: Any = found.splits.train
    for row in rows.select(range(min(PICTURES, len(rows)))):
        picture = opened(listed(row[column])[0])
        told = next((text for role, text in form.content(row) if role in ("target", "assistant")), "")
        picture, told = found.boxed(row, picture) if found.boxed else (picture, told)
        shown.append((told, thumbnail(picture)))
    return shown
