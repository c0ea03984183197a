"""What a Trainer does becomes events, and what is asked of the run is done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtrain.events import Changed, Evaluated, Logged, Resumed, Sampled, Saved, Started
from nbtrain.runs import checkpoints, ranks
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.journal import story
from nbtrain.runs.record import Record, lower_is_better
from nbtrain.trainers._guard import Guard
from nbtrain.trainers._rates import Rates

Take = Callable[[int], tuple[Mapping[str, Any], ...]]
"""Samples of the model as it is after so many steps."""

_TIMINGS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "num_tokens", "epoch")


class Clock:
    """Useful tokens a second of training: what is done aside (evaluations, samples, checkpoints) does not count."""

    def __init__(self) -> None:
        self.tokens = 0
        self._since = time.monotonic()
        self._inside = 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Time spent inside is none of the training's."""
        began, self._inside = time.monotonic(), self._inside + 1
        yield
        self._inside -= 1
        if not self._inside:  # samples are taken within an evaluation, whose time holds theirs
            self._since += time.monotonic() - began

    def speed(self) -> float:
        """Tokens a second since the last call, of all processes."""
        now = time.monotonic()
        tokens, seconds = sum(ranks.each(self.tokens)), max(now - self._since, 1e-9)
        self.tokens, self._since = 0, now
        return tokens / seconds


@dataclass(frozen=True)
class Told:
    """What a room shows of a training.

    facts: for the Started event. take: gives the samples; None where the room has none. metric: of an evaluation, by
    which one is better than another: --early-stopping-patience and --best-model ask. curve: the training value drawn.
    """

    facts: Mapping[str, Any]
    take: Take | None = None
    metric: str = "loss"
    curve: str = "loss"


class Best:
    """The best evaluation of a run, and how many there were since.

    Args:
        metric: of an evaluation; lower is better where `record.LOWER_IS_BETTER` knows its name.
        threshold: an evaluation that is better by no more than this counts among those without a better one.
    """

    def __init__(self, metric: str, threshold: float = 0.0) -> None:
        self.metric, self.threshold = metric, threshold
        self.values: dict[str, float] = {}
        self.step = self.worse = 0

    def is_better(self, step: int, values: Mapping[str, float]) -> bool:
        """Whether this evaluation is the best up to now; it is then remembered."""
        sign = 1 if lower_is_better(self.metric) else -1
        value, best = values.get(self.metric, math.nan), self.values.get(self.metric, sign * math.inf)
        better = sign * value < sign * best
        self.worse = 0 if sign * (best - value) > self.threshold else self.worse + 1
        if better:
            self.values, self.step = dict(values), step
        return better


class Complete(Exception):
    """The checkpoint is that of the last step: nothing is left to train. A Trainer would take one step more."""


class News:
    """The callback of a Trainer; `callback` makes it one.

    Args:
        guard: of the Trainer's gradients; None where a loop of our own judges them itself.
        told: what a room shows of itself.

    Attributes:
        values: of the last evaluation.
        stopping: whether a stop was asked. pausing: whether to wait when the checkpoint is written.
        best: the best evaluation up to now.
        evaluate: measures held-out rows; whoever trains sets it.
        beside: puts into a checkpoint what else belongs there.
    """

    def __init__(self, params: Any, run: ActiveRun, guard: Guard | None, told: Told) -> None:
        self.params, self.run, self.guard, self.told = params, run, guard, told
        self.take = told.take if ranks.is_first() else None
        self.clock = Clock()
        self.values: dict[str, float] = {}
        self.stopping = self.pausing = False
        self.again: list[Changed] = []  # changes that the run had before it went back to a checkpoint
        self.best = Best(told.metric, params.early_stopping_threshold)
        self.evaluate: Callable[[], Any] = dict
        self.beside: Callable[[Path], object] = lambda path: None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        run, begin, here = self.run, self.run.resume_from, self.run.folder.path
        if self.guard:
            self.guard.watch()
        own = begin is not None and begin.is_relative_to(here)
        if not own:  # a run that begins at another's checkpoint is a new one
            room, method = self.params.room, self.params.method
            steps, name = state.max_steps, run.folder.name
            run.emit(
                Started(
                    room=room,
                    method=method,
                    name=name,
                    total_steps=steps,
                    facts=self.told.facts,
                    metric=self.told.metric,
                    curve=self.told.curve,
                )
            )
        if begin is not None:
            place = str(begin.relative_to(here) if own else begin)
            # of several processes the first alone knows what it has told
            known = ranks.agreed([found for found in Record.of(story(run.folder.events)).evaluations if own])
            for found in known:
                if found["step"] <= state.global_step:  # what came later is measured again
                    self.best.is_better(int(found["step"]), {name: found[name] for name in found if name != "step"})
            run.emit(Resumed(step=state.global_step, checkpoint=place, differences=run.differences))
            self.again = ranks.agreed(Record.of(story(run.folder.events)).undone if own else [])
            if own and _due(args, state) and state.global_step not in {found["step"] for found in known}:
                self.evaluate()  # a stop came before it: the best of the run must not depend on that
            if state.global_step >= state.max_steps or control.should_training_stop:
                raise Complete
        else:
            self._sample(0, "base")
        self.clock.speed()

    def on_step_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, lr_scheduler: Any = None, **_: Any
    ) -> None:
        # here and not where it is asked: each checkpoint of a step is written before, those of a pause too
        step = state.global_step + 1
        wanted = self.run.changes()
        if wanted:
            self.again = []
        while self.again and (self.again[0].step or 0) <= step:
            change = self.again.pop(0)
            wanted[change.name] = change.new
        if "lr" in wanted:
            old = Rates(optimizer, lr_scheduler).change(wanted["lr"])
            self.run.emit(Changed(step=step, name="lr", old=old, new=wanted["lr"]))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.guard:
            self.guard.judge()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 1 < state.max_steps and args.eval_strategy != "no":
            # how good the model was to begin with; after this step, not before it: the curve begins seconds earlier
            control.should_evaluate = True
        asked, every = self.run.requests(), self.params.sample_every_n_steps if self.take else 0
        if "sample" in asked or (every and state.global_step % every == 0):
            self._meanwhile({"sample"}, state.global_step)
        if "stop" in asked:
            self.stopping = control.should_training_stop = True
            control.should_evaluate = False
        self.pausing = "pause" in asked and not self.stopping
        control.should_save |= bool(asked & {"save", "stop", "pause"})
        self._make_room(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.stopping:  # it was saved at the step, and whoever stops does not wait for an evaluation
            control.should_evaluate = control.should_save = False
        self._make_room(control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            known = {name: value for name, value in logs.items() if name not in _TIMINGS and value is not None}
            values = {name: float(value) for name, value in known.items()}
            if speed := self.clock.speed():
                values["tokens_per_second"] = round(speed, 1)
            self.run.emit(Logged(step=state.global_step, epoch=state.epoch, values=values))

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **_: Any) -> None:
        if self.run.stop_agreed():  # asked in the middle of it: what it has measured is not the whole
            self.stopping = control.should_training_stop = control.should_save = True
            return
        named = {name.removeprefix("eval_"): value for name, value in metrics.items() if name.startswith("eval_")}
        values = {name: float(value) for name, value in named.items() if name not in _TIMINGS}
        self.values = ranks.agreed(values)  # by them it is decided when to save and to end
        self.run.emit(Evaluated(step=state.global_step, epoch=state.epoch, values=self.values))
        first = state.global_step == 1 < state.max_steps  # before that step it wrote the same
        better = self.best.is_better(state.global_step, self.values)
        control.should_save |= better and self.params.best_model and not first
        control.should_training_stop |= self._no_better()
        if not (first or self.params.sample_every_n_steps):
            self._sample(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        with self.clock.aside():
            if self.guard:
                self.guard.settle()
            ranks.wait()  # each process writes its random state
            if ranks.is_first():
                self._commit(self.run.folder.checkpoints / f"checkpoint-{state.global_step}", state.global_step)
            if self.pausing:  # what it has learnt is on the disk, whatever happens while it waits
                self.pausing = False
                self.run.pause(state.global_step, lambda asked: self._meanwhile(asked, state.global_step))
                if self.run.stopped:
                    self.stopping = control.should_training_stop = True

    def _commit(self, path: Path, step: int) -> None:
        self.beside(path)
        checkpoints.commit(path)
        self.run.emit(Saved(step=step, path=str(path.relative_to(self.run.folder.path))))
        checkpoints.rotate(self.run.folder, self.params.save_total_limit, spare=self.best_checkpoint())

    def best_checkpoint(self) -> Path | None:
        """Where the weights of the best evaluation are, if they are to be kept."""
        return self.run.folder.checkpoints / f"checkpoint-{self.best.step}" if self.params.best_model else None

    def _meanwhile(self, asked: set[str], step: int) -> None:
        """What is done at once, also while the run is paused."""
        if "sample" in asked and self.take is None:
            self.run.warn("A sample was asked for: this run has none to show.")
        elif "sample" in asked:
            self._sample(step)

    def _sample(self, step: int, label: str = "") -> None:
        if self.take is None:
            return
        with self.clock.aside():
            samples = self.take(step)
            if not self.run.stop_asked():  # a stop cuts the writing short, and half a sample says nothing
                self.run.emit(Sampled(step=step, samples=samples, label=label))

    def _make_room(self, control: Any) -> None:
        if control.should_save:
            checkpoints.room_for(self.run.folder)

    def _no_better(self) -> bool:
        """Whether there were as many evaluations without a better one as --early-stopping-patience allows."""
        patience = self.params.early_stopping_patience
        if patience is None or self.best.worse < patience:
            return False
        self.run.warn(
            f"The {self.best.metric} on held-out rows has not been better for {self.best.worse} evaluations: training "
            "ends here (--early-stopping-patience)."
        )
        return True


def _due(args: Any, state: Any) -> bool:
    """Whether this step is one after which held-out rows are measured."""
    if args.eval_strategy == "no":
        return False
    by_epoch = args.eval_strategy == "epoch"
    return state.global_step == 1 or (
        float(state.epoch).is_integer() if by_epoch else state.global_step % args.eval_steps == 0
    )


def callback(news: News) -> Any:
    """`news` as a callback of transformers, which is not imported before it is needed."""
    from transformers import TrainerCallback

    news.__class__ = type("NewsCallback", (News, TrainerCallback), {})
    return news
