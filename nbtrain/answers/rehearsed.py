"""A run that is only looked at: prepared as any other, in a folder that goes, by a process that ends."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from nbtrain import events, fit, trainers
from nbtrain.errors import RunError
from nbtrain.params import Params
from nbtrain.run import Run
from nbtrain.runs import launch
from nbtrain.runs.journal import Tail
from nbtrain.trainers._rehearsal import REPORTED

_LOOK = 0.05  # seconds between two looks
# nothing of it goes anywhere, and it is not to stop for what a run stops for
_QUIET = {"push_to_hub": False, "log": "none", "project_name": "rehearsal", "max_minutes": None}


def rehearse(
    params: Params, asked: Mapping[str, Any], *, news: Callable[[events.Event], object] | None = None
) -> dict[str, Any]:
    """What a process of its own found out about a run that is not made, and when that was launched.

    Args:
        asked: as `trainers._rehearsal.instead` takes it.
        news: called with each event, while the process goes on.

    Raises:
        RunError: the room cannot be looked into. NbtrainError: it fails, as the run would.
    """
    why_not = getattr(trainers.load(params.room), "CANNOT_REHEARSE", "")
    if why_not:
        raise RunError(f"{asked['kind']} cannot look into {params.room}", why=why_not)
    known = {name: value for name, value in _QUIET.items() if name in params.options()}
    if getattr(params, "backend", "auto") == "native":
        known["backend"] = "auto"  # the same batches and the same loss, by a Trainer
    with tempfile.TemporaryDirectory(prefix="nbtrain-", ignore_cleanup_errors=True) as place:
        run = Run(fit.prepare(params.but(**known), root=place))
        begin = time.time()
        worker = launch.launch(run.folder, secrets=params.secrets(), rehearse=asked)
        try:
            _follow(run, worker, news)
        finally:
            worker.kill()
        if run.status == "failed":
            raise run.error or RunError(f"{asked['kind']} failed")
        found = json.loads(run.folder.report.read_text(encoding="utf-8"))[REPORTED]
        return {**found, "launched": begin}


def _follow(run: Run, worker: launch.Worker, news: Callable[[events.Event], object] | None) -> None:
    tail = Tail(run.folder.events)
    while True:
        ended = worker.poll() is not None
        for event in tail.read():
            if news is not None:
                news(event)
        if ended:
            return
        time.sleep(_LOOK)
