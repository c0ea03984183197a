"""Answers found again among the tokens of a processor, which has put those of the pictures between them."""

from __future__ import annotations

from collections.abc import Sequence

from nbtrain.data.encoding import Encoded
from nbtrain.errors import DataError

IGNORED = -100  # the label that torch's cross entropy passes over
CONTEXT = 3  # tokens before an answer by which it is found again


def answers_in(ids: Sequence[int], marked: Encoded) -> list[int]:
    """Labels for tokens in which a processor has put tokens of pictures.

    Args:
        ids: as the processor gave them. marked: the same text before that, and what of it is trained.

    Raises:
        DataError: an answer is not found again.
    """
    labels, at = [IGNORED] * len(ids), 0
    for begin, end in _runs(marked.trained):
        at = _found(ids, marked.input_ids, (begin, end), at)
        labels[at : at + end - begin] = marked.input_ids[begin:end]
        at += end - begin
    return labels


def _found(ids: Sequence[int], text: Sequence[int], run: tuple[int, int], after: int) -> int:
    """Where the run of `text` begins in `ids`: by what stands before it, as far as no picture comes between."""
    begin, end = run
    for context in range(min(CONTEXT, begin), -1, -1):
        at = _find(ids, text[begin - context : end], max(after - context, 0))
        if at is not None:
            return at + context
    raise DataError(
        "an answer is not found again among the tokens of the processor",
        fix="Choose another model: this one writes texts otherwise than its template.",
    )


def _runs(trained: Sequence[int]) -> list[tuple[int, int]]:
    """(begin, end) of each run of ones."""
    padded = [0, *trained, 0]
    edges = [at for at in range(len(trained) + 1) if padded[at] != padded[at + 1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _find(ids: Sequence[int], wanted: Sequence[int], begin: int) -> int | None:
    count = len(wanted)
    places = range(begin, len(ids) - count + 1)
    return next((at for at in places if ids[at] == wanted[0] and list(ids[at : at + count]) == list(wanted)), None)
