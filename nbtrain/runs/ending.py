"""How a run ended whose process could not say it itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from nbtrain.errors import NbtrainError, RunError, WorkerDied
from nbtrain.events import Event, Failed, Finished, Stopped
from nbtrain.redact import redact
from nbtrain.runs import checkpoints, process, status
from nbtrain.runs.folder import RunFolder, lock
from nbtrain.runs.journal import Journal, last

CODES = {"finished": 0, "failed": 1, "stopped": 3}
"""Exit code of a worker, by the state in which its run ended."""

_LET_GO_SECONDS = 5.0

_SIGNALS = {
    "SIGKILL": "often the system ran out of memory",
    "SIGSEGV": "a crash in native code; the log has the Python frames",
    "SIGBUS": "a crash in native code, often because /dev/shm or a disk is full",
    "SIGABRT": "native code gave up; the log has its last words",
    "SIGILL": "a library was built for another processor",
    "SIGTERM": "ended from outside",
    "SIGINT": "interrupted twice",
    "SIGHUP": "its terminal was closed",
}


def words(code: int | None) -> str:
    """A process's exit code in words; negative for a signal, None where nobody could read it."""
    if code is None:
        return status.GONE
    if code < 0:
        name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
        return f"killed by {name}" + (f": {_SIGNALS[name]}" if name in _SIGNALS else "")
    if code == 0:
        return "exit 0 in the middle of the run: something in it called os._exit or sys.exit"
    return f"exit {code} before the run could say why"


def died(folder: RunFolder, code: int | None) -> WorkerDied:
    """The error of a run whose process is gone; the last line of its log is in it."""
    said = _last_line(folder.log)
    return WorkerDied(
        f"The process that trained {folder.name} died",
        where=str(folder.log),
        why=words(code) + (f". Last in its log: {said}" if said else ""),
        fix=f"Resume it from its last checkpoint: resume {folder.name}",
    )


def fail(folder: RunFolder, error: NbtrainError) -> None:
    """Write into journal and status that the run failed, unless it has ended by itself or somebody trains it."""
    _end(folder, lambda step: Failed(step=step, error=error.record()), error.why or error.what)


def stop(folder: RunFolder, reason: str) -> None:
    """Write into journal and status that the run was ended from outside, unless it has ended by itself."""
    newest = checkpoints.newest(folder)
    place = str(newest.relative_to(folder.path)) if newest else ""
    _end(folder, lambda step: Stopped(step=step, reason=reason, checkpoint=place), "")


def awaited(folder: RunFolder, seconds: float = 10.0) -> None:
    """Wait until the run has an end, whoever tells it; at most so long."""
    until = time.monotonic() + seconds
    while status.stored(folder).state not in status.ENDED and time.monotonic() < until:
        time.sleep(0.05)


def _end(folder: RunFolder, made: Callable[[int | None], Event], cause: str) -> None:
    # a killed process is a zombie before the last of its threads lets go of the lock
    until = time.monotonic() + _LET_GO_SECONDS
    while not _written(folder, made, cause) and time.monotonic() < until:
        now = status.stored(folder)
        if now.pid is not None and process.alive(now.pid, now.pid_start):
            return  # it is trained
        time.sleep(0.02)


def _written(folder: RunFolder, made: Callable[[int | None], Event], cause: str) -> bool:
    """Write the end, where there is none; False where another holds the lock."""
    try:
        with lock(folder):
            now = status.stored(folder)
            if now.state in status.ENDED:
                return True
            end = last(folder.events)
            if isinstance(end, (Finished, Stopped, Failed)) and end.time >= now.since:
                status.write(folder, state=end.kind, pid=None, pid_start=None)
                return True
            event = made(now.step or None)
            with Journal(folder.events) as journal:
                journal.append(event)
            status.write(folder, state=event.kind, cause=cause, pid=None, pid_start=None)
    except RunError:
        return False
    return True


def _last_line(log: Path) -> str:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return redact(next((line.strip() for line in reversed(lines) if line.strip()), ""))[:300]
