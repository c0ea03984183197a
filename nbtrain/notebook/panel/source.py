"""What the data field names: a variable of the notebook, a file, or something that is known only when it is read."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from nbtrain.data.values import Frame, frames
from nbtrain.errors import nearest
from nbtrain.notebook import nearby
from nbtrain.plain import line

_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".xlsx", ".txt", ".zip", ".tar.gz", ".tgz", ".gz")
COLUMNS = ("_column", "_columns")
"""Ends of the names of fields that name a column of the data, or several with commas between them."""
_FOLDERS = ("", "data/", "datasets/")  # where files are looked for
_COLUMNS = 12  # that are told


def offered(names: Mapping[str, Any]) -> list[str]:
    """What the data field offers: the built-in rows, the variables that hold some, the files at hand."""
    files = [path for folder in _FOLDERS for path in nearby.files(folder) if path.endswith(_SUFFIXES)]
    return ["demo", *(frame.name for frame in frames(names)), *files]


class Source:
    """What the text of a data field means.

    Args:
        text: '' where the field is empty.
        names: the user's namespace.
    """

    def __init__(self, text: str, names: Mapping[str, Any]) -> None:
        self.text, self.names = text, names

    @cached_property
    def frame(self) -> Frame | None:
        """The variable that it names. A file of this name goes first, as it does on a line."""
        if os.path.exists(self.text) or self.text not in self.names:
            return None
        return next(iter(frames({self.text: self.names[self.text]})), None)

    @cached_property
    def columns(self) -> list[str]:
        """Its columns; none where they are known only when it is read."""
        if self.frame:
            return list(self.frame.columns)
        return nearby.columns(self.text) if self.text else []

    def told(self) -> str:
        """What it is, in words; '' where that is not known."""
        if self.frame:
            rows = "" if self.frame.rows is None else f"{self.frame.rows:,} row{'s' * (self.frame.rows != 1)}; "
            return f"{self.frame.type}: {rows}columns {_list(self.columns)}"
        return f"a file; columns {_list(self.columns)}" if self.columns else ""

    def faults(self, columns: Mapping[str, str]) -> dict[str, str]:
        """By field, what is wrong: no such file, a column that the data does not have.

        Args:
            columns: by field, what it says.
        """
        found = {}
        if self._is_missing():
            near = nearest(self.text, offered(self.names))
            found["data_path"] = f"there is no file {line(self.text)}, and no variable of this name.{near}"
        for name, text in columns.items():
            named = [text] if name.endswith("_column") else [part.strip(" []'\"") for part in text.split(",")]
            strange = [column for column in named if column and column not in self.columns]
            if self.columns and strange:
                near = nearest(strange[0], self.columns)
                found[name] = f"there is no column {line(strange[0])!r}; there are {_list(self.columns)}.{near}"
        return found

    def _is_missing(self) -> bool:
        """Whether it can only be a file, and is not there. A hub id looks like owner/name, or a word."""
        text = os.path.expanduser(self.text)
        looks = text.endswith(_SUFFIXES) or text.startswith(("/", ".", "~"))
        return looks and not (Path(text).exists() or glob.has_magic(text) or "://" in text or self.frame)


def _list(columns: Iterable[str]) -> str:
    names = list(columns)
    return line(", ".join(names[:_COLUMNS])) + (f" and {len(names) - _COLUMNS} more" if len(names) > _COLUMNS else "")
