"""A sweep in words and numbers: what is to be seen first, the table of its trials, what it came to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nbtrain.events import Tried
from nbtrain.plain import duration, line, number
from nbtrain.runs.record import Record

ROWS = 10
_GIVEN = 6  # parameters of a trial that have a column; a page is not wider
_WHY = 60  # letters of a cause in the table


def best(record: Record) -> Tried | None:
    """The best complete trial: the one whose value the sweep told as the best."""
    points = record.series.get("best")
    done = [trial for trial in record.trials.values() if trial.state == "complete"]
    found = [trial for trial in done if points and trial.value == points[-1][1]]
    return min(found, key=lambda trial: trial.trial, default=None)


def lower(record: Record) -> bool:
    """Whether of two trials the one with the lower value is the better one."""
    return str(record.facts().get("goal", "minimize")).startswith("minimize")


def names(record: Record) -> list[str]:
    """The parameters that are searched, those that matter most first, where that is known."""
    known = dict.fromkeys(name for trial in record.trials.values() for name in trial.given)
    shares = importance(record)
    return sorted(known, key=lambda name: -shares.get(name, 0.0))


def importance(record: Record) -> dict[str, float]:
    """The share of each parameter in what the metric came to, the largest first."""
    prefix = "importance "
    found = {
        name.removeprefix(prefix): points[-1][1] for name, points in record.series.items() if name.startswith(prefix)
    }
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def tiles(record: Record, now: float, *, going: bool) -> Iterator[tuple[str, str]]:
    """The figures to see first."""
    states = [trial.state for trial in record.trials.values()]
    ended, total = len(states) - states.count("running"), record.total_steps or len(states)
    yield "trials", f"{ended:,} of {total:,}"
    found = best(record)
    if found is not None and found.value is not None:
        yield f"best {line(record.metric.replace('_', ' '), 32)}", f"{number(found.value)} in trial {found.trial}"
    for state in ("running", "pruned", "failed"):
        if states.count(state) and (going or state != "running"):
            yield state, str(states.count(state))
    if record.first_time is not None:
        spent = now - record.first_time
        yield "time", duration(spent)
        if going and ended >= 2:
            yield "left", f"about {duration(spent / ended * (total - ended))}"


def table(record: Record) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The best trials, those that run, and the last that were pruned or failed, with the reason; the best says so."""
    shown, first = names(record)[:_GIVEN], best(record)
    head = (
        "trial",
        "state",
        line(record.metric.replace("_", " "), 32),
        *(line(name, 32) for name in shown),
        "time",
        "",
    )
    rows = []
    for trial in _chosen(record):
        why = "best" if first is not None and trial.trial == first.trial else line(trial.cause, _WHY)
        value = "" if trial.value is None else number(trial.value)
        cells = (cell(trial.given.get(name, "")) for name in shown)
        rows.append((str(trial.trial), trial.state, value, *cells, duration(trial.seconds), why))
    return head, rows


def cell(value: Any) -> str:
    """A value that was tried, in few letters."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    return number(value) if isinstance(value, (int, float)) else line(value, 24)


def sentence(record: Record) -> str:
    """'7 of 20 trials ended; the best loss is 1.933, in trial 3: lr 0.000475, batch_size 4.'"""
    states = [trial.state for trial in record.trials.values()]
    ended = len(states) - states.count("running")
    told = f"{ended} of {record.total_steps or len(states)} trials ended"
    found = best(record)
    if found is None or found.value is None:
        return told + "; none has a value yet."
    given = ", ".join(f"{line(name, 32)} {cell(value)}" for name, value in found.given.items())
    return f"{told}; the best {line(record.metric, 32)} is {number(found.value)}, in trial {found.trial}: {given}."


def _chosen(record: Record) -> list[Tried]:
    trials = list(record.trials.values())
    sign = 1 if lower(record) else -1
    done = [trial for trial in trials if trial.state == "complete"]
    done.sort(key=lambda trial: (sign * (trial.value or 0.0), trial.trial))
    going = [trial for trial in trials if trial.state == "running"]
    others = [trial for trial in trials if trial.state in ("pruned", "failed")][-3:]
    return done[: max(ROWS - len(going) - len(others), 1)] + going + others
