"""Which trainings of a language model several processes can share."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, model_validator

_ALONE = {
    "orpo": "half of its loss is a mean over the tokens of one process. --trainer dpo does",
    "ppo": "its answers are written and learnt from in a loop of our own, which is one process",
    "grpo": "the answers to a prompt are compared with each other, and are not shared out here",
}
_BACKENDS = {
    "native": "that loop is one process. Leave --backend out",
    "unsloth": "it trains on one GPU. Leave --backend out",
}


class Together(BaseModel):
    """Refuses in words what several processes would not do as one does."""

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        if getattr(self, "num_processes", 1) > 1 and (why := _why_alone(self)):
            raise ValueError(f"--num-processes does not work {why}")
        return self


def _why_alone(params: object) -> str:
    """What stands against several processes, '' where nothing does."""
    method, backend = getattr(params, "trainer", ""), getattr(params, "backend", "auto")
    if method in _ALONE:
        return f"with --trainer {method}: {_ALONE[method]}"
    if backend in _BACKENDS:
        return f"with --backend {backend}: {_BACKENDS[backend]}"
    if getattr(params, "use_distillation", False):
        return "with --use-distillation: what the teacher says is not shared out"
    if getattr(params, "custom_loss", None) is not None:
        return "with --custom-loss: by how many tokens of how many processes it divides, it alone knows"
    return ""
