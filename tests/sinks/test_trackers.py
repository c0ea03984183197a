"""Trackers: each receives the whole curve in an instance of its own, and none can hold up or end a run."""

import csv
import itertools
import json
import os
import re
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest

from nbtrain import events
from nbtrain.errors import MissingExtra
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.sinks import trackers
from nbtrain.sinks.trackers import Aside

# trackio reads it when it is imported, once in a process
PLACE = tempfile.TemporaryDirectory(prefix="trackio-")
os.environ["TRACKIO_DIR"] = PLACE.name
CURVE = [(step, round(4.1 / step, 3)) for step in range(1, 8)]


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.path.mkdir()
    return folder


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A real tracker starts processes of its own: on a busy machine that takes its time, and is not what is tested."""
    monkeypatch.setattr(trackers, "_PATIENCE", 300.0)


def told(aside):
    """Give the tracker a run's curve."""
    for step, loss in CURVE:
        aside(events.Logged(step=step, values={"loss": loss, "grad_norm": 1.0}))
    aside(events.Warned(message="nothing to draw"))
    aside(events.Evaluated(step=7, values={"loss": 0.5}))
    aside(events.Finished(step=7, values={}, seconds=1.0, model="model"))


def opened(name, run):
    return Aside(name, run, {"lr": 1e-3, "model": "tiny"}, began=1000.0)


def test_a_table_has_each_value_and_a_resumed_run_goes_on_in_it(run):
    told(opened("csv", run))
    again = opened("csv", run)
    again(events.Logged(step=8, values={"loss": 0.4}))
    again(events.Stopped(step=8, reason="asked", checkpoint=""))
    rows = list(csv.reader((run.path / "metrics.csv").read_text().splitlines()))
    assert rows[0] == ["step", "name", "value"]
    assert [(int(step), float(value)) for step, name, value in rows[1:] if name == "train/loss"] == [*CURVE, (8, 0.4)]
    assert ["7", "eval/loss", "0.5"] in rows


def test_tensorboard_reads_the_curve_back(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told(opened("tensorboard", run))
    board = EventAccumulator(str(run.path / "tensorboard")).Reload()
    points = {tag: [(each.step, each.tensor_proto) for each in board.Tensors(tag)] for tag in board.Tags()["tensors"]}
    assert sorted(points) == ["eval/loss", "train/grad_norm", "train/loss"]
    assert [(step, round(value.float_val[0], 3)) for step, value in points["train/loss"]] == CURVE


def test_wandb_keeps_the_curve_in_the_run_folder_where_nobody_is_logged_in(run, monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    told(opened("wandb", run))
    (kept,) = run.path.glob("wandb/offline-run-*/*.wandb")
    assert "mine-1000" in kept.name
    content = kept.read_bytes()  # records of protobuf: values stand in them as JSON
    assert content.count(b"train/loss") >= len(CURVE)
    assert not [loss for _, loss in CURVE if str(loss).encode() not in content]


def test_trackio_keeps_the_curve_in_its_own_place(run, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_PROJECT", "whole")
    told(opened("trackio", run))
    assert points("trackio", run) == CURVE


def points(name, run):
    """(step, loss) as the tracker itself has them."""
    if name == "csv":
        rows = csv.DictReader((run.path / "metrics.csv").read_text().splitlines())
        return [(int(row["step"]), float(row["value"])) for row in rows if row["name"] == "train/loss"]
    if name == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        told = EventAccumulator(str(run.path / "tensorboard")).Reload().Tensors("train/loss")
        return [(each.step, round(each.tensor_proto.float_val[0], 3)) for each in told]
    if name == "wandb":
        content = b"".join(path.read_bytes() for path in sorted(run.path.glob("wandb/offline-run-*/*.wandb")))
        # records of protobuf: the name, a tag, the length of the value, the value as JSON; each stands there twice
        places = [(each.end(), each[1][0]) for each in re.finditer(rb"train/loss\x82\x01(.)", content, re.DOTALL)]
        values = [float(content[begin : begin + size]) for begin, size in places]
        return list(enumerate((value for value, _ in itertools.groupby(values)), start=1))
    database = Path(PLACE.name, f"{os.environ['TRACKIO_PROJECT']}.db")
    rows = sqlite3.connect(database).execute("SELECT step, metrics FROM metrics ORDER BY id").fetchall()
    told = [(step, json.loads(metrics)) for step, metrics in rows]
    return [(step, values["train/loss"]) for step, values in told if "train/loss" in values]


@pytest.mark.parametrize("name", ["csv", "tensorboard", "wandb", "trackio"])
def test_a_run_that_died_and_goes_back_to_its_checkpoint_is_told_once(run, monkeypatch, tmp_path, name):
    if name != "csv":
        pytest.importorskip(name)
    for variable in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACKIO_PROJECT", "killed")
    first = opened(name, run)
    for step, loss in CURVE[:5]:
        first(events.Logged(step=step, values={"loss": loss}))
    first(events.Failed(step=5, error={"what": "killed"}))
    again = opened(name, run)  # from the checkpoint of step 3
    for step, loss in CURVE[3:]:
        again(events.Logged(step=step, values={"loss": loss}))
    again(events.Finished(step=7, values={}, seconds=1.0, model="model"))
    assert points(name, run) == CURVE


class Slow:
    """Stands for a server that does not answer."""

    answered = threading.Event()

    def __init__(self, run, asked, began):
        pass

    def write(self, step, values):
        self.answered.wait(60)

    def close(self, failed):
        pass


class Down(Slow):
    """Stands for a server that is not there."""

    def write(self, step, values):
        raise ConnectionError("no route to host")


@pytest.mark.parametrize(
    ("kind", "said"), [(Slow, "it took more than 0 s, and was left"), (Down, "ConnectionError (no route to host)")]
)
def test_a_tracker_that_is_slow_or_down_costs_the_run_a_notice(run, monkeypatch, kind, said):
    monkeypatch.setitem(trackers.TRACKERS, "csv", kind)
    monkeypatch.setattr(trackers, "_PATIENCE", 0.2)
    with Journal(run.events) as journal:
        active = ActiveRun(run, journal)
        active.listen(opened("csv", run))
        told(active.emit)
        told(active.emit)
    Slow.answered.set()
    notices = [event.message for event in story(run.events) if event.kind == "warned" and "--log" in event.message]
    assert len(notices) == 1
    assert "--log csv raised" in notices[0] and said in notices[0] and "no more news" in notices[0]
    assert [event.kind for event in story(run.events)].count("logged") == 2 * len(CURVE)


def test_a_tracker_that_is_not_installed_is_named(run, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="needs wandb") as caught:
        opened("wandb", run)
    assert "pip install wandb" in caught.value.fix
