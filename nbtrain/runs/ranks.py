"""Several processes that train one run together: which of them this one is, and how they agree.

Whoever starts them (`together`, torchrun, accelerate) tells each by its environment, as torch has it: RANK, WORLD_SIZE
and LOCAL_RANK. The first, rank 0, writes all that is written; the others compute. Where one process trains alone, each
function here gives back at once what it was given.
"""

from __future__ import annotations

import atexit
import json
import os
import platform
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from nbtrain.errors import NbtrainError, RunError
from nbtrain.runs import process
from nbtrain.runs.files import atomic_write
from nbtrain.runs.folder import RunFolder

MEETING = "NBTRAIN_MEETING"
"""Variable: the file over which processes of one machine find each other; without it they do as torchrun says."""

_Value = TypeVar("_Value")
_done = False  # whether what is trained together is trained


class Released(BaseException):
    """This process has trained its share: the first one saves, measures and tells. No fault, so no Exception."""


def count() -> int:
    """How many processes train together; 1 where this one trains alone."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ and not _done else 1


def number() -> int:
    """Which of them this is, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def is_first() -> bool:
    """Whether this is the one that writes."""
    return number() == 0


def supervised() -> bool:
    """Whether a supervisor of ours started this process, and tells how the run ended."""
    return count() > 1 and MEETING in os.environ


def begin() -> None:
    """A run begins, which may be the next of several that the same processes train."""
    global _done
    _done = False


def part() -> None:
    """What is trained together is trained: from here on the first process is alone.

    Raises:
        Released: this is another one.
    """
    global _done
    if count() == 1:
        return
    first = is_first()
    _done = True
    if not first:
        raise Released


def join(seconds: int) -> None:
    """Meet the others. seconds: how long one waits for another, now and later."""
    if count() == 1:
        return
    process.make_ready()
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    meeting = os.environ.get(MEETING)
    distributed.init_process_group(
        backend,
        init_method=f"file://{meeting}" if meeting else "env://",
        rank=number(),
        world_size=count(),
        timeout=timedelta(seconds=seconds),
    )
    atexit.register(leave)  # its threads would abort a process that ends without


def leave() -> None:
    """Let go of the others: what waits for this process fails there at once."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def agreed(value: _Value) -> _Value:
    """The first one's value, at each; all of them must call it, at the same place."""
    if count() == 1:
        return value
    import torch
    from torch import distributed

    held: list[Any] = [value]
    distributed.broadcast_object_list(held, src=0, device=torch.device("cpu"))
    found: _Value = held[0]
    return found


def each(value: _Value) -> list[_Value]:
    """Everyone's value, by number; all of them must call it, at the same place."""
    if count() == 1:
        return [value]
    from torch import distributed

    found: list[Any] = [None] * count()
    distributed.all_gather_object(found, value)
    return found


def wait() -> None:
    """Go on when all have come here."""
    each(None)


def same_folder(run: RunFolder | None) -> RunFolder:
    """The folder that the first one has made, at each.

    Args:
        run: None, but for the first.

    Raises:
        RunError: it is on a disk that this machine does not see.
    """
    if run is not None and count() == 1:
        return run
    found = RunFolder(Path(agreed(None if run is None else str(run.path)) or ""))
    if not found.params.is_file():
        raise RunError(
            f"{platform.node()} does not see the run folder of the first process",
            where=str(found.path),
            fix="Start each machine in a folder that they share, or name one: --project-name /shared/NAME.",
        )
    return found


def report(run: RunFolder, error: NbtrainError, trace: str) -> None:
    """Leave word of what ended this process; whoever tells how the run ended looks for it."""
    run.log.parent.mkdir(exist_ok=True)
    content = {"error": error.record(), "trace": trace, "time": time.time()}
    atomic_write(_report(run, number()), json.dumps(content, ensure_ascii=False))


def reported(run: RunFolder, number: int) -> dict[str, Any] | None:
    """What process `number` has left word of: error, trace, time; None where it has not."""
    try:
        found: dict[str, Any] = json.loads(_report(run, number).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def reported_by_another(run: RunFolder) -> dict[str, Any] | None:
    """What another process has left word of, and this one before it: it is why this one fell."""
    found = [said for each in range(count()) if (said := reported(run, each)) is not None]
    first = min(found, key=lambda said: float(said["time"]), default=None)
    return first if first is not None and first != reported(run, number()) else None


def forget(run: RunFolder) -> None:
    """What was reported before counts no more."""
    for path in run.log.parent.glob("rank-*.json"):
        path.unlink(missing_ok=True)


def _report(run: RunFolder, number: int) -> Path:
    return run.log.parent / f"rank-{number}.json"
