"""The process that trains: `python -P -m nbtrain.worker [--warm]` waits for a line on stdin, does as it says, and ends.
With --stay it waits for the next line then, until stdin is closed.

The line is JSON: {"folder", "secrets", "resume", "rehearse", "cwd", "environment"}. stdin closed without one: not
wanted, exit 0.
With --rank it is one of several processes that train a run together, and ends when stdin is closed.
Exit code: 0 only for a run that finished, 3 for one that was stopped as asked, 1 for one that failed.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import importlib
import importlib.util
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn, TextIO

from nbtrain.errors import NbtrainError, TrainingError
from nbtrain.redact import redact, remember, remember_environment
from nbtrain.runs import control, ending, process, ranks
from nbtrain.runs.folder import RunFolder

HEAVY = ("torch", "transformers", "transformers.trainer", "peft", "datasets")


class Masked:
    """A text stream that lets no known secret through; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main(arguments: list[str]) -> int:
    """Wait for an assignment and do it; the exit code of the process."""
    process.make_ready()
    process.give_way()
    remember_environment()
    # before any library takes hold of the streams for its log
    sys.stdout, sys.stderr = Masked(sys.stdout), Masked(sys.stderr)
    if "--warm" in arguments:
        _warm_up()
    if "--stay" in arguments:
        return _stay()
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return 0
    if "--rank" in arguments:
        threading.Thread(target=_end_with_stdin, name="nbtrain-stdin", daemon=True).start()
    return _train(json.loads(line))


def _end_with_stdin() -> NoReturn:
    """Whoever started this process is gone: nobody would know of it."""
    sys.stdin.read()
    os._exit(1)


def _stay() -> int:
    """Train one run after the other. stdin closed: nobody waits for more, and the run that goes on is asked to stop."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    going: list[RunFolder] = []

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put("")
        for folder in list(going):
            control.ask(folder, "stop")

    threading.Thread(target=listen, name="nbtrain-stdin", daemon=True).start()
    code = 0
    while line := lines.get():
        task = json.loads(line)
        going.append(RunFolder(task["folder"]))
        code = _train(task)
        going.clear()
        gc.collect()
        if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
            sys.modules["torch"].cuda.empty_cache()
    return code


def _warm_up() -> None:
    """Import what most runs need, in silence, then say so on what was stdout."""
    process.spare_bitsandbytes()
    told = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    for name in HEAVY:
        # a broken library is told by the run that needs it
        with contextlib.suppress(Exception):
            if importlib.util.find_spec(name) is not None:
                importlib.import_module(name)
    with contextlib.suppress(Exception):
        _rehearse()
    # what stands now stays: without this, each collection that a Trainer asks for looks through it all (0.6 s)
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError):
        os.write(told, b"ready\n")
    for descriptor in (told, silence):
        os.close(descriptor)


def _rehearse() -> None:
    """Load the rooms and open the built-in model, from which libraries make tables that they keep (1 s)."""
    from nbtrain import fit, trainers  # noqa: F401
    from nbtrain.models import load, pretrained

    for name in trainers.names():
        trainers.load(name)
    load.saved_tokenizer(str(load.TINY))
    pretrained.open_whole(str(load.TINY), dtype="auto")  # on the CPU: a standby holds no memory of a GPU


def _train(assignment: Mapping[str, Any]) -> int:
    folder = RunFolder(assignment["folder"])
    _write_to(folder)
    secrets: dict[str, str] = assignment["secrets"]
    for secret in secrets.values():
        remember(secret)
    for name, value in assignment.get("environment", {}).items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    remember_environment()
    _obey_signals(folder)
    try:
        if not assignment.get("few_bits"):
            process.spare_bitsandbytes()
        os.chdir(assignment["cwd"])
        from nbtrain.sweep import fit

        state = fit(folder, resume=assignment["resume"], secrets=secrets, **_instead(assignment.get("rehearse")))
    except BaseException as error:
        traceback.print_exc()
        if ranks.supervised():
            ranks.report(folder, _as_ours(error), traceback.format_exc())
        else:
            ending.fail(folder, _as_ours(error))
        state = "failed"
    return ending.CODES[state]


def _instead(asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What trains in the place of the room, where the run is only looked at."""
    if not asked:
        return {}
    from nbtrain.trainers import _rehearsal

    process.take_no_more()  # a question must not end the notebook that asks it
    return {"train": _rehearsal.instead(asked)}


def _write_to(folder: RunFolder) -> None:
    """From here on stdout and stderr are the run's log, also for what native code writes."""
    folder.log.parent.mkdir(exist_ok=True)
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    faulthandler.enable(file=2)


def _obey_signals(folder: RunFolder) -> None:
    """The first signal to end asks the run to stop; the second does what it says."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    owner = os.getpid()

    def stop(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        if os.getpid() == owner:
            control.ask(folder, "stop")
        else:  # a data loader's forked worker, which inherited this: it is ended, the run goes on
            os.kill(os.getpid(), number)

    for each in numbers:
        signal.signal(each, stop)


def _as_ours(error: BaseException) -> NbtrainError:
    if isinstance(error, NbtrainError):
        return error
    return TrainingError(f"{type(error).__name__}: {error}", fix="The log of the run has the traceback.")


def _leave(code: int) -> NoReturn:
    """End the process as sys.exit does, but for the taking down of some thousand modules.

    That takes 1.5 seconds, holds the memory all the while, and where a library crashes in it, spoils the exit code.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
