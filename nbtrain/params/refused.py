"""What users of other systems type and no room here has yet: known by name, and refused with the reason."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from nbtrain.params.options import option

_EVALUATION = (
    "not in this version. Held-out rows are measured while a room trains; run.evaluate(data) measures others, and "
    "--custom-metrics adds a measure of your own to a language model."
)
_PROCESSES = (
    "not in this version: a run trains in one process, on one device. --batch-size with --gradient-accumulation gives "
    "the same steps."
)


def _evaluation(default: Any, help: str) -> Any:
    return option(default, help, group="Evaluation", refused=_EVALUATION)


def _processes(default: Any, help: str, **more: Any) -> Any:
    return option(default, help, group="Training", refused=_PROCESSES, **more)


class Refused(BaseModel):
    """Each is at its default, whatever was asked."""

    use_enhanced_eval: bool = _evaluation(False, "more measures at the end")
    eval_metrics: str | None = _evaluation("perplexity", "which")
    eval_dataset_path: str | None = _evaluation(None, "on which data")
    eval_save_predictions: bool = _evaluation(False, "keep what the model said")
    eval_benchmark: str | None = _evaluation(None, "a public test")
    num_processes: int = _processes(1, "processes that train together", unit="processes", ge=1)
    distributed_backend: str | None = _processes(None, "how processes share the work")
    ddp_timeout: int = _processes(7200, "how long one waits for another", unit="seconds", ge=1)
    stream: bool = option(
        False,
        "read rows as they are needed",
        group="Data",
        refused="not in this version. Rows are mapped from the disk, so data may be larger than the memory; what is "
        "larger than the disk is trained in parts, each from the last one's model: --model RUN.",
    )
