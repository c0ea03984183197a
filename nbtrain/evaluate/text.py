"""Texts beside what they should be: ROUGE, BLEU, chrF; answers as SQuAD counts them; entities as CoNLL counts them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_FOREIGN = 0.01  # share of letters beyond ASCII, from which words are cut by Unicode's rules


def rouge(written: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean F1 of shared words (rouge1), pairs of words (rouge2), the longest common sequence (rougeL), 0 to 1.

    Args:
        references: of each text one or several; the best one counts.

    Words are stemmed as English; in other scripts and languages, where rouge-score's own tokenizer would drop the
    letters that ASCII lacks, they are whole words instead.

    Source: Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries; the package rouge-score.
    """
    from rouge_score.rouge_scorer import RougeScorer

    letters = [letter for each in references for letter in "".join(each) if letter.isalpha()]
    foreign = sum(not letter.isascii() for letter in letters) > _FOREIGN * len(letters)
    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(names, tokenizer=_Words()) if foreign else RougeScorer(names, use_stemmer=True)
    scores = [scorer.score_multi(list(right), text) for text, right in zip(written, references, strict=True)]
    return {name: fmean(score[name].fmeasure for score in scores) for name in names}


class _Words:
    """A tokenizer as rouge-score asks for one: the words of any language, in small letters."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())


def bleu(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU of the whole corpus, 0 to 100, as sacrebleu counts it (13a). Source: Post 2018, arXiv:1804.08771."""
    from sacrebleu.metrics import BLEU

    return float(BLEU().corpus_score(list(written), _streams(references)).score)


def chrf(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """chrF2 of the whole corpus, 0 to 100, as sacrebleu counts it. Source: Popovic 2015, W15-3049."""
    from sacrebleu.metrics import CHRF

    return float(CHRF().corpus_score(list(written), _streams(references)).score)


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """As sacrebleu takes them: the first reference of every text, the second of every text ..."""
    most = max(map(len, references))
    return [[each[at] if at < len(each) else None for each in references] for at in range(most)]


def answer_words(text: str) -> list[str]:
    """The words of an answer as SQuAD compares them: small letters, no punctuation, no articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 where the answer is one of the right ones, else 0. No right answer means that there is none to be found."""
    words = answer_words(answer)
    return float(any(words == answer_words(each) for each in right or [""]))


def token_f1(answer: str, right: Sequence[str]) -> float:
    """F1 of the words shared with the best of the right answers, 0 to 1."""
    return max(_shared(answer_words(answer), answer_words(each)) for each in right or [""])


def _shared(found: list[str], right: list[str]) -> float:
    if not found or not right:
        return float(found == right)
    common = sum((Counter(found) & Counter(right)).values())
    return 2 * common / (len(found) + len(right))


def squad(answers: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Exact match and F1 as SQuAD's own script counts them, but 0 to 1, as everything else here.

    Args:
        answers: "" where none was found.
        right: of each question; empty where it has no answer.

    Returns:
        exact_match, f1; and where some questions have an answer and others none, both for each kind.

    Source: Rajpurkar et al. 2018, arXiv:1806.03822; its evaluate-v2.0.py.
    """
    exact = [exact_match(*pair) for pair in zip(answers, right, strict=True)]
    shared = [token_f1(*pair) for pair in zip(answers, right, strict=True)]
    values = {"exact_match": fmean(exact), "f1": fmean(shared)}
    kinds = {"has_answer": [bool(each) for each in right], "no_answer": [not each for each in right]}
    if all(any(chosen) for chosen in kinds.values()):
        for kind, chosen in kinds.items():
            values[f"{kind}_exact_match"] = fmean(value for value, one in zip(exact, chosen, strict=True) if one)
            values[f"{kind}_f1"] = fmean(value for value, one in zip(shared, chosen, strict=True) if one)
    return values


def entities(found: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Entities of tagged texts: one counts when its kind and both its ends are right.

    Args:
        found, right: of each text its tags, B-kind, I-kind and O; an I- without its B- begins an entity.

    Returns:
        precision, recall, f1 (over all entities, 0 to 1), and by_kind: kind to those and its count.

    Source: Tjong Kim Sang and De Meulder 2003, W03-0419; the package seqeval.
    """
    import warnings

    from seqeval.metrics import classification_report

    with warnings.catch_warnings():
        # a kind that was never found has no precision: it counts as 0, and seqeval says so each time
        warnings.simplefilter("ignore")
        table: Mapping[str, Any] = classification_report(
            [list(tags) for tags in right], [list(tags) for tags in found], output_dict=True, zero_division=0
        )
    by_kind = {kind: _row(row) for kind, row in table.items() if not kind.endswith(" avg")}
    whole = _row(table["micro avg"]) if "micro avg" in table else {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    return {name: whole[name] for name in ("precision", "recall", "f1")} | {"by_kind": by_kind}


def _row(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        "precision": float(row["precision"]),
        "recall": float(row["recall"]),
        "f1": float(row["f1-score"]),
        "count": int(row["support"]),
    }


def ter(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Translation edit rate of the whole corpus, 0 is best, as sacrebleu counts it. Source: Snover et al. 2006."""
    from sacrebleu.metrics import TER

    return float(TER().corpus_score(list(written), _streams(references)).score)


def meteor(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """METEOR, the mean over the texts, 0 to 1, as NLTK counts it: words match as they are, or by their stems.

    Synonyms are left out: they would take a dictionary of English that has to be fetched.

    Args:
        references: of each text one or several; the best one counts.

    Source: Banerjee and Lavie 2005, W05-0909.
    """
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.meteor_score import meteor_score

    class NoSynonyms:
        def synsets(self, word: str) -> list[Any]:
            return []

    return fmean(
        meteor_score([wordpunct_tokenize(each) for each in right], wordpunct_tokenize(text), wordnet=NoSynonyms())
        for text, right in zip(written, references, strict=True)
    )
