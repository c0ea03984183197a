"""Sweeps: many runs of one room, each with other values, to find those with which it trains best.

A sweep is a run whose training is other runs: it has a folder, a journal, a worker, it is watched, stopped and resumed
as they are. In its folder: `trials/trial-N/`, each a run like any other; `study.db`, the book in which every trial is
entered (Optuna's); `model/`, that of the best trial, and `best.py`, which trains it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from nbtrain import fit as single
from nbtrain.errors import RunError
from nbtrain.params import Params
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder, read_params
from nbtrain.runs.record import Record


def prepare(params: Params, *, root: str | os.PathLike[str] = ".") -> RunFolder:
    """As `nbtrain.fit.prepare`; what cannot become a sweep is refused first.

    Raises:
        ParamError: a range, a name, a storage that cannot be.
    """
    if params.use_sweep:
        from nbtrain.sweep import plan

        plan.check(params)
    return single.prepare(params, root=root)


def fit(run: RunFolder, **how: Any) -> str:
    """As `nbtrain.fit.fit`, for a run and for a sweep."""
    return single.fit(run, **({"train": _search} if _is_sweep(run) else {}) | how)


def _search(params: Any, run: ActiveRun) -> Mapping[str, float]:
    from nbtrain.sweep.drive import Driver

    return Driver(params, run).go()


def _is_sweep(run: RunFolder) -> bool:
    try:
        return bool(read_params(run)["params"].get("use_sweep"))
    except RunError:  # the run itself tells it
        return False


def runs_of(sweep: RunFolder, record: Record) -> list[RunFolder]:
    """The folders of a sweep's trials, by number; those of other machines lie there."""
    found = (RunFolder(sweep.path / trial.place) for _, trial in sorted(record.trials.items()) if trial.place)
    return [folder for folder in found if folder.params.is_file()]


def best_of(sweep: RunFolder, record: Record) -> RunFolder | None:
    """The folder of its best trial; None before the first, and where it lies elsewhere."""
    best = record.series.get("best", [])
    done = (trial for _, trial in sorted(record.trials.items()) if trial.state == "complete")
    place = next((trial.place for trial in done if best and trial.value == best[-1][1]), "")
    folder = RunFolder(sweep.path / place)
    return folder if place and folder.params.is_file() else None
