"""A run that is only looked at: a room does all that it does before the first step, and then something else is done.

`_loop.train` and `_steps.Steps` hand over what they would train; what was found is in the report of the run, which
stands in a folder of its own that nobody keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

from nbtrain import trainers
from nbtrain.errors import RunError
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._news import Told

REPORTED = "rehearsal"
"""Its name in the report of the run."""


class Rehearsed(Exception):
    """What the rehearsal was for is known: the room goes no further."""


class Rehearsal(Protocol):
    """What is done in the place of training."""

    def of_trainer(self, trainer: Any, told: Told) -> NoReturn:
        """With transformers' Trainer, or one derived from it.

        Raises:
            Rehearsed: it is done.
        """

    def of_steps(self, steps: Any) -> Iterator[int]:
        """With a loop of our own, which takes a step for each number.

        Raises:
            Rehearsed: it is done.
        """


def instead(asked: Mapping[str, Any]) -> Callable[[Any, ActiveRun], Mapping[str, float]]:
    """What trains in the place of a room.

    Args:
        asked: "kind", plan or lr-find, and what that one takes, by name.
    """
    from nbtrain.trainers import _probe, _range

    settings = dict(asked)
    kinds: dict[str, Callable[..., Rehearsal]] = {"plan": _probe.Probe, "lr-find": _range.RangeTest}
    make = kinds[settings.pop("kind")]

    def rehearse(params: Any, run: ActiveRun) -> Mapping[str, float]:
        from nbtrain.trainers._loop import memory_told

        run.rehearsal = make(params, run, **settings)
        try:
            with memory_told(lambda: 1, getattr(params, "batch_size", 1)):
                trainers.load(params.room).train(params, run)
        except Rehearsed:
            return {}
        raise RunError(f"{asked['kind']} cannot look into {params.room} {params.method}".rstrip())

    return rehearse
