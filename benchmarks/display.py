"""Goal 5: what one refresh of the live view costs, of a run with 100 events and of one with 100,000."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator
from typing import Any

from measure import Line

from nbtrain.events import Evaluated, Event, Finished, Logged, Sampled, Started
from nbtrain.notebook import draw
from nbtrain.runs.curve import Curves
from nbtrain.runs.record import Record

SHORT, LONG = 100, 100_000
REFRESHES = 50
ANSWER = "Well, <b>it depends</b> on the weather & on whom you ask: some would say yes. " * 3


def measure() -> Iterator[Line]:
    """Bytes and milliseconds a refresh, and the size of what the notebook keeps."""
    short, long = refreshes(SHORT), refreshes(LONG)
    unit = {"spread": 0.0, "count": REFRESHES}
    ratio = long[0] / short[0]
    yield Line("5 bytes a refresh, 100,000 / 100 events", long[0], short[0], "bytes", ratio, "<= 1.1", **unit)
    yield Line("5 largest frame / 30 kB", long[1], 30_000, "bytes", long[1] / 30_000, "<= 1.0", **unit)
    kept = saved(LONG)
    yield Line("5 saved bundle / 60 kB", kept, 60_000, "bytes", kept / 60_000, "<= 1.0", spread=0.0, count=1)
    yield Line("5 time a refresh, 100,000 / 100 events", long[2], short[2], "ms", long[2] / short[2], "", **unit)


def refreshes(count: int) -> tuple[float, float, float]:
    """Of the refreshes that follow after `count` events, one event before each: mean bytes, most bytes, median ms."""
    record, curves = Record(), Curves()
    events = story(count, more=REFRESHES)
    for _, event in zip(range(count), events, strict=False):
        record.add(event)
    draw.bundle(record, None, final=False, curves=curves, name="run")
    sizes, times = [], []
    for event in events:
        record.add(event)
        begin = time.perf_counter()
        sizes.append(_bytes(draw.bundle(record, None, final=False, curves=curves, name="run")))
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.mean(sizes), max(sizes), statistics.median(times)


def saved(count: int) -> int:
    """Bytes of the bundle that a finished run leaves in the notebook: page, picture and text."""
    record = Record.of(story(count))
    record.add(Finished(time=float(count), step=count, values={"loss": 1.5}, seconds=3600.0, model="model"))
    return _bytes(draw.bundle(record, None, final=True, name="run"))


def story(count: int, more: int = 0) -> Iterator[Event]:
    """A run of `count` events, with ten evaluations and as many samples, and `more`; its curve falls and is noisy."""
    facts = {"model": "some/model", "parameters": 4_212_992, "trainable": 4_212_992, "device": "cpu", "rows": 100_000}
    yield Started(time=0.0, room="llm", method="sft", name="run", total_steps=count + more, facts=facts)
    every = max(count // 10, 3)
    for step in range(1, count + more):
        loss = 1.5 + 6 / (1 + 20 * step / count) + 0.3 * math.sin(12.9898 * step)
        if step % every == every - 2:
            values = {"loss": loss, "perplexity": 2**loss}
            yield Evaluated(time=float(step), step=step, epoch=step / count, values=values)
        elif step % every == every - 1:
            asked = ("Why is the sky blue?", "Name three rivers.", "What is <i>HTML</i>?")
            samples = tuple({"prompt": prompt, "output": ANSWER, "expected": ANSWER} for prompt in asked)
            yield Sampled(time=float(step), step=step, samples=samples)
        else:
            values = {"loss": loss, "grad_norm": abs(loss), "learning_rate": 3e-5, "tokens_per_second": 4000 + step % 7}
            yield Logged(time=float(step), step=step, epoch=step / count, values=values)


def _bytes(bundle: dict[str, Any]) -> int:
    return len(json.dumps(bundle).encode())
