"""Text files in any of the usual encodings, and what a reader gives for a row."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

Row = dict[str, Any]


class Unreadable(NamedTuple):
    """A row that is there and cannot be read."""

    reason: str
    fix: str


Numbered = Iterator[tuple[int, "Row | Unreadable", int]]


def open_text(path: Path, newline: str | None = None) -> IO[str]:
    """A text file, plain or gzipped, in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Bytes that are no text become lone surrogates, which Arrow cannot store: their row is then told as a fault.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    raw: Any = gzip.open(path) if packed else path.open("rb")
    try:
        head = raw.read(4096)
        raw.seek(0)
    except BaseException:
        raw.close()
        raise
    return io.TextIOWrapper(raw, encoding=_encoding(head), errors="surrogateescape", newline=newline)


def _encoding(head: bytes) -> str:
    # UTF-32's mark begins with UTF-16's, so it is asked for first
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return name
    # mostly Latin text in UTF-16 without a mark has a zero in nearly every second byte
    for name, zeros, letters in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if len(head) >= 4 and zeros.count(0) > 0.8 * len(zeros) and letters.count(0) < 0.1 * len(letters):
            return name
    return "utf-8"
