"""Who proposes what a trial tries: Optuna's sampler, out of the book itself, or the server of Weights & Biases."""

from __future__ import annotations

from typing import Any, Protocol

from nbtrain.runs.folder import RunFolder
from nbtrain.sweep.study import Study
from nbtrain.sweep.wandb import Wandb


class Proposals(Protocol):
    """A source of values, which hears what became of them."""

    def propose(self, number: int) -> dict[str, Any] | None:
        """The values of a trial; None where the book's own sampler is to draw them."""

    def report(self, number: int, place: int, value: float) -> None:
        """A trial has measured something, for the `place`-th time."""

    def tell(self, number: int, state: str, value: float | None) -> None:
        """A trial has ended: complete, pruned or failed."""

    def close(self) -> None:
        """Nothing more is asked."""


class Own:
    """The book's own sampler; it reads there what became of its values."""

    def propose(self, number: int) -> None:
        """Nothing: the book draws."""

    def report(self, number: int, place: int, value: float) -> None:
        """The book has it."""

    def tell(self, number: int, state: str, value: float | None) -> None:
        """The book has it."""

    def close(self) -> None:
        """There is nothing open."""


def of(params: Any, folder: RunFolder, study: Study) -> Proposals:
    """As --sweep-backend says."""
    return Wandb(params, folder, study) if params.sweep_backend == "wandb" else Own()
