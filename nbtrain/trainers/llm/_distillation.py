"""Distillation: a student learns what a teacher says, on logits where both know the same tokens, else on text.

On logits the student meets the teacher's probabilities at each trained token, beside the data's own token; the teacher
may see another, longer prompt than the student, which then learns to answer as if it had read it.

Source: Hinton et al. 2015, arXiv:1503.02531 (logits); Kim and Rush 2016, arXiv:1606.07947 (text); Snell et al. 2022,
arXiv:2209.15189 (prompts internalised).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, TypeAdapter, ValidationError, model_validator

from nbtrain.errors import ParamError
from nbtrain.params import option
from nbtrain.params.options import Function
from nbtrain.trainers.llm import _flat, _loss

ONLY = ("default", "generic", "sft", "dpo", "orpo")
GROUP = "Distillation"
INPUT = "{input}"


class Distillation(BaseModel):
    """What distillation reads."""

    use_distillation: bool = option(
        False, "learn from a teacher (--teacher-model) beside the data", group=GROUP, only=ONLY
    )
    teacher_model: Function | None = option(
        None,
        "who teaches: hub id, folder, Run, tiny; a file of answers (prompt, response); a function of prompts",
        group=GROUP,
        only=ONLY,
    )
    teacher_prompt_template: str | None = option(
        None, "what the teacher sees of a prompt, which stands at {input}; none: the prompt", group=GROUP, only=ONLY
    )
    student_prompt_template: str = option(
        INPUT, "what the student sees of a prompt, which stands at {input}", group=GROUP, only=ONLY
    )
    distill_temperature: float = option(
        3.0,
        "flattens both probabilities before they are compared; 1: as they are",
        group=GROUP,
        unit="temperature",
        only=ONLY,
        gt=0,
    )
    distill_alpha: float = option(
        0.7,
        "weight of the teacher against the data's answers, where it has some; on text: share of rows that it answers",
        group=GROUP,
        unit="share",
        only=ONLY,
        ge=0,
        le=1,
    )
    distill_max_teacher_length: int = option(
        512,
        "longest row that the teacher sees or writes, its prompt included",
        group=GROUP,
        unit="tokens",
        only=ONLY,
        ge=8,
    )

    @model_validator(mode="after")
    def _teachable(self) -> Self:
        if self.use_distillation and self.teacher_model is None:
            raise ValueError("--use-distillation needs --teacher-model: a model, a file of answers, or a function")
        for flag, template in (
            ("--teacher-prompt-template", self.teacher_prompt_template),
            ("--student-prompt-template", self.student_prompt_template),
        ):
            if template is not None and INPUT not in template:
                raise ValueError(f"{flag} has no {INPUT}: there the prompt of a row stands")
        return self


_FIELDS = tuple(Distillation.model_fields)


def understood(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields as a method reads them, and what the user should know; see `Params.understood`.

    Raises:
        ParamError: the method has no distillation.
    """
    method, notices = given.get("trainer"), []
    if method == "distillation":
        given = given | {"trainer": "sft", "use_distillation": True}
        notices.append("--trainer distillation is --trainer sft --use-distillation")
    elif _is_on(given.get("use_distillation", False)):
        if method == "ppo":
            raise ParamError("Distillation is not supported with PPO trainer", fix="leave --use-distillation out.")
        if method == "reward":
            notices.append("Distillation is not supported for reward models, will be ignored")
            given = {name: value for name, value in given.items() if name not in _FIELDS}
    else:
        idle = [name for name in _FIELDS if name in given and name != "use_distillation" and method in (None, *ONLY)]
        notices += [f"{name} only applies with --use-distillation, will be ignored" for name in idle]
        given = {name: value for name, value in given.items() if name not in idle}
    return given, notices


def _is_on(value: Any) -> bool:
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        return False  # the field itself refuses it in words


class Sums(NamedTuple):
    """Over all trained positions: KL from the teacher times temperature squared, and the data's cross entropy."""

    divergence: Any
    cross_entropy: Any


def sums(student: Any, teacher: Any, targets: Any, temperature: float) -> Sums:
    """What the loss is made of.

    The divergence is KL(teacher || student) of both softmaxes at `temperature`, times its square: so its gradient keeps
    its size beside the cross entropy's, whatever the temperature.

    Args:
        student, teacher: (positions, vocabulary) float; tokens that only one of them has (padding of the vocabulary)
            are left out.
        targets: (positions,) the tokens of the data.

    Source: Hinton et al. 2015, section 2.
    """
    from torch.utils.checkpoint import checkpoint

    shared = min(student.shape[-1], teacher.shape[-1])
    step = max(1, (_loss.ON_GPU if student.is_cuda else _loss.ON_CPU) // shared)
    parts = [
        # the softmaxes of a part are computed twice, so that they are not kept of all parts at once
        checkpoint(
            _part,
            student[start : start + step],
            teacher[start : start + step, :shared],
            targets[start : start + step],
            temperature,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for start in range(0, len(targets), step)
    ]
    return Sums(*(sum(each) for each in zip(*parts, strict=True)))


def _part(student: Any, teacher: Any, targets: Any, temperature: float) -> tuple[Any, Any]:
    from torch.nn.functional import cross_entropy, kl_div

    student = student.float()
    ours, theirs = (
        (logits / temperature).log_softmax(-1) for logits in (student[:, : teacher.shape[-1]], teacher.float())
    )
    divergence = kl_div(ours, theirs, reduction="sum", log_target=True) * temperature**2
    return divergence, cross_entropy(student, targets, reduction="sum")


def trained_logits(model: Any, batch: Mapping[str, Any]) -> tuple[Any, Any]:
    """Logits (positions, vocabulary) and tokens (positions,) at the trained positions of a batch, row after row.

    Args:
        batch: as `_flat.rows` or `_flat.padded` makes it.
    """
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "shift_labels", "tokens")}
    logits = model(**inputs, use_cache=False).logits
    if "logits_to_keep" in batch:
        return logits[0], batch["shift_labels"][0]
    labels = batch["labels"][:, 1:]
    trained = labels != _flat.IGNORED
    return logits[:, :-1][trained], labels[trained]
