"""Metrics agree with scikit-learn's and with hand-worked cases."""

import math

import numpy
import pytest
from sklearn import metrics

from nbtrain.errors import ParamError
from nbtrain.trainers.tabular import scoring
from nbtrain.trainers.tabular.goals import Goal, Target

BINARY = Goal("binary", (Target("t", ("no", "yes")),))
THREE = Goal("multiclass", (Target("t", ("a", "b", "c")),))
NUMBERS = Goal("multitarget", (Target("x"), Target("y")))
LABELS = Goal("multilabel", (Target("x", (0, 1)), Target("y", (0, 1))))


def chances(rows, width, seed=0):
    found = numpy.random.default_rng(seed).random((rows, width))
    return found / found.sum(axis=1, keepdims=True)


def test_classification_agrees_with_scikit_learn():
    truth, found = numpy.arange(60) % 3, chances(60, 3)
    said = found.argmax(axis=1)
    values = scoring.scores(THREE, truth[:, None].astype(float), found)
    assert values["logloss"] == pytest.approx(metrics.log_loss(truth, found))
    assert values["auc"] == pytest.approx(metrics.roc_auc_score(truth, found, multi_class="ovr"))
    assert values["accuracy"] == metrics.accuracy_score(truth, said)
    assert values["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, said))
    assert values["f1"] == pytest.approx(metrics.f1_score(truth, said, average="macro"))
    assert values["brier_loss"] == pytest.approx(((found - numpy.eye(3)[truth]) ** 2).sum(axis=1).mean())


def test_of_two_classes_the_second_is_the_one_that_is_looked_for():
    truth = numpy.array([[0.0], [0.0], [1.0], [1.0]])
    found = numpy.array([[0.9, 0.1], [0.4, 0.6], [0.35, 0.65], [0.8, 0.2]])
    values = scoring.scores(BINARY, truth, found)
    assert (values["precision"], values["recall"], values["auc"]) == (0.5, 0.5, 0.75)


def test_numbers_are_measured_target_by_target():
    truth, found = numpy.array([[0.0, 10.0], [2.0, 14.0]]), numpy.array([[1.0, 10.0], [2.0, 10.0]])
    values = scoring.scores(NUMBERS, truth, found)
    assert values["rmse"] == pytest.approx((math.sqrt(0.5) + math.sqrt(8)) / 2)
    assert values["mae"] == pytest.approx((0.5 + 2) / 2)
    assert values["r2"] == pytest.approx((0.5 + (1 - 16 / 8)) / 2)


def test_labels_have_a_score_together():
    truth = numpy.array([[1.0, 0.0], [1.0, 1.0]])
    found = numpy.array([[0.2, 0.8, 0.9, 0.1], [0.2, 0.8, 0.7, 0.3]])
    values = scoring.scores(LABELS, truth, found)
    assert values["exact_match"] == 0.5
    assert values["f1_micro"] == pytest.approx(2 * 2 / (2 * 2 + 0 + 1))


def test_a_metric_that_cannot_be_computed_is_left_out_and_is_worse_than_any():
    values = scoring.scores(BINARY, numpy.zeros((3, 1)), chances(3, 2))
    assert "auc" not in values and "logloss" in values
    assert scoring.better("auc", 0.1, math.nan) and not scoring.better("auc", math.nan, 0.1)
    assert scoring.better("logloss", 0.1, 0.2) and scoring.better("auc", 0.2, 0.1)


def test_a_metric_of_the_other_task_is_refused():
    with pytest.raises(ParamError, match="--metric rmse does not measure classification"):
        scoring.chosen(BINARY, "rmse")
    assert (scoring.chosen(BINARY, None), scoring.chosen(NUMBERS, None)) == ("logloss", "rmse")
