"""Rewards that hold the completion against what the data says: the same, the same number, or near in words.

The reference stands in a column: `answer`, else one of ANSWERS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from nbtrain.errors import DataError, MissingExtra
from nbtrain.trainers.rl.rewards import Reward, each, text

ANSWERS = ("answer", "expected", "reference", "response", "completion", "output", "target", "solution", "label")

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:\s*/\s*\d+)?(?![\w])")
_SAID = re.compile(r"(?:answer|result)(?:\s+is|\s*[:=])\s*([^\n]+)", re.IGNORECASE)
_FRACTION = re.compile(r"([-+]?)\s*\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")


def exact(column: str = "", ignore_case: bool = True) -> Reward:
    """1 where the completion is the answer, but for spaces and (by default) case and a last full stop, else 0."""

    def plain(words: str) -> str:
        joined = " ".join(words.split()).removesuffix(".")
        return joined.lower() if ignore_case else joined

    return each("exact", _against(column, lambda said, expected: float(plain(said) == plain(expected))))


def math(column: str = "", near: float = 0.0) -> Reward:
    r"""1 where the number the completion ends with is the answer's, else `near`-ness.

    The answer of a text is what stands in its last \boxed{}, else after ####, else after "answer is", else its last
    number; 1,000 = 1000.0, 0.5 = 1/2 = \frac{1}{2} = 50%.

    Args:
        near: what a wrong number earns at most: near / (1 + relative difference); 0: nothing.
    """

    def score(said: str, expected: str) -> float:
        found, wanted = number(said), number(expected)
        if found is None or wanted is None:
            same = _last(said)
            return float(bool(same) and same == _last(expected))
        if found == wanted:
            return 1.0
        return float(near / (1 + abs(found - wanted) / (abs(wanted) or 1)))

    return each("math", _against(column, score))


def number(said: str) -> Fraction | None:
    """The number that a text gives as its answer, None where there is none."""
    asked = _last(said)
    whole = _as_number(asked) if asked else None
    if whole is not None:
        return whole
    numbers = [value for each in _NUMBER.findall(_plain(asked or said)) if (value := _as_number(each)) is not None]
    return numbers[-1] if numbers else None


def _last(said: str) -> str:
    """What the text marks as its answer, '' where it marks none."""
    boxed = _boxed(said)
    if boxed:
        return boxed.strip()
    if "####" in said:
        return said.rpartition("####")[2].strip().split("\n")[0]
    marked = _SAID.findall(said)
    return marked[-1].strip().rstrip(".") if marked else said.strip() if len(said.split()) == 1 else ""


def _boxed(said: str) -> str:
    """The inside of the last box, its braces balanced."""
    start = said.rfind("\\boxed{")
    depth, begin = 0, start + len("\\boxed{")
    for place in range(begin, len(said) if start >= 0 else 0):
        if said[place] == "{":
            depth += 1
        elif said[place] == "}":
            if not depth:
                return said[begin:place]
            depth -= 1
    return ""


def _plain(said: str) -> str:
    return _FRACTION.sub(r"\1\2/\3", said).replace("\\", " ").replace("$", " ").replace("−", "-")


def _as_number(said: str) -> Fraction | None:
    plain = _plain(said).strip().rstrip(".").replace(",", "").replace(" ", "")
    percent = plain.endswith("%")
    try:
        value = Fraction(plain.removesuffix("%"))
    except (ValueError, ZeroDivisionError):
        return None
    return value / 100 if percent else value


def bleu(column: str = "") -> Reward:
    """BLEU of each completion by itself (with the smoothing of sacrebleu), between 0 and 1."""
    sacrebleu = _library("sacrebleu")
    metric = sacrebleu.metrics.BLEU(effective_order=True)
    return each("bleu", _against(column, lambda said, expected: metric.sentence_score(said, [expected]).score / 100))


def rouge(column: str = "", kind: str = "rougeL") -> Reward:
    """The F measure of ROUGE, between 0 and 1; `kind`: rouge1, rouge2, rougeL."""
    scorer = _library("rouge_score.rouge_scorer").RougeScorer([kind], use_stemmer=True)
    return each("rouge", _against(column, lambda said, expected: scorer.score(expected, said)[kind].fmeasure))


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(f"this reward needs {name.split('.')[0]}", fix="pip install 'nbtrain[text]'") from None


def _against(column: str, score: Callable[[str, str], float]) -> Callable[[str, Mapping[str, Any]], float | None]:
    def judged(said: str, row: Mapping[str, Any]) -> float | None:
        name = column or next((name for name in ANSWERS if name in row), "")
        if name not in row:
            wanted = f"a column {column!r}" if column else f"a column with the answer ({', '.join(ANSWERS)})"
            fix = 'say which it is: {"name": "exact", "column": "..."}'
            raise DataError(f"this reward needs {wanted}; the rows have {', '.join(row)}", fix=fix)
        expected = row[name]
        if expected is None:
            return None  # this row has no answer: no opinion
        return score(said, text(expected) if isinstance(expected, list) else str(expected))

    return judged
