"""One trial that goes on here: a run like any other, watched through its journal."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nbtrain import events
from nbtrain.runs import control, launch, status
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Tail, last
from nbtrain.runs.record import Record
from nbtrain.runs.seat import Seat


@dataclass
class Trial:
    """A trial and the run that tries it.

    pruned: why it was ended early, '' while it was not. lost: processes that died over it.
    inherited: its process was started by a driver that is gone, and stops for that reason.
    """

    number: int
    given: Mapping[str, Any]
    folder: RunFolder
    seat: Seat
    pruned: str = ""
    lost: int = 0
    inherited: bool = False

    def __post_init__(self) -> None:
        self.record = Record()
        self.began = self._heard = time.monotonic()
        self._worker: launch.Worker | None = None
        self._tail = Tail(self.folder.events)

    def begin(self, secrets: Mapping[str, str]) -> None:
        """Start its run, or go on with it; one that came to its end is only looked at."""
        end = last(self.folder.events)
        self._worker, self._heard = launch.attach(self.folder), time.monotonic()
        self.inherited = self._worker is not None
        if self._worker is None and (isinstance(end, events.Finished) or _failed_by_itself(end)):
            self._worker = launch.Worker(self.folder, 0)
        if self._worker is None:
            self._worker = self.seat.launch(self.folder, secrets, resume=status.stored(self.folder).since > 0)

    def poll(self) -> bool:
        """Whether its run has ended."""
        return self._worker is not None and self._worker.poll() is not None

    def wait(self) -> None:
        """Wait for the end of its run."""
        if self._worker is not None:
            self._worker.wait()

    def kill(self) -> None:
        """End it now."""
        if self._worker is not None:
            self._worker.kill()

    def ask_to_stop(self) -> None:
        """It finishes its step, saves and ends."""
        control.ask(self.folder, "stop")

    def news(self) -> Iterator[tuple[int, events.Evaluated]]:
        """The evaluations since the last call, each with its place among all, from 1."""
        for event in self._tail.read():
            self._heard = time.monotonic()
            self.record.add(event)
            if isinstance(event, events.Evaluated):
                yield len(self.record.evaluations), event

    @property
    def seconds(self) -> float:
        """Since it began here."""
        return round(time.monotonic() - self.began, 3)

    @property
    def silence(self) -> float:
        """Seconds since it told something last."""
        return time.monotonic() - self._heard

    def was_broken_off(self) -> bool:
        """Whether its process ended for a reason that has nothing to do with what it tries."""
        end = self.record.end
        if isinstance(end, events.Stopped):
            return self.inherited and not self.pruned
        return isinstance(end, events.Failed) and not _failed_by_itself(end)

    def outcome(self, metric: str) -> tuple[str, float | None, str]:
        """How it ended: complete, pruned or failed; its value; why."""
        end, value = self.record.end, self.value(metric)
        if self.pruned:
            return "pruned", value, self.pruned
        if isinstance(end, events.Failed):
            what, why = end.error.get("what", ""), end.error.get("why", "")
            return "failed", None, f"{what}: {why}" if why else what
        if not isinstance(end, events.Finished):
            return "failed", None, f"stopped: {end.reason}" if isinstance(end, events.Stopped) else "it has no end"
        if value is None:
            return "failed", None, f"it measured no {metric}: {', '.join(self.measured()) or 'nothing'}"
        if not math.isfinite(value):
            return "failed", None, f"{metric} is not a number"
        return "complete", value, ""

    def value(self, metric: str) -> float | None:
        """What it came to: of the model that it saved, else of its last evaluation."""
        end = self.record.end
        values = end.values if isinstance(end, events.Finished) and metric in end.values else self.record.metrics
        return values.get(metric)

    def measured(self) -> list[str]:
        """The names of what its evaluations measure."""
        return sorted({name for row in self.record.evaluations for name in row if name != "step"})


def _failed_by_itself(end: events.Event | None) -> bool:
    return isinstance(end, events.Failed) and end.error.get("kind") != "WorkerDied"


def spare(folder: RunFolder) -> None:
    """Take the weights of a trial away; its record stays."""
    for place in (folder.model, folder.checkpoints):
        shutil.rmtree(place, ignore_errors=True)
