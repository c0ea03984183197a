"""A training loop of our own, without transformers' Trainer, under the same rules as `_loop`: the same events at the
same steps, requests, checkpoints, the best evaluation, a loss that is no number, a resumed run that is the same to the
bit.

    settings = _steps.settings(params, run, epoch_steps=..., device=..., precision=..., evaluate=True)
    parts = _steps.Parts({"model": model}, {"optimizer": optimizer, "schedule": schedule})
    steps = _steps.Steps(params, run, settings, parts, told, evaluate=evaluate)
    with _steps.memory_told(lambda: steps.done + 1, params.batch_size):
        for step in steps:                  # steps done: after a resume it begins where the checkpoint is
            ...                             # which rows: steps.epoch(step); the order is a function of seed and epoch
            if steps.sound(gradient_norm):  # else this step is left out (--on-nan skip)
                optimizer.step()
            steps.log({"loss": loss, "learning_rate": rate}, tokens=count)
        values = steps.end()
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nbtrain.models.load import Device, Precision
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _state
from nbtrain.trainers._guard import not_a_number
from nbtrain.trainers._loop import arguments, begins_at, memory_told
from nbtrain.trainers._news import Complete, News, Told
from nbtrain.trainers._samples import undisturbed
from nbtrain.trainers._state import Parts

__all__ = ["Parts", "Steps", "memory_told", "optimizer", "schedule", "settings"]

_LATEST = ("learning_rate",)  # of these the last value is logged, of all others the mean since the last time


def settings(
    params: Any, run: ActiveRun, *, epoch_steps: int, device: Device, precision: Precision, evaluate: bool
) -> Any:
    """transformers' TrainingArguments: when is logged, evaluated and saved, which optimiser and schedule.

    Args:
        epoch_steps: steps of one epoch; `max_steps` of the result holds those of the run.
        evaluate: whether there are held-out rows.
    """
    from transformers import TrainingArguments

    rows = epoch_steps * params.batch_size * params.gradient_accumulation  # rows that make so many steps
    total = params.max_steps if params.max_steps > 0 else epoch_steps * params.epochs
    given = arguments(params, run, rows=rows, device=device, precision=precision, evaluate=evaluate)
    return TrainingArguments(**given | {"max_steps": total})


def optimizer(settings: Any, *modules: Any) -> Any:
    """The optimiser that --optimizer names, over the weights that are trained; norms and biases do not decay."""
    from torch import nn
    from transformers import Trainer
    from transformers.trainer_pt_utils import get_parameter_names

    kind, given = Trainer.get_optimizer_cls_and_kwargs(settings)
    unfaded = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]  # the Trainer's own list
    decayed, other = [], []
    for module in modules:
        names = set(get_parameter_names(module, [nn.LayerNorm], unfaded))
        for name, weight in module.named_parameters():
            if weight.requires_grad:
                (decayed if name in names else other).append(weight)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": other, "weight_decay": 0.0}]
    return kind([group for group in groups if group["params"]], **given)


def schedule(settings: Any, optimizer: Any, updates: int) -> Any:
    """The course of the learning rate that --scheduler names, over so many updates of the weights."""
    from transformers import get_scheduler

    warmup = math.ceil(settings.warmup_steps * updates / settings.max_steps)
    return get_scheduler(settings.lr_scheduler_type, optimizer, num_warmup_steps=warmup, num_training_steps=updates)


class Steps:
    """The steps of a run: iterating gives each one's number (from 0), and does after it whatever is due.

    Args:
        settings: as the function of that name gives them.
        evaluate: gives the values on held-out rows, None where there are none; called in evaluation mode, without
            gradients, and without changing any random state.

    Attributes:
        left_out: steps that were not taken.
    """

    def __init__(  # noqa: PLR0913  each is a choice of the caller
        self,
        params: Any,
        run: ActiveRun,
        settings: Any,
        parts: Parts,
        told: Told,
        *,
        epoch_steps: int,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        from transformers import TrainerControl, TrainerState
        from transformers.trainer_callback import DefaultFlowCallback

        self.params, self.run, self.settings, self.parts = params, run, settings, parts
        self.epoch_steps, self.evaluate, self.left_out = epoch_steps, evaluate, 0
        self.news = News(params, run, None, told)
        self._position, self._control, self._flow = TrainerState(), TrainerControl(), DefaultFlowCallback()
        self._position.max_steps = settings.max_steps
        self._position.compute_steps(settings, settings.max_steps)
        self._sums: dict[str, list[Any]] = {}
        self._began = time.monotonic()

    @property
    def done(self) -> int:
        """Steps done."""
        return self._position.global_step

    def __iter__(self) -> Iterator[int]:
        if self.run.rehearsal is not None:
            yield from self.run.rehearsal.of_steps(self)
        if self._begin():
            moved = {"optimizer": self.parts.states["optimizer"], "lr_scheduler": self.parts.states["schedule"]}
            while self.done < self.settings.max_steps and not self._control.should_training_stop:
                self.news.on_step_begin(self.settings, self._position, self._control, **moved)
                yield self.done
                self._finish()

    def epoch(self, step: int) -> tuple[int, int]:
        """(epoch, step in it), both from 0."""
        return divmod(step, self.epoch_steps)

    def log(self, values: Mapping[str, Any], *, tokens: int = 0) -> None:
        """Values of this step, numbers or tensors of one; `loss` is among them. tokens: useful ones."""
        self.news.clock.tokens += tokens
        for name, value in values.items():
            kept = self._sums.setdefault(name, [])
            kept[:] = [value] if name in _LATEST else [*kept, value.detach() if hasattr(value, "detach") else value]

    def sound(self, norm: Any, rows: str = "") -> bool:
        """Whether the weights may move by a gradient of this norm; a scaler for fp16 judges by itself.

        Args:
            rows: ", rows 3, 17": where they came from, for the error.

        Raises:
            TrainingError: it is no number, and such steps are not to be left out.
        """
        if math.isfinite(float(norm)):
            return True
        if self.params.on_nan == "stop":
            raise not_a_number(self.done + 1, self.params.lr, rows)
        self.left_out += 1
        return False

    def end(self) -> dict[str, float]:
        """The last evaluation's values, or with --best-model the best one's (whose weights are loaded), and totals."""
        news = self.news
        if not news.values and not news.stopping and self.evaluate:
            self._evaluate()
        values, best = news.values, news.best_checkpoint()
        if best is not None and news.best.step != self.done and best.is_dir():
            _state.load_modules(best, self.parts)
            self.run.warn(f"The model is that of step {news.best.step}, the best by {news.best.metric} (--best-model).")
            values = news.best.values
        if self.left_out:
            self.run.warn(f"Steps left out: {self.left_out}; their loss or gradient was not a number (--on-nan skip).")
        return values | {"steps": self.done, "train_seconds": round(time.monotonic() - self._began, 3)}

    def _begin(self) -> bool:
        """Told, and at the checkpoint where there is one; False where nothing is left to train."""
        self.run.resume_from = begin = begins_at(self.params, self.run)
        if begin is not None:
            self._position.global_step = _state.load(begin, self.parts)
            self._position.epoch = self.done / self.epoch_steps
        self.news.evaluate = self._evaluate
        with contextlib.suppress(Complete):
            self.news.on_train_begin(self.settings, self._position, self._control)
            return True
        return False

    def _finish(self) -> None:
        """What is due after a step: to tell, to evaluate, to save, to obey."""
        state, control = self._position, self._control
        state.global_step += 1
        state.epoch = self.done / self.epoch_steps
        self._flow.on_step_end(self.settings, state, control)
        self.news.on_step_end(self.settings, state, control)
        self._act()
        if self.done % self.epoch_steps == 0 or control.should_training_stop:
            self._flow.on_epoch_end(self.settings, state, control)
            self.news.on_epoch_end(self.settings, state, control)
            self._act()

    def _act(self) -> None:
        control = self._control
        if control.should_log and self._sums:
            means = {name: float(sum(kept) / len(kept)) for name, kept in self._sums.items()}
            self._sums.clear()
            self.news.on_log(self.settings, self._position, control, logs=means)
        if control.should_evaluate:
            self._evaluate()
        if control.should_save:
            with self.news.clock.aside():
                _state.save(self.run.folder.checkpoints / f"checkpoint-{self.done}", self.parts, self.done)
            self.news.on_save(self.settings, self._position, control)
        control.should_log = control.should_evaluate = control.should_save = False

    def _evaluate(self) -> None:
        assert self.evaluate is not None  # TrainingArguments asks for none where there are no held-out rows
        with self.news.clock.aside(), contextlib.ExitStack() as calm:
            for module in self.parts.modules.values():
                calm.enter_context(undisturbed(module))
            values = self.evaluate()
        named = {f"eval_{name}": value for name, value in values.items()}
        self.news.on_evaluate(self.settings, self._position, self._control, named)
