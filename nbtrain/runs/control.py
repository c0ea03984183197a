"""What is asked of a run while it trains: a small file a request, in the run's folder, from whatever process."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress

from nbtrain.errors import RunError, nearest
from nbtrain.runs.files import atomic_write
from nbtrain.runs.folder import RunFolder

REQUESTS = ("stop", "save", "sample", "pause", "go")
_UNDOES = {"pause": "go", "go": "pause"}
CHANGEABLE = ("lr",)
"""The parameters that may get another value while a run trains."""


def ask(folder: RunFolder, request: str) -> None:
    """Ask the run to stop (it finishes its step and saves), to save, to sample, to pause after its step (with all
    saved), or to go on. To ask twice is to ask once.

    Raises:
        RunError: there is no such request.
    """
    if request not in REQUESTS:
        what = f"A run cannot be asked to {request!r}.{nearest(request, REQUESTS)}"
        raise RunError(what, fix=f"It can {', '.join(REQUESTS)}.")
    folder.control.mkdir(exist_ok=True)
    if request in _UNDOES:  # what is asked last counts
        (folder.control / _UNDOES[request]).unlink(missing_ok=True)
    (folder.control / request).touch()


def change(folder: RunFolder, name: str, value: float) -> None:
    """Ask that a parameter have this value from the next step on; of several the last one counts.

    Raises:
        RunError: it cannot be changed while a run trains.
    """
    if name not in CHANGEABLE:
        what = f"{name} cannot be changed while a run trains.{nearest(name, CHANGEABLE)}"
        raise RunError(what, fix=f"What can be: {', '.join(CHANGEABLE)}.")
    folder.control.mkdir(exist_ok=True)
    atomic_write(folder.control / name, json.dumps(value), durable=False)


def clear(folder: RunFolder) -> None:
    """Nothing is asked any more."""
    Control(folder).take()


class Control:
    """The end at which requests are taken.

    Attributes:
        values: by name, what parameters are to be from the next step on; whoever changes them takes them out.
    """

    def __init__(self, folder: RunFolder) -> None:
        folder.control.mkdir(exist_ok=True)
        self.values: dict[str, float] = {}
        self._place = os.fspath(folder.control)

    def take(self) -> set[str]:
        """What was asked since the last call. About 5 microseconds when nothing was: cheap enough for every step."""
        # listed, not asked by the folder's time of change: the clock of a file system ticks in milliseconds,
        # and a request in the same tick as the last look would wait for the next
        taken = set()
        for name in os.listdir(self._place):
            if name in REQUESTS:
                os.unlink(os.path.join(self._place, name))
                taken.add(name)
            elif name in CHANGEABLE:
                self._read(name)
        return taken

    def _read(self, name: str) -> None:
        path = os.path.join(self._place, name)
        mine = f"{path}.taken"
        os.replace(path, mine)  # a newer value that comes while this one is read is not lost
        with suppress(ValueError), open(mine, encoding="utf-8") as file:
            value = json.load(file)
            if isinstance(value, (int, float)) and 0 < value < math.inf:
                self.values[name] = float(value)
        os.unlink(mine)
