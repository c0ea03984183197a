"""What a run would take, before it is started: memory by what holds it, time, disk, and what would make it fit.

Three steps are taken, in a process of their own: one batch is the largest of the run, the others are as most are.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nbtrain import doctor
from nbtrain.answers import Answer, aligned
from nbtrain.answers.rehearsed import rehearse
from nbtrain.errors import NbtrainError
from nbtrain.params import Params
from nbtrain.plain import duration, line, number

FULL = 0.9  # of what is free: beyond it a run may fit, and may not
_SMALLEST = 0.02  # of all weights, about: what an adapter trains
_FEW_BITS = {"int8": 0.3, "int4": 0.18}  # of the bytes of float32 weights, with what is kept in full
_EIGHT_BITS = 0.27  # of the bytes of Adam's two moments


@dataclass(frozen=True)
class Change:
    """What would make a run smaller. flags: as they are typed. peak: bytes it would then hold. costs: what it costs."""

    flags: str
    peak: int
    costs: str


@dataclass(frozen=True, repr=False)
class Plan(Answer):
    """What a run would take.

    held: bytes by what holds them; their sum is the peak. seconds: by what they are spent on. disk: bytes by file.
    free: bytes of memory, of the device that trains; disk_free: where runs are written. changes: what would make it
    smaller, the gentlest first.
    """

    name: str
    device: str
    steps: int
    held: Mapping[str, int]
    seconds: Mapping[str, float]
    disk: Mapping[str, int]
    free: int
    disk_free: int
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def peak(self) -> int:
        """Bytes held at most."""
        return sum(self.held.values())

    @property
    def fits(self) -> bool:
        """Whether memory and disk are enough."""
        return self.peak <= FULL * self.free and self.written <= self.disk_free

    @property
    def written(self) -> int:
        """Bytes on the disk at most."""
        return sum(self.disk.values())

    @property
    def total_seconds(self) -> float:
        """From the start of the run to its end."""
        return sum(self.seconds.values())

    def verdict(self) -> str:
        """Whether it fits, in a sentence."""
        where = "the GPU" if self.device == "cuda" else "memory"
        found = f"{size(self.peak)} of the {size(self.free)} that are free in {where}"
        if self.written > self.disk_free:
            return f"It does not fit on the disk: {size(self.written)}, and {size(self.disk_free)} are free."
        if self.peak > self.free:
            return f"It does not fit: {found}."
        return f"It {'fits' if self.fits else 'may not fit'}: {found}."

    def tables(self) -> list[list[tuple[str, str]]]:
        """Memory, time and disk: each its total, then what it is made of."""
        return [
            [("memory", size(self.peak)), *((name, size(each)) for name, each in self.held.items())],
            [("time", duration(self.total_seconds)), *((name, duration(each)) for name, each in self.seconds.items())],
            [("disk", size(self.written)), *((name, size(each)) for name, each in self.disk.items())],
        ]

    def lines(self) -> list[str]:
        """Tables of memory, time and disk, and what would make it smaller."""
        lines = [f"{self.name}: {self.steps:,} steps on {self.device}", self.verdict(), *self.notes, ""]
        for head, *rows in self.tables():
            lines += aligned([head, *((f"  {name}", figure) for name, figure in rows)])
        if self.changes:
            lines += ["", "what would make it smaller:"]
            lines += aligned([(f"  {each.flags}", f"about {size(each.peak)}", each.costs) for each in self.changes])
        return lines


def plan(params: Params) -> Plan:
    """What a run with these parameters would take; nothing is kept of the three steps that are tried.

    Raises:
        RunError: the room cannot be looked into. NbtrainError: the run would fail, and says why.
    """
    notes = list(params.notices)
    try:
        found = rehearse(params, {"kind": "plan"})
    except NbtrainError as error:
        if not error.what.startswith("out of memory") or getattr(params, "batch_size", 1) == 1:
            raise
        found, told = _of_one_row(params), error.what
        notes.append(f"Three steps could not be taken ({told}); one row at a time could, and the rest is reckoned.")
    return _planned(params, found, notes)


def _of_one_row(params: Any) -> dict[str, Any]:
    """What steps of one row take, reckoned up to steps of as many rows as were asked for."""
    found = rehearse(params.but(batch_size=1), {"kind": "plan"})
    still = found["loaded"] + found["gradients"] + found["optimizer"]
    found["trained"] = still + (found["trained"] - still) * params.batch_size
    found["peak"] = max(found["peak"], found["trained"])
    found["steps"] = math.ceil(found["steps"] / params.batch_size)
    found["step_seconds"] *= params.batch_size
    return found


def _planned(params: Any, found: Mapping[str, Any], notes: list[str]) -> Plan:
    found, copies = _of_several(params, found)
    held = {name: copies * each for name, each in _held(found).items()}
    if params.num_processes > 1:
        whose = "all together" if copies > 1 else "each GPU"
        notes.append(f"{params.num_processes} processes: memory is that of {whose}.")
    disk = _disk(params, found)
    made = Plan(
        name=" ".join(part for part in (params.room, params.method, line(getattr(params, "model", ""))) if part),
        device=found["device"],
        steps=found["steps"],
        held=held,
        seconds=_seconds(params, found, disk),
        disk=disk,
        free=min(found["room"], doctor.memory()[1]) if found["device"] == "cpu" else found["room"],
        disk_free=shutil.disk_usage(Path.cwd()).free,
        notes=tuple(notes),
    )
    return made if made.fits else replace(made, changes=tuple(_changes(params, made)))


def _of_several(params: Any, found: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    """What was found of one process, as it is of one of several; and how many of them share its memory and cores."""
    count = params.num_processes
    copies = count if found["device"] == "cpu" else 1
    steps = found["steps"] if getattr(params, "max_steps", -1) > 0 else math.ceil(found["steps"] / count)
    return {**found, "steps": steps, "step_seconds": found["step_seconds"] * copies}, copies


def _held(found: Mapping[str, Any]) -> dict[str, int]:
    """Bytes by what holds them."""
    held = {"parameters": found["parameters"], "gradients": found["gradients"], "optimizer": found["optimizer"]}
    libraries = max(found["loaded"] - found["parameters"], 0)
    rest = found["trained"] - libraries - sum(held.values())
    held["activations"] = max(rest, 0)
    held["evaluation and samples"] = max(found["peak"] - libraries - sum(held.values()), 0)
    if found["device"] == "cpu":
        # it is opened to see that it can be, while the trained one is still there; what was freed before is kept
        held["opening the saved model"] = held["parameters"]
    return ({"libraries and rows": libraries} if libraries else {}) | {
        name: each for name, each in held.items() if each
    }


def _disk(params: Any, found: Mapping[str, Any]) -> dict[str, int]:
    """Bytes that are written and kept."""
    model = found["parameters"]
    kept = 4 * found["trainable"] if getattr(params, "peft", False) else model
    disk = {"model": kept if getattr(params, "peft", False) and not params.merge_adapter else model}
    times = _times(params.save_strategy, params.save_steps, params.epochs, found["steps"])
    if times:
        # before an old checkpoint goes, the new one has to be there
        count = min(params.save_total_limit + 1, times)
        disk[f"checkpoints, {count} at most"] = count * (kept + found["optimizer"])
    return disk


def _seconds(params: Any, found: Mapping[str, Any], disk: Mapping[str, int]) -> dict[str, float]:
    """Seconds by what they are spent on."""
    steps, rate = found["steps"], found["bytes_a_second"]
    saves = _times(params.save_strategy, params.save_steps, params.epochs, steps)
    looks = 0
    if found["valid_rows"]:
        every = getattr(params, "eval_steps", None) or params.save_steps
        # and once behind the first step: how good the model was to begin with
        looks = _times(params.eval_strategy, every, params.epochs, steps) + (steps > 1)
    checkpoint = sum(disk.values()) - disk["model"]
    seconds = {
        "before the first step": found["ready"] - found["launched"],
        "steps": steps * found["step_seconds"],
        "evaluations": looks * found["evaluation_seconds"],
        "samples": (max(looks - 1, 0) + 1) * found["sample_seconds"],
        # what is written is read again, for its checksum
        "saving": 2 * (disk["model"] + saves * checkpoint / max(min(params.save_total_limit + 1, saves), 1)) / rate,
    }
    return {name: each for name, each in seconds.items() if each}


def _times(strategy: str, every: int, epochs: int, steps: int) -> int:
    return {"epoch": epochs, "steps": steps // every}.get(strategy, 0)


def _changes(params: Any, made: Plan) -> Iterator[Change]:
    """What would make the run smaller, the gentlest first; those that the room and the method have."""
    options, held, peak = params.options(), made.held, made.peak

    def has(name: str) -> bool:
        return name in options and options[name].applies_to(params.method)

    size_now = getattr(params, "batch_size", 1)
    if has("gradient_accumulation") and size_now > 1:
        smaller = _batch_that_fits(size_now, held.get("activations", 0), peak, made.free)
        parts = params.gradient_accumulation * size_now // smaller
        saved = held.get("activations", 0) * (1 - smaller / size_now)
        flags = f"--batch-size {smaller} --gradient-accumulation {parts}"
        yield Change(flags, round(peak - saved), "nothing in what is learnt; slower")
    if made.device == "cuda" and getattr(params, "disable_gradient_checkpointing", False):
        saved = 0.6 * held.get("activations", 0)
        yield Change("--no-disable-gradient-checkpointing", round(peak - saved), "a fifth to a third of the speed")
    if has("optimizer") and params.optimizer.startswith("adamw_torch") and made.device == "cuda":
        saved = (1 - _EIGHT_BITS) * held.get("optimizer", 0)
        yield Change("--optimizer adamw_bnb_8bit", round(peak - saved), "needs bitsandbytes")
    if has("peft") and not params.peft:
        gone = (1 - 3 * _SMALLEST) * (held.get("gradients", 0) + held.get("optimizer", 0))
        yield Change("--peft", round(peak - gone), "an adapter learns less than all weights")
        for kind, share in reversed(_FEW_BITS.items()) if made.device == "cuda" else ():
            whole = round(peak - gone - (1 - share) * held["parameters"])
            yield Change(f"--peft --quantization {kind}", whole, "a base in few bits is a little worse")
    for name in ("max_seq_length", "block_size", "image_square_size"):
        if has(name) and isinstance(now := getattr(params, name), int) and now >= 64:
            yield Change(
                f"{options[name].flag} {now // 2}",
                round(peak - 0.5 * held.get("activations", 0)),
                "what is longer is cut" if "image" not in name else "small things are lost",
            )
            break


def _batch_that_fits(now: int, activations: int, peak: int, free: int) -> int:
    """The largest divisor of the batch size with which it fits, else 1."""
    sizes = (size for size in range(now // 2, 0, -1) if now % size == 0)
    return next((size for size in sizes if peak - activations * (1 - size / now) <= FULL * free), 1)


def size(count: float) -> str:
    """Bytes as people say them: 640 MB, 12.4 GB."""
    if count < 1e6:
        return f"{number(round(count / 1e3))} kB"
    return f"{round(count / 1e6)} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
