"""The live view in motion: it reads a run's journal as it grows and draws into one display of the cell.

The run does not know of it. A view that raises falls silent, and the reason is in the run's log/view.log.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from nbtrain import doctor, events
from nbtrain.notebook import draw
from nbtrain.redact import redact
from nbtrain.runs import control, launch, status
from nbtrain.runs.curve import Curves
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Tail
from nbtrain.runs.record import Record
from nbtrain.sinks.terminal import Terminal

Show = Callable[[dict[str, Any], bool], None]
"""Shows a bundle of mime types; True replaces the one shown before, False is the first."""

_LOOK = 0.05  # seconds between two looks at the journal
PACE, _SLOW_PACE = 0.25, 1.0  # seconds between two drawings; VS Code and Colab lag behind a quicker one
_SHARE = 20  # times what a drawing cost: the view takes at most a twentieth of the time
_AT_ONCE = (events.Started, events.Evaluated, events.Sampled, events.Changed)
_STOPPING = "stopping: finishing the step and saving; interrupt again to end it at once"


class Live:
    """The view of one run, in one display.

    Args:
        display: shows a bundle; by default the cell that runs now, or the terminal where there is no notebook.
        pace: shortest time between two drawings, in seconds; a slow front end gets more.
    """

    def __init__(self, folder: RunFolder, *, display: Show | None = None, pace: float = PACE) -> None:
        self.folder = folder
        self.record = Record()
        self._show = display or cell()
        self._terminal = Terminal() if self._show is None else None
        self._pace = max(pace, _SLOW_PACE) if doctor.runtime() in ("Colab", "VS Code") else pace
        self._tail = Tail(folder.events)
        self._curves = Curves()
        self._drawn = self._due = 0.0  # on the monotonic clock
        self._shown = self._broken = self._stopping = self._over = False
        self._interrupts = 0

    def follow(self, worker: launch.Worker | None = None) -> str:
        """Show the run until it ends; returns its state then.

        One interrupt asks the run to stop, a second one kills its process. Neither is raised here.
        """
        asked = 0
        with self._interrupts_taken():
            while not self.look():
                if asked < self._interrupts:
                    asked += 1
                    if asked == 1:
                        control.ask(self.folder, "stop")
                        self._stopping, self._due = True, 0.0
                    elif found := worker or launch.attach(self.folder):
                        found.kill()
                time.sleep(_LOOK)
        return status.read(self.folder).state

    def look(self) -> bool:
        """Take the news in and draw where it is time; whether the run has ended, its last frame is then drawn."""
        if self._over:
            return True
        # the status first: an end that it tells is in the journal already
        now = status.read(self.folder)
        if now.state == "failed":
            dying = launch.attach(self.folder)  # a process that died without a word gets its last event written
            if dying is not None and status.stored(self.folder).state not in status.ENDED:
                return False  # a zombie for a moment; its exit code, and so the cause, comes with the next look
            now = status.read(self.folder)  # the user may have ended it: then it is stopped
        self._over = now.state in status.ENDED
        try:
            self._take(now, final=self._over)
        except Exception:
            self._fall_silent()
        return self._over

    def _take(self, now: status.Status, *, final: bool) -> None:
        news = self._tail.read()
        for event in news:
            self.record.add(event)
            if self._terminal is not None:
                self._terminal(event)
        if self._broken or self._show is None:
            return
        moment = time.monotonic()
        ticks = moment - self._drawn >= 1.0  # the clock in the view goes on, also while nothing is logged
        at_once = final or not self._shown or any(isinstance(event, _AT_ONCE) for event in news)
        if at_once or (moment >= self._due and (news or ticks or not self._due)):
            if self._stopping or (self.folder.control / "stop").exists():
                self._stopping = True
                now = dataclasses.replace(now, stage=_STOPPING)
            bundle = draw.bundle(self.record, now, final=final, curves=self._curves, name=self.folder.name)
            self._show(bundle, self._shown)
            self._shown = True
            self._drawn = time.monotonic()
            self._due = self._drawn + max(self._pace, _SHARE * (self._drawn - moment))

    def _fall_silent(self) -> None:
        self._broken, self._terminal = True, None
        with contextlib.suppress(OSError):
            self.folder.log.parent.mkdir(exist_ok=True)
            with open(self.folder.log.with_name("view.log"), "a", encoding="utf-8") as log:
                log.write(redact(traceback.format_exc()))

    @contextlib.contextmanager
    def _interrupts_taken(self) -> Iterator[None]:
        """Interrupts are counted here, not raised: one in the middle of a message would tear it."""

        def count(*_: object) -> None:
            self._interrupts += 1

        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread is interrupted
            return
        before = signal.signal(signal.SIGINT, count)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before or signal.default_int_handler)


def watch(
    folder: RunFolder,
    *,
    follow: bool = True,
    display: Show | None = None,
    pace: float = PACE,
    until: Callable[[], bool] | None = None,
) -> Live:
    """Show a run in the cell and come back at once; the view goes on in the background until the run ends.

    Args:
        follow: False draws one frame only, of the run as it is now.
        until: asked between two looks; True ends the view before the run ends.
    """
    live = Live(folder, display=display, pace=pace)

    def go_on() -> None:
        while not (until is not None and until()) and not live.look():
            time.sleep(_LOOK)

    if not live.look() and follow:
        threading.Thread(target=go_on, name=f"nbtrain-view-{folder.name}", daemon=True).start()
    return live


def cell() -> Show | None:
    """Shows in the cell that runs now; None where there is no notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    name = f"nbtrain-{uuid.uuid4().hex}"

    def show(bundle: dict[str, Any], again: bool) -> None:
        # raw, and by its name: from a thread only an update finds its cell
        display(bundle, raw=True, display_id=name, update=again)

    return show
