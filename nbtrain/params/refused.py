"""What users of other systems type and no room here has yet: known by name, and refused with the reason."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from nbtrain.params.options import option

_SWEEP = "not in this version: a run trains one set of values. Start a run for each, and compare them with `runs`."
_EVALUATION = (
    "not in this version. Held-out rows are measured while a room trains; run.evaluate(data) measures others, and "
    "--custom-metrics adds a measure of your own to a language model."
)
_PROCESSES = (
    "not in this version: a run trains in one process, on one device. --batch-size with --gradient-accumulation gives "
    "the same steps."
)


def _sweep(default: Any, help: str, **more: Any) -> Any:
    return option(default, help, group="Sweep", refused=_SWEEP, **more)


def _evaluation(default: Any, help: str) -> Any:
    return option(default, help, group="Evaluation", refused=_EVALUATION)


def _processes(default: Any, help: str, **more: Any) -> Any:
    return option(default, help, group="Training", refused=_PROCESSES, **more)


class Refused(BaseModel):
    """Each is at its default, whatever was asked."""

    use_sweep: bool = _sweep(False, "search for the best values of some parameters")
    sweep_backend: str | None = _sweep("optuna", "what searches")
    sweep_n_trials: int = _sweep(10, "runs of a search", unit="runs", ge=1)
    sweep_metric: str | None = _sweep("eval_loss", "by which a run is better than another")
    sweep_direction: str | None = _sweep("minimize", "which values of the metric are better")
    sweep_params: str | None = _sweep(None, "what is searched, as JSON")
    sweep_workers: int = _sweep(1, "runs side by side", unit="runs", ge=1)
    sweep_storage: str | None = _sweep(None, "where a search is kept")
    post_trial_script: str | None = _sweep(None, "a command after each run of a search")
    wandb_sweep_project: str | None = _sweep(None, "its project")
    wandb_sweep_entity: str | None = _sweep(None, "its owner")
    wandb_sweep_id: str | None = _sweep(None, "a search that goes on")
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
