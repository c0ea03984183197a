"""How well classes are told apart, by scikit-learn: one class a row, or any number of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answers:
    """What was expected and what was said.

    expected, predicted: (rows,) ints, one class a row; or (rows, classes) of 0 and 1. scores: (rows, classes) floats.
    """

    expected: Any
    predicted: Any
    scores: Any

    @property
    def several(self) -> bool:
        """Whether a row may have several labels."""
        return bool(self.expected.ndim == 2)

    @property
    def indicators(self) -> tuple[Any, Any]:
        """Expected and predicted, each as (rows, classes) of 0 and 1."""
        import numpy

        if self.several:
            return self.expected, self.predicted
        classes = numpy.arange(self.scores.shape[1])
        return (self.expected[:, None] == classes).astype(int), (self.predicted[:, None] == classes).astype(int)


def _accuracy(answers: Answers) -> float:
    """The share of rows that are right; of rows with several labels, those whose labels are all right."""
    right = answers.expected == answers.predicted
    return float(right.all(1).mean() if answers.several else right.mean())


def _scored(name: str, average: str) -> Callable[[Answers], float]:
    def score(answers: Answers) -> float:
        from sklearn import metrics

        # over the classes that are there: what nobody expects or says has no score
        expected, predicted = answers.indicators
        there = (expected + predicted).any(0)
        measure = getattr(metrics, name)
        return float(measure(expected[:, there], predicted[:, there], average=average, zero_division=0))

    return score


def _mcc(answers: Answers) -> float:
    """Matthews' correlation; of several labels, over all their marks. 0 where all is one class."""
    from sklearn.metrics import matthews_corrcoef

    sides = answers.expected.ravel(), answers.predicted.ravel()
    return float(matthews_corrcoef(*sides)) if any((side != sides[0][0]).any() for side in sides) else 0.0


def _auc(answers: Answers) -> float:
    """The area under the ROC curve, the mean over the classes that some rows have and others have not."""
    import numpy
    from sklearn.metrics import roc_auc_score

    expected, _ = answers.indicators
    mixed = expected.any(0) & ~expected.all(0)
    if not mixed.any():
        return float("nan")
    areas = [roc_auc_score(expected[:, at], answers.scores[:, at]) for at in numpy.flatnonzero(mixed)]
    return float(numpy.mean(areas))


METRICS: Mapping[str, Callable[[Answers], float]] = {
    "accuracy": _accuracy,
    "f1_macro": _scored("f1_score", "macro"),
    "f1_micro": _scored("f1_score", "micro"),
    "f1_weighted": _scored("f1_score", "weighted"),
    "precision": _scored("precision_score", "macro"),
    "recall": _scored("recall_score", "macro"),
    "mcc": _mcc,
    "auc": _auc,
}
"""By name; all are better when higher. Macro: the mean over the classes. Micro: over all labels of all rows."""


def measure(answers: Answers) -> dict[str, float]:
    """All metrics by name."""
    return {name: metric(answers) for name, metric in METRICS.items()}


def confusion(answers: Answers) -> Any:
    """(classes, classes) ints, one class a row: how many rows of a class (down) were taken for each (across)."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(answers.expected, answers.predicted, labels=range(answers.scores.shape[1]))


def by_class(answers: Answers, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each class: label, rows, predicted (rows), precision, recall, f1."""
    from sklearn.metrics import precision_recall_fscore_support

    expected, predicted = answers.indicators
    table = precision_recall_fscore_support(expected, predicted, average=None, zero_division=0)
    return [
        {
            "label": name,
            "rows": int(expected[:, at].sum()),
            "predicted": int(predicted[:, at].sum()),
            **{key: round(float(part[at]), 4) for key, part in zip(("precision", "recall", "f1"), table, strict=False)},
        }
        for at, name in enumerate(names)
    ]
