"""Goal 3: from the start of the cell to the end of the first optimiser step, against a script for TRL in a new process.

Ours has a standby that is ready, as in a notebook a moment after %load_ext; all of what nbtrain does before the first
step counts: reading, checking, tokenising, the proof of the flat rows, the samples of the model as it came.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Line, compare
from settings import HERE, data

from nbtrain import trainers
from nbtrain.events import Event, Failed, Logged
from nbtrain.models import load
from nbtrain.run import start
from nbtrain.runs import launch
from nbtrain.runs.journal import Tail

BATCH = 8
PAIRS = 5
LONGEST = 300.0  # seconds; what takes longer is stuck


def measure() -> Line:
    """The built-in model on real data, batches of 8, all tokens trained on both sides."""
    with tempfile.TemporaryDirectory() as folder:
        losses: dict[str, float] = {}
        places = (str(Path(folder) / f"trl-{number}") for number in itertools.count())
        found = compare(
            "3 cell to step 1 / TRL script to step 1",
            lambda: our_seconds(Path(folder), losses),
            lambda: trl_seconds(next(places), losses),
            count=PAIRS,
            unit="s",
            target="<= 0.3",
        )
    launch.cool()
    return found.noted(f"loss of step 1: {losses['ours']:.4f} and {losses['trl']:.4f}")


def our_seconds(root: Path, losses: dict[str, float]) -> float:
    """From `start`, which the cell calls, to the end of step 1 as the journal has it."""
    launch.warm()
    if not launch.is_warm(LONGEST):
        raise RuntimeError("the standby does not get ready")
    room = trainers.load("llm").Params
    asked = {"trainer": "sft", "data_path": str(data()), "batch_size": BATCH, "response_only_loss": False}
    asked |= {"valid_fraction": 0}  # all rows, as the script has them: the first batch is then the same
    params, _ = room.read(asked)
    begin = time.time()
    run = start(params, root=root)
    first = _first(Tail(run.folder.events), begin)
    assert run.worker is not None
    run.worker.kill()
    run.worker.wait()
    if isinstance(first, Failed):
        raise RuntimeError(first.error["what"])
    losses["ours"] = first.values["loss"]  # type: ignore[attr-defined]
    return first.time - begin


def _first(tail: Tail, begin: float) -> Event:
    while time.time() - begin < LONGEST:
        for event in tail.read():
            if isinstance(event, (Logged, Failed)):
                return event
        time.sleep(0.02)
    raise RuntimeError("the first step does not come")


def trl_seconds(folder: str, losses: dict[str, float]) -> float:
    """From the start of the process to the end of step 1 as its callback has it."""
    Path(folder).mkdir()
    script = str(HERE / "trl_script.py")
    command = [sys.executable, script, str(load.TINY), str(data()), folder, "max_steps=1", "logging_steps=1"]
    begin = time.time()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"})
    told = [json.loads(line) for line in (Path(folder) / "steps.jsonl").read_text().splitlines()]
    losses["trl"] = next(each["loss"] for each in told if "loss" in each)
    return next(each["time"] for each in told if "time" in each) - begin
