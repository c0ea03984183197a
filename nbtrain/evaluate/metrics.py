"""Metrics by the names that users give them, and which of them fit what a model says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nbtrain.errors import ParamError, nearest
from nbtrain.evaluate import boxes, classes, numbers, order, text
from nbtrain.evaluate.examples import KINDS, Examples

Values = Mapping[str, float]
Measure = Callable[[Examples, Sequence[Any]], Values]
"""(the rows, what the model said to them) to values by name."""

PERPLEXITY, BERTSCORE = "perplexity", "bertscore"
OF_THE_MODEL = {PERPLEXITY: ("texts",), BERTSCORE: ("texts", "replies")}
"""Metrics that take a model to count, and what they fit."""

ALIASES = {
    "bert_score": BERTSCORE,
    "ppl": PERPLEXITY,
    "sacrebleu": "bleu",
    "rouge_1": "rouge1",
    "rouge_2": "rouge2",
    "rouge_l": "rougeL",
    "rougel": "rougeL",
    "em": "exact_match",
    "f1_score": "f1",
    "macro_f1": "f1_macro",
    "micro_f1": "f1_micro",
    "weighted_f1": "f1_weighted",
    "matthews_correlation": "mcc",
    "roc_auc": "auc",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "r_squared": "r2",
    "mean_average_precision": "map",
}


def _whole(name: str, measure: Callable[[Sequence[str], Sequence[Sequence[str]]], float]) -> Measure:
    return lambda rows, said: {name: measure(said, rows.expected)}


def _of_many(name: str, measure: Callable[[Sequence[str], Sequence[Sequence[str]]], Values]) -> Measure:
    return lambda rows, said: {name: measure(said, rows.expected)[name]}


def _marks(rows: Examples, said: Sequence[Any]) -> classes.Answers:
    """What was expected and said as numbers: one class a row, or marks where a row has another number of them."""
    import numpy

    known = dict.fromkeys([*rows.names, *(name for each in rows.expected for name in each)])
    known |= dict.fromkeys(name for each in said for name in each["labels"])
    places = {name: at for at, name in enumerate(known)}
    scores = numpy.array([[each["scores"].get(name, 0.0) for name in places] for each in said])
    sides = [list(rows.expected), [each["labels"] for each in said]]
    if all(len(names) == 1 for side in sides for names in side):
        return classes.Answers(*(numpy.array([places[name] for (name,) in side]) for side in sides), scores)
    marks = [numpy.array([[int(name in names) for name in places] for names in side]) for side in sides]
    return classes.Answers(*marks, scores)


def _of_classes(name: str, source: str) -> Measure:
    return lambda rows, said: {name: classes.METRICS[source](_marks(rows, said))}


def _of_numbers(name: str) -> Measure:
    def measure(rows: Examples, said: Sequence[Any]) -> Values:
        import numpy

        expected, found = numpy.array(rows.expected, dtype=float), numpy.array(said, dtype=float)
        return {name: numbers.measure(expected, found)[name]}

    return measure


def _of_entities(name: str) -> Measure:
    return lambda rows, said: {name: text.entities(said, rows.expected)[name]}


def _tag_accuracy(rows: Examples, said: Sequence[Any]) -> Values:
    pairs = [pair for row in zip(rows.expected, said, strict=True) for pair in zip(*row, strict=True)]
    return {"accuracy": sum(one == other for one, other in pairs) / len(pairs) if pairs else float("nan")}


def _of_boxes(name: str) -> Measure:
    return lambda rows, said: {name: boxes.precision(rows.expected, said, rows.names).values[name]}


def _of_order(name: str, measure: Callable[[Sequence[Any], Sequence[Any]], Values]) -> Measure:
    return lambda rows, said: {name: measure(said, rows.expected)[name]}


def _alike(name: str) -> Measure:
    def measure(rows: Examples, said: Sequence[Any]) -> Values:
        import numpy

        expected, found = numpy.array(rows.expected, dtype=float), numpy.array(said, dtype=float)
        return {name: numbers.METRICS[name](expected, found)}

    return measure


_SQUAD: Mapping[str, Measure] = {name: _of_many(name, text.squad) for name in ("exact_match", "f1")}
_CLASSES = {"f1": "f1_macro"} | {name: name for name in classes.METRICS}
_TEXTS: Mapping[str, Measure] = {
    "bleu": _whole("bleu", text.bleu),
    "chrf": _whole("chrf", text.chrf),
    "ter": _whole("ter", text.ter),
    "meteor": _whole("meteor", text.meteor),
    "rouge": lambda rows, said: text.rouge(said, rows.expected),
    **{name: _of_many(name, text.rouge) for name in ("rouge1", "rouge2", "rougeL")},
    **_SQUAD,
}

BY_KIND: Mapping[str, Mapping[str, Measure]] = {
    "texts": _TEXTS,
    "replies": _TEXTS,
    "answers": _SQUAD,
    "classes": {name: _of_classes(name, source) for name, source in _CLASSES.items()},
    "numbers": {name: _of_numbers(name) for name in numbers.METRICS},
    "tags": {"accuracy": _tag_accuracy, **{name: _of_entities(name) for name in ("precision", "recall", "f1")}},
    "boxes": {
        name: _of_boxes(name)
        for name in ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "recall_100")
    },
    "pairs": {name: _of_order(name, order.preference) for name in ("accuracy", "margin")},
    "marks": {name: _of_order(name, order.separation) for name in ("average_precision", "auc")},
    "likeness": {name: _alike(name) for name in ("spearman", "pearson")},
    "ranks": {name: _of_order(name, order.retrieval) for name in order.RETRIEVAL},
}
"""What a model says, and the metrics of it, by name."""

USUAL: Mapping[str, tuple[str, ...]] = {
    "texts": (PERPLEXITY, "bleu", "chrf", "rouge"),
    "replies": ("bleu", "chrf", "rouge"),
    "answers": ("exact_match", "f1"),
    "classes": ("accuracy", "f1", "precision", "recall"),
    "numbers": ("rmse", "mae", "r2"),
    "tags": ("accuracy", "f1", "precision", "recall"),
    "boxes": ("map", "map_50"),
    "pairs": ("accuracy", "margin"),
    "marks": ("average_precision", "auc"),
    "likeness": ("spearman", "pearson"),
    "ranks": ("ndcg@10", "mrr@10", "recall@1", "recall@10"),
}


def chosen(asked: Sequence[str] | None, kind: str, room: str) -> list[str]:
    """The metrics that are meant, each once, by their own names; places of functions stay as they are.

    Raises:
        ParamError: there is no such metric (with the nearest), or it does not fit what the room's models say.
    """
    fitting = known(kind)
    every = {name for each in KINDS for name in known(each)}
    found = []
    for given in USUAL[kind] if asked is None else asked:
        spelled = str(given).strip().replace("-", "_")
        name = spelled if spelled in every else ALIASES.get(spelled.lower(), spelled.lower())
        if ":" in str(given):
            name = str(given)
        elif name not in every:
            what = f"--eval-metrics: there is no metric {given!r}.{nearest(name, [*every, *ALIASES])}"
            raise ParamError(what, fix=f"those of {room}: {', '.join(fitting)}; or module:function")
        elif name not in fitting:
            others = [words for each, words in KINDS.items() if name in known(each)]
            what = f"--eval-metrics: {name} is for a model that {' or '.join(others)}; one of {room} {KINDS[kind]}"
            raise ParamError(what, fix=f"take of {', '.join(fitting)}; or module:function")
        found.append(name)
    return list(dict.fromkeys(found))


def known(kind: str) -> list[str]:
    """The names of the metrics that fit."""
    return [*BY_KIND[kind], *(name for name, kinds in OF_THE_MODEL.items() if kind in kinds)]
