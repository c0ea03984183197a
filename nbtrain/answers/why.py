"""Why a run failed, with the end of what it left."""

from __future__ import annotations

import os
from pathlib import Path

from nbtrain.run import Run
from nbtrain.runs import folder, status

_TAIL = 40  # lines of a log or a traceback: a screen


def last_failed(root: str | os.PathLike[str]) -> Run | None:
    """The newest run below `root` that failed."""
    failed = (each for each in reversed(folder.all_runs(root)) if status.read(each).state == "failed")
    found = next(failed, None)
    return Run(found) if found is not None else None


def lines(run: Run) -> list[str]:
    """Its error, and the ends of its traceback and of its log."""
    if run.error is None:
        return [f"{run.name} has not failed: it is {run.status}"]
    found = [f"{run.name} failed at step {run.record.step}", *run.error.lines()]
    for path in (run.folder.error, run.folder.log):
        if path.exists() and path.stat().st_size:
            found += ["", f"the end of {path}:", *_end(path)]
    return found


def _end(path: Path) -> list[str]:
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 200 * _TAIL, 0))
        text = file.read().decode("utf-8", "replace")
    return [f"  {each}" for each in text.splitlines()[-_TAIL:]]
