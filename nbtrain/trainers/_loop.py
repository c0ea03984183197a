"""transformers' Trainer, and all that derive from it, under our rules.

Its news become events, requests are obeyed, checkpoints are committed, a loss that is no number is seen at its step,
and a run that goes on from a checkpoint ends with the same weights to the bit.
A room makes a Trainer from `arguments` and hands it to `train`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nbtrain.errors import ParamError, TrainingError
from nbtrain.models.load import Device, Precision
from nbtrain.runs import checkpoints, ranks
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers import _parts, _shares
from nbtrain.trainers._feed import Feed, attach
from nbtrain.trainers._guard import Guard
from nbtrain.trainers._news import Clock, Complete, News, Told, callback

POINTS = 500  # of the curve, where no --logging-steps is given: what a screen can show


def planned_steps(params: Any, rows: int | None) -> int:
    """Optimiser steps of a run over so many rows; None: nobody knows, and the steps are given."""
    if params.max_steps > 0 or rows is None:
        return int(params.max_steps)
    at_once = params.batch_size * ranks.count()
    return math.ceil(math.ceil(rows / at_once) / params.gradient_accumulation) * int(params.epochs)


def begins_at(params: Any, run: ActiveRun) -> Path | None:
    """The checkpoint to go on from: this run's own where it is resumed, else the one that was asked for.

    Raises:
        ParamError: the folder asked for is no checkpoint, or is not as it was written.
    """
    if run.resume_from is not None or params.resume_from_checkpoint is None:
        return run.resume_from
    path = Path(params.resume_from_checkpoint).expanduser().resolve()
    if not (path / "trainer_state.json").is_file():
        raise ParamError(
            f"--resume-from-checkpoint {params.resume_from_checkpoint} is no checkpoint of a training",
            fix="name a folder checkpoint-N; with a model alone start from it: --model FOLDER.",
        )
    # one that another program wrote has no manifest
    wrong = checkpoints.faults(path) if (path / checkpoints.MANIFEST).exists() else []
    if wrong:
        raise ParamError("--resume-from-checkpoint names a damaged checkpoint", where=str(path), why="; ".join(wrong))
    return path


def arguments(
    params: Any, run: ActiveRun, *, rows: int | None, device: Device, precision: Precision, evaluate: bool
) -> dict[str, Any]:
    """TrainingArguments for these parameters, as keywords: every choice of device and precision is ours.

    Args:
        rows: rows trained on; None where nobody knows: then an epoch has no end at which to save or to measure.
        evaluate: whether there are held-out rows.

    Raises:
        ParamError: several processes are to train, and the device is not for several.
    """
    if ranks.count() > 1 and device.kind == "mps":
        raise ParamError(
            "--num-processes: Apple's GPU is one, and processes cannot share it",
            fix="--batch-size with --gradient-accumulation gives the same steps.",
        )
    steps = planned_steps(params, rows)
    strategies = {"save": params.save_strategy, "eval": params.eval_strategy if evaluate else "no"}
    if rows is None and "epoch" in strategies.values():
        strategies = {name: "steps" if kind == "epoch" else kind for name, kind in strategies.items()}
        run.warn("An epoch of this stream has no known end: it is saved and measured by --save-steps and --eval-steps.")
    fused = params.optimizer == "adamw_torch" and device.kind in ("cpu", "cuda")
    return {
        "output_dir": str(run.folder.checkpoints),
        "seed": params.seed,
        "max_steps": steps if params.max_steps > 0 or getattr(params, "stream", False) else -1,
        "num_train_epochs": params.epochs,
        "per_device_train_batch_size": params.batch_size,
        "per_device_eval_batch_size": params.eval_batch_size,
        "gradient_accumulation_steps": params.gradient_accumulation,
        "learning_rate": params.lr,
        # the same rule in one pass over the weights
        "optim": "adamw_torch_fused" if fused else params.optimizer,
        "lr_scheduler_type": params.scheduler,
        "warmup_steps": math.ceil(steps * params.warmup_ratio),
        "weight_decay": params.weight_decay,
        "max_grad_norm": params.max_grad_norm,
        "use_cpu": device.kind == "cpu",
        "bf16": precision.bf16,
        "fp16": precision.fp16,
        _checkpointing(): device.kind != "cpu" and not params.disable_gradient_checkpointing,
        "dataloader_pin_memory": device.kind == "cuda",
        "logging_steps": params.logging_steps if params.logging_steps > 0 else max(1, steps // POINTS),
        "logging_first_step": True,
        # on: a loss that is no number is left out of the curve, as its step is left out of the training
        "logging_nan_inf_filter": params.on_nan == "skip",
        "eval_strategy": strategies["eval"],
        "eval_steps": params.eval_steps or params.save_steps,
        "save_strategy": strategies["save"],
        "save_steps": params.save_steps,
        "save_total_limit": None,  # ours deletes none before the next one is verified
        "report_to": "none",
        # transformers adds its own notebook table inside a kernel: with ours the cell would show two
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "ddp_timeout": params.ddp_timeout,
    }


def together(params: Any) -> dict[str, Any]:
    """What is known at the start of the processes that train together, where there are several."""
    count = ranks.count()
    rows = params.batch_size * params.gradient_accumulation * count
    return {"processes": count, "rows_a_step": rows} if count > 1 else {}


def _checkpointing() -> str:
    """The name of the switch: transformers 5.20 renamed gradient_checkpointing, and warns of the old name."""
    from transformers import TrainingArguments

    known = {item.name for item in dataclasses.fields(TrainingArguments)}
    return "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"


def train(trainer: Any, params: Any, run: ActiveRun, told: Told) -> dict[str, float]:
    """Train to the end, or until a stop is asked; `run.stopped` then says why.

    Args:
        trainer: transformers' Trainer or one derived from it, made with `arguments`; its batches may hold "tokens", an
            int: those that are no padding.
        told: what the room shows of itself.

    Returns:
        The last evaluation's values, or with --best-model the best one's, and the totals.

    Raises:
        TrainingError: a loss that is not a number, or no memory left.
        Released: of several processes this is not the first; it has trained its share.
    """
    from transformers import PrinterCallback

    if run.rehearsal is not None:
        run.rehearsal.of_trainer(trainer, told)
    guard = Guard(trainer, params)
    run.resume_from = begins_at(params, run)
    if ranks.count() > 1:
        run.prepared()
        _shares.spread(trainer)
    if _parts.is_in_parts(trainer):
        run.warn("While it trains no process has the whole model: samples are taken of it in the end only.")
        told = dataclasses.replace(told, take=None)
        _parts.cut(trainer)
    news = News(params, run, guard, told)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(callback(news))
    if isinstance(feed := trainer.train_dataset, Feed):
        attach(trainer, feed)
        news.beside = feed.save
        if run.resume_from is not None:
            feed.load(run.resume_from)
    trainer.training_step = _counted(trainer.training_step, news.clock, guard)
    trainer.evaluate = news.evaluate = _aside(trainer.evaluate, news.clock)
    # it walks all modules at each batch, for a figure that nobody is shown
    trainer.floating_point_ops = lambda inputs: 0
    began = time.monotonic()
    with memory_told(lambda: trainer.state.global_step + 1, trainer.args.per_device_train_batch_size):
        with contextlib.suppress(Complete):
            trainer.train(resume_from_checkpoint=str(run.resume_from) if run.resume_from else None)
        guard.settle()
        if not news.values and not news.stopping and trainer.args.eval_strategy != "no":
            trainer.evaluate()
        values = _at_best(trainer, news, run)
    if guard.left_out:
        run.warn(f"Steps left out: {guard.left_out}; their loss or its gradient was not a number (--on-nan skip).")
    if _parts.is_in_parts(trainer):
        _parts.make_whole(trainer.model)
    ranks.part()
    seconds = round(time.monotonic() - began, 3)
    return values | {"steps": trainer.state.global_step, "train_seconds": seconds}


def _at_best(trainer: Any, news: News, run: ActiveRun) -> dict[str, float]:
    """The weights of the best evaluation again, where they are asked for; the values of what the model now is."""
    best = news.best_checkpoint()
    if best is None or news.best.step == trainer.state.global_step:
        return news.values
    if not best.is_dir():
        name = news.best.metric
        if news.best.step == 1 and news.values.get(name) != news.best.values[name]:
            run.warn(
                f"No evaluation was better than the first: {name} {news.best.values[name]:.4g}, now "
                f"{news.values[name]:.4g}. The model was better before it was trained: a lower --lr, or more rows."
            )
        return news.values
    trainer.state.best_model_checkpoint = str(best)
    if _parts.is_in_parts(trainer):
        _parts.apart(trainer.model)
    trainer._load_best_model()
    run.warn(f"The model is that of step {news.best.step}, the best by {news.best.metric} (--best-model).")
    return news.best.values


def _counted(step: Callable[..., Any], clock: Clock, guard: Guard) -> Callable[..., Any]:
    def counted(model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        if isinstance(inputs, dict):  # GRPO's are rows that have yet to be answered
            clock.tokens += inputs.pop("tokens", 0)
        guard.batch(inputs)
        return step(model, inputs, *rest, **named)

    return counted


def _aside(evaluate: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    def aside(*given: Any, **named: Any) -> Any:
        with clock.aside():
            return evaluate(*given, **named)

    return aside


@contextlib.contextmanager
def memory_told(step: Callable[[], int], batch: int) -> Iterator[None]:
    """What is raised inside where no memory is left, in words.

    Args:
        step: the one that is being computed.
        batch: rows at once.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(step(), batch) from error
    except RuntimeError as error:
        if "allocate memory" in str(error):  # the CPU's allocator has no exception of its own
            raise _out_of_memory(step(), batch) from error
        raise


def _out_of_memory(step: int, batch: int) -> TrainingError:
    import resource

    import torch

    on_gpu = torch.cuda.is_initialized()
    held = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return TrainingError(
        f"out of memory {'on the GPU' if on_gpu else 'in this process'}: the peak was {held / 2**30:.1f} GB",
        where=f"step {step}",
        fix=f"a smaller --batch-size (now {batch}) with more --gradient-accumulation keeps the result; --peft, with "
        "--quantization int4, holds a fraction of the optimiser's state; a shorter --max-seq-length or --block-size "
        "shortens the longest row.",
    )
