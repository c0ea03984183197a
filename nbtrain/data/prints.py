"""Rows that are equal, found by 8 bytes of each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

_AT_ONCE = 1 << 16  # compared together


def of(content: Sequence[tuple[str, str]]) -> int:
    """64 bits of a hash: two of a million different rows are taken for equal once in 37 million data sets."""
    digest = hashlib.blake2b(digest_size=8)
    for role, text in content:
        digest.update(f"{role}\0{text}\0".encode())
    return int.from_bytes(digest.digest(), "little")


def repeated(prints: numpy.ndarray[Any, Any]) -> int:
    """How many are equal to one before."""
    import numpy

    rising = numpy.sort(prints)
    return int(numpy.count_nonzero(rising[1:] == rising[:-1]))


def shared(prints: numpy.ndarray[Any, Any], others: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """Places of the prints that are among others, too; numpy.isin would hold five copies of all."""
    import numpy

    rising = numpy.append(numpy.sort(others), numpy.uint64(0))  # where all are lower, the place behind them is asked
    found = [numpy.zeros(0, dtype=numpy.int64)]
    for begin in range(0, len(prints), _AT_ONCE):
        some = prints[begin : begin + _AT_ONCE]
        at = numpy.searchsorted(rising[:-1], some)
        found.append(begin + numpy.flatnonzero((rising[at] == some) & (at < len(others))))
    return numpy.concatenate(found)
