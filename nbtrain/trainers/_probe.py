"""What a run takes, measured at three of its steps: memory by what holds it, seconds by what they are spent on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from nbtrain.runs import process
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._news import Told
from nbtrain.trainers._rehearsal import REPORTED, Rehearsed
from nbtrain.trainers._samples import undisturbed

STEPS = 3  # the first is slow, as every first is; the second has the largest batch; the third is as most are
_WRITTEN = 64 * 2**20  # bytes by which the disk is timed

Batch = list[int]
"""Numbers of rows."""


class Probe:
    """Three steps of a run, and what they took.

    What it finds, in `run.report`: seconds, bytes and counts by name; see `_found`.
    """

    def __init__(self, params: Any, run: ActiveRun) -> None:
        self.params, self.run = params, run
        self._loaded = 0

    def of_trainer(self, trainer: Any, told: Told) -> NoReturn:
        """Train three chosen batches as the Trainer does, evaluate two, take the samples once."""
        from transformers import PrinterCallback

        prepared = self._prepared()
        steps = trainer.args.max_steps if trainer.args.max_steps > 0 else _planned(trainer)
        weights = _Weights(trainer.model)
        parts = trainer.args.gradient_accumulation_steps
        sizes = _sizes(trainer.train_dataset, trainer.get_train_dataloader(), trainer.data_collator)
        order = sizes.chosen(parts)
        trainer.remove_callback(PrinterCallback)
        clock = _clock()
        trainer.add_callback(clock)
        args = trainer.args
        args.max_steps, args.eval_strategy, args.save_strategy, args.logging_strategy = STEPS, "no", "no", "no"
        trainer._get_train_sampler = lambda *_: list(chain.from_iterable(order))
        trainer.training_step = _without_count(trainer.training_step)
        trainer.train()
        taken = _pairs(clock.ends)
        trained = process.memory()[1]
        asked = [sum(map(sizes.of, order[at * parts : (at + 1) * parts])) for at in range(STEPS)]
        found = {
            "steps": steps,
            "step_seconds": _at(sizes.mean * parts, asked[1:], taken[1:]),
            "rows": len(trainer.train_dataset),
            **self._evaluation(trainer, taken[-1]),
            **self._samples(told),
        }
        self._tell(found, prepared, trained, weights.held(trainer.optimizer))

    def of_steps(self, steps: Any) -> Iterator[int]:
        """Three steps of a loop of our own, and one evaluation."""
        prepared, began = self._prepared(), time.monotonic()
        ends = []
        for number in range(min(STEPS, steps.settings.max_steps)):
            yield number
            steps._position.global_step += 1
            ends.append(time.monotonic())
        trained, taken = process.memory()[1], _pairs([began, *ends])
        weights = [_Weights(module) for module in steps.parts.modules.values()]
        optimizer = steps.parts.states.get("optimizer")
        held = [each.held(None if at else optimizer) for at, each in enumerate(weights)]
        found = {"steps": steps.settings.max_steps, "step_seconds": sum(taken[1:] or taken) / len(taken[1:] or taken)}
        begin = time.monotonic()
        if steps.evaluate:
            for module in steps.parts.modules.values():
                module.eval()
            steps.evaluate()
        found |= {"rows": 0, "valid_rows": 0, "sample_seconds": 0.0, "evaluation_seconds": time.monotonic() - begin}
        self._tell(found, prepared, trained, {name: sum(each[name] for each in held) for name in held[0]})

    def _prepared(self) -> float:
        """When the first step could begin; what is held then are libraries, rows and the model."""
        self._loaded = process.memory()[0]
        return time.time()

    def _evaluation(self, trainer: Any, step_seconds: float) -> dict[str, Any]:
        """Seconds of one evaluation: of two batches, the largest and a usual one."""
        rows = trainer.eval_dataset
        if rows is None or not len(rows):
            return {"valid_rows": 0, "evaluation_seconds": 0.0}
        args, sizes = trainer.args, _sizes(rows, trainer.get_eval_dataloader(), trainer.data_collator)
        order = [sizes.usual, sizes.largest, sizes.usual]
        if not isinstance(trainer.data_collator([rows[row] for row in order[0]]), Mapping):
            # rows that have yet to be answered: one answer each, which is what a step is spent on, too
            whole = len(rows) / (args.per_device_train_batch_size * args.gradient_accumulation_steps)
            return {"valid_rows": len(rows), "evaluation_seconds": step_seconds * whole}
        ends = [time.monotonic()]
        with undisturbed(trainer.model):
            for batch in order:
                inputs = trainer._prepare_inputs(trainer.data_collator([rows[row] for row in batch]))
                inputs.pop("tokens", None)
                trainer.compute_loss(trainer.model, inputs)
                _wait()
                ends.append(time.monotonic())
        a_batch = _at(sizes.mean, [sizes.of(batch) for batch in order[1:]], _pairs(ends)[1:])
        return {"valid_rows": len(rows), "evaluation_seconds": a_batch * len(sizes.batches)}

    def _samples(self, told: Told) -> dict[str, float]:
        begin = time.monotonic()
        if told.take is not None:
            told.take(0)
        return {"sample_seconds": time.monotonic() - begin}

    def _tell(self, found: dict[str, Any], prepared: float, trained: int, held: Mapping[str, int]) -> NoReturn:
        """Into the report: all of it, with the memory as it stood.

        ready: when the first step could begin, in seconds since 1970. loaded: bytes that were held then. trained,
        peak: at most, in the steps and in all.
        """
        kind, memory = _memory()
        peak = process.memory()[1] if kind == "cpu" else memory["peak"]
        self.run.report[REPORTED] = {
            **found,
            **held,
            "device": kind,
            "loaded": self._loaded if kind == "cpu" else held["parameters"],
            "trained": trained if kind == "cpu" else peak,
            "peak": peak,
            "room": memory["room"],
            "ready": prepared,
            "bytes_a_second": _written_a_second(self.run.folder.path),
        }
        raise Rehearsed


class _Weights:
    """The weights of a model: bytes of all, of their gradients, and what an optimiser keeps for them."""

    def __init__(self, model: Any) -> None:
        self.all = {id(each): each for each in (*model.parameters(), *model.buffers())}
        self.trained = [each for each in model.parameters() if each.requires_grad]

    def held(self, optimizer: Any) -> dict[str, int]:
        """Bytes by what they are for."""
        import torch

        states = getattr(optimizer, "state", None) or {}
        kept = (item for state in states.values() for item in state.values() if isinstance(item, torch.Tensor))
        return {
            "parameters": sum(_bytes(each) for each in self.all.values()),
            "gradients": sum(_bytes(each) for each in self.trained),
            "optimizer": sum(map(_bytes, kept)),
            "trainable": sum(each.numel() for each in self.trained),
        }


def _bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


class _Sizes:
    """The batches of an epoch, each with how much it is to compute: tokens with their padding, or rows."""

    def __init__(self, batches: Sequence[Batch], lengths: Sequence[int], flat: bool) -> None:
        self.batches, self.lengths, self.flat = batches, lengths, flat
        self.mean = sum(map(self.of, batches)) / len(batches)
        self.usual = min(batches, key=lambda batch: abs(self.of(batch) - self.mean))
        self.largest = max(batches, key=self.of)

    def of(self, batch: Batch) -> int:
        """How much a batch is to compute."""
        each = [self.lengths[row] for row in batch]
        return sum(each) if self.flat else len(each) * max(each)

    def chosen(self, parts: int) -> list[Batch]:
        """The batches of three steps, each of so many parts."""
        usual = [self.usual] * parts
        return [*usual, self.largest, *usual[1:], *usual]


def _sizes(rows: Any, loader: Any, collate: Any) -> _Sizes:
    batches = [list(batch) for batch in loader.batch_sampler]
    lengths = _lengths(rows)
    first = collate([rows[row] for row in batches[0]]) if lengths else None
    ids = first.get("input_ids") if isinstance(first, Mapping) else None
    flat = ids is not None and len(ids) == 1 < len(batches[0])
    return _Sizes(batches, lengths or [1] * len(rows), flat)


def _lengths(rows: Any) -> list[int]:
    """Tokens of each row, where they are known without a model."""
    columns = getattr(rows, "column_names", None) or []
    if "length" in columns:
        return [max(int(length), 1) for length in rows["length"]]
    ids = [name for name in columns if name.endswith("input_ids") or name == "prompt_ids"]
    sums = [0] * len(rows)
    for name in ids:
        for at, row in enumerate(rows[name]):
            sums[at] += len(row) if isinstance(row, list) else 1
    return [max(each, 1) for each in sums] if ids else []


def _planned(trainer: Any) -> int:
    args, batches = trainer.args, len(trainer.get_train_dataloader())
    return math.ceil(math.ceil(batches / args.gradient_accumulation_steps) * args.num_train_epochs)


def _at(size: float, sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Seconds of something of that size, by the line through two that were timed; no part of it is negative."""
    (one, other), (first, last) = sizes, seconds
    slope = (first - last) / (one - other) if one != other else 0.0
    slope = min(max(slope, 0.0), last / other)
    return last + slope * (size - other)


def _pairs(ends: Sequence[float]) -> list[float]:
    return [after - before for before, after in zip(ends, ends[1:], strict=False)]


def _without_count(step: Any) -> Any:
    """A training step that is given no "tokens", which are for the clock of a run."""

    def counted(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        if isinstance(inputs, dict):
            inputs.pop("tokens", None)
        return step(model, inputs, *rest, **named)

    return counted


def _clock() -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """When training began, and when each step ended."""

        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.monotonic())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            _wait()
            self.ends.append(time.monotonic())

    return Clock()


def _wait() -> None:
    """For what a GPU was asked."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _memory() -> tuple[str, dict[str, int]]:
    """Where it is computed; bytes that were held there at most, and that a run may hold."""
    import psutil
    import torch

    if torch.cuda.is_initialized():
        free, _ = torch.cuda.mem_get_info()
        return "cuda", {"peak": torch.cuda.max_memory_allocated(), "room": free + torch.cuda.memory_reserved()}
    return "cpu", {"peak": process.memory()[1], "room": psutil.virtual_memory().available + process.memory()[0]}


def _written_a_second(place: Path) -> float:
    """Bytes that the disk takes a second."""
    import os

    path, begin = place / "timed", time.monotonic()
    with open(path, "wb") as file:
        file.write(bytes(_WRITTEN))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    return _WRITTEN / (time.monotonic() - begin)
