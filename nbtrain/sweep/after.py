"""--post-trial-script: a command of the user's after each trial, beside the sweep, which does not wait for it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess

from nbtrain.errors import ParamError
from nbtrain.events import Tried
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder

_SECONDS = 600.0  # that the last ones may take when the sweep is over


class Scripts:
    """The commands of one sweep; their output is in `log/after.log` of each trial.

    Args:
        command: words as in a shell, but run without one; None: nothing is done.

    Raises:
        ParamError: the command's quotes do not match.
    """

    def __init__(self, command: str | None, run: ActiveRun) -> None:
        self._run = run
        self._going: list[tuple[int, subprocess.Popen[bytes]]] = []
        try:
            self._words = shlex.split(command or "")
        except ValueError as error:
            raise ParamError(f"--post-trial-script cannot be read: {error}", where=command or "") from None

    def run(self, trial: Tried, folder: RunFolder) -> None:
        """Start it for a trial that has ended."""
        self._look()
        if not self._words:
            return
        facts = {
            "NUMBER": str(trial.trial),
            "STATE": trial.state,
            "VALUE": "" if trial.value is None else repr(trial.value),
            "PARAMS": json.dumps(dict(trial.given)),
            "FOLDER": str(folder.path),
        }
        log = folder.path / "log" / "after.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            try:
                child = subprocess.Popen(
                    self._words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **{f"NBTRAIN_TRIAL_{name}": value for name, value in facts.items()}},
                )
            except OSError as error:
                self._run.warn(f"--post-trial-script cannot be run: {error}")
                self._words = []
                return
        self._going.append((trial.trial, child))

    def wait(self) -> None:
        """Wait for those that go on; one that takes too long is ended."""
        for number, child in self._going:
            try:
                child.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                self._run.warn(f"--post-trial-script of trial {number} took more than {_SECONDS:g} s and was ended")
        self._look()

    def _look(self) -> None:
        for number, child in list(self._going):
            if (code := child.poll()) is None:
                continue
            self._going.remove((number, child))
            if code > 0:
                self._run.warn(f"--post-trial-script of trial {number} ended with {code}: see its log/after.log")
