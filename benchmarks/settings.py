"""What is measured with: the data, the peer's program, the versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
from pathlib import Path

HERE = Path(__file__).parent
NO_PEER = "AutoTrain is not here: `make .venv-peer`, or name its program in NBTRAIN_PEER"
ROWS = "sft/dolly_open_qa.messages.jsonl"


def data() -> Path:
    """Chats to train on: of the folder that NBTRAIN_DATA names, else the demo that is built in."""
    folder = os.environ.get("NBTRAIN_DATA")
    if folder:
        return Path(folder).expanduser().resolve() / ROWS
    from nbtrain.data.sources import DEMO

    return DEMO


def peer_program() -> str | None:
    """AutoTrain's program, which has an environment of its own."""
    program = os.environ.get("NBTRAIN_PEER") or str(HERE.parent / ".venv-peer" / "bin" / "autotrain")
    return program if Path(program).exists() else None


def head() -> str:
    """Date, machine and versions: no figure is worth anything without them."""
    names = ("nbtrain", "torch", "transformers", "trl", "datasets", "ipywidgets")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {cores} cores{load}; {versions}\ndata: {data().name}"
