"""How well embeddings serve their purpose, by the evaluators of sentence-transformers; and who is whose neighbour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtrain.errors import ParamError
from nbtrain.evaluate import classes, figures, numbers
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import undisturbed
from nbtrain.trainers.sentence_transformers._rows import Form

SHOWN, LISTED = 4, 20  # texts whose neighbours are shown; and listed in the report
NEAREST = 3
LOOKED_AT = 256  # rows among which neighbours are sought

METRICS: Mapping[str, tuple[str, ...]] = {
    "score": ("spearman", "pearson"),
    "binary": ("average_precision", "accuracy", "f1", "precision", "recall", "mcc"),
    "classes": tuple(classes.METRICS),
    "triplet": ("accuracy",),
    "retrieval": ("ndcg@10", "mrr@10", "recall@1", "recall@3", "recall@5", "recall@10", "map@100"),
}
"""By what is measured; the first of each is what evaluations are compared by, where nobody says."""


@dataclass(frozen=True)
class Exam:
    """Held-out rows, and what is asked of them.

    rows: as `_rows.tidy` gives them. batch: texts embedded at once.
    """

    form: Form
    rows: Any
    batch: int
    kind: str

    def metric(self, asked: str | None) -> str:
        """By which evaluations are compared.

        Raises:
            ParamError: what is asked is not measured here.
        """
        known = METRICS[self.kind]
        if asked is not None and asked not in (*known, "loss"):
            what = f"--metric {asked} is not measured by {self.form.method} on these rows"
            raise ParamError(what, fix=f"it measures {', '.join(known)}, loss.")
        return asked or known[0]

    def measure(self, model: Any) -> dict[str, float]:
        """All metrics of the kind but those of classes, which need the head that the embeddings were trained with."""
        from sentence_transformers.sentence_transformer import evaluation

        if self.kind == "score":
            near, scores = self._near(model)
            return {name: numbers.METRICS[name](scores, near) for name in METRICS["score"]}
        settings: dict[str, Any] = {"batch_size": self.batch, "write_csv": False, "show_progress_bar": False}
        texts = [list(self.rows[role]) for role in self.form.roles]
        if self.kind == "retrieval":
            evaluator = _search(*texts, **settings)
        elif self.kind == "triplet":
            evaluator = evaluation.TripletEvaluator(*texts, similarity_fn_names=["cosine"], **settings)
        else:
            marks = list(self.rows["label"])
            evaluator = evaluation.BinaryClassificationEvaluator(
                *texts, marks, similarity_fn_names=["cosine"], **settings
            )
        return _picked(self.kind, evaluator(model))

    def _near(self, model: Any) -> tuple[Any, Any]:
        """(cosine of the two texts, score), each (rows,) floats."""
        import numpy

        one, other = (embedded(model, list(self.rows[role]), self.batch) for role in self.form.roles)
        return (one * other).sum(1), numpy.asarray(self.rows["label"][:])

    def neighbours(self, model: Any, count: int) -> tuple[Mapping[str, str], ...]:
        """The nearest of the second texts to each of the first ones, and the one that stands beside it in the data."""
        part = self.rows.select(range(min(len(self.rows), LOOKED_AT)))
        asked = dict.fromkeys(part["sentence1"])
        others = list(dict.fromkeys(part["sentence2"]))
        chosen = list(asked)[:count]
        one, other = (embedded(model, texts, self.batch) for texts in (chosen, others))
        near = one @ other.T
        beside = dict(zip(reversed(part["sentence1"][:]), range(len(part) - 1, -1, -1), strict=True))
        return tuple(
            {
                "prompt": text,
                "output": "\n".join(f"{near[at][to]:.2f} {others[to]}" for to in (-near[at]).argsort()[:NEAREST]),
                "expected": self._expected(part[beside[text]]),
            }
            for at, text in enumerate(chosen)
        )

    def _expected(self, row: Mapping[str, Any]) -> str:
        if "label" not in row:
            return str(row["sentence2"])
        named = self.form.labels.names[row["label"]] if self.form.labels else f"{row['label']:g}"
        return f"{row['sentence2']} ({named})"

    def report(self, model: Any, answers: classes.Answers | None, folder: Path) -> dict[str, Any]:
        """Tables for report.json, and their figures. answers: of the head, None without one."""
        found: dict[str, Any] = {"neighbours": self.neighbours(model, LISTED)}
        if self.kind == "score":
            found["worst"] = self._worst(model)
        if answers is not None and self.form.labels is not None:
            names = self.form.labels.names
            found["classes"], table = classes.by_class(answers, names), classes.confusion(answers)
            found["confusion"] = {"labels": list(names), "counts": table.tolist()}
            figures.by_class(found["classes"], folder / "by_class.png")
            figures.confusion(table, names, folder / "confusion.png")
        return found

    def _worst(self, model: Any) -> list[dict[str, Any]]:
        """The pairs whose place by similarity is furthest from their place by score."""
        from scipy.stats import rankdata

        near, scores = self._near(model)
        gap = abs(rankdata(near) - rankdata(scores))
        return [
            {"prompt": f"{row['sentence1']} | {row['sentence2']}", "expected": row["label"], "similarity": cosine}
            for row, cosine in ((self.rows[int(at)], round(float(near[at]), 4)) for at in (-gap).argsort()[:LISTED])
        ]


def kind(form: Form, loss: str) -> str:
    """What is measured of these rows, by a key of METRICS."""
    if form.method == "pair_class":
        return "classes" if loss == "softmax" else "binary"
    return {"pair_score": "score", "triplet": "triplet"}.get(form.method, "retrieval")


def _search(queries: list[str], answers: list[str], **settings: Any) -> Any:
    """Each first text is a question to all second texts; what stands beside it anywhere in the rows is right."""
    from sentence_transformers.sentence_transformer import evaluation
    from sentence_transformers.util import cos_sim

    asked = {text: f"q{at}" for at, text in enumerate(dict.fromkeys(queries))}
    there = {text: f"a{at}" for at, text in enumerate(dict.fromkeys(answers))}
    right: dict[str, set[str]] = {name: set() for name in asked.values()}
    for query, answer in zip(queries, answers, strict=True):
        right[asked[query]].add(there[answer])
    texts = ({name: text for text, name in known.items()} for known in (asked, there))
    return evaluation.InformationRetrievalEvaluator(*texts, right, score_functions={"cosine": cos_sim}, **settings)


def _picked(kind: str, found: Mapping[str, float]) -> dict[str, float]:
    """What an evaluator found, by our names."""
    named = {name.replace("cosine", "").strip("_"): float(value) for name, value in found.items()}
    named["average_precision"] = named.get("ap", 0.0)
    return {name: named[name] for name in METRICS[kind]}


def embedded(model: Any, texts: Sequence[str], batch: int) -> Any:
    """(texts, dimensions) floats of length 1."""
    return model.encode(list(texts), batch_size=batch, normalize_embeddings=True, show_progress_bar=False)


class Watch:
    """Looks at the model in training: at each evaluation, and for the samples between them."""

    def __init__(self, trainer: Any, run: ActiveRun, exam: Exam) -> None:
        self.trainer, self.run, self.exam = trainer, run, exam

    def evaluate(self, dataloader: Any, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> Any:
        """transformers' evaluation loop, but one that a stop ends and that leaves the training as it was."""
        from transformers.trainer_utils import EvalLoopOutput

        values: dict[str, float] = {}
        with undisturbed(self.trainer.model):
            if self.exam.kind == "classes":
                values["loss"], answers = self._answers(dataloader)
                values |= classes.measure(answers)
            else:
                values["loss"] = self._loss(dataloader)
                if not self.run.stop_asked():
                    values |= self.exam.measure(self.trainer.model)
        named = {f"{metric_key_prefix}_{name}": float(value) for name, value in values.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=named, num_samples=len(self.exam.rows))

    def take(self, step: int) -> tuple[Mapping[str, str], ...]:
        """Neighbours by the model as it is after `step` steps."""
        with undisturbed(self.trainer.model):
            return self.exam.neighbours(self.trainer.model, SHOWN)

    def conclude(self, folder: Path) -> dict[str, Any]:
        """What the report holds of the trained model."""
        with undisturbed(self.trainer.model):
            said = self._answers(self.trainer.get_eval_dataloader())[1] if self.exam.kind == "classes" else None
            return self.exam.report(self.trainer.model, said, folder)

    def _loss(self, dataloader: Any) -> float:
        """The mean loss of a row."""
        total, count = 0.0, 0
        for features, labels in self._batches(dataloader):
            size = len(features[0]["input_ids"])
            total, count = total + float(self.trainer.loss(features, labels)) * size, count + size
        return total / count

    def _answers(self, dataloader: Any) -> tuple[float, classes.Answers]:
        """(mean loss of a row, what the head says to the rows)."""
        import torch

        found = [
            (labels.cpu(), self.trainer.loss(features, None)[1].float().cpu())
            for features, labels in self._batches(dataloader)
        ]
        expected, scores = (torch.cat(side) for side in zip(*found, strict=True))
        loss = torch.nn.functional.cross_entropy(scores, expected)
        return float(loss), classes.Answers(expected.numpy(), scores.argmax(1).numpy(), scores.numpy())

    def _batches(self, dataloader: Any) -> Iterator[tuple[Any, Any]]:
        """(features of each text, labels); at least one, and no more of them once a stop is asked."""
        for batch in dataloader:
            with self.trainer.compute_loss_context_manager():
                yield self.trainer.collect_features(batch)
            if self.run.stop_asked():
                return
