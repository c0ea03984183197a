"""A teacher on logits, put into a Trainer: its loss, its batches, its news."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from nbtrain.trainers.llm import _flat, _ways
from nbtrain.trainers.llm._distillation import Sums, sums, trained_logits

if TYPE_CHECKING:
    from nbtrain.models.load import Precision
    from nbtrain.trainers.llm._teacher import Teacher


def attach(trainer: Any, params: Any, teacher: Teacher, precision: Precision) -> Callable[[Any], dict[str, Any]]:
    """Let `trainer`, made by `_ways.plain_trainer`, learn from the teacher's logits.

    Returns:
        What measures a batch: means over its trained tokens, kl from the teacher among them.
    """
    coach = Coach(params, teacher, _ways.reading(teacher.model, teacher.tokenizer, precision))
    coach.attach(trainer)
    return partial(coach.measure, trainer.model)


def attach_beside(
    trainer: Any, params: Any, teacher: Teacher, precision: Precision, more: Callable[[Any], dict[str, float]]
) -> Callable[[Any], dict[str, float]]:
    """Let `trainer`, which has a loss of its own on pairs, learn from the teacher's logits of the chosen answers.

    Args:
        more: what is measured of a held-out batch beside its loss, as means.

    Returns:
        The same, and kl from the teacher.
    """
    coach = Coach(params, teacher, _ways.reading(teacher.model, teacher.tokenizer, precision))
    coach.attach_beside(trainer)

    def measured(batch: Any) -> dict[str, float]:
        kl = coach.measure(trainer.model, batch["lesson"])["kl"]
        return more({name: batch[name] for name in batch if name != "lesson"}) | {"kl": float(kl)}

    return measured


Collate = Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]


class Coach:
    """Puts a teacher on logits into a Trainer.

    Args:
        params: reads distill_alpha, distill_temperature.
        teacher: a `_teacher.Teacher` with a model.
        collate: makes the teacher's batch of examples with input_ids and labels.
    """

    def __init__(self, params: Any, teacher: Any, collate: Collate) -> None:
        self.params, self.teacher, self.collate = params, teacher, collate
        # its own likeliest words as data would make the student surer of them than the teacher is
        self.alpha = 1.0 if teacher.alone else params.distill_alpha
        self._seen: list[tuple[Sums, int]] = []

    def attach(self, trainer: Any) -> None:
        """Let `trainer`, whose examples have input_ids and labels, learn from the teacher."""
        own, log = trainer.data_collator, trainer.log
        trainer.data_collator = lambda examples: own(examples) | {"teacher": self.batch(examples)}
        trainer.compute_loss = self.loss

        def told(logs: dict[str, float], *rest: Any) -> None:
            log(logs | self._since_last() if "loss" in logs else logs, *rest)

        trainer.log = told

    def attach_beside(self, trainer: Any) -> None:
        """Let `trainer`, whose examples hold a lesson as `_pairs` makes it, weigh its loss against the teacher's."""
        own, loss, alpha = trainer.data_collator, trainer.compute_loss, self.params.distill_alpha

        def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
            rows = [
                {name.removeprefix("lesson_"): each[name] for name in each if name.startswith(("lesson_", "teacher_"))}
                for each in examples
            ]
            return {**own(examples), "lesson": _flat.padded(rows) | {"teacher": self.batch(rows)}}

        def weighted(model: Any, inputs: Mapping[str, Any], *rest: Any, **named: Any) -> Any:
            found, count = self._sums(model, inputs["lesson"], self.params.distill_temperature)
            said = loss(model, {name: inputs[name] for name in inputs if name != "lesson"}, *rest, **named)
            first = said[0] if isinstance(said, tuple) else said
            total = (1 - alpha) * first + alpha * found.divergence / max(count, 1)
            return (total, *said[1:]) if isinstance(said, tuple) else total

        trainer.data_collator, trainer.compute_loss = collate, weighted

    def batch(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The teacher's batch: rows of its own where its prompt is another one."""
        rows = [
            {"input_ids": each["teacher_ids"], "labels": each["teacher_labels"]} if "teacher_ids" in each else each
            for each in examples
        ]
        return self.collate(rows)

    def loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """alpha x divergence + (1 - alpha) x cross entropy, the mean over the trained tokens of the step."""
        found, count = self._sums(model, inputs, self.params.distill_temperature)
        if model.training:
            self._seen.append((Sums(*(each.detach() for each in found)), count))
        total = self._weighted(found) / (count if num_items_in_batch is None else num_items_in_batch)
        return (total, {}) if return_outputs else total

    def measure(self, model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Means over the trained tokens of a batch: loss, cross_entropy, and kl, from the teacher as it is."""
        student, teacher, targets = self._logits(model, inputs)
        found = sums(student, teacher, targets, self.params.distill_temperature)
        plain = sums(student, teacher, targets, 1.0)
        means = {
            "loss": self._weighted(found),
            "kl": plain.divergence,
            "cross_entropy": plain.cross_entropy,
        }
        return {name: value / max(len(targets), 1) for name, value in means.items()}

    def _weighted(self, found: Sums) -> Any:
        return self.alpha * found.divergence + (1 - self.alpha) * found.cross_entropy

    def _sums(self, model: Any, inputs: Mapping[str, Any], temperature: float) -> tuple[Sums, int]:
        student, teacher, targets = self._logits(model, inputs)
        return sums(student, teacher, targets, temperature), len(targets)

    def _logits(self, model: Any, inputs: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        theirs = inputs["teacher"]
        student, targets = trained_logits(model, {name: inputs[name] for name in inputs if name != "teacher"})
        return student, self.teacher.logits(theirs), targets

    def _since_last(self) -> dict[str, float]:
        """Means over the tokens trained on since the last such call."""
        if not self._seen:
            return {}
        count = sum(each for _, each in self._seen)
        totals = [sum(part).item() / count for part in zip(*(found for found, _ in self._seen), strict=True)]
        self._seen = []
        return {"divergence": totals[0], "cross_entropy": totals[1]}
