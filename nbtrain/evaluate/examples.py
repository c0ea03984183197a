"""Rows to measure a saved model on: what it is asked, what is right, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

KINDS = {
    "texts": "writes texts",
    "replies": "writes replies",
    "answers": "finds answers",
    "classes": "tells classes",
    "numbers": "gives numbers",
    "tags": "tags words",
    "boxes": "finds objects",
    "pairs": "tells the better of two",
    "marks": "tells what belongs together",
    "likeness": "tells how alike texts are",
    "ranks": "finds among others what belongs to it",
}
"""What a model says, by kind, in words."""


@dataclass(frozen=True)
class Examples:
    """Some rows of one kind.

    asked: of each row what the model is given.
    expected: of each row what is right. Texts, replies, answers: a list of right ones; classes: a list of names;
        numbers: a list of floats; tags: a list of tags; boxes: a `boxes.Truth`; marks: 0 or 1; likeness: a number;
        ranks: a set of texts; pairs: nothing, the first is the better.
    ask: (model, processor, some of `asked`) to what the model says, in the form of `expected`, but a text is one, and
        of classes there are their scores too: {"labels": names, "scores": {name: score}}; of boxes (m, 6): score,
        class, left, top, right, bottom; of pairs (score of the first, of the second); of marks and likeness how near
        the two are; of ranks all texts, the nearest first.
    names: of the classes or targets.
    """

    kind: str
    asked: Sequence[Any]
    expected: Sequence[Any]
    ask: Callable[[Any, Any, Sequence[Any]], Sequence[Any]]
    names: tuple[str, ...] = ()

    def first(self, count: int | None) -> Self:
        """The first rows."""
        return self if count is None else replace(self, asked=self.asked[:count], expected=self.expected[:count])
