"""Which ways of training a language model take rows as they come, and why others do not."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from nbtrain.params.streaming import Streaming

_METHODS = {
    "ppo": "the prompts of a step are drawn by their numbers, and again later",
    "grpo": "each prompt is asked several times, by its number",
}
_BACKENDS = {
    "native": "its loop draws rows by their numbers; leave --backend out",
    "trl": "TRL's SFTTrainer takes rows that are on the disk; leave --backend out",
}
_FIELDS = {
    "use_distillation": (False,), "auto_find_batch_size": (False,),
    "conversation_extension": (1,), "save_processed_data": ("auto", "none"),
}  # fmt: skip
"""Fields, and the values at which they do nothing to the rows."""
_WHY = {
    "use_distillation": "what a teacher says is made ready for all rows before a student sees one",
    "auto_find_batch_size": "it tries the longest of all rows; --batch-size with --gradient-accumulation does without",
    "conversation_extension": "chats are joined before they are read; join them in the files",
    "save_processed_data": "it writes all rows to the disk",
}


class Streamed(Streaming):
    """What a language model reads of streaming."""

    @model_validator(mode="after")
    def _rows_may_come_once(self) -> Self:
        if not self.stream:
            return self
        method, backend = getattr(self, "trainer", ""), getattr(self, "backend", "")
        if why := _METHODS.get(method):
            raise ValueError(f"--stream does not work with {method}: {why}. Leave it out")
        if (why := _BACKENDS.get(backend)) and not (backend == "trl" and method in ("dpo", "orpo")):
            raise ValueError(f"--stream does not work with --backend {backend}: {why}")
        for name, idle in _FIELDS.items():
            if getattr(self, name, idle[0]) not in idle:
                raise ValueError(f"--stream does not work with --{name.replace('_', '-')}: {_WHY[name]}")
        return self
