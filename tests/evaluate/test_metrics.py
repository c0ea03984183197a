"""Each metric by its name equals its reference, fits what it is for, and is refused in words elsewhere."""

import math

import numpy
import pytest
import sacrebleu
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer
from scipy import stats
from seqeval.metrics import f1_score as entity_f1
from seqeval.metrics import precision_score as entity_precision
from sklearn import metrics as sk

from nbtrain.errors import ParamError
from nbtrain.evaluate import boxes, metrics
from nbtrain.evaluate.examples import KINDS, Examples

SAID = ["the cat sat on a mat", "It rains in the north today.", "no"]
RIGHT = [["the cat is on the mat", "a cat sat on the mat"], ["In the north it rains."], ["yes", "no"]]
CLASSES = ["a", "b", "b", "c", "a", "c", "c"], ["a", "b", "c", "c", "b", "c", "c"]
NUMBERS = [[1.0, 10.0], [2.0, 8.0], [4.0, 9.0], [3.0, 1.0]], [[1.5, 9.0], [1.0, 8.5], [4.5, 7.0], [3.0, 3.0]]
TAGS = [["B-X", "I-X", "O", "B-Y"], ["O", "B-X"]], [["B-X", "I-X", "O", "O"], ["B-Y", "B-X"]]


def rows(kind, expected, names=()):
    return Examples(kind, [None] * len(expected), expected, lambda *_: [], tuple(names))


def value(kind, name, expected, said, names=()):
    found = metrics.BY_KIND[kind][name](rows(kind, expected, names), said)
    return found if len(found) > 1 else found[name]


def streams():
    return [[each[0] for each in RIGHT], [each[1] if len(each) > 1 else None for each in RIGHT]]


@pytest.mark.parametrize("name", ["bleu", "chrf", "ter"])
def test_texts_are_measured_as_sacrebleu_does(name):
    wanted = getattr(sacrebleu, f"corpus_{name}")(SAID, streams()).score
    assert value("texts", name, RIGHT, SAID) == pytest.approx(wanted, abs=1e-9)


def test_texts_are_measured_as_rouge_score_does():
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    scores = [scorer.score_multi(right, said) for right, said in zip(RIGHT, SAID, strict=True)]
    wanted = {name: numpy.mean([score[name].fmeasure for score in scores]) for name in ("rouge1", "rouge2", "rougeL")}
    assert value("texts", "rouge", RIGHT, SAID) == pytest.approx(wanted)
    assert value("texts", "rougeL", RIGHT, SAID) == pytest.approx(wanted["rougeL"])


def test_meteor_is_that_of_nltk_without_synonyms_and_as_worked_by_hand():
    class Nothing:
        def synsets(self, word):
            return []

    tokens = [([right.split() for right in each], said.split()) for each, said in zip(RIGHT, SAID, strict=True)]
    wanted = numpy.mean([meteor_score(*pair, wordnet=Nothing()) for pair in tokens[::2]])
    assert value("texts", "meteor", RIGHT[::2], SAID[::2]) == pytest.approx(wanted)
    # four words, all found, in two pieces: F 1, penalty 0.5 * (2 / 4) ** 3
    assert value("texts", "meteor", [["on the mat sat"]], ["sat on the mat"]) == pytest.approx(1 - 0.5 / 8)


def test_exact_match_and_f1_are_those_of_squad():
    assert value("texts", "exact_match", RIGHT, ["The cat is on a mat!", "x", "no"]) == pytest.approx(2 / 3)
    assert value("answers", "f1", [["blue sea"], []], ["the sea", ""]) == pytest.approx((2 / 3 + 1) / 2)


def said(labels):
    return [{"labels": [label], "scores": {label: 0.8, "a": 0.1, "b": 0.3}} for label in labels]


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("accuracy", sk.accuracy_score),
        ("f1", lambda one, other: sk.f1_score(one, other, average="macro")),
        ("f1_weighted", lambda one, other: sk.f1_score(one, other, average="weighted")),
        ("f1_micro", lambda one, other: sk.f1_score(one, other, average="micro")),
        ("precision", lambda one, other: sk.precision_score(one, other, average="macro")),
        ("recall", lambda one, other: sk.recall_score(one, other, average="macro")),
        ("mcc", sk.matthews_corrcoef),
    ],
)
def test_classes_are_measured_as_scikit_learn_does(name, reference):
    expected, found = CLASSES
    assert value("classes", name, [[each] for each in expected], said(found), "cab") == pytest.approx(
        reference(expected, found)
    )


def test_rows_with_several_labels_are_measured_label_by_label():
    expected, found = [["a", "b"], [], ["c"]], [["a"], [], ["c", "b"]]
    answers = [{"labels": each, "scores": {}} for each in found]
    marks = [[[int(name in each) for name in "abc"] for each in side] for side in (expected, found)]
    assert value("classes", "f1", expected, answers, "abc") == pytest.approx(sk.f1_score(*marks, average="macro"))
    assert value("classes", "accuracy", expected, answers, "abc") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("mae", sk.mean_absolute_error),
        ("mse", sk.mean_squared_error),
        ("rmse", lambda one, other: sk.root_mean_squared_error(one, other)),
        ("r2", sk.r2_score),
        ("pearson", lambda one, other: stats.pearsonr(one, other)[0]),
        ("spearman", lambda one, other: stats.spearmanr(one, other)[0]),
    ],
)
def test_numbers_are_measured_as_scikit_learn_and_scipy_do_the_mean_over_targets(name, reference):
    expected, found = map(numpy.array, NUMBERS)
    wanted = numpy.mean([reference(expected[:, at], found[:, at]) for at in range(2)])
    assert value("numbers", name, *NUMBERS) == pytest.approx(wanted)


def test_entities_are_measured_as_seqeval_does():
    assert value("tags", "f1", *TAGS) == pytest.approx(entity_f1(*TAGS))
    assert value("tags", "precision", *TAGS) == pytest.approx(entity_precision(*TAGS))
    assert value("tags", "accuracy", *TAGS) == pytest.approx(4 / 6)


def test_boxes_are_measured_as_coco_does():
    truth = [boxes.Truth((100, 100), [[10, 10, 30, 30]], [0]), boxes.Truth((100, 100), [[50, 50, 20, 20]], [0])]
    found = [numpy.array([[0.9, 0, 10, 10, 40, 40]]), numpy.zeros((0, 6))]
    assert value("boxes", "map", truth, found, ["one"]) == pytest.approx(51 / 101, abs=1e-6)
    assert value("boxes", "map_50", truth, found, ["one"]) == pytest.approx(51 / 101, abs=1e-6)


# names


def test_names_are_understood_in_the_spellings_that_people_use():
    asked = ["BLEU", "bert_score", "rouge-l", "ppl", "rouge", "bleu", "EM"]
    assert metrics.chosen(asked, "texts", "llm") == [
        "bleu",
        "bertscore",
        "rougeL",
        "perplexity",
        "rouge",
        "exact_match",
    ]


def test_where_none_is_named_those_that_are_usual_are_taken():
    for kind in KINDS:
        usual = metrics.chosen(None, kind, "room")
        assert usual and set(usual) <= set(metrics.known(kind))


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("blue", "texts", "no metric 'blue'. Did you mean bleu?"),
        (
            "bleu",
            "classes",
            "bleu is for a model that writes texts or writes replies; one of room tells classes",
        ),
        ("rmse", "texts", "rmse is for a model that gives numbers; one of room writes texts"),
        ("perplexity", "boxes", "perplexity is for a model that writes texts"),
        ("map", "numbers", "map is for a model that finds objects"),
    ],
)
def test_what_does_not_exist_or_does_not_fit_is_refused_with_what_would(name, kind, told):
    with pytest.raises(ParamError) as caught:
        metrics.chosen([name], kind, "room")
    assert told in caught.value.what and metrics.USUAL[kind][-1] in caught.value.fix


def test_a_constant_side_has_no_correlation():
    assert math.isnan(value("numbers", "pearson", [[1.0], [1.0]], [[1.0], [2.0]]))
