"""The answer that a model's scores point at: the best pair of a first and a last token over all windows of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy

    Scores = numpy.ndarray[Any, Any]

BEST = 20  # first and last tokens of a window that are paired, as in the script of BERT


class Span(NamedTuple):
    """A piece of the context. start, end: characters, end not in it. score: of its first and last token together."""

    start: int
    end: int
    score: float


class Found(NamedTuple):
    """What one window, or one question over all its windows, says.

    span: the best piece, None where the window holds no token of the context. blank: the score of there being none.
    """

    span: Span | None
    blank: float

    def answer(self, threshold: float | None) -> Span | None:
        """The span; None where "no answer" beats it by more than `threshold`; it never does where that is None."""
        if self.span is None or (threshold is not None and self.blank - self.span.score > threshold):
            return None
        return self.span


def search(start: Scores, end: Scores, offsets: Sequence[Sequence[int]], *, blank: int, longest: int) -> Found:
    """The best span of one window.

    Args:
        start, end: (tokens,) float, the score of each token as first and as last one.
        offsets: (tokens, 2) characters of the context; negative for tokens that are none of it.
        blank: the token whose scores mean "no answer".
        longest: tokens of a span at most.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 4.2; Rajpurkar et al. 2018, arXiv:1806.03822 (no answer).
    """
    import numpy

    places = numpy.asarray(offsets).reshape(-1, 2)
    outside = places[:, 0] < 0
    count = len(places)
    first, last = (numpy.where(outside, -numpy.inf, scores[:count].astype(numpy.float64)) for scores in (start, end))
    begins, ends = (numpy.argsort(-scores, kind="stable")[:BEST] for scores in (first, last))
    length = ends[None, :] - begins[:, None]
    total = numpy.where((length >= 0) & (length < longest), first[begins][:, None] + last[ends][None, :], -numpy.inf)
    row, column = numpy.unravel_index(int(total.argmax()), total.shape)
    none = float(start[blank]) + float(end[blank])
    if not numpy.isfinite(total[row, column]):
        return Found(None, none)
    span = Span(int(places[begins[row], 0]), int(places[ends[column], 1]), float(total[row, column]))
    return Found(span, none)


def together(windows: Sequence[Found]) -> Found:
    """One answer of all windows of a question: the best span, and the least sure "no answer"."""
    spans = [window.span for window in windows if window.span is not None]
    best = max(spans, key=lambda span: span.score, default=None)
    return Found(best, min(window.blank for window in windows))
