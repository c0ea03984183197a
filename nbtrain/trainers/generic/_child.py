"""A program that runs for a run: its output line by line, its end when the run is asked to stop."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nbtrain.redact import redact

LOOK = 0.2  # seconds between two looks at whether a stop was asked
PATIENCE = (10.0, 5.0)  # seconds after an interrupt, after a request to end; then it is killed
LONGEST = 100_000  # characters of one line; a progress bar may never end its line


class Child:
    """One program, started.

    Args:
        command: program and arguments; no shell.
        place: its working directory.
        environment: all that it sees.
        logs: folder of its log.
    """

    def __init__(self, command: Sequence[str], place: Path, environment: Mapping[str, str], logs: Path) -> None:
        logs.mkdir(exist_ok=True)
        self.log = logs / "script.log"
        self._process = subprocess.Popen(
            list(command), cwd=place, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip
        self._said: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def lines(self, stop_asked: Callable[[], bool]) -> Iterator[str]:
        """Each line that it says, without its end; a stop that is asked is passed on."""
        begun: float | None = None
        with open(self.log, "a", encoding="utf-8") as log:
            while True:
                if begun is None and stop_asked():
                    begun = time.monotonic()
                    self._process.send_signal(signal.SIGINT)
                if begun is not None:
                    self._insist(time.monotonic() - begun)
                try:
                    line = self._said.get(timeout=LOOK)
                except queue.Empty:
                    continue
                if line is None:
                    return
                log.write(redact(line) + "\n")
                log.flush()
                yield line

    def status(self) -> int:
        """Its exit status; of one that a signal ended, the signal's number below zero."""
        return self._process.wait()

    def _insist(self, waited: float) -> None:
        if waited > sum(PATIENCE):
            self._kill()
        elif waited > PATIENCE[0]:
            self._process.terminate()

    def _kill(self) -> None:
        """It and what it has started: a launcher's processes would go on without it."""
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        self._process.kill()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            while line := output.readline(LONGEST):
                self._said.put(line.rstrip("\r\n"))
        self._said.put(None)


def _die_with_parent() -> None:
    """A worker that is killed takes its script along: nobody would know of it."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() == 1:  # the parent was gone before
        os._exit(1)
