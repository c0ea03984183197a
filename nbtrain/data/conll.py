"""CoNLL files: a token a line with its tags in columns, an empty line between sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nbtrain.data.decoding import Numbered, Row, Unreadable, open_text

_UNIVERSAL = {"tokens": 1, "lemmas": 2, "upos": 3, "xpos": 4}  # CoNLL-U: role to its column
_OPENING = "-DOCSTART-"


def read_conll(path: Path) -> Numbered:
    """Sentences: `tokens` from the first column, `tags` from the last, and those between as `column 2` ...

    Columns are parted by tabs where the sentence has any, else by white space, as CoNLL-2003 and its followers have it.
    """
    for number, lines in enumerate(_sentences(path, comments=False), start=1):
        yield number, _row([_columns(line, lines) for line in lines]), sum(map(len, lines))


def read_conllu(path: Path) -> Numbered:
    """Sentences of Universal Dependencies: `tokens`, `lemmas`, `upos`, `xpos`; a word of two parts is its parts."""
    for number, lines in enumerate(_sentences(path, comments=True), start=1):
        cells = [line.split("\t") for line in lines]
        words = [each for each in cells if each[0].isdigit()]  # 3-4 is a whole of two words, 3.1 is not in the text
        yield number, _universal(words), sum(map(len, lines))


def _sentences(path: Path, *, comments: bool) -> Iterator[list[str]]:
    lines: list[str] = []
    with open_text(path) as file:
        for line in file:
            line = line.rstrip("\r\n")
            if line.strip():
                if not (comments and line.startswith("#")) and not line.startswith(_OPENING):
                    lines.append(line)
            elif lines:
                yield lines
                lines = []
    if lines:
        yield lines


def _columns(line: str, lines: list[str]) -> list[str]:
    return line.split("\t") if any("\t" in each for each in lines) else line.split()


def _row(cells: list[list[str]]) -> Row | Unreadable:
    width = len(cells[0])
    wrong = next((at for at, each in enumerate(cells) if len(each) != width), None)
    if width < 2 or wrong is not None:
        at = wrong or 0
        reason = f"token {at + 1} has {len(cells[at])} columns" + (f", the first one {width}" if wrong else "")
        return Unreadable(
            reason, "Give each token a tag, and each line the same columns; part sentences by empty lines."
        )
    named = {"tokens": 0, **{f"column {at + 1}": at for at in range(1, width - 1)}, "tags": width - 1}
    return {name: [each[at] for each in cells] for name, at in named.items()}


def _universal(cells: list[list[str]]) -> Row | Unreadable:
    if not cells or any(len(each) != 10 for each in cells):
        return Unreadable("a line that has not the ten columns of CoNLL-U", "Mend the sentence.")
    return {name: [each[at] for each in cells] for name, at in _UNIVERSAL.items()}
