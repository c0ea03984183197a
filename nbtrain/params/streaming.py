"""Rows that are read as they are needed; and why some rooms need all of them at once."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, model_validator

from nbtrain.params.options import option


class Streaming(BaseModel):
    """For data larger than memory and disk."""

    stream: bool = option(
        False, "read rows as they are needed; no copy of them is made but of those that are held out", group="Data"
    )
    judge_first: bool = option(
        True,
        "judge every row before the first step; no: each as it comes, which needs --max-steps",
        group="Data",
        needs="stream",
    )

    @model_validator(mode="after")
    def _steps_are_known(self) -> Self:
        if self.stream and not self.judge_first and getattr(self, "max_steps", -1) < 1:
            raise ValueError("--no-judge-first needs --max-steps: nobody knows how many rows an epoch has")
        if self.stream and getattr(self, "num_processes", 1) > 1:
            raise ValueError("--stream reads rows one behind the other, in one process. Leave one of the two out")
        return self

    @model_validator(mode="after")
    def _variables_are_in_memory(self) -> Self:
        if self.stream and not isinstance(getattr(self, "data_path", ""), str):
            raise ValueError("--stream reads files and data of the hub: a variable is in memory already. Leave it out")
        return self


def not_streamed(why: str) -> Any:
    """The option `stream` of a room that needs all rows, with the reason."""
    return option(False, "read rows as they are needed", group="Data", refused=why)
