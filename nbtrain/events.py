"""What can happen in a run, and how it is written: one event, one line of JSON.

Everything that is shown of a run is drawn from these events, so what is shown can be drawn again from disk.
A value that JSON does not know (NaN, infinity) is written as null and read back as NaN.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time as clock
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nbtrain.redact import redact

Values = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened.

    time: seconds since 1970. step: optimiser steps done, None before the first.
    """

    kind: ClassVar[str] = ""
    time: float = field(default_factory=clock.time)
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """Training begins.

    total_steps: optimiser steps planned, None where unknown. facts: device, dtype, rows ...
    metric: of an evaluation, by which one is better than another. curve: the training value to draw.
    """

    kind = "started"
    room: str
    method: str = ""
    name: str = ""
    total_steps: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "loss"
    curve: str = "loss"


@dataclass(frozen=True, kw_only=True)
class Logged(Event):
    """Values of training since the last such event. epoch: epochs done, a fraction."""

    kind = "logged"
    epoch: float | None = None
    values: Values


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """Values on held-out data; names without the prefix `eval_`."""

    kind = "evaluated"
    epoch: float | None = None
    values: Values


@dataclass(frozen=True, kw_only=True)
class Sampled(Event):
    """What the model does now. label: "base" before training.

    samples: each shown in its order; for text {"prompt", "output", "expected"?}, where "output" stands beside what was
    written before training.
    """

    kind = "sampled"
    samples: tuple[Mapping[str, Any], ...]
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """A checkpoint was committed. path: relative to the run folder."""

    kind = "saved"
    path: str


@dataclass(frozen=True, kw_only=True)
class Tried(Event):
    """A trial of a sweep began, came further, or ended.

    trial: its number, from 0. state: running, complete, pruned or failed. given: what it tries, by parameter.
    value: of the sweep's metric, None before it is known. cause: why it failed or was pruned. place: its run, relative
    to the sweep's folder, or host:path. seconds: since it began.
    """

    kind = "tried"
    trial: int
    state: str
    given: Mapping[str, Any] = field(default_factory=dict)
    value: float | None = None
    cause: str = ""
    place: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Changed(Event):
    """A value was changed while the run went on. name: of a parameter, or "state": paused, running again.

    step: of a parameter the first that is trained with it, one more than are done.
    """

    kind = "changed"
    name: str
    old: Any = None
    new: Any = None


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """A notice for the user, in one or two sentences."""

    kind = "warned"
    message: str


@dataclass(frozen=True, kw_only=True)
class Resumed(Event):
    """The run goes on from `step`. checkpoint: relative to the run folder. differences: what is not as it was."""

    kind = "resumed"
    checkpoint: str
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The run did all it was asked. values: the last evaluation and the totals. model: relative to the run folder."""

    kind = "finished"
    values: Values = field(default_factory=dict)
    seconds: float = 0.0
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class Stopped(Event):
    """The run was asked to stop, and saved what it had."""

    kind = "stopped"
    reason: str
    checkpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The run ended without doing what it was asked. error: as `NbtrainError.record` gives it."""

    kind = "failed"
    error: Mapping[str, str]


KINDS: dict[str, type[Event]] = {
    kind.kind: kind
    for kind in (Started, Logged, Evaluated, Sampled, Saved, Tried, Changed, Warned, Resumed, Finished, Stopped, Failed)
}


def encode(event: Event) -> str:
    """The event as one line of JSON, without the newline; secrets in its texts are masked."""
    fields = {name: value for name, value in _fields(event) if value is not None}
    return json.dumps(_plain({"event": event.kind, **fields}), ensure_ascii=False, allow_nan=False)


def decode(line: str) -> Event:
    """The event that `encode` wrote.

    Raises:
        ValueError: the line is not whole, or names a kind or a field that does not exist.
    """
    data = json.loads(line)
    kind = KINDS.get(str(data.pop("event", ""))) if isinstance(data, dict) else None
    if kind is None:
        raise ValueError(f"no event: {line[:80]!r}")
    try:
        if "values" in data:
            data["values"] = {name: math.nan if value is None else value for name, value in data["values"].items()}
        for name in ("samples", "differences"):
            if name in data:
                data[name] = tuple(data[name])
        return kind(**data)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"no {kind.kind} event: {error}") from None


def replay(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a journal, in order. A line that is torn or not understood is passed over.

    A killed writer leaves at most one.
    """
    for line in lines:
        try:
            yield decode(line)
        except ValueError:
            continue


def _fields(event: Event) -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(event):
        yield item.name, getattr(event, item.name)


def _plain(value: Any) -> Any:
    """Only what JSON knows: numpy and torch scalars become numbers, NaN and infinity null, lone surrogates '?'."""
    if isinstance(value, str):
        # here and not on the line: behind an escaped line end a token is not a word of its own any more
        return redact(value.encode("utf-8", "replace").decode("utf-8"))
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if callable(getattr(value, "tolist", None)):  # numpy and torch, without importing either
        return _plain(value.tolist())
    return _plain(str(value))
