"""The native backend: a training loop to read. What a step is stands here, what is due after it in `_steps`.

A step takes `batch_size * gradient_accumulation` rows, in an order that seed and epoch decide. Its loss is the mean
over all trained tokens of the step, however they fall into batches; the last step of an epoch takes what is left. So
its losses are those of transformers' Trainer, and a run that goes on from a checkpoint is the same to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nbtrain.models.load import Device, Precision
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _steps
from nbtrain.trainers._news import Told
from nbtrain.trainers.llm import _measure, _work
from nbtrain.trainers.llm._measure import placed, trained


@dataclass(frozen=True)
class Job:
    """What is trained, and on what.

    model: gives `.loss`, the mean over its trained tokens, when it is called with a batch.
    rows: to train on, by number.
    collate: rows to a batch: a mapping with "labels" (-100 where not trained), or "shift_labels" where they are shifted
        already; "tokens", how many of it are useful, is not handed to the model.
    valid: rows to measure on; None where none are held out.
    describe: writes config and tokenizer into a checkpoint.
    """

    model: Any
    rows: Sequence[Mapping[str, Any]]
    collate: Callable[[list[Mapping[str, Any]]], dict[str, Any]]
    valid: Sequence[Mapping[str, Any]] | None = None
    describe: Callable[[Any], object] | None = None


def train(
    params: Any, run: ActiveRun, job: Job, told: Told, *, device: Device, precision: Precision
) -> dict[str, float]:
    """Train to the end, or until a stop is asked; the last evaluation's values and the totals.

    Raises:
        TrainingError: a loss that is not a number, or no memory left.
    """
    import torch

    model = job.model
    batches = math.ceil(len(job.rows) / params.batch_size)
    epoch_steps = math.ceil(batches / params.gradient_accumulation)
    settings = _steps.settings(
        params, run, epoch_steps=epoch_steps, device=device, precision=precision, evaluate=job.valid is not None
    )
    optimizer = _steps.optimizer(settings, model)
    schedule = _steps.schedule(settings, optimizer, settings.max_steps)
    scaler = torch.amp.GradScaler(device.kind, enabled=precision.fp16)  # float16 loses small gradients unscaled
    measured = partial(_measured, params, run, job, precision) if job.valid is not None else None
    states = {"optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    parts = _steps.Parts({"model": model}, states, describe=job.describe)
    steps = _steps.Steps(params, run, settings, parts, told, epoch_steps=epoch_steps, evaluate=measured)
    call = torch.compile(model, dynamic=True) if params.compile else model
    meter = _work.Meter(model, precision)

    checkpointed = device.kind != "cpu" and not params.disable_gradient_checkpointing
    if checkpointed and hasattr(model, "gradient_checkpointing_enable"):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    with _steps.memory_told(lambda: steps.done + 1, params.batch_size):
        for step in steps:
            began = time.monotonic()
            numbers = order(len(job.rows), params, *steps.epoch(step))
            pieces = [numbers[at : at + params.batch_size] for at in range(0, len(numbers), params.batch_size)]
            loaded = [job.collate([job.rows[number] for number in piece]) for piece in pieces]
            tokens = sum(batch.pop("tokens", batch["labels"].numel()) for batch in loaded)
            everything, loss = sum(map(trained, loaded)), torch.zeros((), device=device.kind)
            for batch in loaded:
                share = trained(batch) / max(everything, 1)
                with precision.autocast(device.kind):
                    part = call(**placed(batch, device.kind)).loss * share
                scaler.scale(part).backward()
                loss += part.detach()
            scaler.unscale_(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), params.max_grad_norm or math.inf)
            where = f", rows {', '.join(str(number + 1) for number in numbers)}"
            # while a scaler looks for its scale it leaves steps out by itself
            if precision.fp16 or steps.sound(norm + loss * 0, where):
                scaler.step(optimizer)
            scaler.update()
            rate = schedule.get_last_lr()[0]
            schedule.step()
            optimizer.zero_grad()
            values = {"loss": loss, "grad_norm": norm, "learning_rate": rate}
            steps.log(values | meter.read(loaded, time.monotonic() - began), tokens=tokens)
        return steps.end()


def _measured(params: Any, run: ActiveRun, job: Job, precision: Precision) -> dict[str, float]:
    """The values on held-out rows."""
    batches = _measure.batches(job.valid, params.eval_batch_size, job.collate)
    with precision.autocast(_measure.device_of(job.model).type):
        return _measure.measured(params, job.model, partial(_measure.loss, job.model), batches, run.stop_asked)


def order(rows: int, params: Any, epoch: int, step: int) -> list[int]:
    """The numbers of the rows of one step, in their order: that of transformers' Trainer for the same seed."""
    import torch

    shuffled = torch.randperm(rows, generator=torch.Generator().manual_seed(params.seed + epoch))
    size = params.batch_size * params.gradient_accumulation
    return shuffled[step * size : (step + 1) * size].tolist()
