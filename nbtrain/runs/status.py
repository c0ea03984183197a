"""status.json: how a run is doing, in one small file that is replaced whole. Its process gone, it reads as failed."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import threading
import time
from dataclasses import dataclass
from typing import Any

from nbtrain.events import Failed, Finished, Stopped
from nbtrain.redact import redact_all
from nbtrain.runs import control, process
from nbtrain.runs.files import atomic_write
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import last

ENDED = ("finished", "stopped", "failed")
BEAT_SECONDS = 2.0
_SILENT_SECONDS = 60.0  # on another machine, whose processes cannot be seen from here, this silence is death
GONE = "the process is gone without a word: killed (SIGKILL), out of memory, or the machine restarted"

_writing = threading.Lock()


@dataclass(frozen=True)
class Status:
    """How a run is doing.

    state: starting, running, paused; finished, stopped, failed. stage: what it does before its first step, in words.
    pid, pid_start, host: the process that trains it, None when none does.
    since, heartbeat: when that process took the run up, and when it last said that it lives; seconds since 1970.
    cause: why it failed, in words.
    """

    state: str = "starting"
    stage: str = ""
    step: int = 0
    pid: int | None = None
    pid_start: str | None = None
    host: str = ""
    since: float = 0.0
    heartbeat: float = 0.0
    cause: str = ""


def read(folder: RunFolder) -> Status:
    """The status as it is true now: a run whose process is dead has ended, as its journal says, or failed."""
    status = stored(folder)
    if status.state in ENDED or _lives(status):
        return status
    end = last(folder.events)
    if isinstance(end, (Finished, Stopped, Failed)) and end.time >= status.since:
        cause = end.error.get("what", "") if isinstance(end, Failed) else ""
        return dataclasses.replace(status, state=end.kind, cause=cause)
    far = status.host not in ("", platform.node())
    cause = f"no sign of life from {status.host}: {GONE}" if far else GONE
    return dataclasses.replace(status, state="failed", cause=status.cause or cause)


def write(folder: RunFolder, **changes: Any) -> None:
    """Change some fields of the status. On the disk at once when it is an end, otherwise when the system likes.

    Raises:
        OSError: the file cannot be written.
    """
    with _writing:  # the heartbeat writes from a thread of its own: neither may undo what the other changed
        status = dataclasses.replace(stored(folder), **changes)
        text = json.dumps(redact_all(dataclasses.asdict(status)), ensure_ascii=False)
        atomic_write(folder.status, text, durable=status.state in ENDED)


def begin(folder: RunFolder, pid: int) -> None:
    """Process `pid` of this machine takes the run up. What was asked of the process before it is void."""
    start, now = process.start_of(pid), time.time()
    before = stored(folder)
    if before.state not in ENDED and (before.pid, before.pid_start) == (pid, start):
        write(folder, heartbeat=now)  # whoever started this process has begun for it
        return
    control.clear(folder)
    life = {"pid": pid, "pid_start": start, "host": platform.node(), "since": now, "heartbeat": now}
    write(folder, state="starting", stage="", cause="", **life)


def stored(folder: RunFolder) -> Status:
    """The status as it was written last, by a process that may be dead by now."""
    try:
        found = json.loads(folder.status.read_text(encoding="utf-8"))
        known = {field.name for field in dataclasses.fields(Status)}
        return Status(**{name: value for name, value in found.items() if name in known})
    except (FileNotFoundError, ValueError, AttributeError):
        return Status()  # nobody has taken it up, or a power loss left an empty file: the journal is the truth


def _lives(status: Status) -> bool:
    if status.pid is None:
        return not status.since and status.state == "starting"  # prepared, and nobody has taken it up yet
    if status.host not in ("", platform.node()):
        return time.time() - status.heartbeat < _SILENT_SECONDS
    return process.alive(status.pid, status.pid_start)


class Heartbeat:
    """While it is open, this process trains the run and says so every two seconds, from a thread.

    A run that is left without an end of its own (the disk was full when it wanted to write one) is failed.

    Args:
        owner: the process that the run is, where that is not this one but whoever started it and tells its end.
    """

    def __init__(self, folder: RunFolder, owner: int | None = None) -> None:
        self.folder = folder
        self._owner = owner
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="nbtrain-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        begin(self.folder, self._owner or os.getpid())
        self._thread.start()
        return self

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                write(self.folder, heartbeat=time.time())
            except OSError:
                continue  # a full disk is told by the journal; when there is room again, so is the life

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        self._over.set()
        self._thread.join()
        if self._owner:
            return
        changes: dict[str, Any] = {"pid": None, "pid_start": None, "heartbeat": time.time()}
        if stored(self.folder).state not in ENDED:  # without a process it reads as failed, for this cause
            changes["cause"] = f"{type(fault).__name__}: {fault}" if fault else "training was left without an end"
        write(self.folder, **changes)
