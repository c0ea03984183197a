"""What is asked of a run while it trains: an empty file a request, in the run's folder, from whatever process."""

from __future__ import annotations

import os

from nbtrain.errors import RunError, nearest
from nbtrain.runs.folder import RunFolder

REQUESTS = ("stop", "save", "sample")


def ask(folder: RunFolder, request: str) -> None:
    """Ask the run to stop (it finishes its step and saves), to save, or to sample. To ask twice is to ask once.

    Raises:
        RunError: there is no such request.
    """
    if request not in REQUESTS:
        what = f"A run cannot be asked to {request!r}.{nearest(request, REQUESTS)}"
        raise RunError(what, fix=f"It can {', '.join(REQUESTS)}.")
    folder.control.mkdir(exist_ok=True)
    (folder.control / request).touch()


def clear(folder: RunFolder) -> None:
    """Nothing is asked any more."""
    Control(folder).take()


class Control:
    """The end at which requests are taken."""

    def __init__(self, folder: RunFolder) -> None:
        folder.control.mkdir(exist_ok=True)
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
        return taken
