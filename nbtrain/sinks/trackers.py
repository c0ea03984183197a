"""The curves of a run for others to read: TensorBoard, Weights & Biases, trackio, a table.

A tracker works in a thread of its own: one that is slow, down or wrong costs the run a notice, never a step.
"""

from __future__ import annotations

import csv
import json
import os
import queue
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from nbtrain import events
from nbtrain.errors import MissingExtra
from nbtrain.runs.folder import RunFolder

ENDED = (events.Finished, events.Stopped, events.Failed)
PROJECT = "nbtrain"
_PREFIX = {events.Logged: "train", events.Evaluated: "eval"}
_WAITING = 10_000  # events that may wait for a tracker that is slow; what comes then is not sent
_PATIENCE = 30.0  # seconds that a run which has ended waits for what is still on its way


class Tracker(Protocol):
    """What the curves are written with."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured at a step, by train/NAME or eval/NAME."""

    def close(self, failed: bool) -> None:
        """The run has ended."""


class TensorBoard:
    """Event files: `tensorboard --logdir RUN/tensorboard`. A run that is resumed adds one."""

    def __init__(self, run: RunFolder, asked: Mapping[str, Any], began: float) -> None:
        from tensorboard.summary import Writer

        self._writer = Writer(str(run.path / "tensorboard"))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step=step)
        self._writer.flush()  # what waits in memory would be lost with the process, and is not told again

    def close(self, failed: bool) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of wandb with the same name; kept in the run folder alone where nobody is logged in there.

    `wandb sync RUN/wandb/offline-run-*` sends it later. WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE ... hold as ever.
    """

    def __init__(self, run: RunFolder, asked: Mapping[str, Any], began: float) -> None:
        import wandb

        known = wandb.login(prompt=False)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=f"{run.name}-{began:.0f}",  # the same when it is resumed
            resume="allow",
            dir=str(run.path),
            config=dict(asked),
            mode=None if known or "WANDB_MODE" in os.environ else "offline",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class Trackio:
    """A run of trackio on this machine: `trackio show --project nbtrain`. TRACKIO_DIR, TRACKIO_SPACE_ID hold."""

    def __init__(self, run: RunFolder, asked: Mapping[str, Any], began: float) -> None:
        import trackio

        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=run.name,
            resume="allow",
            config=dict(asked),
            embed=False,  # its dashboard would stand in the worker's log
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, failed: bool) -> None:
        self._run.finish()


class Table:
    """metrics.csv in the run folder: step, name, value; a run that is resumed goes on in it."""

    def __init__(self, run: RunFolder, asked: Mapping[str, Any], began: float) -> None:
        path = run.path / "metrics.csv"
        new = not path.exists()
        self._file = path.open("a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        if new:
            self._rows.writerow(("step", "name", "value"))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._rows.writerows((step, name, value) for name, value in values.items())
        self._file.flush()

    def close(self, failed: bool) -> None:
        self._file.close()


TRACKERS: dict[str, Callable[..., Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
    "csv": Table,
}


class Reached:
    """How far a tracker was told, kept in a file: a run that died goes back to its checkpoint, the tracker does not.

    Args:
        path: of the file; missing or torn, nothing was told.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._steps: dict[str, int] = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self._steps = {}
        self._before = dict(self._steps)

    def has(self, kind: str, step: int) -> bool:
        """Whether it was told at an earlier start of the run."""
        return step <= self._before.get(kind, -1)

    def move(self, kind: str, step: int) -> None:
        """It has been told `step`."""
        self._steps[kind] = step
        self._path.write_text(json.dumps(self._steps), encoding="utf-8")


class Aside:
    """A sink that hands what was measured to the tracker `name`, and waits for nothing.

    Args:
        name: of TRACKERS.
        run: the folder of the run.
        asked: its parameters as plain data, without secrets.
        began: when the run began, in seconds of the clock; another start of it has the same.

    Raises:
        MissingExtra: the package is not installed.

    What the tracker raises is raised at the next event, where the run takes the sink out with a notice.
    """

    def __init__(self, name: str, run: RunFolder, asked: Mapping[str, Any], began: float) -> None:
        if name != "csv" and find_spec(name) is None:
            fix = f"pip install {name}, or leave --log out: the run keeps its curves without it"
            raise MissingExtra(f"--log {name} needs {name}, which is not installed", fix=fix)
        self.__qualname__ = f"--log {name}"
        self._open = lambda: TRACKERS[name](run, asked, began)
        self._reached = Reached(run.path / f".{name}-reached")
        self._waiting: queue.Queue[events.Event] = queue.Queue(_WAITING)
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=self.__qualname__, daemon=True)
        self._thread.start()

    def __call__(self, event: events.Event) -> None:
        """Hand on what the event measured; at the end of the run, wait a little for what is on its way."""
        if isinstance(event, (*_PREFIX, *ENDED)) and self._fault is None:
            self._waiting.put_nowait(event)
        if isinstance(event, ENDED):
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                raise TimeoutError(f"it took more than {_PATIENCE:.0f} s, and was left")
        if self._fault is not None:
            raise self._fault

    def _work(self) -> None:
        try:
            tracker = self._open()
            while True:
                event = self._waiting.get()
                if isinstance(event, ENDED):
                    tracker.close(isinstance(event, events.Failed))
                    return
                if isinstance(event, (events.Logged, events.Evaluated)):
                    self._tell(tracker, event)
        except BaseException as error:  # a SystemExit of a library, too, is told and not lost with the thread
            self._fault = error

    def _tell(self, tracker: Tracker, event: events.Logged | events.Evaluated) -> None:
        kind, step = _PREFIX[type(event)], event.step or 0
        if not self._reached.has(kind, step):
            tracker.write(step, {f"{kind}/{name}": value for name, value in event.values.items()})
            self._reached.move(kind, step)
