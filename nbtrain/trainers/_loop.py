"""transformers' Trainer, and all that derive from it, under our rules: its news become events, requests are obeyed, checkpoints are
committed, a loss that is no number is seen at its step, and a run that goes on from a checkpoint ends with the same weights to the bit.

A room makes a Trainer from `arguments` and hands it to `train`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nbtrain.errors import TrainingError
from nbtrain.events import Evaluated, Logged, Resumed, Sampled, Saved, Started
from nbtrain.models.load import Device, Precision
from nbtrain.runs import checkpoints
from nbtrain.runs.active import ActiveRun

POINTS = 500  # of the curve, where no --logging-steps is given: what a screen can show
_TIMINGS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "num_tokens")

Take = Callable[[int], tuple[Mapping[str, Any], ...]]
"""Samples of the model as it is after so many steps."""


@dataclass
class Course:
    """What the loop remembers between two calls of its callback."""

    tokens: int = 0
    since: float = field(default_factory=time.monotonic)
    stopping: bool = False
    values: dict[str, float] = field(default_factory=dict)
    best: float = math.inf
    worse: int = 0
    left_out: int = 0
    batches: list[Any] = field(default_factory=list)
    unread: tuple[int, Any, list[Any]] | None = None
    _inside: int = 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Time spent inside is none of the training's."""
        began, self._inside = time.monotonic(), self._inside + 1
        yield
        self._inside -= 1
        if not self._inside:  # samples are taken within an evaluation, and its time holds theirs
            self.since += time.monotonic() - began

    def speed(self) -> float:
        """Useful tokens a second since the last call."""
        now = time.monotonic()
        tokens, seconds = self.tokens, max(now - self.since, 1e-9)
        self.tokens, self.since = 0, now
        return tokens / seconds


def planned_steps(params: Any, rows: int) -> int:
    """Optimiser steps of a run over so many rows."""
    if params.max_steps > 0:
        return int(params.max_steps)
    return math.ceil(math.ceil(rows / params.batch_size) / params.gradient_accumulation) * int(params.epochs)


def arguments(params: Any, run: ActiveRun, *, rows: int, device: Device, precision: Precision, evaluate: bool) -> dict[str, Any]:
    """TrainingArguments for these parameters, as keywords: every choice of device and precision is ours.

    Args:
        rows: rows trained on.
        evaluate: whether there are held-out rows.
    """
    steps = planned_steps(params, rows)
    checkpointing = device.kind != "cpu" and not params.disable_gradient_checkpointing
    fused = params.optimizer == "adamw_torch" and device.kind in ("cpu", "cuda")
    return {
        "output_dir": str(run.folder.checkpoints),
        "seed": params.seed,
        "max_steps": params.max_steps if params.max_steps > 0 else -1,
        "num_train_epochs": params.epochs,
        "per_device_train_batch_size": params.batch_size,
        "per_device_eval_batch_size": params.eval_batch_size,
        "gradient_accumulation_steps": params.gradient_accumulation,
        "learning_rate": params.lr,
        # the same numbers in one pass over the weights
        "optim": "adamw_torch_fused" if fused else params.optimizer,
        "lr_scheduler_type": params.scheduler,
        "warmup_steps": math.ceil(steps * params.warmup_ratio),
        "weight_decay": params.weight_decay,
        "max_grad_norm": params.max_grad_norm,
        "use_cpu": device.kind == "cpu",
        "bf16": precision.bf16,
        "fp16": precision.fp16,
        _checkpointing_name(): checkpointing,
        "dataloader_pin_memory": device.kind == "cuda",
        "logging_steps": params.logging_steps if params.logging_steps > 0 else max(1, steps // POINTS),
        "logging_first_step": True,
        # on: a loss that is no number is left out of the curve, as its step is left out of the training
        "logging_nan_inf_filter": params.on_nan == "skip",
        "eval_strategy": params.eval_strategy if evaluate else "no",
        "eval_steps": params.eval_steps or params.save_steps,
        "eval_on_start": evaluate and params.eval_strategy != "no" and run.resume_from is None,
        "save_strategy": params.save_strategy,
        "save_steps": params.save_steps,
        "save_total_limit": None,
        "report_to": "none",
        # transformers adds its own notebook table inside a kernel: with ours the cell would show two
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def _checkpointing_name() -> str:
    """transformers 5.2x renamed gradient_checkpointing and warns of the old name."""
    from transformers import TrainingArguments

    known = {item.name for item in dataclasses.fields(TrainingArguments)}
    return "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"


def train(trainer: Any, params: Any, run: ActiveRun, *, facts: Mapping[str, Any], take: Take | None = None) -> dict[str, float]:
    """Train to the end, or until a stop is asked; `run.stopped` then says why.

    Args:
        trainer: transformers' Trainer or one derived from it, made with `arguments`; its batches may hold "tokens", an int.
        facts: for the Started event.
        take: gives the samples; None where the room has none.

    Returns:
        The last evaluation's values, and the totals.

    Raises:
        TrainingError: a loss that is not a number, or no memory left.
    """
    import torch
    from transformers import PrinterCallback

    course = Course()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_news(trainer, params, run, course, facts=facts, take=take))
    trainer.training_step = _counted(trainer.training_step, course)
    trainer.evaluate = _timed(trainer.evaluate, course)
    trainer.floating_point_ops = lambda inputs: 0  # it walks all modules at each batch, for a figure that nobody is shown
    began = time.monotonic()
    try:
        trainer.train(resume_from_checkpoint=str(run.resume_from) if run.resume_from else None)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(trainer) from error
    except RuntimeError as error:
        if "allocate memory" in str(error):  # the CPU's allocator has no exception of its own
            raise _out_of_memory(trainer) from error
        raise
    _read_norm(course, params, trainer)
    if not course.values and trainer.eval_dataset is not None and params.eval_strategy != "no" and not course.stopping:
        trainer.evaluate()
    if course.left_out:
        run.warn(f"Steps left out: {course.left_out}; their loss or its gradient was not a number (--on-nan skip).")
    return course.values | {"steps": trainer.state.global_step, "train_seconds": round(time.monotonic() - began, 3)}


def _counted(step: Callable[..., Any], course: Course) -> Callable[..., Any]:
    def counted(model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        course.tokens += inputs.pop("tokens", 0)
        course.batches.append(inputs)
        return step(model, inputs, *rest, **named)

    return counted


def _timed(evaluate: Callable[..., Any], course: Course) -> Callable[..., Any]:
    def timed(*given: Any, **named: Any) -> Any:
        with course.aside():
            return evaluate(*given, **named)

    return timed


def _news(trainer: Any, params: Any, run: ActiveRun, course: Course, *, facts: Mapping[str, Any], take: Take | None) -> Any:
    """The callback that makes events of the Trainer's news and obeys requests."""
    from transformers import TrainerCallback

    def sample(step: int, label: str = "") -> None:
        if take is not None:
            with course.aside():
                samples = take(step)
                if "stop" not in run.requests():  # a stop cuts the writing short, and half a sample says nothing
                    run.emit(Sampled(step=step, samples=samples, label=label))

    def make_room(control: Any) -> None:
        if control.should_save:
            checkpoints.room_for(run.folder)

    class News(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _watch_norm(trainer, course)
            if run.resume_from is not None:
                place = str(run.resume_from.relative_to(run.folder.path)) if run.resume_from.is_relative_to(run.folder.path) else str(run.resume_from)
                run.emit(Resumed(step=state.global_step, checkpoint=place, differences=run.differences))
            else:
                run.emit(Started(room=params.room, method=params.method, name=run.folder.name, total_steps=state.max_steps, facts=facts))
                sample(0, "base")
            course.since = time.monotonic()

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _judge_norm(course, params, trainer)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            asked = run.requests()
            every = params.sample_every_n_steps if take is not None else 0
            if "sample" in asked or (every and state.global_step % every == 0):
                sample(state.global_step)
            if "stop" in asked:
                course.stopping = control.should_training_stop = True
                control.should_evaluate = False
            control.should_save |= bool(asked & {"save", "stop"})
            make_room(control)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if course.stopping:  # it was saved at the step, and whoever stops does not wait for an evaluation
                control.should_evaluate = control.should_save = False
            make_room(control)

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                values = {name: float(value) for name, value in logs.items() if name not in ("epoch", *_TIMINGS)}
                speed = {"tokens_per_second": round(course.speed(), 1)} if course.tokens else {}
                run.emit(Logged(step=state.global_step, epoch=state.epoch, values=values | speed))

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **_: Any) -> None:
            if "stop" in run.requests():  # asked in the middle of it: what it has measured is not the whole
                course.stopping = control.should_training_stop = control.should_save = True
                return
            named = {name.removeprefix("eval_"): float(value) for name, value in metrics.items() if name.startswith("eval_")}
            course.values = {name: value for name, value in named.items() if name not in _TIMINGS}
            run.emit(Evaluated(step=state.global_step, epoch=state.epoch, values=course.values))
            control.should_training_stop |= _no_better(course, params, run)
            if params_sample_here(state.global_step):
                sample(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            with course.aside():
                _read_norm(course, params, trainer)
                path = run.folder.checkpoints / f"checkpoint-{state.global_step}"
                checkpoints.commit(path)
                run.emit(Saved(step=state.global_step, path=str(path.relative_to(run.folder.path))))
                checkpoints.rotate(run.folder, params.save_total_limit)

    def params_sample_here(step: int) -> bool:
        return take is not None and step > 0 and not params.sample_every_n_steps

    return News()


def _no_better(course: Course, params: Any, run: ActiveRun) -> bool:
    """Whether the loss has not fallen for as many evaluations as --early-stopping-patience allows."""
    loss = course.values.get("loss", math.inf)
    course.worse = 0 if loss < course.best else course.worse + 1
    course.best = min(course.best, loss)
    if params.early_stopping_patience is None or course.worse < params.early_stopping_patience:
        return False
    run.warn(f"the loss on held-out rows has not fallen for {course.worse} evaluations: training ends here (--early-stopping-patience).")
    return True


def _watch_norm(trainer: Any, course: Course) -> None:
    """Keep the gradient's norm of each step: it is no number as soon as the loss or any part of the gradient is none."""
    clip = trainer.accelerator.clip_grad_norm_

    def watched(*given: Any, **named: Any) -> Any:
        norm = clip(*given, **named)
        course.unread = (trainer.state.global_step + 1, norm, course.batches)
        return norm

    trainer.accelerator.clip_grad_norm_ = watched


def _judge_norm(course: Course, params: Any, trainer: Any) -> None:
    """Before the weights move: end the run at a gradient that is no number, or leave the step out."""
    if trainer.accelerator.scaler is not None:  # fp16: its scaler leaves such steps out and lowers the scale
        course.unread, course.batches = None, []
        return
    found, course.batches = course.unread, []
    if found is None or bool(found[1].isfinite()):
        return
    if params.on_nan == "skip":
        course.left_out, course.unread = course.left_out + 1, None
        trainer.model.zero_grad(set_to_none=True)  # a weight without a gradient is not moved, and does not decay
        return
    _read_norm(course, params, trainer)


def _read_norm(course: Course, params: Any, trainer: Any) -> None:
    """End the run where the last gradient was no number.

    Raises:
        TrainingError: it was not; with the step and the rows.
    """
    found, course.unread = course.unread, None
    if found is None or bool(found[1].isfinite()):
        return
    step, _, batches = found
    raise TrainingError(
        f"the loss or its gradient is not a number at step {step}",
        where=f"step {step}{_rows_of(batches, trainer.train_dataset)}",
        why="the learning rate is too high, or these rows hold something that the model cannot take",
        fix=f"lower --lr (now {params.lr:g}), or leave such steps out with --on-nan skip; the last checkpoint is kept.",
    )


def _rows_of(batches: list[Any], dataset: Any) -> str:
    """', rows 3, 17' for the rows of the data that made these batches; found by their tokens, so that a good run pays nothing."""
    if dataset is None or "input_ids" not in getattr(dataset, "column_names", ()):
        return ""
    seen = {" ".join(map(str, row)) for batch in batches for row in _documents(batch)}
    numbers = dataset["row"] if "row" in dataset.column_names else range(1, len(dataset) + 1)
    found = [str(number) for number, ids in zip(numbers, dataset["input_ids"], strict=True) if " ".join(map(str, ids)) in seen]
    return f", rows {', '.join(found[:50])}" if found else ""


def _documents(batch: Mapping[str, Any]) -> Iterator[list[int]]:
    """The tokens of each document of a batch, flat or padded."""
    if "bounds" in batch:
        row, bounds = batch["input_ids"][0].tolist(), batch["bounds"]
        yield from (row[start:end] for start, end in zip(bounds[:-1], bounds[1:], strict=True))
    elif "attention_mask" in batch:
        yield from (ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True))


def _out_of_memory(trainer: Any) -> TrainingError:
    import resource

    import torch

    on_gpu = torch.cuda.is_initialized()
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    batch = trainer.args.per_device_train_batch_size
    return TrainingError(
        f"out of memory {'on the GPU' if on_gpu else 'in this process'}: the peak was {peak / 2**30:.1f} GB",
        where=f"step {trainer.state.global_step + 1}",
        fix=f"a smaller --batch-size (now {batch}) with more --gradient-accumulation keeps the result; --peft, with --quantization int4, "
        "holds a fraction of the optimiser's state; a shorter --max-seq-length or --block-size shortens the longest row.",
    )
