"""The learning rates of a training that goes on, changed so that the schedule keeps its course."""

from __future__ import annotations

from typing import Any


class Rates:
    """What an optimiser and its schedule say of the learning rate.

    Args:
        optimizer: of torch; one whose groups have no rate of their own (None) is left alone.
        schedule: of torch or transformers, or accelerate's shell around one.
    """

    def __init__(self, optimizer: Any, schedule: Any) -> None:
        self.optimizer = optimizer
        self.schedule = getattr(schedule, "scheduler", schedule)

    @property
    def peak(self) -> float:
        """The rate that the schedule rises to and falls from: what `--lr` says, and the largest where groups differ."""
        bases = getattr(self.schedule, "base_lrs", None) or [group["lr"] for group in self.optimizer.param_groups]
        return float(max(bases))

    def change(self, peak: float) -> float:
        """Scale every rate so that the peak is this one; the one it was.

        A schedule computes each rate from its bases, and some from the last rate: all of them are scaled, and all of
        them are in a checkpoint, so that a resumed run goes on as this one does.
        """
        before = self.peak

        def scaled(rate: float) -> float:
            return peak * (rate / before)  # in this order a rate at the peak becomes the new one to the bit

        for group in self.optimizer.param_groups:
            for name in ("lr", "initial_lr"):
                if group.get(name) is not None:
                    group[name] = scaled(float(group[name]))
        for name in ("base_lrs", "_last_lr", "min_lrs"):
            if rates := getattr(self.schedule, name, None):
                setattr(self.schedule, name, [scaled(float(rate)) for rate in rates])
        return before
