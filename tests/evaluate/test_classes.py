"""Figures of classes, against cases worked by hand."""

import numpy
import pytest

from nbtrain.evaluate import classes, figures, thresholds
from nbtrain.evaluate.classes import Answers

# three classes: one row of a taken for b, all else right; nobody expects or says the fourth
ONE = Answers(
    numpy.array([0, 0, 1, 2]),
    numpy.array([0, 1, 1, 2]),
    numpy.array([[0.9, 0.1, 0, 0], [0.4, 0.6, 0, 0], [0.2, 0.8, 0, 0], [0, 0.1, 0.9, 0]]),
)
MANY = Answers(
    numpy.array([[1, 0], [1, 1], [0, 1], [0, 0]]),
    numpy.array([[1, 0], [0, 1], [0, 1], [1, 0]]),
    numpy.array([[0.9, 0.2], [0.3, 0.8], [0.1, 0.7], [0.6, 0.4]]),
)


def test_one_class_a_row():
    values = classes.measure(ONE)
    assert values["accuracy"] == values["f1_micro"] == pytest.approx(3 / 4)
    assert values["f1_macro"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert values["f1_weighted"] == pytest.approx((2 * 2 / 3 + 2 / 3 + 1) / 4)
    assert values["precision"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert values["recall"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert values["auc"] == pytest.approx(1)  # a: .9 and .4 over .2 and 0; b: .8 over all; c: .9 over all


def test_several_labels_a_row():
    values = classes.measure(MANY)
    assert values["accuracy"] == pytest.approx(2 / 4)
    assert values["f1_micro"] == pytest.approx(2 * 3 / (4 + 4))
    assert values["f1_macro"] == pytest.approx((1 / 2 + 1) / 2)
    assert values["auc"] == pytest.approx((3 / 4 + 1) / 2)


def test_the_area_of_a_class_that_all_rows_have_is_none():
    answers = Answers(numpy.array([0, 0]), numpy.array([0, 0]), numpy.array([[1.0, 0], [0.9, 0.1]]))
    assert numpy.isnan(classes.measure(answers)["auc"])


def test_confusion_is_expected_down_and_predicted_across():
    assert classes.confusion(ONE).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_the_table_of_classes():
    first, *_, last = classes.by_class(ONE, ["a", "b", "c", "d"])
    assert first == {"label": "a", "rows": 2, "predicted": 1, "precision": 1.0, "recall": 0.5, "f1": 0.6667}
    assert last == {"label": "d", "rows": 0, "predicted": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_a_threshold_is_where_f1_is_best():
    scores = numpy.array([0.9, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05])[:, None]
    expected = numpy.array([1, 1, 0, 1, 0, 0, 0, 0])[:, None]
    # two given: F1 4/5; four given: 6/7
    assert thresholds.tuned(expected, scores) == pytest.approx([0.35])


def test_equal_scores_are_given_or_not_given_together():
    scores = numpy.full((4, 1), 0.5)
    limit = thresholds.tuned(numpy.array([[1], [1], [0], [0]]), scores)
    assert (scores >= limit).all()


def test_a_rare_label_has_the_threshold_of_all():
    chance = numpy.random.default_rng(0)
    scores = chance.random((100, 2))
    expected = (scores > 0.3).astype(int)
    expected[:, 1] = 0
    expected[0, 1] = 1
    one, other = thresholds.tuned(expected, scores)
    assert one == pytest.approx(0.3, abs=0.02)
    assert other != one


def test_a_label_that_nobody_has_keeps_the_usual_threshold():
    assert thresholds.tuned(numpy.zeros((4, 1), int), numpy.random.default_rng(0).random((4, 1))) == [thresholds.USUAL]


def test_tuning_alone_makes_no_figure_better():
    chance = numpy.random.default_rng(0)
    scores, expected = chance.random((400, 20)), (chance.random((400, 20)) < 0.05).astype(int)

    def f1(given):
        return 2 * (given * expected).sum() / (given.sum() + expected.sum())

    same = f1((scores >= thresholds.tuned(expected, scores)).astype(int))
    assert same > f1(thresholds.crossed(expected, scores)) + 0.01


def test_figures_are_pictures(tmp_path):
    names = ["a $cost", "b" * 60, "c"]
    figures.confusion(numpy.eye(3, dtype=int), names, tmp_path / "figures" / "confusion.png")
    figures.by_class([{"label": name, "rows": 3, "f1": 0.5} for name in names], tmp_path / "figures" / "classes.png")
    for targets in (1, 3):
        table = numpy.arange(12.0).reshape(-1, targets)
        figures.residuals(table, table + 1, names[:targets], tmp_path / "figures" / f"residuals{targets}.png")
    written = sorted((tmp_path / "figures").iterdir())
    assert len(written) == 4
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
