"""Figures of numbers, against scikit-learn and scipy."""

import numpy
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from nbtrain.evaluate import numbers

CHANCE = numpy.random.default_rng(0)
EXPECTED = CHANCE.normal(3, 2, (50, 2)).round(1)
SAID = EXPECTED + CHANCE.normal(0, 1, (50, 2)).round(1)


def test_one_target():
    one, other = EXPECTED[:, 0], SAID[:, 0]
    assert numbers.measure(EXPECTED[:, :1], SAID[:, :1]) == pytest.approx(
        {
            "mae": mean_absolute_error(one, other),
            "mse": mean_squared_error(one, other),
            "rmse": mean_squared_error(one, other) ** 0.5,
            "r2": r2_score(one, other),
            "pearson": pearsonr(one, other).statistic,
            "spearman": spearmanr(one, other).statistic,
        }
    )


def test_of_several_targets_it_is_the_mean():
    table = numbers.by_target(EXPECTED, SAID, ["x", "y"])
    assert [row["target"] for row in table] == ["x", "y"]
    for name, value in numbers.measure(EXPECTED, SAID).items():
        assert value == pytest.approx((table[0][name] + table[1][name]) / 2, abs=1e-5)


def test_what_cannot_be_said_is_no_number():
    same = numpy.full((4, 1), 2.0)
    found = numbers.measure(same, same + 1)
    assert found["mae"] == found["rmse"] == 1
    assert all(numpy.isnan(found[name]) for name in ("r2", "pearson", "spearman"))


def test_a_target_that_is_constant_does_not_silence_the_others():
    expected, predicted = (
        numpy.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]),
        numpy.array([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]),
    )
    found = numbers.measure(expected, predicted)
    assert found["r2"] == found["pearson"] == pytest.approx(1.0)
    assert numpy.isnan(numbers.measure(expected[:, 1:], predicted[:, 1:])["r2"])
