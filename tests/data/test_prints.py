"""Equal rows, found by 8 bytes of each."""

import numpy

from nbtrain.data import prints


def test_equal_rows_are_found_by_their_prints():
    chance = numpy.random.default_rng(0)
    for size, most in ((0, 5), (1, 5), (200_000, 50_000), (100, 2**63)):
        one, other = (chance.integers(0, most, size, dtype=numpy.uint64) for _ in range(2))
        assert prints.repeated(one) == len(one) - len(numpy.unique(one))
        assert prints.shared(one, other).tolist() == numpy.flatnonzero(numpy.isin(one, other)).tolist()
