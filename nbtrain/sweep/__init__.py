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
    return single.fit(run, train=_search, **how) if _is_sweep(run) else single.fit(run, **how)


def _search(params: Any, run: ActiveRun) -> Mapping[str, float]:
    from nbtrain.sweep.drive import Driver

    return Driver(params, run).go()


def _is_sweep(run: RunFolder) -> bool:
    try:
        return bool(read_params(run)["params"].get("use_sweep"))
    except RunError:  # the run itself tells it
        return False
