"""Rows of JSON: lines, arrays, and objects that hold rows."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nbtrain.data.decoding import Numbered, Row, Unreadable, open_text
from nbtrain.errors import DataError

_CHARACTERS = 4 << 20  # of a file, read at once
_BETWEEN = re.compile(r"[\s,]*")


def read_lines(path: Path) -> Numbered:
    """JSON lines: one object a line; empty lines are passed over. A file that is one array is read as an array."""
    with open_text(path) as file:
        if _first_character(file) == "[":
            yield from _read_array(file)
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _parse(line), len(line)


def read_json(path: Path) -> Numbered:
    """JSON: an array of objects (streamed), JSON lines, or one object that holds rows or columns (read whole)."""
    with open_text(path) as file:
        first = _first_character(file)
        lines = itertools.islice((line for line in file if line.strip()), 2) if first == "{" else iter(())
        head, more = next(lines, ""), next(lines, "")
    if first == "[" or (more and _is_object(head)):
        yield from read_lines(path)
        return
    with open_text(path) as file:
        text = file.read()
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path.name} is not JSON: {error}.", where=str(path), fix="Mend the file there.") from None
    yield from ((number, row, 1_000) for number, row in enumerate(_rows_of(content), start=1))


def _rows_of(content: Any) -> Iterator[Row | Unreadable]:
    """Rows of an object: under its one list of objects ({"data": [...]}), or columns side by side; else one row.

    Articles as SQuAD's own files hold them are their questions.
    """
    lists = [value for value in content.values() if isinstance(value, list)] if isinstance(content, dict) else []
    rows = [value for value in lists if value and isinstance(value[0], dict)]
    if len(rows) == 1 and "messages" not in content and "conversations" not in content:
        yield from _questions(rows[0]) if "paragraphs" in rows[0][0] else map(_object, rows[0])
    elif lists and len(lists) == len(content) and len({len(value) for value in lists}) == 1 and not rows:
        yield from (dict(zip(content, values, strict=True)) for values in zip(*lists, strict=True))
    else:
        yield _object(content)


def _questions(articles: list[Any]) -> Iterator[Row | Unreadable]:
    """The questions of articles ({"title", "paragraphs": [{"context", "qas": [...]}]}), each with its context."""
    for article in articles:
        try:
            yield from [
                {"title": article.get("title"), "context": paragraph["context"], **question}
                for paragraph in article["paragraphs"]
                for question in paragraph["qas"]
            ]
        except (KeyError, TypeError, AttributeError):
            reason = "an article without paragraphs of a context and its questions"
            yield Unreadable(reason, 'Write {"paragraphs": [{"context": "...", "qas": [...]}]}.')


def _first_character(file: IO[str]) -> str:
    """The first character that is not white space; the file is at its start again."""
    character = " "
    while character.isspace():
        character = file.read(1)
    file.seek(0)
    return character


def _is_object(line: str) -> bool:
    return isinstance(_parse(line), dict)


def _object(value: Any) -> Row | Unreadable:
    if isinstance(value, dict):
        return value
    return Unreadable(f"a JSON object is expected, found {type(value).__name__}", 'Write {"column": value, ...}.')


def _parse(line: str) -> Row | Unreadable:
    try:
        return _object(json.loads(line))
    except json.JSONDecodeError as error:
        return Unreadable(f"not JSON: {error.msg} at character {error.pos + 1}", "Mend or remove the line.")
    except RecursionError:
        return Unreadable("not JSON that can be read: nested too deep", "Mend or remove the line.")


def _read_array(file: IO[str]) -> Numbered:
    """The objects of one JSON array, each read when it is its turn."""
    decode, number, ended = json.JSONDecoder().raw_decode, 0, False
    buffer = file.read(_CHARACTERS)
    at = buffer.index("[") + 1
    while True:
        at = _BETWEEN.match(buffer, at).end()  # type: ignore[union-attr]
        if buffer[at : at + 1] == "]":
            return
        try:
            value, end = decode(buffer, at)
            why = "" if end < len(buffer) else "it has no end"
        except ValueError as error:
            why = str(error)
        if not why:
            number += 1
            yield number, _object(value), end - at
            at = end
        elif ended:
            what = f"The JSON array breaks off or is damaged after row {number}."
            raise DataError(what, why=why, fix="Mend the file there, or write it again.")
        else:
            # each try reads as much again, so that one huge row costs no more than a few times its length
            piece = file.read(max(_CHARACTERS, len(buffer) - at))
            buffer, at, ended = buffer[at:] + piece, 0, not piece
