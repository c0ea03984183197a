"""How near numbers are to those that were expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def _mae(expected: Any, predicted: Any) -> float:
    return float(abs(expected - predicted).mean())


def _mse(expected: Any, predicted: Any) -> float:
    return float(((expected - predicted) ** 2).mean())


def _rmse(expected: Any, predicted: Any) -> float:
    return float(_mse(expected, predicted) ** 0.5)


def _r2(expected: Any, predicted: Any) -> float:
    """The share of the variance that is explained; NaN where there is none."""
    spread = ((expected - expected.mean()) ** 2).mean()
    return float(1 - _mse(expected, predicted) / spread) if spread else float("nan")


def _pearson(expected: Any, predicted: Any) -> float:
    """Linear correlation; NaN where one side is constant."""
    one, other = expected - expected.mean(), predicted - predicted.mean()
    lengths = float((one**2).sum() * (other**2).sum()) ** 0.5
    return float((one * other).sum() / lengths) if lengths else float("nan")


def _spearman(expected: Any, predicted: Any) -> float:
    """Correlation of the ranks; NaN where one side is constant."""
    from scipy.stats import rankdata

    return _pearson(rankdata(expected), rankdata(predicted))


METRICS: Mapping[str, Callable[[Any, Any], float]] = {
    "mae": _mae,
    "mse": _mse,
    "rmse": _rmse,
    "r2": _r2,
    "pearson": _pearson,
    "spearman": _spearman,
}
"""By name; each takes (rows,) floats, expected and predicted."""


def measure(expected: Any, predicted: Any) -> dict[str, float]:
    """All metrics by name, each the mean over the targets for which it says something; NaN where it does for none.

    Args:
        expected, predicted: (rows, targets) floats, in the unit of the targets.
    """
    pairs = list(zip(expected.T, predicted.T, strict=True))
    return {name: _mean([metric(*pair) for pair in pairs]) for name, metric in METRICS.items()}


def _mean(values: Sequence[float]) -> float:
    said = [value for value in values if not math.isnan(value)]
    return sum(said) / len(said) if said else math.nan


def by_target(expected: Any, predicted: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each target: its name and all metrics."""
    pairs = zip(expected.T, predicted.T, strict=True)
    return [
        {"target": name, **{metric: round(rule(*pair), 6) for metric, rule in METRICS.items()}}
        for name, pair in zip(names, pairs, strict=True)
    ]
