"""What a saved model of embeddings is asked when it is measured by name, and what is right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from nbtrain.errors import ParamError
from nbtrain.evaluate.examples import Examples
from nbtrain.trainers.sentence_transformers._measure import embedded
from nbtrain.trainers.sentence_transformers._rows import Form

KINDS = {"pair_score": "likeness", "pair_class": "marks", "triplet": "pairs", "pair": "ranks", "qa": "ranks"}
"""What is told by a model of each method."""


def examples(rows: Any, form: Form, batch: int) -> Examples:
    """The rows to measure it on.

    Args:
        rows: as `_rows.tidy` gives them. batch: texts embedded at once.

    Raises:
        ParamError: classes that are not 0 and 1: the head that tells them is not saved.
    """
    kind = KINDS[form.method]
    if kind == "marks" and not form.same_or_not:
        what = f"{form.columns['target']} has {form.labels}: the head that tells such classes is not saved"
        raise ParamError(what, fix="run.metrics has the values of the last evaluation")
    texts = list(zip(*(rows[role][:] for role in form.roles), strict=True))
    if kind == "ranks":
        return _ranks(texts, batch)

    def ask(model: Any, tokenizer: Any, some: Sequence[tuple[str, ...]]) -> list[Any]:
        first, *others = (embedded(model, side, batch) for side in zip(*some, strict=True))
        near = [(first * other).sum(1).tolist() for other in others]
        return near[0] if len(near) == 1 else list(zip(*near, strict=True))

    expected = rows["label"][:] if "label" in rows.column_names else ["the second"] * len(texts)
    return Examples(kind, texts, list(expected), ask)


def _ranks(pairs: Sequence[tuple[str, ...]], batch: int) -> Examples:
    """Each first text is a question to all second texts; what stands beside it anywhere in the rows is right."""
    right = defaultdict(set)
    for question, answer in pairs:
        right[question].add(answer)
    answers = list(dict.fromkeys(answer for _, answer in pairs))
    known: list[Any] = []  # the vectors of the answers, once

    def ask(model: Any, tokenizer: Any, some: Sequence[str]) -> list[list[str]]:
        if not known:
            known.append(embedded(model, answers, batch).T)
        near = embedded(model, some, batch) @ known[0]
        return [[answers[place] for place in row] for row in (-near).argsort(1, kind="stable")]

    return Examples("ranks", list(right), list(right.values()), ask)
