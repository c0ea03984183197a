"""What a trainer is given as `run`: where to write, whom to tell, what it is asked."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nbtrain.events import Changed, Event, Failed, Finished, Resumed, Started, Stopped, Warned
from nbtrain.runs import ranks, status
from nbtrain.runs.control import Control
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal

_STATUS_SECONDS = 0.5
_PAUSED_LOOK = 0.1

Sink = Callable[[Event], None]


class ActiveRun:
    """A run while it trains.

    Args:
        sinks: each is called with an event after the journal has it. One that raises is called no more.
        resume_from: the checkpoint to go on from.
        max_minutes: after these a stop is asked.

    Attributes:
        deadline: seconds since 1970 at which a stop is asked, None for never.
        differences: what is not as it was when the run began; for the event of a resumed run.
        stopped: why the run was asked to stop, '' while it was not.
        report: what the room adds to report.json: tables and figures of its own, as plain data.
        trained: the parameters of the model, where they are not the run's: in a sweep those of its best trial.
        rehearsal: what is done in the place of training where a run is only looked at, else None.
    """

    def __init__(
        self,
        folder: RunFolder,
        journal: Journal,
        *,
        resume_from: Path | None = None,
        sinks: Iterable[Sink] = (),
        max_minutes: float | None = None,
    ) -> None:
        self.folder = folder
        self.resume_from = resume_from
        self.deadline = time.time() + 60 * max_minutes if max_minutes else None
        self.differences: tuple[str, ...] = ()
        self.stopped = ""
        self.report: dict[str, Any] = {}
        self.trained: Any = None
        self.rehearsal: Any = None
        self._journal = journal
        self._sinks = list(sinks)
        self._control = Control(folder)
        self._waiting: set[str] = set()
        self._prepared = False
        self._told = 0.0  # when the status was written last, on the monotonic clock

    def emit(self, event: Event) -> None:
        """Tell what happened: the journal first, so that what anybody saw is on record.

        Raises:
            TrainingError: the journal cannot be written.
        """
        self._journal.append(event)
        self._update_status(event)
        faults = []
        for sink in list(self._sinks):
            try:
                sink(event)
            except Exception as error:
                self._sinks.remove(sink)
                name = getattr(sink, "__qualname__", type(sink).__qualname__)
                faults.append(f"{name} raised {type(error).__name__} ({error}) and gets no more news of this run")
        for fault in faults:
            self.warn(fault)

    def listen(self, sink: Sink) -> None:
        """From here on `sink` is called with each event, too."""
        self._sinks.append(sink)

    def warn(self, message: str) -> None:
        """A notice for the user, in one or two sentences."""
        self.emit(Warned(message=message))

    def stage(self, text: str) -> None:
        """What is being done before the first step: reading data, loading the model ..."""
        with contextlib.suppress(OSError):  # a full disk is told by the journal
            status.write(self.folder, stage=text)

    def prepared(self) -> None:
        """The data is ready, and in its caches: of several processes the others begin to read it."""
        if not self._prepared:
            self._prepared = True
            ranks.wait()

    def requests(self) -> set[str]:
        """What was asked since the last call, of stop, save, sample, pause and go. A stop stays asked.

        Of several processes each calls it at the same place, and is told what the first one was asked.
        """
        asked, self._waiting = self._look(), set()
        asked, self.stopped, self._control.values = ranks.agreed((asked, self.stopped, self._control.values))
        return asked

    def stop_asked(self) -> bool:
        """Whether a stop was asked; a save or a sample that was asked too waits for `requests`.

        Of several processes the first may know of it before the others do.
        """
        self._waiting = self._look()
        return bool(self.stopped)

    def stop_agreed(self) -> bool:
        """As `stop_asked`, and the same answer in each of several processes, which all call it at the same place."""
        self._waiting = self.requests()
        return bool(self.stopped)

    def _look(self) -> set[str]:
        """What was asked and not answered yet."""
        asked = self._waiting | self._control.take()
        if not self.stopped and "stop" in asked:
            self.stopped = "asked to stop"
        if not self.stopped and self.deadline is not None and time.time() >= self.deadline:
            self.stopped = "the time is up (--max-minutes)"
        return asked | {"stop"} if self.stopped else asked

    def changes(self) -> dict[str, float]:
        """By parameter, the value that was asked for from the next step on; each is given once."""
        asked = dict(self._control.values)
        self._control.values.clear()
        return asked

    def pause(self, step: int, meanwhile: Callable[[set[str]], None]) -> None:
        """Wait until the run may go on, or is to stop.

        Args:
            step: steps done.
            meanwhile: does what else is asked in the time.
        """
        self.emit(Changed(step=step, name="state", old="running", new="paused"))
        while not (asked := self.requests()) & {"go", "stop"}:
            meanwhile(asked)
            time.sleep(_PAUSED_LOOK)
        self.emit(Changed(step=step, name="state", old="paused", new="running"))

    def _update_status(self, event: Event) -> None:
        done = event.step is not None and not isinstance(event, Changed)
        changes: dict[str, object] = {"step": event.step} if done else {}
        match event:
            case Changed(name="state"):
                changes |= {"state": event.new}
            case Started() | Resumed():
                changes |= {"state": "running", "stage": "", "cause": ""}
            case Finished() | Stopped():
                changes |= {"state": event.kind, "stage": "", "cause": ""}
            case Failed():
                changes |= {"state": "failed", "stage": "", "cause": event.error.get("what", "")}
        if "state" in changes or (changes and time.monotonic() - self._told >= _STATUS_SECONDS):
            with contextlib.suppress(OSError):
                status.write(self.folder, **changes)
            self._told = time.monotonic()


class SilentRun(ActiveRun):
    """A run as those of several processes have it that are not the first: they tell nothing, and are asked by it."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder, Journal(Path(os.devnull)))
        self._prepared = True  # it is the first one's to say

    def emit(self, event: Event) -> None:
        """Nothing: the first one tells it."""

    def stage(self, text: str) -> None:
        """Nothing, as `emit`."""

    def _look(self) -> set[str]:
        return {"stop"} if self.stopped else set()
