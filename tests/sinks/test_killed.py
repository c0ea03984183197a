"""A run that is killed in the middle and resumed is one run to its tracker, each step of it once."""

import os
import subprocess
import sys

import pytest

from nbtrain.runs import folder
from nbtrain.runs.journal import story

KILLED = """
import os, signal
from nbtrain.sinks import trackers

tell = trackers.Aside._tell

def killed_at_seven(self, tracker, event):
    tell(self, tracker, event)
    if event.step == 7 and "resume" not in __import__("sys").orig_argv:
        os.kill(os.getpid(), signal.SIGKILL)

trackers.Aside._tell = killed_at_seven
"""
ASKED = (
    "llm", "--trainer", "sft", "--max-samples", "64", "--max-steps", "10", "--batch-size", "2", "--logging-steps", "1",
    "--save-strategy", "steps", "--save-steps", "3", "--eval-strategy", "no", "--project-name", "mine",
    "--log", "tensorboard",
)  # fmt: skip


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_is_told_once(workdir):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (workdir / "planted").mkdir()
    (workdir / "planted" / "sitecustomize.py").write_text(KILLED)
    paths = os.pathsep.join([str(workdir / "planted"), *filter(None, [os.environ.get("PYTHONPATH")])])

    def nbtrain(*words):
        command = [sys.executable, "-m", "nbtrain", *words]
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)

    assert nbtrain(*ASKED).returncode == -9
    done = nbtrain("resume", "mine")
    assert done.returncode == 0, done.stderr
    run = folder.find("mine")
    (resumed,) = [event.step for event in story(run.events) if event.kind == "resumed"]
    assert resumed in (3, 6), "it went back, and over some steps again"
    told = EventAccumulator(str(run.path / "tensorboard")).Reload().Tensors("train/loss")
    steps = [each.step for each in told]
    logged = {event.step: event.values["loss"] for event in story(run.events) if event.kind == "logged"}
    assert steps == sorted(logged) == list(range(1, 11))
    assert [round(each.tensor_proto.float_val[0], 5) for each in told] == [round(logged[step], 5) for step in steps]
