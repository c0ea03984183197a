"""Workers: the processes that train. Each has a session of its own: no interrupt and no dead kernel takes it along.

A standby is a worker that has its imports done and waits; a run that starts then saves the seconds they take.
What it is to do, and every secret, comes as one line on its stdin: any user of the machine can read an argument.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from nbtrain.errors import RunError
from nbtrain.runs import control, ending, process, status
from nbtrain.runs.folder import RunFolder, read_params

# read by a library when it is imported: a standby has done that, so a change of one of these makes it useless
_READ_ON_IMPORT = re.compile(
    r"(?!HF_TOKEN$|TORCHINDUCTOR_CACHE_DIR$)"  # the second is set by peft when the kernel imports it
    r"(HF_|HUGGINGFACE|TRANSFORMERS_|DATASETS_|TOKENIZERS_|TRL_|PYTHON|TORCH|PYTORCH|CUDA|NVIDIA|NCCL|ROCM|HIP_|OMP_"
    r"|MKL_|OPENBLAS|GOTO|LD_|MALLOC_|XDG_|HOME$|PATH$|TMPDIR$|LANG$|LC_|NBTRAIN_)"
)
_POLL_SECONDS = 0.05
_DEATH_SECONDS = 10.0  # a process with much memory takes its time to give it back


class Worker:
    """A process that trains one run, started here or found by its status."""

    def __init__(
        self, folder: RunFolder, pid: int, child: subprocess.Popen[bytes] | None = None, *, stays: bool = False
    ) -> None:
        self.folder = folder
        self.pid = pid
        self._stays = stays  # the process outlives the run
        self._start = process.start_of(pid)
        self._child = child
        self._settled = False
        self._killed = False

    def poll(self) -> int | None:
        """The exit code, None while it runs: 0 finished, 3 stopped, 1 failed, negative for a signal.

        When the process is gone, the run's journal and status have its end, whether it could write that itself or not.
        """
        code: int | None
        now = status.stored(self.folder) if self._stays else None
        if now is not None and now.state in status.ENDED and now.pid is None:
            code = ending.CODES.get(now.state, 1)
        elif self._child is not None:
            code = self._child.poll()
        elif process.alive(self.pid, self._start):
            code = None
        else:
            code = ending.CODES.get(status.read(self.folder).state, 1)
        if code is not None and not self._settled:
            if self._killed:
                ending.stop(self.folder, "ended at once, as asked")
            else:
                ending.fail(self.folder, ending.died(self.folder, code if self._child is not None else None))
            self._settled = True
        return code

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end, at most `timeout` seconds; the exit code, None if it still runs."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None and (until is None or time.monotonic() < until):
            time.sleep(_POLL_SECONDS)
        return code

    def stop(self) -> None:
        """Ask it to finish its step, save and end; returns at once."""
        control.ask(self.folder, "stop")

    def kill(self) -> None:
        """End it now, with its children; the run is then stopped, and its last checkpoint is kept."""
        if self.poll() is not None:
            return
        self._killed = True
        if os.name == "nt":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(self.pid)], capture_output=True)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.wait(_DEATH_SECONDS)  # whoever looks first writes the end, and only here it is known that it was asked for

    def cause(self) -> str:
        """How it ended, in words; '' while it runs."""
        code, now = self.poll(), status.read(self.folder)
        if code is None:
            return ""
        return now.cause or now.state


_workers: dict[Path, Worker] = {}
"""The workers that this process started: only a parent reads an exit code, whoever holds the handle."""


def launch(
    folder: RunFolder,
    secrets: Mapping[str, str] | None = None,
    *,
    resume: bool = False,
    rehearse: Mapping[str, Any] | None = None,
) -> Worker:
    """Train a prepared run in a process of its own; returns at once.

    Args:
        secrets: values of secret parameters.
        resume: go on from the newest good checkpoint.
        rehearse: what is done in the place of training, as `trainers._rehearsal.instead` takes it.

    Raises:
        RunError: it is being trained already.
    """
    what = assignment(folder, secrets, resume=resume) | {"rehearse": dict(rehearse or {})}
    child = (not what["few_bits"] and _from_standby(folder, what)) or _from_cold(folder, what)
    _workers[folder.path] = worker = Worker(folder, child.pid, child)
    return worker


def assignment(folder: RunFolder, secrets: Mapping[str, str] | None, *, resume: bool) -> dict[str, Any]:
    """What a worker is told to do.

    Raises:
        RunError: the run is being trained already.
    """
    now = status.read(folder)
    if now.state not in status.ENDED and now.pid is not None:
        raise RunError(
            f"{folder.name} is being trained already, by process {now.pid}",
            where=str(folder.path),
            fix=f"attach {folder.name}",
        )
    task = {"folder": str(folder.path), "secrets": dict(secrets or {}), "resume": resume, "cwd": os.getcwd()}
    return task | {"few_bits": _in_few_bits(folder)}


def attach(folder: RunFolder) -> Worker | None:
    """The worker that trains this run, whoever started it; None where none does."""
    own = _workers.get(folder.path)
    if own is not None and own.poll() is None:
        return own
    now = status.read(folder)
    if now.state not in status.ENDED and now.pid is not None and now.pid != os.getpid():
        return Worker(folder, now.pid, stays=True)  # it may be one that goes on to other runs
    if now.state == "failed":
        ending.fail(folder, ending.died(folder, None))  # its journal may not know yet
    return None


class _Standby:
    """A worker that imports what a run will need, then waits."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self.packages = _packages()
        self.ready = threading.Event()
        self.child = start(["--warm"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._listen, name="nbtrain-standby", daemon=True).start()

    def _listen(self) -> None:
        assert self.child.stdout is not None
        with self.child.stdout as said:
            if said.readline():
                self.ready.set()

    def news(self) -> dict[str, str | None] | None:
        """The variables of the environment that it has to be told of; None where it is of no use any more."""
        then, now = self.environment, dict(os.environ)
        changed = {name: now.get(name) for name in then.keys() | now if then.get(name) != now.get(name)}
        dead = self.child.poll() is not None
        return None if dead or self.packages != _packages() or any(map(_READ_ON_IMPORT.match, changed)) else changed


_standby: _Standby | None = None
_standing = threading.Lock()


def warm() -> None:
    """Have a standby ready, or getting ready; nothing where NBTRAIN_STANDBY=0."""
    global _standby
    if os.environ.get("NBTRAIN_STANDBY") == "0":
        return
    with _standing:
        if _standby is not None and _standby.news() is None:
            _dismiss(_standby)
            _standby = None
        _standby = _standby or _Standby()


def is_warm(timeout: float = 0.0) -> bool:
    """Whether a standby has its imports done, waiting for it at most `timeout` seconds."""
    standby = _standby
    return standby is not None and standby.ready.wait(timeout) and standby.child.poll() is None


def cool() -> None:
    """End the standby, if there is one."""
    global _standby
    with _standing:
        if _standby is not None:
            _dismiss(_standby)
        _standby = None


def _dismiss(standby: _Standby) -> None:
    standby.child.kill()
    standby.child.wait()
    if standby.child.stdin is not None:
        standby.child.stdin.close()


def _in_few_bits(folder: RunFolder) -> bool:
    """Whether the run needs bitsandbytes, which a standby has been spared."""
    try:
        return process.in_few_bits(read_params(folder)["params"])
    except RunError:  # the worker says so
        return False


def _from_standby(folder: RunFolder, task: dict[str, Any]) -> subprocess.Popen[bytes] | None:
    global _standby
    with _standing:
        standby, _standby = _standby, None
    if standby is None:
        return None
    news = standby.news()
    if news is not None and assign(standby.child, folder, {**task, "environment": news}):
        return standby.child
    _dismiss(standby)
    return None


def _from_cold(folder: RunFolder, task: dict[str, Any]) -> subprocess.Popen[bytes]:
    folder.log.parent.mkdir(exist_ok=True)
    with open(folder.log, "ab") as log:
        child = start([], stdout=log, stderr=log)
    assign(child, folder, task)  # where it died at once, its exit code will tell
    return child


def assign(child: subprocess.Popen[bytes], folder: RunFolder, task: dict[str, Any], *, last: bool = True) -> bool:
    """Tell a waiting worker what to do; False where it is dead.

    Args:
        last: it ends with this run.
    """
    assert child.stdin is not None
    status.begin(folder, child.pid)
    try:
        child.stdin.write(json.dumps(task).encode() + b"\n")
        child.stdin.flush()
        if last:
            child.stdin.close()
    except (OSError, ValueError):  # broken, or closed
        return False
    return True


def start(
    arguments: list[str],
    *,
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """A worker that waits for its task.

    Args:
        environment: variables that it gets beside those of this process.
    """
    apart = "--rank" not in arguments  # a rank ends with whoever looks after it
    group = 0x200 if apart and os.name == "nt" else 0  # CREATE_NEW_PROCESS_GROUP: there are no sessions there
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "nbtrain.worker", *arguments],  # -P: the user's logging.py is not Python's
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env=process.environment() | dict(environment or {}),
        start_new_session=apart,
        creationflags=group,
    )


def _packages() -> tuple[int, ...]:
    """Changes when something is installed or removed: what a standby has imported may then be of yesterday."""
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return tuple(Path(place).stat().st_mtime_ns for place in sorted(places) if Path(place).is_dir())
