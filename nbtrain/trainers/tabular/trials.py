"""The trials of a search as Optuna knows them, and as they are written down: numbers come back to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nbtrain.runs.record import lower_is_better

UNPRUNED = 3  # trials of a family before one may be cut short


def planned(params: Any) -> int:
    """Trials of a run."""
    trials = 1 if params.model == "tiny" else int(params.num_trials)
    return min(trials, params.max_steps) if params.max_steps > 0 else trials


def study(metric: str) -> Any:
    """An empty study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = "minimize" if lower_is_better(metric) else "maximize"
    return optuna.create_study(direction=direction, pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED))


def written(trial: Any) -> dict[str, Any]:
    """A trial as plain data."""
    from optuna.distributions import distribution_to_json

    return {
        "state": trial.state.name,
        "value": trial.value,
        "params": trial.params,
        "distributions": {name: distribution_to_json(each) for name, each in trial.distributions.items()},
        "steps": {str(step): value for step, value in trial.intermediate_values.items()},
        "about": trial.user_attrs,
    }


def read(record: dict[str, Any]) -> Any:
    """The trial that `written` gave."""
    from optuna.distributions import json_to_distribution
    from optuna.trial import TrialState, create_trial

    return create_trial(
        state=TrialState[record["state"]],
        value=record["value"],
        params=record["params"],
        distributions={name: json_to_distribution(each) for name, each in record["distributions"].items()},
        intermediate_values={int(step): value for step, value in record["steps"].items()},
        user_attrs=record["about"],
    )


def finished(study: Any) -> list[Any]:
    """The trials that have ended, in order; one that was broken off is none."""
    return [trial for trial in study.trials if trial.state.is_finished()]


def table(study: Any) -> Iterator[dict[str, Any]]:
    """The trials for the report."""
    for number, trial in enumerate(finished(study)):
        about = {name: trial.user_attrs[name] for name in ("family", "seconds", "settings")}
        score = trial.value if trial.state.name == "COMPLETE" else None
        yield {"trial": number + 1, "score": score, "state": trial.state.name.lower(), **about}
