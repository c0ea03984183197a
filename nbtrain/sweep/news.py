"""What a sweep tells in its journal: each trial as it begins, comes further and ends, the best value, what matters."""

from __future__ import annotations

import time
from typing import Any

from nbtrain.events import Evaluated, Logged, Resumed, Started, Tried
from nbtrain.plain import line, number
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.journal import story
from nbtrain.runs.record import Record
from nbtrain.sweep.study import FINAL, Study, cause
from nbtrain.sweep.trial import Trial

_SHARE = 50  # times what telling the importances cost: the trials need the cores more


class News:
    """The news of one sweep.

    Attributes:
        told: numbers of the trials whose end is in the journal.
    """

    def __init__(self, params: Any, run: ActiveRun, study: Study) -> None:
        self.params, self.run, self.study = params, run, study
        earlier = Record.of(story(run.folder.events))
        self.told = {number for number, trial in earlier.trials.items() if trial.state != "running"}
        self._resumed = earlier.started is not None
        self._weighed, self._due = 0, 0.0  # trials when the importances were told last; on the monotonic clock

    def start(self, metric: str) -> None:
        """The sweep begins, goes on, or goes by another metric from here."""
        step, total = len(self.told), len(self.study.trials())
        if self._resumed:
            self.run.emit(Resumed(step=step, checkpoint="the trials that were made"))
            self._resumed = False
        searched = ", ".join(dial.name for dial in self.study.dials)
        facts = {"goal": f"{self.study.direction} {metric}", "workers": self.params.sweep_workers, "searched": searched}
        what = {"room": self.params.room, "method": self.params.method, "name": self.run.folder.name}
        self.run.emit(Started(step=step, total_steps=total, facts=facts, metric=metric, curve="best", **what))

    def came(self, trial: Trial, value: float | None = None) -> None:
        """A trial has begun, or has measured something."""
        told = {"given": trial.given, "place": self._place(trial), "seconds": trial.seconds}
        self.run.emit(Tried(trial=trial.number, state="running", value=value, **told))

    def ended(self, trial: Trial, metric: str, state: str, value: float | None, why: str) -> Tried:
        """A trial of this machine has ended."""
        facts = {"given": trial.given, "place": self._place(trial), "seconds": trial.seconds}
        return self._ended(metric, trial=trial.number, state=state, value=value, cause=why, **facts)

    def ended_elsewhere(self, metric: str) -> None:
        """Trials that ended on other machines, or before their end could be told here."""
        for trial in self.study.trials():
            if trial.number not in self.told and trial.state.is_finished():
                value = trial.value if trial.state.name == "COMPLETE" else None
                what = {"given": trial.params, "cause": cause(trial), "place": str(trial.user_attrs.get("owner", ""))}
                self._ended(metric, trial=trial.number, state=FINAL[trial.state.name], value=value, **what)

    def over(self, metric: str) -> None:
        """All trials have ended."""
        self.ended_elsewhere(metric)
        if self._weighed != len(self.told) and (shares := self._importance()):
            self.run.emit(Logged(step=len(self.told), values=shares))

    def _ended(self, metric: str, **facts: Any) -> Tried:
        self.told.add(facts["trial"])
        step = len(self.told)
        tried = Tried(step=step, **facts)
        # its value goes first: where this process dies in between, both are told again, and stand there once
        if tried.state == "complete" and tried.value is not None:
            self.run.emit(Evaluated(step=step, values={metric: tried.value, "trial": tried.trial}))
        self.run.emit(tried)
        best = self.study.best()
        values = {} if best is None else {"best": best.value}
        began = time.monotonic()
        if began >= self._due:
            values |= self._importance()
            self._due = time.monotonic() + _SHARE * (time.monotonic() - began)
        if values:
            self.run.emit(Logged(step=step, values=values))
        return tried

    def _importance(self) -> dict[str, float]:
        self._weighed = len(self.told)
        return {f"importance {name}": share for name, share in self.study.importance().items()}

    def _place(self, trial: Trial) -> str:
        return trial.folder.path.relative_to(self.run.folder.path).as_posix()


def lines(record: Record) -> list[str]:
    """The trials of a sweep for a screen, a line each."""
    told = []
    for number_of, trial in sorted(record.trials.items()):
        value = "" if trial.value is None else f" {number(trial.value)}"
        given = ", ".join(f"{name} {number(each)}" for name, each in trial.given.items())
        why = f": {line(trial.cause)}" if trial.cause else ""
        told.append(f"trial {number_of}: {trial.state}{value} ({given}){why}")
    return told
