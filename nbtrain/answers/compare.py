"""Runs beside each other: their curves, what they were asked that differs, what they came to, what they say."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtrain.answers import Answer, aligned
from nbtrain.errors import ParamError
from nbtrain.plain import duration, line, number
from nbtrain.run import Run
from nbtrain.runs.curve import Curve, Curves, series, sparkline
from nbtrain.runs.folder import read_params
from nbtrain.runs.record import Record, lower_is_better

MOST = 8  # runs; the lines of more cannot be told apart
_PROMPTS = 4
_SETTING, _SAMPLE = 60, 160  # letters
_OWN = ("project_name", "resume_from_checkpoint")  # they differ by themselves


@dataclass(frozen=True)
class Side:
    """One run of a comparison.

    kind: room and method. value: what its curve is of; metric: what its evaluations are. asked: its parameters.
    said: by prompt, what its model said last.
    """

    name: str
    kind: str
    state: str
    record: Record
    curve: Curve
    valid: Curve
    value: str
    metric: str
    asked: Mapping[str, Any]
    said: Mapping[str, str]

    def results(self) -> dict[str, str]:
        """What it came to, by name, in words."""
        record, best = self.record, self.record.best(self.metric)
        steps = f"{record.step:,}" + (f" of {record.total_steps:,}" if record.total_steps else "")
        found = {"state": self.state, "steps": steps}
        if record.first_time is not None and record.last_time is not None:
            found["time"] = duration(record.last_time - record.first_time)
        points = [point for stroke in self.curve.smooth() for point in stroke]
        if points:
            found[f"training {self.value}"] = number(points[-1][1])
        if best:
            found[f"best validation {self.metric}"] = f"{number(best[1])} at step {best[0]:,}"
        others = (name for name in record.metrics if record.evaluations and name != self.metric)
        return found | {f"validation {name}": number(record.metrics[name]) for name in others}


@dataclass(frozen=True, repr=False)
class Comparison(Answer):
    """Some runs beside each other.

    settings: the parameters that differ, (name, value of each run). prompts: those that several were asked, with what
    each said.
    """

    sides: tuple[Side, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]
    prompts: tuple[tuple[str, tuple[str, ...]], ...]

    def results(self) -> list[tuple[str, ...]]:
        """A table: a row a figure, a column a run."""
        found = [side.results() for side in self.sides]
        names = dict.fromkeys(name for each in found for name in each)
        return [(name, *(each.get(name, "-") for each in found)) for name in names]

    def sentence(self) -> str:
        """Which of them is best, where they can be compared."""
        metrics = {side.metric for side in self.sides}
        bests = [(side.record.best(side.metric), side.name) for side in self.sides]
        if len(metrics) > 1:
            return f"They are measured by different values: {', '.join(sorted(metrics))}."
        reached = [(best[1], name) for best, name in bests if best]
        if len(reached) < 2:
            return "Fewer than two of them have been measured on held-out rows."
        metric = metrics.pop()
        chosen = min if lower_is_better(metric) else max
        value, name = chosen(reached)
        return f"The best validation {metric} is {number(value)}, of {name}."

    def lines(self) -> list[str]:
        """Tables, one after the other."""
        head = ("", *(line(side.name) for side in self.sides))
        kinds = ("kind", *(side.kind for side in self.sides))
        courses = ("course", *(sparkline(side.curve, 24) for side in self.sides))
        lines = [*aligned([head, kinds, *self.results(), courses]), self.sentence(), ""]
        if self.settings:
            lines += ["what they were asked that differs:", *aligned([head, *((n, *v) for n, v in self.settings)])]
        else:
            lines.append("they were asked the same")
        for prompt, said in self.prompts:
            lines += ["", f"asked: {prompt}"]
            lines += [f"  {line(side.name)}: {text}" for side, text in zip(self.sides, said, strict=True)]
        return lines


def compare(*runs: Run | str | os.PathLike[str]) -> Comparison:
    """Two to eight runs beside each other.

    Args:
        runs: each a Run, a folder, or a name that `runs` lists.

    Raises:
        ParamError: fewer than two or more than eight, or one of them twice. RunError: there is no such run.
    """
    if not 2 <= len(runs) <= MOST:
        raise ParamError(f"compare takes 2 to {MOST} runs; found {len(runs)}", fix="`runs` lists them")
    sides = tuple(_side(each if isinstance(each, Run) else Run(each)) for each in runs)
    names = [side.name for side in sides]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ParamError(f"compare is given {', '.join(sorted(twice))} twice", fix="name other runs")
    return Comparison(sides, tuple(_settings(sides)), tuple(_prompts(sides)))


def _side(run: Run) -> Side:
    record, asked = run.record, read_params(run.folder)
    curves = Curves().update(record)
    return Side(
        name=run.name,
        kind=" ".join(part for part in (asked["room"], asked.get("method")) if part),
        state=run.status,
        record=record,
        curve=curves.loss,
        valid=curves.valid,
        value=series(record).replace("_", " "),
        metric=curves.metric,
        asked={name: _told(run, value) for name, value in asked["params"].items() if name not in _OWN},
        said=_said(record),
    )


def _told(run: Run, value: Any) -> Any:
    """A variable of the notebook lies as a file in the folder of its run: it is known by what is in it."""
    if not isinstance(value, str) or not value.startswith(f"{run.path}{os.sep}"):
        return value
    path = Path(value)
    if not path.is_file():
        return f"{path.stem}, which is gone"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]
    return f"{path.stem}, a variable of the notebook ({digest})"


def _said(record: Record) -> dict[str, str]:
    """By prompt, the last answer; of a run without a prompt in its samples nothing can be set side by side."""
    found = {}
    for event in record.samples:
        for sample in event.samples:
            answer = sample.get("output", sample.get("predicted"))
            if sample.get("prompt") and answer is not None:
                found[str(sample["prompt"])] = line(answer, _SAMPLE)
    return found


def _settings(sides: tuple[Side, ...]) -> list[tuple[str, tuple[str, ...]]]:
    names = dict.fromkeys(name for side in sides for name in side.asked)
    found = []
    for name in names:
        values = [line(side.asked[name], _SETTING) if name in side.asked else "-" for side in sides]
        if len(set(values)) > 1:
            found.append((name, tuple(values)))
    return found


def _prompts(sides: tuple[Side, ...]) -> list[tuple[str, tuple[str, ...]]]:
    counts = {prompt: sum(prompt in side.said for side in sides) for side in sides for prompt in side.said}
    shared = [prompt for prompt, count in counts.items() if count > 1][:_PROMPTS]
    return [(line(prompt, _SAMPLE), tuple(side.said.get(prompt, "-") for side in sides)) for prompt in shared]
