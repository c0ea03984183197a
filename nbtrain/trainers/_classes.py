"""Classes as a model has them: their numbers, its loss, its metrics, its answers. For texts as for pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator

from nbtrain.data.labels import Labels
from nbtrain.errors import ParamError, nearest
from nbtrain.evaluate import classes as measures
from nbtrain.evaluate import figures, thresholds
from nbtrain.evaluate.classes import Answers
from nbtrain.params import option
from nbtrain.params.usual import names_of

SHOWN = 4  # rows that the model is most mistaken about
_SCORED = 3  # labels whose scores are shown
_TABLE = 200  # classes; the table of more would be all of the report


class Classed(BaseModel):
    """What a room reads that tells classes apart."""

    target_column: str = option("target", "column of the class, or of the labels", group="Data")
    labels: Annotated[str | list[str] | None, BeforeValidator(names_of)] = option(
        None, "the classes in their order, with commas or as JSON; none: those of the training rows", group="Data"
    )
    multi_label: bool | None = option(
        None, "whether a row may have several labels; none: as the column shows", group="Data"
    )
    class_weights: Literal["balanced"] | dict[str, float] | None = option(
        None, "balanced: rare classes count for more; or each class with its weight, as JSON", group="Training"
    )
    threshold: float | None = option(
        None,
        "several labels: the score from which on one is given; none: tuned for each on the held-out rows",
        group="Evaluation",
        unit="score",
        ge=0,
        le=1,
    )


@dataclass(frozen=True)
class Classes:
    """What is told apart.

    threshold: the score from which on one of several labels is given; None: tuned on the held-out rows.
    """

    labels: Labels
    threshold: float | None = None

    @property
    def several(self) -> bool:
        """Whether a row may have several labels."""
        return self.labels.several

    def describe(self, config: Any) -> None:
        """Write the classes into the config of the model, in their order."""
        config.num_labels = len(self.labels.names)
        config.id2label = dict(enumerate(self.labels.names))
        config.label2id = {name: at for at, name in enumerate(self.labels.names)}
        config.problem_type = "multi_label_classification" if self.several else "single_label_classification"
        if self.several:
            usual = thresholds.USUAL if self.threshold is None else self.threshold
            config.label_thresholds = [usual] * len(self.labels.names)

    def mark(self, found: Sequence[int]) -> Any:
        """The classes of a row as it is trained: a number, or a 0 or a 1 for each of several labels."""
        return [float(at in found) for at in range(len(self.labels.names))] if self.several else found[0]

    def targets(self, marks: list[Any]) -> Any:
        """What `mark` gave, as a tensor."""
        import torch

        return torch.tensor(marks, dtype=torch.float32 if self.several else torch.long)

    def expected(self, marks: list[Any]) -> Any:
        """What `mark` gave, as (rows,) ints, or (rows, labels) of 0 and 1."""
        import numpy

        return numpy.asarray(marks, dtype=int)

    def loss(
        self, weights: str | Mapping[str, float] | None, counts: Mapping[int, int], rows: int
    ) -> Callable[..., Any] | None:
        """The loss with a weight for each class, None for the model's own.

        Args:
            weights: "balanced"; or by class, 1 where none is named.
            counts: by class, its rows among all `rows` that are trained on.

        With one class a row, balanced weights are rows / (classes * rows of the class): their mean over the rows is 1.
        With several, what a label that is there counts for is rows without it / rows with it.

        Raises:
            ParamError: there is no such class.
        """
        import torch
        from torch.nn import functional

        if weights is None:
            return None
        weight = torch.tensor(self._weights(weights, counts, rows), dtype=torch.float32)

        def of_several(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
            return functional.binary_cross_entropy_with_logits(
                outputs.logits, labels, pos_weight=weight.to(outputs.logits)
            )

        def of_one(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
            # not the mean that torch gives, in which the weights of a batch cancel out where it has one class
            total = functional.cross_entropy(outputs.logits, labels, weight=weight.to(outputs.logits), reduction="sum")
            return total / len(labels)

        return of_several if self.several else of_one

    def begin(self, counts: Mapping[int, int], rows: int, model: Any) -> None:
        """Let a new head of several labels begin at how common each is, so that nothing is unlearnt to find that out.

        Args:
            counts: by label, its rows among all `rows` that are trained on; empty where weights make all alike.

        Source: Lin et al. 2017, arXiv:1708.02002, section 3.3. A head that was trained before (its bias is not zero)
        stays as it is.
        """
        import torch

        if not (self.several and counts):
            return
        shares = torch.tensor([(counts.get(at, 0) + 1) / (rows + 2) for at in range(len(self.labels.names))])
        for layer in model.modules():
            bias = getattr(layer, "bias", None)
            if isinstance(layer, torch.nn.Linear) and bias is not None and len(bias) == len(shares) and not bias.any():
                with torch.no_grad():
                    bias.copy_(shares.logit())

    def _weights(self, weights: str | Mapping[str, float], counts: Mapping[int, int], rows: int) -> list[float]:
        names = self.labels.names
        if isinstance(weights, Mapping):
            for name in weights:
                if name not in names:
                    what = f"--class-weights names {name!r}; the classes are {', '.join(names[:20])}."
                    raise ParamError(what + nearest(name, names))
            return [float(weights.get(name, 1.0)) for name in names]
        held = [counts.get(at, 0) for at in range(len(names))]
        if self.several:
            return [(rows - count) / count if count else 1.0 for count in held]
        return [rows / (len(names) * count) if count else 1.0 for count in held]

    def measure(self, expected: Any, found: Sequence[Any]) -> dict[str, float]:
        """The metrics of an evaluation.

        Args:
            found: logits by row.
        """
        return measures.measure(self._answers(expected, found))

    def _answers(self, expected: Any, found: Sequence[Any]) -> Answers:
        import numpy

        scores = probabilities(numpy.stack(found), several=self.several)
        if not self.several:
            return Answers(expected, scores.argmax(1), scores)
        if self.threshold is not None:
            return Answers(expected, (scores >= self.threshold).astype(int), scores)
        return Answers(expected, thresholds.crossed(expected, scores), scores)

    def worst(self, expected: Any, found: Sequence[Any], count: int = SHOWN) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The rows that the model is most mistaken about: (row, what it says, as a sample)."""
        import numpy

        answers = self._answers(expected[: len(found)], found)
        right = answers.indicators[0].astype(bool)
        surprise = -numpy.log(numpy.where(right, answers.scores, 1 - answers.scores).clip(1e-9))
        each = surprise.mean(1) if self.several else surprise[right]
        for at in numpy.argsort(-each, kind="stable")[:count]:
            yield int(at), self._sample(answers, int(at))

    def _sample(self, answers: Answers, at: int) -> dict[str, Any]:
        names, scores = self.labels.names, answers.scores[at]
        if not self.several:
            said, right = int(answers.predicted[at]), int(answers.expected[at])
            return {"output": names[said], "expected": names[right], "confidence": f"{scores[said]:.0%}"}
        said, right = (
            ", ".join(names[each] for each in side[at].nonzero()[0]) or "none" for side in answers.indicators[::-1]
        )
        likeliest = (-scores).argsort(kind="stable")[:_SCORED]
        return {
            "output": said,
            "expected": right,
            "scores": ", ".join(f"{names[each]} {scores[each]:.2f}" for each in likeliest),
        }

    def decide(self, expected: Any, found: Sequence[Any], config: Any) -> None:
        """Write into the config from which score on a label is given, where a row may have several."""
        import numpy

        if self.several:
            scores = probabilities(numpy.stack(found), several=True)
            tuned = thresholds.tuned(expected, scores) if self.threshold is None else scores[0] * 0 + self.threshold
            config.label_thresholds = [round(float(limit), 4) for limit in tuned]

    def report(self, expected: Any, found: Sequence[Any], folder: Path) -> dict[str, Any]:
        """Tables for the report, and their figures in `folder`."""
        answers = self._answers(expected, found)
        rows = measures.by_class(answers, self.labels.names)
        figures.by_class(rows, folder / "classes.png")
        tables: dict[str, Any] = {"classes": rows}
        if not self.several:
            table = measures.confusion(answers)
            figures.confusion(table, self.labels.names, folder / "confusion.png")
            if len(self.labels.names) <= _TABLE:
                tables["confusion"] = {"labels": list(self.labels.names), "expected_by_predicted": table.tolist()}
        return tables


def probabilities(logits: Any, *, several: bool) -> Any:
    """(rows, classes) floats: each by itself where a row may have several, else summing to 1."""
    from scipy.special import expit, softmax

    return expit(logits) if several else softmax(logits, axis=1)


def answers(config: Any, logits: Any, threshold: float | None = None) -> list[dict[str, Any]]:
    """What a saved model says, in words.

    Args:
        config: of the model. logits: (rows, classes) floats.
        threshold: in place of those that were tuned.

    Returns:
        {"label", "score", "scores"} for each row; where it may have several {"labels", "scores"}.
    """
    several = config.problem_type == "multi_label_classification"
    names = [config.id2label[at] for at in range(config.num_labels)]
    usual = getattr(config, "label_thresholds", None) or [thresholds.USUAL] * len(names)
    limits = usual if threshold is None else [threshold] * len(names)
    said = []
    for row in probabilities(logits, several=several):
        scores = {name: float(score) for name, score in zip(names, row, strict=True)}
        if several:
            given = [name for name, limit in zip(names, limits, strict=True) if scores[name] >= limit]
            said.append({"labels": given, "scores": scores})
        else:
            label = names[int(row.argmax())]
            said.append({"label": label, "score": scores[label], "scores": scores})
    return said


def measured(config: Any, logits: Any, expected: Any) -> dict[str, float]:
    """The loss and the metrics of a saved model, with its own thresholds.

    Args:
        logits: (rows, classes) floats. expected: as `Classes.expected` gives it.
    """
    import numpy
    from scipy.special import log_expit, log_softmax

    several = config.problem_type == "multi_label_classification"
    scores = probabilities(logits, several=several)
    if several:
        loss = -(expected * log_expit(logits) + (1 - expected) * log_expit(-logits)).mean()
        predicted = (scores >= numpy.array(config.label_thresholds)).astype(int)
    else:
        loss, predicted = -log_softmax(logits, axis=1)[numpy.arange(len(expected)), expected].mean(), scores.argmax(1)
    return {"loss": float(loss)} | measures.measure(Answers(expected, predicted, scores))


def spoken(path: Path) -> str:
    """Python that shows what the model saved in `path` says to `tokens`."""
    several = json.loads((path / "config.json").read_text(encoding="utf-8"))["problem_type"].startswith("multi")
    if not several:
        return (
            "scores = model(**tokens).logits.softmax(-1)[0]\n"
            "print({model.config.id2label[at]: round(score.item(), 3) for at, score in enumerate(scores)})"
        )
    return (
        "scores = model(**tokens).logits.sigmoid()[0]\n"
        "given = zip(scores, model.config.label_thresholds)\n"
        "print([model.config.id2label[at] for at, (score, limit) in enumerate(given) if score >= limit])"
    )
