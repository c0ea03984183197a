"""Several families as one: weights chosen on guesses about rows that no model had seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbtrain.trainers.tabular import scoring

if TYPE_CHECKING:
    from nbtrain.trainers.tabular.material import Candidate, Material

_ROUNDS = 25


def weights(candidates: Sequence[Candidate], material: Material, metric: str) -> tuple[dict[str, float], float]:
    """Family to weight, all together 1, and the score of that mixture on the folds.

    From the best candidate on, the one that helps most is added, again and again; each may be added several times. The
    best mixture on the way is taken; it has one family only where no mixture is better.

    Source: Caruana et al. 2004, Ensemble selection from libraries of models.
    """
    ranked = sorted(candidates, key=lambda each: each.trial)
    first = ranked[0]
    for candidate in ranked[1:]:
        if scoring.better(metric, candidate.score, first.score):
            first = candidate
    chosen, total = [first], first.guesses
    best, taken = first.score, 1
    for _ in range(_ROUNDS if len(ranked) > 1 else 0):
        scores = [material.score(metric, (total + each.guesses) / (len(chosen) + 1)) for each in ranked]
        found = 0
        for at in range(1, len(scores)):
            if scoring.better(metric, scores[at], scores[found]):
                found = at
        chosen.append(ranked[found])
        total = total + ranked[found].guesses
        if scoring.better(metric, scores[found], best):
            best, taken = scores[found], len(chosen)
    names = [candidate.family.name for candidate in chosen[:taken]]
    return {name: names.count(name) / taken for name in dict.fromkeys(names)}, best
