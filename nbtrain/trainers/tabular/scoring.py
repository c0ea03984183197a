"""How good predictions are, by name; scikit-learn's metrics, averaged over targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nbtrain.errors import ParamError
from nbtrain.runs.record import lower_is_better
from nbtrain.trainers.tabular.goals import Goal

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

CLASSIFICATION = (
    "logloss",
    "auc",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "precision",
    "recall",
    "average_precision",
    "brier_loss",
)
REGRESSION = ("rmse", "mae", "median_error", "r2")


def chosen(goal: Goal, asked: str | None) -> str:
    """The metric by which models are compared: the one asked for, else logloss or rmse.

    Raises:
        ParamError: it does not fit the task.
    """
    fitting = CLASSIFICATION if goal.classifies else REGRESSION
    if asked is None:
        return fitting[0]
    if asked not in fitting:
        task = "classification" if goal.classifies else "regression"
        raise ParamError(f"--metric {asked} does not measure {task}; those that do: {', '.join(fitting)}")
    return asked


def score(name: str, goal: Goal, targets: Array, found: Array) -> float:
    """One metric, the mean over the targets for which it can be computed.

    Args:
        targets: (rows, targets), as `goals.encoded` gives them.
        found: (rows, goal.width) predictions.
    """
    import numpy

    measure = _MEASURES[name]
    values = [measure(targets[:, at], found[:, where]) for at, where in enumerate(goal.slices())]
    known = [value for value in values if not math.isnan(value)]
    return float(numpy.mean(known)) if known else math.nan


def scores(goal: Goal, targets: Array, found: Array) -> dict[str, float]:
    """Every metric that fits; one that cannot be computed (an AUC where one class stands alone) is left out."""
    names = CLASSIFICATION if goal.classifies else REGRESSION
    values = {name: score(name, goal, targets, found) for name in names}
    if goal.kind == "multilabel":
        values |= _of_labels(goal, targets, found)
    return {name: value for name, value in values.items() if not math.isnan(value)}


def better(name: str, one: float, other: float) -> bool:
    """Whether `one` is the better value; a number is better than none."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(other) and not math.isnan(one)
    return one < other if lower_is_better(name) else one > other


def worst(name: str) -> float:
    """What every value is better than."""
    return math.inf if lower_is_better(name) else -math.inf


def _of_labels(goal: Goal, targets: Array, found: Array) -> dict[str, float]:
    import numpy
    from sklearn.metrics import f1_score

    said = numpy.column_stack([found[:, where].argmax(axis=1) for where in goal.slices()])
    return {
        "f1_micro": float(f1_score(targets.astype(int), said, average="micro", zero_division=0)),
        "exact_match": float((said == targets).all(axis=1).mean()),
    }


def _by_class(name: str) -> Callable[[Array, Array], float]:
    """Precision, recall or F1: of the second of two classes, else the plain mean over the classes there are."""

    def measure(targets: Array, found: Array) -> float:
        from sklearn import metrics

        binary = found.shape[1] == 2
        function = getattr(metrics, f"{name}_score")
        average = {"average": "binary"} if binary else {"average": "macro"}
        return float(function(targets.astype(int), found.argmax(axis=1), zero_division=0, **average))

    return measure


def _ranked(name: str) -> Callable[[Array, Array], float]:
    """A measure of ranking, one class against the rest; the mean over the classes that some rows have and some not."""

    def measure(targets: Array, found: Array) -> float:
        import numpy
        from sklearn import metrics

        function = getattr(metrics, name)
        columns = [1] if found.shape[1] == 2 else range(found.shape[1])
        values = []
        for column in columns:
            is_class = targets == column
            if is_class.any() and not is_class.all():
                values.append(function(is_class, found[:, column]))
        return float(numpy.mean(values)) if values else math.nan

    return measure


def _logloss(targets: Array, found: Array) -> float:
    import numpy

    given = found[numpy.arange(len(found)), targets.astype(int)]
    return float(-numpy.log(numpy.clip(given, 1e-15, 1)).mean())


def _brier(targets: Array, found: Array) -> float:
    import numpy

    return float(((found - numpy.eye(found.shape[1])[targets.astype(int)]) ** 2).sum(axis=1).mean())


def _balanced(targets: Array, found: Array) -> float:
    import numpy

    right = found.argmax(axis=1) == targets
    return float(numpy.mean([right[targets == value].mean() for value in numpy.unique(targets)]))


def _r2(targets: Array, found: Array) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(targets, found[:, 0])) if len(targets) > 1 else math.nan


_MEASURES: Mapping[str, Callable[[Array, Array], float]] = {
    "logloss": _logloss,
    "auc": _ranked("roc_auc_score"),
    "average_precision": _ranked("average_precision_score"),
    "accuracy": lambda targets, found: float((found.argmax(axis=1) == targets).mean()),
    "balanced_accuracy": _balanced,
    "f1": _by_class("f1"),
    "precision": _by_class("precision"),
    "recall": _by_class("recall"),
    "brier_loss": _brier,
    "rmse": lambda targets, found: float(((targets - found[:, 0]) ** 2).mean() ** 0.5),
    "mae": lambda targets, found: float(abs(targets - found[:, 0]).mean()),
    "median_error": lambda targets, found: _median(abs(targets - found[:, 0])),
    "r2": _r2,
}


def _median(values: Array) -> float:
    import numpy

    return float(numpy.median(values))
