"""A run as its owner holds it: to read, to use, to stop, to go on with."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from nbtrain import controls, events, fit, measuring, sweep, trainers
from nbtrain.errors import NbtrainError, RunError, WorkerDied, from_record
from nbtrain.params import Params
from nbtrain.params.measures import names_of
from nbtrain.runs import control, folder, launch, ranks, status
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Tail
from nbtrain.runs.record import Record

watcher: Callable[[Params], Run] | None = None
"""How `train` shows a run; the notebook extension sets it, since the core does not know the notebook."""


class Run:
    """One run, read from its folder; it holds no state of its own that a restart could lose.

    Args:
        where: the run folder, its path, or a name that `runs` lists.

    A Run may stand wherever a model is asked for: as a path it is the model it saved.
    """

    def __init__(self, where: RunFolder | str | os.PathLike[str]) -> None:
        self.folder = where if isinstance(where, RunFolder) else folder.find(os.fspath(where))
        self.worker: launch.Worker | None = None
        self._tail = Tail(self.folder.events)
        self._record = Record()
        self._reading = threading.Lock()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def status(self) -> str:
        """starting, running, paused, finished, stopped or failed."""
        return status.read(self.folder).state

    @property
    def record(self) -> Record:
        """All that the journal says up to now."""
        with self._reading:
            for event in self._tail.read():
                self._record.add(event)
            return self._record

    @property
    def params(self) -> Params:
        """What was asked, without secrets."""
        return fit.asked(self.folder)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The last evaluation's values."""
        return self.record.metrics

    @property
    def best(self) -> tuple[int, float] | None:
        """(step, value) of the best evaluation, by the metric of its room."""
        return self.record.best()

    @property
    def samples(self) -> list[Mapping[str, Any]]:
        """Every sample taken, oldest first, each with its step."""
        taken = self.record.samples
        return [{"step": event.step, "label": event.label, **sample} for event in taken for sample in event.samples]

    @property
    def trials(self) -> list[Run]:
        """The runs of a sweep, by number; those of other machines lie there."""
        return [Run(found) for found in sweep.runs_of(self.folder, self.record)]

    @property
    def best_run(self) -> Run | None:
        """The best trial of a sweep, a run like any other; None before the first, and where it lies elsewhere."""
        best = sweep.best_of(self.folder, self.record)
        return None if best is None else Run(best)

    @property
    def history(self) -> Any:
        """A pandas DataFrame: one row a step, one column a value; those of evaluations begin with `eval_`."""
        import pandas

        return pandas.DataFrame.from_dict(self.record.rows(), orient="index").sort_index().rename_axis("step")

    @property
    def error(self) -> NbtrainError | None:
        """Why the run failed, None if it did not."""
        end = self.record.end
        if isinstance(end, events.Failed):
            return from_record(dict(end.error))
        state = status.read(self.folder)
        return (
            WorkerDied(f"the run {self.name} ended without a word", why=state.cause)
            if state.state == "failed"
            else None
        )

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end; `timeout` in seconds. A run that failed raises its error here."""
        watched = self.worker or launch.attach(self.folder)
        if watched is not None:
            watched.wait(timeout)
        if self.status == "failed" and self.error is not None:
            raise self.error
        return self

    def stop(self) -> None:
        """Ask it to finish its step, save and end; returns at once."""
        control.ask(self.folder, "stop")

    def save(self) -> None:
        """Ask it to write a checkpoint after its step; returns at once.

        Raises (as sample, pause, go and set do):
            RunError: it has ended, or its room does not obey this.
        """
        controls.ask(self.folder, "save")

    def sample(self) -> None:
        """Ask it to show what the model does now, after its step; returns at once."""
        controls.ask(self.folder, "sample")

    def pause(self) -> None:
        """Ask it to finish its step, save, and wait for `go`; the process keeps its memory. Returns at once."""
        controls.ask(self.folder, "pause")

    def go(self) -> None:
        """Let a paused run go on."""
        controls.ask(self.folder, "go")

    def set(self, *, lr: float) -> None:
        """Change the learning rate from the next step on: its schedule keeps its course, at the new height.

        Raises:
            ParamError: no such rate.
        """
        controls.change(self.folder, {"lr": lr})

    def resume(self) -> Run:
        """Go on from the newest verified checkpoint, in the background."""
        self.worker = launch.launch(self.folder, resume=True)
        return self

    def export(self, to: str = "script") -> str:
        """What does the same again, as text: to = script, yaml, cell, line or command."""
        from nbtrain import export

        return export.text(self.params, to, self.folder)

    @cached_property
    def model(self) -> Any:
        """The trained model as its room opens it, on the device that a run would use; loaded on first use."""
        return self._opened[0]

    @cached_property
    def tokenizer(self) -> Any:
        """What turns rows into its inputs: a tokenizer, an image processor; loaded on first use."""
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[Any, Any]:
        params = self._trained_by
        return trainers.load(params.room).opened(params, os.fspath(self))

    @property
    def _trained_by(self) -> Params:
        """The parameters of its model: in a sweep those of the best trial."""
        best = self.best_run
        return self.params if best is None else best.params

    def predict(self, rows: Any, **settings: Any) -> list[Any]:
        """What the model says to new rows; for a language model prompts (str) or chats (lists of messages).

        Args:
            rows: one row or a list of them.
            settings: as the room's `predict` takes them; for a language model max_new_tokens, temperature ...
        """
        params = self._trained_by
        room = trainers.load(params.room)
        if not hasattr(room, "predict"):
            raise RunError(f"the room {params.room} cannot predict")
        many = isinstance(rows, list) and not (rows and isinstance(rows[0], Mapping) and "role" in rows[0])
        found = room.predict(params, self.model, self.tokenizer, rows if many else [rows], **settings)
        return list(found) if many else list(found)[0]

    def evaluate(
        self, data: Any = None, metrics: str | Sequence[str | measuring.Function] | None = None
    ) -> dict[str, float]:
        """The saved model, measured: on its held-out rows, or on `data`: whatever `data_path` takes.

        A method that measures while it trains only gives the last values of its held-out rows.

        Args:
            metrics: names, as --eval-metrics has them, and functions (predictions, references) to a number or numbers
                by name; None: what the room measures.

        Raises:
            RunError: there is no model, or the method does not measure other data. ParamError: a metric does not fit.
        """
        end = self.record.end
        values = end.values if metrics is not None and isinstance(end, events.Finished) else self.metrics
        return measuring.of_run(self._trained_by, Path(os.fspath(self)), data, names_of(metrics), values=values)

    def push_to_hub(self, repo_id: str | None = None, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload the model with its card, script and config, in one commit; the address. See `hub.push`."""
        from nbtrain import hub

        return hub.push(self.folder, repo_id, private=private, token=token)

    push = push_to_hub

    def generate(self, prompt: str | list[str], **settings: Any) -> Any:
        """What a language model writes after `prompt`.

        Raises:
            RunError: the model writes no text.
        """
        why_not = getattr(trainers.load(self.params.room), "cannot_write", lambda params: "")(self.params)
        if why_not:
            raise RunError(f"the run {self.name} cannot write: {why_not}", fix="run.predict(rows) asks it")
        return self.predict(prompt, **settings)

    chat = generate

    def free(self) -> None:
        """Let go of the loaded model and its memory."""
        for name in ("model", "tokenizer", "_opened"):
            self.__dict__.pop(name, None)
        if "torch" in sys.modules:
            import gc

            gc.collect()
            if sys.modules["torch"].cuda.is_available():
                sys.modules["torch"].cuda.empty_cache()

    def __fspath__(self) -> str:
        if not self.folder.model.is_dir():
            raise RunError(f"the run {self.name} has no model: it is {self.status}", fix="wait for it, or resume it")
        return str(self.folder.model)

    def __repr__(self) -> str:
        best = self.best
        found = f", best {self.record.metric} {best[1]:.4g} at step {best[0]}" if best else ""
        return f"Run({self.name!r}: {self.status}, step {self.record.step}{found})"


def start(params: Params, *, root: str | os.PathLike[str] = ".") -> Run:
    """Start a worker on these parameters and come back at once."""
    run = Run(sweep.prepare(params, root=root))
    run.worker = launch.launch(run.folder, secrets=params.secrets())
    return run


def train_here(params: Params, *, sinks: Iterable[fit.Sink] = (), root: str | os.PathLike[str] = ".") -> Run:
    """Train in this process, to the end; under torchrun or accelerate as one of theirs."""
    ranks.join(params.ddp_timeout)
    run = Run(ranks.same_folder(sweep.prepare(params, root=root) if ranks.is_first() else None))
    sweep.fit(run.folder, sinks=sinks, secrets=params.secrets())
    return run


def train(params: Params) -> Run:
    """Train to the end and give back the run; in a notebook with its live view, elsewhere with lines on the terminal.

    Raises:
        NbtrainError: the run failed; it is the run's own error.
    """
    if watcher is not None:
        return watcher(params)
    from nbtrain.sinks.terminal import Terminal

    run = train_here(params, sinks=(Terminal(),))
    if run.status == "failed":
        raise run.error or RunError(f"the run {run.name} failed")
    return run


def all_runs(root: str | os.PathLike[str] = ".") -> list[Run]:
    """The runs below `root`, newest last."""
    return [Run(found) for found in folder.all_runs(root)]
