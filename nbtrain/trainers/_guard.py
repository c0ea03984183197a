"""Each gradient is seen to be a number before the weights move by it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nbtrain.errors import TrainingError
from nbtrain.runs import ranks


class Found(NamedTuple):
    """The norm of one step's gradient, and the batches it came from."""

    step: int
    norm: Any
    batches: list[Mapping[str, Any]]


class Guard:
    """Watches the norm of the gradient: it is no number as soon as the loss, or any part of the gradient, is none.

    Args:
        trainer: transformers' Trainer.
        params: reads on_nan, lr.

    Attributes:
        left_out: steps that were not taken.
    """

    def __init__(self, trainer: Any, params: Any) -> None:
        self.trainer, self.params = trainer, params
        self.left_out = 0
        self._batches: list[Mapping[str, Any]] = []
        self._latest: Found | None = None
        self._waiting: Found | None = None

    def batch(self, inputs: Mapping[str, Any]) -> None:
        """A batch of the step that is being computed."""
        self._batches.append(inputs)

    def watch(self) -> None:
        """From now on the Trainer's norms are kept; the Trainer computes them anyway, clipped or not."""
        clip = self.trainer.accelerator.clip_grad_norm_

        def watched(*given: Any, **named: Any) -> Any:
            norm = clip(*given, **named)
            self._latest, self._batches = Found(self.trainer.state.global_step + 1, norm, self._batches), []
            return norm

        self.trainer.accelerator.clip_grad_norm_ = watched

    def judge(self) -> None:
        """Before the weights move: end the run at a gradient that is no number, or leave its step out.

        Raises:
            TrainingError: it is none, and such steps are not to be left out.
        """
        found, self._latest = self._latest, None
        if self.trainer.accelerator.scaler is not None:
            return  # fp16: its scaler leaves such steps out, and lowers the scale
        if self.params.on_nan == "skip":
            if found is not None and not _is_number(found.norm):
                self.left_out += 1
                # a weight without a gradient is not moved, and does not decay
                self.trainer.model.zero_grad(set_to_none=True)
            return
        if found is not None and found.norm.device.type != "cpu":
            # a GPU is asked one step later: to wait for it here would leave it idle at every step
            found, self._waiting = self._waiting, found
        self._refuse(found)

    def settle(self) -> None:
        """Judge what still waits, before the weights are saved.

        Raises:
            TrainingError: as `judge`.
        """
        found, self._waiting = self._waiting, None
        self._refuse(found)

    def _refuse(self, found: Found | None) -> None:
        if found is None or _is_number(found.norm):
            return
        # the norm is that of all processes, so each of them comes here
        rows = sorted({row for rows in ranks.each(_rows(found.batches, self.trainer.train_dataset)) for row in rows})
        raise not_a_number(found.step, self.params.lr, f", rows {', '.join(map(str, rows[:50]))}" if rows else "")


def not_a_number(step: int, lr: float, rows: str = "") -> TrainingError:
    """The error for a loss or gradient that is no number. rows: ", rows 3, 17"."""
    return TrainingError(
        f"the loss or its gradient is not a number at step {step}",
        where=f"step {step}{rows}",
        why="the learning rate is too high, or these rows hold something that the model cannot take",
        fix=f"lower --lr (now {lr:g}), or leave such steps out with --on-nan skip; the last checkpoint is kept.",
    )


def _is_number(norm: Any) -> bool:
    # a tensor's own isfinite() takes 20 times as long
    return math.isfinite(norm.item())


def _rows(batches: list[Mapping[str, Any]], dataset: Any) -> list[int]:
    """The rows that made these batches; found by their tokens, so that a good run pays nothing."""
    if "input_ids" not in getattr(dataset, "column_names", ()):
        return []
    seen = {tuple(ids) for batch in batches for ids in _documents(batch)}
    numbers = dataset["row"] if "row" in dataset.column_names else range(1, len(dataset) + 1)
    pairs = zip(numbers, dataset["input_ids"], strict=True)
    return [number for number, ids in pairs if tuple(ids) in seen]


def _documents(batch: Mapping[str, Any]) -> Iterator[list[int]]:
    """The tokens of each document of a batch, flat or padded."""
    if "bounds" in batch:
        row, bounds = batch["input_ids"][0].tolist(), batch["bounds"]
        yield from (row[start:end] for start, end in zip(bounds[:-1], bounds[1:], strict=True))
    elif "attention_mask" in batch:
        yield from (
            ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        )
