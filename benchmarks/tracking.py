"""The time of a step with a tracker that takes ten seconds a call, against the same run without one.

Both arms are nbtrain's own loop with its journal, in turns of half a second, in one process, with one thread each. The
tracker stands for a server that hardly answers: what is logged waits for it in a queue, and the run does not.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import overhead
from measure import Line, line, ratios, spread
from turns import Turns

SECONDS = 10.0  # of a call


class Slow:
    """A tracker of nbtrain's that takes its time."""

    calls = 0

    def __init__(self, run: Any, asked: Mapping[str, Any], began: float) -> None:
        pass

    def write(self, step: int, values: Mapping[str, float]) -> None:
        Slow.calls += 1
        time.sleep(SECONDS)

    def close(self, failed: bool) -> None:
        pass


def measure() -> Iterator[Line]:
    """At two sizes of step."""
    from nbtrain.sinks import trackers

    trackers.TRACKERS["csv"] = Slow
    for name, (hidden, layers, steps, _) in overhead.SIZES.items():
        bench = overhead.Bench(hidden, layers, steps)
        same = _compared(bench, one=False, other=False)
        found = _compared(bench, tracked=True, alone=False)
        yield line(
            f"tracker of {SECONDS:.0f} s a call: step / without, {name}",
            found["tracked"],
            found["alone"],
            unit="ms",
            target="<= 1.01",
            spread=spread(ratios(same["one"], same["other"])),
            note=f"it was called {Slow.calls} times; loss of the last {bench.every} steps {bench.losses['ours']:.4f}",
            bound=overhead.BOUND,
        )


def _compared(bench: overhead.Bench, **arms: bool) -> dict[str, list[float]]:
    """Milliseconds a step, turn by turn; each arm by whether it has the tracker."""
    from nbtrain.runs.folder import RunFolder
    from nbtrain.sinks.trackers import Aside

    with tempfile.TemporaryDirectory() as place:
        folders = {name: RunFolder(Path(place, name)) for name in arms}
        for folder in folders.values():
            folder.path.mkdir()

        def arm(name: str) -> Any:
            sinks = [Aside("csv", folders[name], {}, began=0.0)] if arms[name] else []
            return lambda callback: bench.ours(callback, folders[name], sinks)

        return Turns(bench.steps).run(**{name: arm(name) for name in arms})
