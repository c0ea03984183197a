"""Kill runs at random moments, resume each until it is finished, and compare its weights with those of one left alone.

    python scripts/kill_runs.py [--runs 20] [--seed 0]

Prints a line a run; exit code 1 if any ended with other weights or did not finish. Takes the built-in model and rows.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time

import nbtrain
from nbtrain.run import Run, start, train_here
from nbtrain.runs import launch

STEPS = 12


def asked() -> nbtrain.LLMTrainingParams:
    return nbtrain.LLMTrainingParams(
        trainer="sft", lr=1e-3, batch_size=4, max_samples=64, max_steps=STEPS, save_strategy="steps", save_steps=3,
        eval_strategy="steps", eval_steps=6, sample_max_new_tokens=4,
    )  # fmt: skip


def weights(run: Run) -> str:
    return hashlib.sha256((run.folder.model / "model.safetensors").read_bytes()).hexdigest()


def killed_at(run: Run, step: int, delay: float) -> bool:
    """Kill the run's process `delay` seconds after `step`; False where it was finished before."""
    while run.record.step < step and run.worker is not None and run.worker.poll() is None:
        time.sleep(0.005)
    time.sleep(delay)
    if run.worker is None or run.worker.poll() is not None:
        return False
    os.kill(run.worker.pid, signal.SIGKILL)
    run.worker.wait(30)
    return run.status == "failed"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    chance = random.Random(given.seed)
    os.chdir(tempfile.mkdtemp(prefix="nbtrain-kills-"))
    straight = train_here(asked())
    wrong = 0
    for number in range(1, given.runs + 1):
        launch.warm()
        run = start(asked())
        step, delay = chance.randrange(STEPS), chance.random() * 0.5
        killed = killed_at(run, step, delay)
        if killed:
            launch.warm()
            run.resume().wait(300)
        same = run.status == "finished" and weights(run) == weights(straight)
        same = same and run.record.series["loss"] == straight.record.series["loss"]
        wrong += not same
        went = f"killed {delay:.2f} s after step {step}" if killed else "finished before its kill"
        resumed = run.record.resumed[-1].step if run.record.resumed else "-"
        print(f"{number:3} {went}, resumed at {resumed}: {'the same weights' if same else 'NOT the same'}", flush=True)
    launch.cool()
    print(f"{given.runs - wrong} of {given.runs} the same")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
