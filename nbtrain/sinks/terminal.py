"""A run in a terminal: one line that tells how far it is, and a line of its own for what happens."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from nbtrain import events
from nbtrain.plain import duration, line, number

_SECONDS = 10.0  # between two lines of progress where lines cannot be rewritten
_REWRITE = 0.1
_CLEAR = "\r\x1b[K"
_LONGEST = 200  # characters of a text


class Terminal:
    """A sink that writes to `stream`, standard error by default.

    On a terminal the line of progress is rewritten in place; in a file or a pipe there is one every ten seconds.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._rewrites = self._stream.isatty()
        self._total: int | None = None
        self._begin: tuple[float, int] | None = None  # when this stretch of training began, and at which step
        self._written = 0.0
        self._open = False  # a line of progress stands there

    def __call__(self, event: events.Event) -> None:
        """Tell of one event."""
        if isinstance(event, (events.Started, events.Resumed)):
            self._begin = (event.time, event.step or 0)
        if isinstance(event, events.Started):
            self._total = event.total_steps
        if isinstance(event, events.Logged):
            self._progress(event)
            return
        for text in _lines(event):
            self._stream.write((_CLEAR if self._open else "") + text + "\n")
            self._open = False
        self._stream.flush()

    def _progress(self, event: events.Logged) -> None:
        now = time.monotonic()
        if now - self._written < (_REWRITE if self._rewrites else _SECONDS):
            return
        self._written = now
        text = " · ".join(self._parts(event))
        if self._rewrites:
            # a line that wraps could not be taken back
            text = _CLEAR + line(text, shutil.get_terminal_size().columns - 1)
            self._open = True
        else:
            text += "\n"
        self._stream.write(text)
        self._stream.flush()

    def _parts(self, event: events.Logged) -> list[str]:
        parts = [f"step {event.step or 0:,}" + (f" of {self._total:,}" if self._total else "")]
        for name, value in event.values.items():
            if name.endswith("_per_second"):
                parts.append(f"{number(value)} {_words(name.removesuffix('_per_second'))}/s")
            elif name != "grad_norm":
                parts.append(f"{_words(name)} {number(value)}")
        if self._total and self._begin and event.step and event.step > self._begin[1]:
            pace = (event.time - self._begin[0]) / (event.step - self._begin[1])
            parts.append(f"{duration(pace * (self._total - event.step))} left")
        return parts


def _lines(event: events.Event) -> list[str]:  # noqa: C901 - one case an event
    """What stands in the terminal for an event, a line each."""
    at = f"step {event.step or 0:,}"
    match event:
        case events.Started():
            what = " ".join(part for part in (event.room, event.method) if part)
            facts = ", ".join(f"{_words(name)} {number(value)}" for name, value in event.facts.items())
            return [f"{line(event.name)}: {line(what)}" + (f" ({line(facts)})" if facts else "")]
        case events.Evaluated():
            values = ", ".join(f"{_words(name)} {number(value)}" for name, value in event.values.items())
            return [f"{at}: evaluation: {values}"]
        case events.Sampled():
            before = " before training" if event.label == "base" else ""
            said = ([line(value, _LONGEST) for value in list(each.values())[:2]] for each in event.samples)
            return [f"{at}: sample{before}: {' → '.join(parts)}" for parts in said]
        case events.Warned():
            return [f"notice: {line(event.message, 2 * _LONGEST)}"]
        case events.Tried():
            return [_trial(event)] if event.state != "running" or event.value is None else []
        case events.Changed():
            return [f"{at}: {_words(event.name)} is {number(event.new)}, was {number(event.old)}"]
        case events.Resumed():
            return [f"{at}: resumed from {line(event.checkpoint) or 'the beginning'}", *map(line, event.differences)]
        case events.Finished():
            return [f"finished after {duration(event.seconds)}, {at}"]
        case events.Stopped():
            kept = f"; checkpoint {line(event.checkpoint)}" if event.checkpoint else ""
            return [f"stopped at {at}: {line(event.reason)}{kept}"]
        case events.Failed():
            parts = (("", "what"), ("where: ", "where"), ("why: ", "why"), ("what to do: ", "fix"))
            told = [name + line(event.error[part], 4 * _LONGEST) for name, part in parts if event.error.get(part)]
            return [f"failed at {at}: {told[0] if told else 'no reason is known'}", *(f"  {each}" for each in told[1:])]
        case _:
            return []


def _trial(event: events.Tried) -> str:
    given = ", ".join(f"{_words(name)} {number(value)}" for name, value in event.given.items())
    value = "" if event.value is None else f", {number(event.value)}"
    why = f": {line(event.cause, _LONGEST)}" if event.cause else ""
    return f"trial {event.trial}: {event.state}{value} ({line(given)}){why}"


def _words(name: str) -> str:
    return line(name.replace("_", " "), 40)
