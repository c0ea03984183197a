"""A place where one run is trained after the other, by a process that stays: its imports are made once.

It stays as long as its runs end well. One that failed may have left a library, or a GPU's memory, in any state: the
next run gets a process of its own.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping

from nbtrain.runs import launch, status
from nbtrain.runs.folder import RunFolder

_END_SECONDS = 20.0


class Seat:
    """One place.

    Args:
        environment: variables of its process, beside this one's: the threads it may use, the GPU that it has.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.worker: launch.Worker | None = None
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._few_bits = False

    def launch(
        self, folder: RunFolder, secrets: Mapping[str, str] | None = None, *, resume: bool = False
    ) -> launch.Worker:
        """Train a prepared run here; returns at once.

        Raises:
            RunError: it is being trained already.
        """
        assignment = launch.assignment(folder, secrets, resume=resume)
        failed = self.worker is not None and status.stored(self.worker.folder).state == "failed"
        # bitsandbytes is kept out of a process, or it is not: that cannot be changed later
        if failed or assignment["few_bits"] != self._few_bits:
            self.leave()
        if self._child is None or not launch.assign(self._child, folder, assignment, last=False):
            self.leave()
            self._child, self._few_bits = self._started(folder), assignment["few_bits"]
            launch.assign(self._child, folder, assignment, last=False)
        self.worker = launch.Worker(folder, self._child.pid, self._child, stays=True)
        return self.worker

    def leave(self) -> None:
        """Nothing more is trained here; a run that goes on is asked to stop."""
        if self._child is None:
            return
        if self._child.stdin is not None:
            with contextlib.suppress(OSError):  # it is dead, and something was still to be written
                self._child.stdin.close()
        try:
            self._child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def _started(self, folder: RunFolder) -> subprocess.Popen[bytes]:
        folder.log.parent.mkdir(exist_ok=True)
        with open(folder.log, "ab") as log:
            return launch.start(["--stay"], stdout=log, stderr=log, environment=self._environment)
