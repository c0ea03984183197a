"""What a sweep's parameters mean: its metric, its book, the parameters of each trial, what becomes of the best one."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbtrain import __version__, export
from nbtrain.errors import ParamError, TrainingError
from nbtrain.fit import asked
from nbtrain.params import Params
from nbtrain.params.blocks import Hub
from nbtrain.params.sweep import Sweep
from nbtrain.runs.files import atomic_write
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.record import lower_is_better
from nbtrain.sweep import space, wandb
from nbtrain.sweep.storage import check_url
from nbtrain.sweep.study import Study, cause

_BOOK, _FILE = "study.db", "sweep.json"
_NOT_OF_A_TRIAL = {*Sweep.model_fields, *Hub.model_fields, "project_name", "max_minutes"}
SCRIPT, CONFIG = "best.py", "best.yaml"


def check(params: Any) -> None:
    """What cannot become a sweep is refused before anything is started.

    Raises:
        ParamError: in words of --sweep-..., as the user typed them.
    """
    space.dials(params)
    if params.sweep_backend == "wandb":
        wandb.check()
    if params.sweep_storage:
        check_url(params.sweep_storage)
    if getattr(params, "eval_strategy", "") == "no":
        raise ParamError(
            "a sweep compares trials by their held-out rows, and --eval-strategy no measures none",
            fix="leave --eval-strategy out",
        )


def metric(params: Any) -> str:
    """The metric without the prefix that evaluations have elsewhere; the room's, where the user chose that one only."""
    if "metric" in params.given() and "sweep_metric" not in params.given():
        return str(getattr(params, "metric", ""))
    return str(params.sweep_metric).removeprefix("eval_")


def direction(params: Any) -> str:
    """minimize or maximize."""
    return params.sweep_direction or ("minimize" if lower_is_better(metric(params)) else "maximize")


def may_take(params: Any, own: str, towards: str) -> bool:
    """Whether trials may be compared by the room's own metric: nobody named one, and it is better the same way."""
    return "sweep_metric" not in params.given() and ("minimize" if lower_is_better(own) else "maximize") == towards


def study(params: Any, folder: RunFolder) -> Study:
    """The book of this sweep: made once, opened again by whoever goes on with it."""
    record = folder.path / _FILE
    if record.exists():
        known = json.loads(record.read_text(encoding="utf-8"))
    else:
        known = {"study": params.sweep_study or f"{folder.name}-{uuid.uuid4().hex[:8]}"}
        atomic_write(record, json.dumps(known))
    url = params.sweep_storage or f"sqlite:///{(folder.path / _BOOK).as_posix()}"
    # with one worker a trial learns from all before it; with more, a slow one must not decide what the next knows
    lag = 1 if params.sweep_workers == 1 else 2 * params.sweep_workers
    book = Study(url, known["study"], space.dials(params), seed=params.seed, lag=lag, pruner=params.sweep_pruner)
    about = {"nbtrain": __version__, "room": params.room, "params": json.dumps(shared(params), default=os.fspath)}
    book.open(trials=params.sweep_n_trials, direction=direction(params), about=about)
    return book


def shared(params: Params) -> dict[str, Any]:
    """The parameters with which another machine joins: without names and places of this one, and no secret."""
    left_out = {"project_name", "sweep_storage", "sweep_study", "sweep_workers", *Hub.model_fields}
    given = {name: value for name, value in params.record().items() if params.provenance(name) != "default"}
    found = {name: value for name, value in given.items() if name not in left_out}
    data = found.get("data_path")
    return found | ({"data_path": os.path.abspath(data)} if isinstance(data, str) and os.path.exists(data) else {})


def trial_params(params: Params, given: Mapping[str, Any], place: Path) -> Params:
    """The parameters of one trial: the sweep's without what makes it a sweep, with the trial's own values.

    Raises:
        ParamError: its values do not go together.
    """
    kept = {
        name: getattr(params, name)
        for name in params.record()
        if params.provenance(name) != "default" and name not in _NOT_OF_A_TRIAL
    }
    sources = {name: params.provenance(name) for name in kept} | {name: "auto" for name in given}
    values = {**kept, **given, "project_name": str(place)}
    return type(params).read(values, source=sources)[0]


def table(study: Study) -> list[dict[str, Any]]:
    """The trials for the report."""
    return [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value if trial.state.name == "COMPLETE" else None,
            **trial.params,
            "cause": cause(trial),
            "run": trial.user_attrs.get("run", ""),
        }
        for trial in study.trials()
    ]


def all_failed(study: Study) -> TrainingError:
    """The error of a sweep without a result: the causes, the most frequent first."""
    causes = [cause(trial) for trial in study.trials()]
    first = max(causes, key=causes.count, default="")
    what = f"none of the {len(causes)} trials came to a value"
    return TrainingError(
        what, why=f"{causes.count(first)} of them: {first}", fix="`why` with a trial's folder tells more"
    )


def adopt(best: RunFolder, sweep: RunFolder) -> Params:
    """The best trial's model becomes the sweep's, and what trains it again stands beside it; its parameters."""
    params = asked(best).but(project_name=None)
    atomic_write(sweep.path / SCRIPT, export.script(params, sweep))
    atomic_write(sweep.path / CONFIG, export.yaml(params, sweep))
    if best.model.is_dir():
        draft = sweep.path / f".model-{os.getpid()}"
        shutil.copytree(best.model, draft, copy_function=_linked)
        shutil.rmtree(sweep.model, ignore_errors=True)
        os.replace(draft, sweep.model)
    return params


def _linked(source: str, target: str) -> str:
    """The same file under a second name, which takes no room; a copy where the disk knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
