"""From which score on a label is given, where a row may have several."""

from __future__ import annotations

from typing import Any

USUAL = 0.5
_ENOUGH = 8  # rows with a label and as many without it; with fewer its threshold is that of all labels together


def tuned(expected: Any, scores: Any) -> Any:
    """The threshold of each label with the best F1.

    Args:
        expected: (rows, labels) of 0 and 1. scores: (rows, labels) floats in [0, 1].

    Returns:
        (labels,) floats; a label is given where its score is at least its threshold.
    """
    import numpy

    together = _best(expected.ravel(), scores.ravel())
    counts = expected.sum(0)
    enough = numpy.minimum(counts, len(expected) - counts) >= _ENOUGH
    return numpy.array(
        [_best(expected[:, at], scores[:, at]) if enough[at] else together for at in range(expected.shape[1])]
    )


def crossed(expected: Any, scores: Any) -> Any:
    """(rows, labels) of 0 and 1: each half of the rows judged by thresholds that the other half gave.

    So a figure of these answers is not made better by the tuning itself.
    """
    import numpy

    given = numpy.zeros(expected.shape, dtype=int)
    for one, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        limits = tuned(expected[other], scores[other]) if len(expected[other]) else USUAL
        given[one] = scores[one] >= limits
    return given


def _best(expected: Any, scores: Any) -> float:
    """Halfway between two scores, where F1 is at its best; USUAL where no row has the label."""
    import numpy

    if not expected.any():
        return USUAL
    order = numpy.argsort(-scores, kind="stable")
    right, falling = expected[order].cumsum(), scores[order]
    f1 = 2 * right / (numpy.arange(1, len(order) + 1) + expected.sum())
    last = numpy.append(falling[1:] < falling[:-1], True)  # of equal scores all are given, or none
    at = int(numpy.argmax(numpy.where(last, f1, -1.0)))
    below = falling[at + 1] if at + 1 < len(falling) else falling[at]
    return float((falling[at] + below) / 2)
