"""Tables of a known rule, and runs over them that take a second."""

import numpy
import pandas
import pytest

from nbtrain import trainers
from nbtrain.run import train_here

ROOM = trainers.load("tabular")
QUICK = {"num_trials": 2, "folds": 2, "time_limit": 600, "model": "decision_tree"}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """The order of a sum must not depend on how busy the machine is."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def flowers():
    """120 rows: two classes decided by a number and a category, with gaps, a date and a column of noise."""
    chance = numpy.random.default_rng(0)
    size, colour = chance.normal(size=120), chance.choice(["red", "blue", "white"], 120)
    noise, grown = chance.normal(size=120), pandas.date_range("2024-01-01", periods=60).strftime("%Y-%m-%d")
    kind = numpy.where(size + 1.5 * (colour == "red") > 0.4, "rose", "tulip")
    frame = pandas.DataFrame(
        {"size": size, "colour": colour, "noise": noise, "grown": chance.choice(grown, 120), "target": kind}
    )
    frame.loc[[3, 5], "size"] = None
    frame.loc[7, "colour"] = None
    return frame


@pytest.fixture(scope="session")
def prices():
    """150 rows: two numbers decided by two others."""
    chance = numpy.random.default_rng(1)
    one, two = chance.normal(size=150), chance.normal(size=150)
    return pandas.DataFrame({"one": one, "two": two, "price": 3 * one - two, "cost": one + 2 * two})


@pytest.fixture
def params():
    """Parameters of a short run, with changes."""
    return lambda **changes: ROOM.Params.read({**QUICK, **changes})[0]


@pytest.fixture
def trained(tmp_path, params):
    """A run to its end; one that fails raises its error."""

    def go(data, **changes):
        run = train_here(params(data_path=data, **changes), root=tmp_path)
        if run.error is not None:
            raise run.error
        return run

    return go


@pytest.fixture
def judged(tmp_path, params):
    """A table as the room judges it."""
    from nbtrain.trainers.tabular import judging

    return lambda data, **changes: judging.judge(params(data_path=data, **changes), tmp_path / "cache")
