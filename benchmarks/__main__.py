"""`python benchmarks [goal ...]`: each goal against its peer, in one run with the arms in turn; one line a comparison.

Goals: 1 load, 2 help, 3 first step, 4 overhead, 5 display, 6 tokens a second, 7 plan, 8 kernel, 9 sweep, panel,
tracker, rows; all by default.
NBTRAIN_DATA names a folder with larger real data, NBTRAIN_PEER AutoTrain's program where it is not in .venv-peer.
A line is void where the same arm, measured against itself, spreads more than its bound: the machine is too busy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

import display
import first_step
import kernel
import overhead
import panel
import planned
import rows
import speed
import start
import sweeping
import tracking
from measure import HEAD, Line
from settings import head

GOALS: dict[str, Callable[[], Line | str | Iterable[Line | str]]] = {
    "1": start.load,
    "2": start.help_text,
    "3": first_step.measure,
    "4": overhead.measure,
    "5": display.measure,
    "6": speed.measure,
    "7": planned.measure,
    "8": kernel.measure,
    "9": sweeping.measure,
    "panel": panel.measure,
    "tracker": tracking.measure,
    "rows": rows.measure,
}


def main(asked: list[str]) -> int:
    """Measure the goals asked for; the exit code."""
    unknown = set(asked) - GOALS.keys()
    if unknown:
        print(f"no goal {', '.join(sorted(unknown))}; there are {', '.join(GOALS)}", file=sys.stderr)
        return 2
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here is to be fetched, and asking the hub takes its time
    print(head(), HEAD, sep="\n", flush=True)
    for goal in asked or GOALS:
        found = GOALS[goal]()
        for told in [found] if isinstance(found, (Line, str)) else found:
            print(told, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
