"""The same training by nbtrain, by TRL and by AutoTrain, each in processes of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from settings import HERE, peer_program

from nbtrain.events import Failed, Logged
from nbtrain.runs.journal import story

BATCH = 8
LR, WARMUP, DECAY = 3e-5, 0.1, 0.01  # nbtrain's own, given to TRL by name
EVERY = 10  # steps between two things that TRL logs, by its default
_LOSS = re.compile(r"INFO.*'loss': ([\d.]+)")


@dataclass(frozen=True)
class Task:
    """What is trained. model: folder. rows: JSON lines with `messages`, alone in their folder. steps: in all."""

    model: Path
    rows: Path
    epochs: int
    steps: int


@dataclass(frozen=True)
class Outcome:
    """What an arm did.

    losses: in order, means over EVERY steps; AutoTrain's are single steps. seconds, tokens: of the steps that are
    timed, without the first. peak: MB of its processes together. model: folder.
    """

    losses: list[float]
    seconds: float
    tokens: int
    peak: float
    model: Path

    @property
    def speed(self) -> float:
        """Useful tokens a second."""
        return self.tokens / self.seconds


def nbtrain(task: Task, folder: Path, threads: int, tokens: int) -> Outcome:
    """nbtrain's command, with its defaults; all tokens are trained, since TRL's default does so with messages.

    Args:
        tokens: of the steps that are timed, as TRL counted them; the rows come in the same order.
    """
    command = [
        str(Path(sys.executable).parent / "nbtrain"), "llm", "--trainer", "sft", "--model", str(task.model),
        "--data-path", str(task.rows), "--project-name", str(folder), "--batch-size", str(BATCH),
        "--epochs", str(task.epochs), "--no-response-only-loss", "--valid-fraction", "0",
    ]  # fmt: skip
    peak = watched(command, threads)
    events = story(folder / "events.jsonl")
    failed = next((event for event in events if isinstance(event, Failed)), None)
    if failed is not None:
        raise RuntimeError(failed.error["what"])
    logged = {event.step: event for event in events if isinstance(event, Logged)}
    last = task.steps // EVERY * EVERY
    means = [
        sum(logged[step].values["loss"] for step in range(end - EVERY + 1, end + 1)) / EVERY
        for end in range(EVERY, last + 1, EVERY)
    ]
    return Outcome(means, logged[last].time - logged[EVERY].time, tokens, peak, folder / "model")


def trl(task: Task, folder: Path, threads: int) -> Outcome:
    """TRL's SFTTrainer with its defaults, but for the learning rate's course and the decay, which are nbtrain's."""
    folder.mkdir()
    fields = {
        "num_train_epochs": task.epochs,
        "learning_rate": LR,
        "warmup_steps": -int(-task.steps * WARMUP // 1),
        "weight_decay": DECAY,
    }
    script = [str(HERE / "trl_script.py"), str(task.model), str(task.rows), str(folder)]
    peak = watched([sys.executable, *script, *(f"{name}={value}" for name, value in fields.items())], threads)
    told = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    times = {each["step"]: each["time"] for each in told if "time" in each}
    logs = {each["step"]: each for each in told if "loss" in each}
    tokens = int(logs[max(logs)]["num_tokens"] - logs[EVERY]["num_tokens"])
    losses = [logs[step]["loss"] for step in sorted(logs)]
    return Outcome(losses, times[max(logs)] - times[EVERY], tokens, peak, folder / "model")


def autotrain(task: Task, folder: Path, threads: int) -> Outcome:
    """AutoTrain's command with its defaults, but for the batch, which is 8 full blocks, and no accumulation.

    It packs across documents: other batches, so its losses are its own. Without OMP_NUM_THREADS it takes one thread.
    """
    program = peer_program()
    assert program is not None
    command = [
        program, "llm", "--train", "--trainer", "sft", "--model", str(task.model), "--data-path", str(task.rows.parent),
        "--project-name", folder.name, "--text-column", "messages", "--chat-template", "tokenizer",
        "--batch-size", str(BATCH), "--gradient-accumulation", "1", "--epochs", str(task.epochs), "--lr", str(LR),
        "--logging-steps", "1",
    ]  # fmt: skip
    told: list[tuple[float, float]] = []  # when, loss

    def listen(line: str) -> None:
        if found := _LOSS.search(line):
            told.append((time.time(), float(found.group(1))))

    # it starts `accelerate`, which stands beside it, and takes no path for a name
    path = f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}"
    peak = watched(command, threads, listen, place=folder.parent, PATH=path)
    if len(told) < 3 or not (folder / "model.safetensors").exists():
        raise RuntimeError("AutoTrain did not train")
    full = told[:-1]  # the last batch may be smaller
    return Outcome([loss for _, loss in told], full[-1][0] - full[0][0], (len(full) - 1) * BATCH * 1024, peak, folder)


def watched(
    command: list[str],
    threads: int,
    listen: Callable[[str], None] | None = None,
    *,
    place: Path | None = None,
    **more: str,
) -> float:
    """Run a command to its end; the peak of its processes' memory together, in MB.

    Args:
        listen: called with each line that it says, as it says it.
        place: its working directory.
        more: variables of its environment.
    """
    environment: Mapping[str, str] = {
        **os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **more,
    }  # fmt: skip
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        cwd=place,
    )
    assert child.stdout is not None
    peaks = [0.0]
    weighing = threading.Thread(target=_weigh, args=(psutil.Process(child.pid), peaks), daemon=True)
    weighing.start()
    last: list[str] = []
    for line in child.stdout:
        last = [*last[-20:], line]
        if listen is not None:
            listen(line)
    if child.wait():
        raise RuntimeError(f"{command[0]} ended with {child.returncode}:\n{''.join(last)}")
    weighing.join()
    return peaks[0]


def _weigh(process: psutil.Process, peaks: list[float]) -> None:
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        held = 0
        for each in [process, *process.children(recursive=True)]:
            try:
                held += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peaks[0] = max(peaks[0], held / 1e6)
        time.sleep(0.05)
