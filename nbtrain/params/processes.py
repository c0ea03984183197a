"""Several processes that train one run together."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, model_validator

from nbtrain.params.options import Location, option

BACKENDS = ("ddp", "fsdp", "deepspeed")


class Processes(BaseModel):
    """How many train, and how they share the work."""

    num_processes: int = option(
        1,
        "processes that train together, each on its GPU or its share of the cores; a step takes --batch-size rows of "
        "each",
        group="Training",
        unit="processes",
        ge=1,
    )
    distributed_backend: Location | None = option(
        None,
        "how they share the work: ddp (each holds the whole model), fsdp or deepspeed (each a part of it; GPUs only), "
        "or a config file of accelerate; none: ddp",
        group="Training",
    )
    ddp_timeout: int = option(
        7200, "how long one process waits for another before the run fails", group="Training", unit="seconds", ge=1
    )

    @model_validator(mode="after")
    def _a_known_backend(self) -> Self:
        asked = self.distributed_backend
        if asked in (None, *BACKENDS) or Path(str(asked)).expanduser().is_file():
            return self
        raise ValueError(
            f"--distributed-backend is one of {', '.join(BACKENDS)}, or a config file of accelerate; found {asked!r}"
        )
