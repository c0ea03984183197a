"""Measures of order are those of scikit-learn and of sentence-transformers."""

import math
import random

import numpy
import pytest
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from nbtrain.evaluate import order


def test_a_pair_is_right_where_the_first_is_higher():
    found = order.preference([(2.0, 1.0), (0.0, 0.5), (1.0, 1.0), (3.0, 0.5)])
    assert found == {"accuracy": 0.5, "margin": (1 - 0.5 + 0 + 2.5) / 4}


def test_scores_that_tell_apart_are_measured_as_scikit_learn_does():
    chance = random.Random(0)
    expected = [chance.randint(0, 1) for _ in range(50)]
    said = [each / 2 + chance.random() for each in expected]
    found = order.separation(said, expected)
    assert found["average_precision"] == average_precision_score(expected, said)
    assert found["auc"] == roc_auc_score(expected, said)
    assert all(math.isnan(value) for value in order.separation(said, [1] * 50).values())


@pytest.fixture(scope="module")
def search():
    """(ranked texts of each question, the right ones), of 30 texts."""
    chance = random.Random(1)
    texts = [f"text {at}" for at in range(30)]
    return [chance.sample(texts, 30) for _ in range(20)], [set(chance.sample(texts, 1 + at % 13)) for at in range(20)]


def test_a_search_is_measured_as_scikit_learn_does(search):
    said, expected = search
    found = order.retrieval(said, expected)
    scores = [[30 - at for at in range(30)]] * 20
    marks = [[int(text in right) for text in ranked] for ranked, right in zip(said, expected, strict=True)]
    assert found["ndcg@10"] == pytest.approx(ndcg_score(marks, scores, k=10))
    precision = [average_precision_score(row, score) for row, score in zip(marks, scores, strict=True)]
    assert found["map@100"] == pytest.approx(numpy.mean(precision))
    assert found["recall@5"] == pytest.approx(numpy.mean([sum(row[:5]) / sum(row) for row in marks]))
    first = [row.index(1) + 1 for row in marks]
    assert found["mrr@10"] == pytest.approx(numpy.mean([1 / at if at <= 10 else 0 for at in first]))
