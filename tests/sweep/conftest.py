"""A room whose trials take a moment and do as they are told: reach a value, fail, hang, lose their numbers."""

import json
import sys
from pathlib import Path

import pytest

import nbtrain
from nbtrain import sweep, trainers
from nbtrain.run import Run
from nbtrain.runs import launch

ROOM = """
import math, time
from typing import Literal
from nbtrain.errors import TrainingError
from nbtrain.events import Evaluated, Started
from nbtrain.params import Params as Base
from nbtrain.params import option
from nbtrain.params.blocks import Basic


class StandinParams(Basic, Base):
    lr: float = option(0.1, "rate", group="Training", gt=0, unit="per step", searched="log")
    size: int = option(4, "rows", group="Training", ge=1, unit="rows", searched="log")
    way: Literal["good", "fails", "hangs", "nan"] = option("good", "what it does", group="Training")
    own: str = option("", "its own metric", group="Training")
    evaluations: int = option(5, "of a run", group="Training", unit="evaluations", ge=1)
    pause: float = option(0.02, "between evaluations", group="Training", unit="seconds", ge=0)


Params = StandinParams


def train(params, run):
    name = params.own or "loss"
    run.emit(Started(room="standin", name=run.folder.name, total_steps=params.evaluations, metric=name))
    worst = (math.log10(params.lr) + 2) ** 2 + params.size / 10
    for step in range(1, params.evaluations + 1):
        time.sleep(params.pause)
        if params.way == "fails" and step == 2:
            raise TrainingError("the numbers do not fit", fix="take others")
        while params.way == "hangs" and step == 3:
            time.sleep(0.05)
        value = math.nan if params.way == "nan" else worst + 1 / step
        run.emit(Evaluated(step=step, values={name: value, "accuracy": 1 / (1 + value)}))
        if run.stop_asked():
            break
    run.folder.model.mkdir(exist_ok=True)
    (run.folder.model / "weights").write_text(f"{params.lr} {params.size}")
    return {name: value, "accuracy": 1 / (1 + value)}


def usage(params, path):
    return "nbtrain", "open the file"
"""


@pytest.fixture(scope="package", autouse=True)
def room(tmp_path_factory):
    """The room is there, here and in workers: a package nbtrain of links, with one more file."""
    place, true = tmp_path_factory.mktemp("stand-in"), Path(nbtrain.__file__).parent
    (place / "nbtrain" / "trainers").mkdir(parents=True)
    for file in [*true.iterdir(), *(true / "trainers").iterdir()]:
        link = place / "nbtrain" / file.relative_to(true)
        if file.name != "__pycache__" and not link.exists():
            link.symlink_to(file)
    (place / "nbtrain" / "trainers" / "standin.py").write_text(ROOM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(place))
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        patch.setattr(trainers, "__path__", [str(place / "nbtrain" / "trainers")])
        yield
    launch.cool()
    sys.modules.pop("nbtrain.trainers.standin", None)


@pytest.fixture(scope="package")
def asked(room):
    """Parameters of a sweep in the folder `place`."""

    def made(place, **values):
        given = {"sweep_n_trials": 8, "sweep_workers": 2, "sweep_pruner": "none", "project_name": str(place)}
        return trainers.load("standin").Params(use_sweep=True, **{**given, **values})

    return made


@pytest.fixture(scope="package")
def searched(asked):
    """A sweep, from its parameters to its end."""

    def go(place, **values):
        folder = sweep.prepare(asked(place, **values))
        sweep.fit(folder)
        return Run(folder)

    return go


@pytest.fixture(scope="package")
def swept(searched, tmp_path_factory):
    """A sweep that nothing disturbed."""
    return searched(tmp_path_factory.mktemp("swept") / "sweep")


@pytest.fixture(scope="package")
def trials():
    """What the trials of a sweep tried and came to, without where and when."""

    def told(run):
        kept = ("trial", "state", "value", "lr", "size")
        return [{name: each[name] for name in kept} for each in json.loads(run.folder.report.read_text())["trials"]]

    return told
