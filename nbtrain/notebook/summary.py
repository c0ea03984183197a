"""What there is to say of a run, in words and numbers, before it becomes a page, a picture or plain text."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from nbtrain.events import Failed, Stopped
from nbtrain.notebook import trials
from nbtrain.plain import duration, line, number, words
from nbtrain.runs.curve import Curves, metric, series, sparkline
from nbtrain.runs.record import Record
from nbtrain.runs.status import ENDED, Status

ROWS = 8  # of the last evaluations
_COLUMNS = 6  # values of an evaluation; a page is not wider
_FACTS, _TILES = 10, 8
_COURSE = 24  # letters of a sparkline
_FEW_STEPS = 3  # before so many, the time left is a guess


@dataclass(frozen=True)
class Summary:
    """A run at one moment.

    kind: room and method. stage: what it does just now, where that is not plain training. done: 0 to 1, or None.
    tiles: the figures to see first, (name, value). head, rows: a table. outcome: how it ended, (name, text).
    others: what else is logged, (name, first, last, course). sentence: what the curve did.
    """

    name: str
    kind: str
    state: str
    stage: str
    done: float | None
    facts: list[str]
    tiles: list[tuple[str, str]]
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    others: list[tuple[str, ...]]
    outcome: list[tuple[str, str]]
    sentence: str


def summarise(record: Record, status: Status | None, now: float | None, curves: Curves) -> Summary:
    """All that is known of the run. status: None where only the journal is at hand. now: seconds since 1970."""
    started, state = record.started, _state(record, status)
    total = record.total_steps
    head, rows = _evaluations(record) if record.evaluations else _last_values(record, curves)
    ended = state in ENDED
    moment = (record.last_time if ended else now or time.time()) or 0.0
    shown = list(_tiles(record, state, moment, curves))[:_TILES]
    if record.trials:
        (head, rows), shown = trials.table(record), list(trials.tiles(record, moment, going=not ended))
    return Summary(
        name=line(started.name if started else "", 80),
        kind=line(" · ".join(part for part in (started.room, started.method) if part) if started else "", 80),
        state=state,
        stage=line(status.stage) if status and not ended else "",
        done=1.0 if state == "finished" else min(record.step / total, 1.0) if total else None,
        facts=[
            _fact(name, value) for name, value in list(record.facts().items())[:_FACTS] if value not in (None, "", 0)
        ],
        tiles=shown,
        head=head,
        rows=rows,
        others=[] if record.trials else list(_others(curves)),
        outcome=_outcome(record, state, status),
        sentence=trials.sentence(record) if record.trials else _sentence(record, curves),
    )


def _state(record: Record, status: Status | None) -> str:
    """The status knows of a death and of a run taken up again; the journal may know of an end a moment earlier."""
    if status is None or (record.end is not None and record.end.time >= status.since):
        return record.state
    # a live process writes its first event before its first status of it
    return (
        record.state if status.state == "starting" and record.state == "running" and not status.stage else status.state
    )


def _fact(name: str, value: object) -> str:
    amount = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{number(value)} {words(name).removesuffix('s' * (value == 1))}" if amount else line(value, 80)


def _tiles(record: Record, state: str, now: float, curves: Curves) -> Iterator[tuple[str, str]]:
    total = record.total_steps
    if record.step or total:
        yield "step", f"{record.step:,}" + (f" of {total:,}" if total else "")
    strokes = curves.loss.smooth()
    if strokes:
        yield f"training {words(series(record))}", number(strokes[-1][-1][1])
    best = record.best(curves.metric)
    if best is not None:
        last = record.evaluations[-1].get(curves.metric, best[1])
        mark = ", the best" if last == best[1] else f", best {number(best[1])}"
        yield f"validation {words(curves.metric)}", number(last) + mark
    if record.epoch is not None:
        yield "epoch", f"{record.epoch:.2f}"
    if record.first_time is not None:
        yield "time", duration(now - record.first_time)
    left = _seconds_left(record, now)
    if state == "running" and left is not None:
        yield "left", f"about {duration(left)}"
    for name, points in record.series.items():
        if name.endswith("_per_second"):
            yield "speed", f"{number(points[-1][1])} {words(name.removesuffix('_per_second'))}/s"
        elif "memory" in name:
            yield words(name), number(points[-1][1])


def _seconds_left(record: Record, now: float) -> float | None:
    """At the mean speed since training began, or was taken up again."""
    begin = record.resumed[-1] if record.resumed else record.started
    if begin is None or record.total_steps is None or record.last_time is None:
        return None
    done = record.step - (begin.step or 0)
    if done < _FEW_STEPS:
        return None
    # the last news, not this moment: between two of them the time left would seem to grow
    spent = record.last_time - begin.time - record.paused
    return max((record.total_steps - record.step) * spent / done - (now - record.last_time), 0.0)


def _evaluations(record: Record) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The last evaluations, oldest first, and the best of all, which says so in words."""
    chosen, trained = metric(record), record.series.get(series(record), [])
    best = record.best(chosen)
    shown = record.evaluations[-ROWS:]
    if best is not None and best[0] < shown[0]["step"]:
        shown = [next(row for row in record.evaluations if row["step"] == best[0]), *shown]
    names = [chosen, *dict.fromkeys(name for row in shown for name in row if name not in ("step", chosen))][:_COLUMNS]
    rows = []
    for row in shown:
        at = bisect_right(trained, row["step"], key=lambda point: point[0])
        values = [number(row[name]) if name in row else "" for name in names]
        mark = "best" if best is not None and row["step"] == best[0] else ""
        rows.append((number(int(row["step"])), number(trained[at - 1][1]) if at else "", *values, mark))
    others = [words(name) for name in names[1:]]
    return ("step", f"training {words(series(record))}", f"validation {words(chosen)}", *others, ""), rows


def _others(curves: Curves) -> Iterator[tuple[str, ...]]:
    for name, curve in curves.others.items():
        points = [point for stroke in curve.smooth() for point in stroke]
        if points:
            yield words(name), number(points[0][1]), number(points[-1][1]), sparkline(curve, _COURSE)


def _last_values(record: Record, curves: Curves) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    named = {name: points for name, points in record.series.items() if points and name not in curves.others}
    rows = [(words(name), number(points[0][1]), number(points[-1][1])) for name, points in named.items()]
    return ("value", "first", "last"), rows[:ROWS]


def _outcome(record: Record, state: str, status: Status | None) -> list[tuple[str, str]]:
    end = record.end
    if state == "failed":
        error = dict(end.error) if isinstance(end, Failed) else {"why": status.cause if status else ""}
        error["what"] = error.get("what") or "The run ended without doing what it was asked"
        parts = (("what", "what"), ("where", "where"), ("why", "why"), ("what to do", "fix"))
        return [(name, line(error[part], 700)) for name, part in parts if error.get(part)]
    if isinstance(end, Stopped) and state == "stopped":
        kept = [("checkpoint", line(end.checkpoint, 300))] if end.checkpoint else []
        return [("stopped", line(end.reason, 300)), *kept]
    return []


def _sentence(record: Record, curves: Curves) -> str:
    """'Training loss fell from 3.1 to 2.2 over 120 steps; validation loss 2.4 at step 120, the best.'"""
    strokes = curves.loss.smooth()
    if not strokes:
        return "No training step has been logged yet."
    name, first, last = words(series(record)), strokes[0][0], strokes[-1][-1]
    told = f"Training {name} {_course(first[1], last[1])} over {record.step:,} steps"
    best = record.best(curves.metric)
    if best is not None:
        row = record.evaluations[-1]
        last_value, valid = row.get(curves.metric, best[1]), words(curves.metric)
        told += f"; validation {valid} {number(last_value)} at step {int(row['step']):,}, "
        told += "the best" if last_value == best[1] else f"the best was {number(best[1])} at step {best[0]:,}"
    return told + "."


def _course(first: float, last: float) -> str:
    if abs(last - first) <= 0.01 * abs(first):
        return f"stayed at {number(last)}"
    return f"{'fell' if last < first else 'rose'} from {number(first)} to {number(last)}"
