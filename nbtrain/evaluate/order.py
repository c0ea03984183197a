"""How well scores put things in their order: pairs, what belongs together, what is found among others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

_FIRST = (1, 3, 5, 10)
RETRIEVAL = ("ndcg@10", "mrr@10", "map@100", *(f"recall@{count}" for count in _FIRST))
"""What `retrieval` gives."""


def preference(said: Sequence[Sequence[float]], expected: Sequence[Any] = ()) -> Mapping[str, float]:
    """Of pairs of scores, of which the first is to be higher: accuracy, the share where it is; margin, the mean gap.

    As TRL reports them of a reward model.
    """
    margins = [float(one) - float(other) for one, other in said]
    count = max(len(margins), 1)
    return {"accuracy": sum(margin > 0 for margin in margins) / count, "margin": sum(margins) / count}


def separation(said: Sequence[float], expected: Sequence[int]) -> Mapping[str, float]:
    """Of scores and whether each is to be high: average_precision and auc, by scikit-learn; NaN where all are alike."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if len(set(expected)) < 2:
        return {"average_precision": math.nan, "auc": math.nan}
    found = average_precision_score(expected, said), roc_auc_score(expected, said)
    return dict(zip(("average_precision", "auc"), map(float, found), strict=True))


def retrieval(said: Sequence[Sequence[str]], expected: Sequence[AbstractSet[str]]) -> Mapping[str, float]:
    """Of ranked texts and those that are right, the means over rows; as Manning et al. 2008, chapter 8, defines them.

    Returns:
        ndcg@10, mrr@10, map@100, and recall@k, the share of the right ones among the first k.
    """
    rows = [_row(ranked, right) for ranked, right in zip(said, expected, strict=True)]
    return {name: sum(row[name] for row in rows) / len(rows) if rows else math.nan for name in RETRIEVAL}


def _row(ranked: Sequence[str], right: AbstractSet[str]) -> dict[str, float]:
    hits = [text in right for text in ranked[:100]]
    places = [at for at, hit in enumerate(hits, start=1) if hit]
    early = [at for at in places if at <= 10]
    best = sum(1 / math.log2(at + 1) for at in range(1, min(len(right), 10) + 1))
    return {
        "ndcg@10": sum(1 / math.log2(at + 1) for at in early) / best,
        "mrr@10": 1 / early[0] if early else 0.0,
        "map@100": sum(count / at for count, at in enumerate(places, start=1)) / min(len(right), 100),
        **{f"recall@{count}": sum(hits[:count]) / len(right) for count in _FIRST},
    }
