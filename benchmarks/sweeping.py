"""Goal 9: trials an hour of a sweep with two workers, and with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import FEWEST, Line, compare

TRIALS = 20
# what is searched makes no trial longer than another: the two arms try different values
SEARCHED = '{"lr": {"low": 1e-4, "high": 1e-2, "type": "loguniform"}, "weight_decay": {"low": 0.0, "high": 0.1}}'
ASKED = ("text-classification", "--max-samples", "240", "--epochs", "4", "--sweep-pruner", "none",
         "--sweep-params", SEARCHED)  # fmt: skip


def measure() -> Iterator[Line | str]:
    """The rates, in turn; each worker has one thread, so that two have the whole of a small machine."""
    if (os.cpu_count() or 1) < 2:
        yield "9 trials an hour: this machine has one core"
        return
    arms = (lambda: rate(2), lambda: rate(1))
    yield compare("9 trials an hour, 2 workers / 1", *arms, count=FEWEST, unit="trials/h", target=">= 1.8")


def rate(workers: int) -> float:
    """Trials an hour once every worker has ended its first: what a longer sweep comes to."""
    with tempfile.TemporaryDirectory(prefix="nbtrain-sweep-") as place:
        words = (*ASKED, "--use-sweep", "--sweep-n-trials", str(TRIALS), "--sweep-workers", str(workers))
        subprocess.run(
            [sys.executable, "-m", "nbtrain", *words, "--project-name", "run"],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
        )
        told = [json.loads(line) for line in Path(place, "run", "events.jsonl").read_text().splitlines()]
    ends = sorted(line["time"] for line in told if line["event"] == "tried" and line["state"] != "running")
    return 3600 * (TRIALS - workers) / (ends[-1] - ends[workers - 1])
