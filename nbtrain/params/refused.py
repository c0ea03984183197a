"""What users of other systems type and no room here has yet: known by name, and refused with the reason."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from nbtrain.params.options import option

_PROCESSES = (
    "not in this version: a run trains in one process, on one device. --batch-size with --gradient-accumulation gives "
    "the same steps."
)


def _processes(default: Any, help: str, **more: Any) -> Any:
    return option(default, help, group="Training", refused=_PROCESSES, **more)


class Refused(BaseModel):
    """Each is at its default, whatever was asked."""

    num_processes: int = _processes(1, "processes that train together", unit="processes", ge=1)
    distributed_backend: str | None = _processes(None, "how processes share the work")
    ddp_timeout: int = _processes(7200, "how long one waits for another", unit="seconds", ge=1)
