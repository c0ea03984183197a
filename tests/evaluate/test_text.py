"""Texts and answers are counted as the scripts that everybody compares with count them."""

import pytest

from nbtrain.evaluate import text


def test_rouge_is_the_mean_of_the_best_reference():
    found = text.rouge(["the cat sat", "no"], [["a dog ran", "the cat sat"], ["yes"]])
    assert found == {"rouge1": 0.5, "rouge2": 0.5, "rougeL": 0.5}


def test_rouge_by_hand():
    # 3 of 3 words of the one, 3 of 4 of the other: 2 * 1 * 0.75 / 1.75
    assert text.rouge(["the cat sat"], [["the cat sat down"]])["rouge1"] == pytest.approx(6 / 7)


def test_rouge_knows_letters_beyond_ascii():
    assert text.rouge(["été où"], [["été là"]])["rouge1"] == 0.5
    assert text.rouge(["привет мир"], [["привет"]])["rouge1"] == pytest.approx(2 / 3)


def test_bleu_and_chrf_are_those_of_sacrebleu():
    import sacrebleu

    written, right = ["the cat sat on the mat today", "a b c d e"], [["the cat sat on a mat"], ["a b c d e", "f g"]]
    streams = [["the cat sat on a mat", "a b c d e"], [None, "f g"]]
    assert text.bleu(written, right) == sacrebleu.corpus_bleu(written, streams).score
    assert text.chrf(written, right) == sacrebleu.corpus_chrf(written, streams).score
    assert text.bleu(["the same text here"], [["the same text here"]]) == pytest.approx(100)


def test_answers_are_compared_without_articles_case_and_punctuation():
    assert text.exact_match("The Tower!", ["tower"]) == 1
    assert text.token_f1("big old tower", ["the old tower"]) == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert text.token_f1("", ["tower"]) == 0
    assert text.token_f1("", []) == text.exact_match("", []) == 1
    assert text.token_f1("tower", []) == 0


def test_squad_counts_questions_with_and_without_an_answer_apart():
    found = text.squad(["The cat!", "", "dog", "x"], [["cat"], [], ["a big dog", "wolf"], []])
    assert found["exact_match"] == 0.5
    assert found["has_answer_exact_match"] == 0.5 and found["no_answer_exact_match"] == 0.5
    assert found["has_answer_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert set(text.squad(["a"], [["b"]])) == {"exact_match", "f1"}


def test_an_entity_counts_when_its_kind_and_both_ends_are_right():
    right = [["B-city", "I-city", "O", "B-name"], ["O", "B-name"]]
    found = [["B-city", "O", "O", "B-name"], ["O", "B-city"]]
    counted = text.entities(found, right)
    assert (counted["precision"], counted["recall"], counted["f1"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert counted["by_kind"]["name"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "count": 2}


def test_without_entities_there_is_nothing_to_find():
    assert text.entities([["O", "O"]], [["O", "O"]]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "by_kind": {}}
