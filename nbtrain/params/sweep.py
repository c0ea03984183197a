"""The parameters of a sweep: a search for the values with which a room trains best."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator

from nbtrain.params.options import option


def _ranges(value: Any) -> Any:
    """A config holds them as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"takes JSON: {error}") from None


def _option(default: Any, help: str, **more: Any) -> Any:
    return option(default, help, group="Sweep", needs="use_sweep", **more)


class Sweep(BaseModel):
    """What is searched, by what, and where the search is kept."""

    use_sweep: bool = option(
        False, "search for the best values: many runs, each with others, in the run's folder", group="Sweep"
    )
    sweep_backend: Literal["optuna", "wandb"] = _option(
        "optuna", "who proposes the values of a trial; wandb asks its server, and logs each trial there"
    )
    sweep_n_trials: int = _option(10, "trials of the search", unit="trials", ge=1)
    sweep_metric: str = _option(
        "eval_loss", "measure of the held-out rows by which a trial is better; where a room has no loss: its own"
    )
    sweep_direction: Literal["minimize", "maximize"] | None = _option(
        None, "which values of the metric are better; none: low ones of losses and errors, high ones of the others"
    )
    sweep_params: Annotated[dict[str, Any] | None, BeforeValidator(_ranges)] = _option(
        None,
        'what is searched, as JSON: {"lr": {"type": "loguniform", "low": 1e-5, "high": 1e-3}, "batch_size": [4, 8]}; '
        "types: float, uniform, loguniform, int, categorical; none: what usually matters, around its value",
    )
    sweep_workers: int = _option(1, "trials side by side on this machine", unit="trials", ge=1)
    sweep_storage: str | None = _option(
        None, "URL of the database that keeps the search, where several machines share it; none: a file of the run"
    )
    sweep_study: str | None = _option(None, "name of the search in the storage; one that is there is joined")
    sweep_pruner: Literal["median", "halving", "none"] = _option(
        "median", "end a trial early that is worse than half of the others were, or not among the best of its stage"
    )
    sweep_keep: int = _option(
        1, "trials whose model is kept, the best ones; the others keep their record", unit="trials", ge=1
    )
    sweep_silence: float = _option(
        30.0, "a trial that tells nothing for so long hangs, and is ended", unit="minutes", gt=0
    )
    post_trial_script: str | None = _option(
        None, "command after each trial; it finds NBTRAIN_TRIAL_NUMBER, _STATE, _VALUE, _PARAMS and _FOLDER set"
    )
    wandb_sweep_project: str | None = _option(None, "project of the search at wandb; none: nbtrain")
    wandb_sweep_entity: str | None = _option(None, "owner of that project; none: who is logged in")
    wandb_sweep_id: str | None = _option(None, "a search that is there already, and goes on")
