"""What can be asked besides training. An answer is plain data that says itself in lines; the notebook draws it."""

from __future__ import annotations

from collections.abc import Sequence


class Answer:
    """What was found. Its str() is for a screen; in a notebook it is shown as a page."""

    def lines(self) -> list[str]:
        """The answer for a screen."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table for a screen: its columns one under the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
