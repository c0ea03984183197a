"""The learning-rate range test: the rate rises from step to step, and the loss says from where on it is too high.

Source: Smith 2017, arXiv:1506.01186.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from nbtrain.errors import RunError
from nbtrain.events import Logged, Started
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._news import Told
from nbtrain.trainers._rehearsal import REPORTED, Rehearsed

SMOOTH = 0.9  # how much of the mean of the losses before stays at each step
_BURST = 4.0  # times the lowest smoothed loss: from here on nothing is to be learnt
_EARLY = 10  # steps whose loss says little of a burst: the mean has hardly begun


class RangeTest:
    """The test, in the place of a run's training. Nothing of it is saved.

    Args:
        lowest, highest: rates, of the first step and of the last of so many `steps`.
    """

    def __init__(self, params: Any, run: ActiveRun, *, lowest: float, highest: float, steps: int) -> None:
        self.params, self.run = params, run
        self.lowest, self.factor, self.steps = lowest, (highest / lowest) ** (1 / max(steps - 1, 1)), steps
        self.parts: list[float] = []
        self.rates: list[float] = []
        self.losses: list[float] = []

    def of_steps(self, steps: Any) -> Iterator[int]:
        """A loop of our own has no one rate that could rise."""
        raise RunError("lr-find needs a loss that falls as the model learns; this method has none")

    def of_trainer(self, trainer: Any, told: Told) -> NoReturn:
        """Train with a rate that rises by the same factor at each step, until the loss bursts."""
        from transformers import PrinterCallback

        args, name = trainer.args, self.run.folder.name
        args.max_steps, args.learning_rate = self.steps, self.lowest
        args.eval_strategy = args.save_strategy = args.logging_strategy = "no"
        trainer.create_scheduler = lambda *_, **__: _rising(trainer, self.factor)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_follower(self))
        trainer.training_step = _kept(trainer.training_step, self.parts)
        self.run.emit(Started(room=self.params.room, method=self.params.method, name=name, total_steps=self.steps))
        trainer.train()
        self.run.report[REPORTED] = {"rates": self.rates, "losses": self.losses}
        raise Rehearsed

    def step_ended(self, step: int) -> bool:
        """Take the loss of the step that ended; whether the test goes on. step: from 0."""
        loss, rate = sum(self.parts), self.lowest * self.factor**step
        self.parts.clear()
        if math.isfinite(loss):
            self.rates.append(rate)
            self.losses.append(loss)
            self.run.emit(Logged(step=step + 1, values={"loss": loss, "learning_rate": rate}))
        return math.isfinite(loss) and not burst(self.losses) and not self.run.stop_asked()


def smoothed(losses: list[float]) -> list[float]:
    """The mean of what came before, the recent counting most; its weights add to one from the first on."""
    found, total = [], 0.0
    for at, loss in enumerate(losses, start=1):
        total = SMOOTH * total + (1 - SMOOTH) * loss
        found.append(total / (1 - SMOOTH**at))
    return found


def burst(losses: list[float]) -> bool:
    """Whether the loss is beyond all that it was before."""
    means = smoothed(losses)
    return len(means) > _EARLY and means[-1] > _BURST * min(means)


def _rising(trainer: Any, factor: float) -> Any:
    from torch.optim.lr_scheduler import LambdaLR

    trainer.lr_scheduler = LambdaLR(trainer.optimizer, lambda step: factor**step)
    return trainer.lr_scheduler


def _kept(step: Callable[..., Any], parts: list[float]) -> Callable[..., Any]:
    def kept(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        if isinstance(inputs, dict):
            inputs.pop("tokens", None)
        loss = step(model, inputs, *rest, **named)
        parts.append(float(loss))
        return loss

    return kept


def _follower(test: RangeTest) -> Any:
    from transformers import TrainerCallback

    class Follower(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop |= not test.step_ended(state.global_step - 1)

    return Follower()
