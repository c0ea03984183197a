"""The story of a run, folded from its events: what the live view, the terminal and the Run object read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from nbtrain import events

LOWER_IS_BETTER = ("loss", "logloss", "perplexity", "mae", "mape", "mse", "rmse", "error", "kl", "ter", "wer")


def lower_is_better(metric: str) -> bool:
    """Whether of two values of `metric` the lower is the better one."""
    return not set(re.split(r"[^a-z]+", metric.lower())).isdisjoint(LOWER_IS_BETTER)


@dataclass
class Record:
    """All that the events of one run say, kept in the form in which it is shown.

    series: training values by name, each a list of (step, value), steps rising.
    evaluations: one mapping an evaluation: "step" and the values.
    trials: of a sweep, by number: what was told of each last.
    undone: changes of parameters after the checkpoint that the run went back to; they are due again at their steps.
    paused: seconds for which training stood still since it was started or taken up again.
    """

    state: str = "starting"
    started: events.Started | None = None
    step: int = 0
    epoch: float | None = None
    first_time: float | None = None
    last_time: float | None = None
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    samples: list[events.Sampled] = field(default_factory=list)
    notices: list[events.Warned] = field(default_factory=list)
    saved: list[events.Saved] = field(default_factory=list)
    trials: dict[int, events.Tried] = field(default_factory=dict)
    changes: list[events.Changed] = field(default_factory=list)
    undone: list[events.Changed] = field(default_factory=list)
    paused: float = 0.0
    resumed: list[events.Resumed] = field(default_factory=list)
    end: events.Finished | events.Stopped | events.Failed | None = None

    @classmethod
    def of(cls, story: Iterable[events.Event]) -> Self:
        """The record of these events, in order."""
        record = cls()
        for event in story:
            record.add(event)
        return record

    def add(self, event: events.Event) -> None:  # noqa: C901 - one case an event
        """Take one more event into account."""
        if self.first_time is None:
            self.first_time = event.time
        self.last_time = event.time
        if event.step is not None and not isinstance(event, (events.Resumed, events.Changed)):
            self.step = max(self.step, event.step)
        match event:
            case events.Started():
                self.started, self.state, self.end = event, "running", None
            case events.Logged():
                self.epoch = event.epoch if event.epoch is not None else self.epoch
                for name, value in event.values.items():
                    self.series.setdefault(name, []).append((event.step or 0, value))
            case events.Evaluated():
                if self.evaluations and self.evaluations[-1]["step"] == (event.step or 0):
                    self.evaluations.pop()  # measured again by a run that was resumed at just this step
                self.evaluations.append({"step": event.step or 0, **event.values})
            case events.Sampled():
                self.samples.append(event)
            case events.Warned():
                self.notices.append(event)
            case events.Saved():
                self.saved.append(event)
            case events.Tried():
                self.trials[event.trial] = event
            case events.Changed():
                self._change(event)
            case events.Resumed():
                self._go_back_to(event)
            case events.Finished() | events.Stopped() | events.Failed():
                self.end, self.state = event, event.kind

    def _change(self, event: events.Changed) -> None:
        if event.name == "state":
            self.state = str(event.new)
            if self.state == "running" and self.changes and self.changes[-1].name == "state":
                self.paused += event.time - self.changes[-1].time
        elif self.undone and (self.undone[0].step, self.undone[0].new) == (event.step, event.new):
            self.undone.pop(0)
        else:  # somebody wants it otherwise now
            self.undone.clear()
        self.changes.append(event)

    def _go_back_to(self, event: events.Resumed) -> None:
        """Drop what came after the checkpoint: it is trained again, and would stand twice in the curve."""
        step = event.step or 0
        self.step, self.state, self.end, self.paused = step, "running", None, 0.0
        everything = [*self.changes, *self.undone]
        self.changes = [change for change in everything if (change.step or 0) <= step]
        self.undone = [change for change in everything if (change.step or 0) > step and change.name != "state"]
        self.series = {name: [point for point in points if point[0] <= step] for name, points in self.series.items()}
        self.evaluations = [row for row in self.evaluations if row["step"] <= step]
        self.samples = [sample for sample in self.samples if (sample.step or 0) <= step]
        self.resumed.append(event)

    @property
    def total_steps(self) -> int | None:
        """Optimiser steps planned, None until known."""
        return self.started.total_steps if self.started else None

    @property
    def by_hand(self) -> list[events.Changed]:
        """The parameters that were given another value while it trained, in order."""
        return [change for change in self.changes if change.name != "state"]

    @property
    def metrics(self) -> Mapping[str, float]:
        """The last evaluation's values, or the last logged ones where there was none."""
        if self.evaluations:
            return {name: value for name, value in self.evaluations[-1].items() if name != "step"}
        return {name: points[-1][1] for name, points in self.series.items() if points}

    def rows(self) -> dict[int, dict[str, float]]:
        """By step all values of it; the names of those of an evaluation begin with `eval_`."""
        found: dict[int, dict[str, float]] = {}
        for name, points in self.series.items():
            for step, value in points:
                found.setdefault(step, {})[name] = value
        for row in self.evaluations:
            values = {f"eval_{name}": value for name, value in row.items() if name != "step"}
            found.setdefault(int(row["step"]), {}).update(values)
        return found

    @property
    def metric(self) -> str:
        """By which one evaluation is better than another."""
        return self.started.metric if self.started else "loss"

    def best(self, metric: str = "") -> tuple[int, float] | None:
        """(step, value) of the best evaluation by `metric`, else by the run's own; None before the first."""
        metric = metric or self.metric
        rows = [row for row in self.evaluations if metric in row and not math.isnan(row[metric])]
        found = [(int(row["step"]), row[metric]) for row in rows]
        if not found:
            return None
        lower = lower_is_better(metric)
        return min(found, key=lambda pair: pair[1] if lower else -pair[1])

    def facts(self) -> Mapping[str, Any]:
        """What was known at the start: device, dtype, rows, parameters ..."""
        return self.started.facts if self.started else {}
